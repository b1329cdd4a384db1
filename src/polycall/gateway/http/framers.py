"""Streams as some clients frame them: what the dialects encode, in other envelopes.

Claude's as Bedrock's `invoke-with-response-stream` has it, an event in each chunk; Ollama's chat as
its older `/api/generate`; Gemini's without `alt=sse`, one JSON array in pieces.
"""

from __future__ import annotations

import base64
import re
from typing import Any

from polycall._support import jsontext
from polycall._support.event_stream import CONTENT_TYPE, event, exception
from polycall.errors import PolycallError
from polycall.ir import Event
from polycall.translation.sse import SSEDecoder
from polycall.translation.wire import Encoder

# The exceptions that may end a stream (botocore 1.44), by the vendor's own words.
_EXCEPTIONS = {
    "rate_limit_error": "throttlingException",
    "invalid_request_error": "validationException",
    "overloaded_error": "serviceUnavailableException",
    "timeout_error": "modelTimeoutException",
}


class InvokeFramer:
    """Server-sent events in, AWS's messages out."""

    def __init__(self) -> None:
        self._events = SSEDecoder()

    def takes(self, headers: list[tuple[bytes, bytes]]) -> bool:
        """Whether this is a stream; its content type becomes AWS's."""
        for place, (name, value) in enumerate(headers):
            if name == b"content-type" and value.startswith(b"text/event-stream"):
                headers[place] = (name, CONTENT_TYPE.encode())
                headers.append((b"x-amzn-bedrock-content-type", b"application/json"))
                return True
        return False

    def feed(self, data: bytes) -> bytes:
        """The messages that are complete with this piece."""
        return b"".join(self._framed(frame.event, frame.data) for frame in self._events.feed(data))

    def _framed(self, name: str, data: str) -> bytes:
        if name == "error":
            try:
                error = jsontext.decode(data)["error"]
                kind, message = str(error["type"]), str(error["message"])
            except (ValueError, KeyError, TypeError):
                kind, message = "", data
            payload = jsontext.encode_bytes({"message": message})
            return exception(_EXCEPTIONS.get(kind, "internalServerException"), payload)
        wrapped = {"bytes": base64.b64encode(data.encode()).decode()}
        return event("chunk", jsontext.encode_bytes(wrapped))


class PromptFramer:
    """Lines of a chat in, lines of a completion out; a whole answer by `whole`."""

    def __init__(self) -> None:
        self._rest = b""

    def takes(self, headers: list[tuple[bytes, bytes]]) -> bool:
        """Whether this is a stream, whose content type stays."""
        return any(
            name == b"content-type" and value.startswith(b"application/x-ndjson")
            for name, value in headers
        )

    def feed(self, data: bytes) -> bytes:
        """The lines that are complete with this piece."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        return b"".join(self.whole(line) + b"\n" for line in lines if line.strip())

    def whole(self, data: bytes) -> bytes:
        """One answer, or one line of it; an error stays as it is."""
        fields: dict[str, Any] = jsontext.decode(data)
        message: dict[str, Any] | None = fields.pop("message", None)
        if message is None:
            return data
        texts: dict[str, Any] = {"response": message.get("content") or ""}
        if thinking := message.get("thinking"):
            texts["thinking"] = thinking
        return jsontext.encode_bytes({**fields, **texts})


_BREAK = re.compile(rb"\r\n\r\n|\n\n")


class ArrayEncoder:
    """An encoder of server-sent events, its events as the elements of an array instead."""

    def __init__(self, encoder: Encoder, *, began: bool = False) -> None:
        """`began` says that elements were sent already, by somebody else."""
        self._encoder = encoder
        self._began = began

    def feed(self, event: Event) -> bytes:
        """The elements that the event gives."""
        return self._elements(self._encoder.feed(event))

    def close(self) -> bytes:
        """The end of the array."""
        return self._elements(self._encoder.close()) + (b"]" if self._began else b"[]")

    def fail(self, error: PolycallError) -> bytes:
        """The error as the last element."""
        return self._elements(self._encoder.fail(error)) + b"]"

    def _elements(self, data: bytes) -> bytes:
        pieces: list[bytes] = []
        for frame in _BREAK.split(data):
            element = frame.strip().removeprefix(b"data:").strip()
            if element:
                pieces.append(b",\r\n" if self._began else b"[")
                pieces.append(element)
                self._began = True
        return b"".join(pieces)
