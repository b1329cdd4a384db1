"""Claude's stream as Bedrock's `invoke-with-response-stream` frames it: an event in each chunk."""

from __future__ import annotations

import base64

from polycall._support import jsontext
from polycall._support.event_stream import CONTENT_TYPE, event, exception
from polycall.translation.sse import SSEDecoder

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
