"""Streams as some clients frame them: what the dialects encode, in other envelopes.

Claude's as Bedrock's `invoke-with-response-stream` has it, an event in each chunk; Ollama's chat as
its older `/api/generate`; Gemini's without `alt=sse`, one JSON array in pieces.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import msgspec

from polycall._support import jsontext
from polycall._support.event_stream import CONTENT_TYPE, event_of, exception
from polycall._support.json_weight import LONG_BYTES
from polycall.errors import PolycallError
from polycall.ir import JSON, Event
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
        if len(data) > LONG_BYTES and not self._events.held_bytes:
            place = data.find(_DATA)
            end = data.find(b"\n\n")
            has_two_lines = 0 <= place == data.find(b"\n") < end == data.find(b"\n", place + 1)
            if (
                has_two_lines
                and b"\r" not in data
                and data.startswith(b"event: ")
                and not data.startswith(b"event: error")
            ):
                made = _chunk(memoryview(data)[place + len(_DATA) : end])  # it is not read
                return made + self.feed(data[end + 2 :])
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
        return _chunk(data.encode())


_DATA = b"\ndata: "
_BEFORE, _AFTER = b'{"bytes":"', b'"}'
_SLICE_BYTES = 3 * 64 * 1024  # four bytes of base64 for each three


def _chunk(data: bytes | memoryview) -> bytes:
    size_bytes = len(_BEFORE) + (len(data) + 2) // 3 * 4 + len(_AFTER)
    return event_of("chunk", size_bytes, _in_base64(data))


def _in_base64(data: bytes | memoryview) -> Iterator[bytes]:
    yield _BEFORE
    for start in range(0, len(data), _SLICE_BYTES):
        yield base64.b64encode(data[start : start + _SLICE_BYTES])
    yield _AFTER


class PromptFramer:
    """Lines of a chat in, lines of a completion out; a whole answer by `whole`."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []  # of a line that is not whole

    def takes(self, headers: list[tuple[bytes, bytes]]) -> bool:
        """Whether this is a stream, whose content type stays."""
        return any(
            name == b"content-type" and value.startswith(b"application/x-ndjson")
            for name, value in headers
        )

    def feed(self, data: bytes) -> bytes:
        """The lines that are complete with this piece."""
        is_line = not self._rest and data.find(b"\n") == len(data) - 1
        if is_line and len(data) > LONG_BYTES:
            return self._line(data)  # it is copied once
        *lines, rest = data.split(b"\n")
        made: list[bytes] = []
        for line in lines:
            whole = b"".join((*self._rest, line))
            self._rest.clear()
            if whole and not whole.isspace():
                made.append(self._line(whole))
        if rest:
            self._rest.append(rest)
        return b"".join(made)

    @staticmethod
    def reshaped(fields: JSON) -> JSON:
        """A whole answer that was made here."""
        message: JSON = fields["message"]
        texts = {"response": message["content"]}
        if message.get("thinking"):
            texts["thinking"] = message["thinking"]
        return {**{name: each for name, each in fields.items() if name != "message"}, **texts}

    def whole(self, data: bytes) -> bytes:
        """One answer; an error stays as it is."""
        fields = self._fields(data)
        return data if fields is None else _encoder.encode(fields)

    def _line(self, data: bytes) -> bytes:
        """The same of one line."""
        fields = self._fields(data)
        return data.rstrip(b"\n") + b"\n" if fields is None else _encoder.encode_lines((fields,))

    @staticmethod
    def _fields(data: bytes) -> dict[str, msgspec.Raw] | None:
        try:
            fields = _raw_fields(data)
            message = _raw_fields(fields.pop("message", b"null"))
        except ValueError:
            return None  # an error, or what is not as the wire has it
        texts = {"response": _text(message, "content")}
        if (thinking := _text(message, "thinking")) is not _EMPTY:
            texts["thinking"] = thinking
        return {**fields, **texts}


def _text(message: dict[str, msgspec.Raw], name: str) -> msgspec.Raw:
    raw = message.get(name, _EMPTY)
    return _EMPTY if bytes(memoryview(raw)[:4]) in (b"null", b'""') else raw


_EMPTY = msgspec.Raw(b'""')
_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encoder = msgspec.json.Encoder()


def _raw_fields(data: bytes | msgspec.Raw) -> dict[str, msgspec.Raw]:
    """The values as they are written: a long text is not read."""
    try:
        return _decoder.decode(data)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:  # half of a character, say
        fields = jsontext.decode(data)
        encoded: dict[str, Any] = fields if isinstance(fields, dict) else {}  # pyright: ignore[reportUnknownVariableType]
        return {name: msgspec.Raw(jsontext.encode_bytes(each)) for name, each in encoded.items()}


class ArrayEncoder:
    """An encoder of server-sent events, its events as the elements of an array instead."""

    def __init__(self, encoder: Encoder, *, began: bool = False) -> None:
        """`began` says that elements were sent already, by somebody else."""
        self._encoder = encoder
        self._began = began

    def feed(self, event: Event) -> bytes:
        """The elements that the event gives."""
        return self._elements(self._encoder.feed(event))

    @property
    def repeated_bytes(self) -> int:
        """None: each chunk says what is new."""
        return 0

    def frames(self, event: Event) -> Iterator[bytes]:
        """The same, in one piece."""
        made = [self.feed(event)]
        del event  # its text may be long, as what is made of it
        yield made.pop()

    def close(self) -> bytes:
        """The end of the array."""
        return self._elements(self._encoder.close()) + (b"]" if self._began else b"[]")

    def fail(self, error: PolycallError) -> bytes:
        """The error as the last element."""
        return self._elements(self._encoder.fail(error)) + b"]"

    def _elements(self, data: bytes) -> bytes:
        pieces: list[bytes] = []
        for frame in data.split(b"\r\n\r\n" if data.find(b"\r\n\r\n") >= 0 else b"\n\n"):
            element = frame.strip().removeprefix(b"data: ").removeprefix(b"data:")
            if element:
                pieces.append(b",\r\n" if self._began else b"[")
                pieces.append(element)
                self._began = True
        return b"".join(pieces)
