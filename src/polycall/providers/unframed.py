"""Takes off Bedrock's framing: what `invoke-with-response-stream` wraps is the vendor's stream.

Everything above reads server-sent events, as from the vendor itself.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import Any, Self, cast

from polycall._support import jsontext
from polycall._support.event_stream import CONTENT_TYPE, EventMessage, EventStreamReader
from polycall.errors import ProtocolError
from polycall.ir import JSON
from polycall.transport.base import HTTPResponse, Take, push_to

# The vendor's words for the exceptions that may end a stream (botocore 1.44, ResponseStream).
_TYPES = {
    "throttlingException": "rate_limit_error",
    "validationException": "invalid_request_error",
    "serviceUnavailableException": "overloaded_error",
    "modelTimeoutException": "timeout_error",
}


def unframed(http: HTTPResponse, stream_type: str) -> HTTPResponse:
    """The answer as server-sent events, unless its dialect's own streams are framed so."""
    if not http.headers.get("content-type", "").startswith(CONTENT_TYPE):
        return http
    return http if stream_type.startswith(CONTENT_TYPE) else _Unframed(http)


class _Unframed:
    """The same answer.  No generators: it may be left before its end."""

    def __init__(self, http: HTTPResponse) -> None:
        self._http = http
        self._reader = EventStreamReader()
        self._chunks: AsyncIterator[bytes] | None = None
        self.status = http.status
        self.headers: Mapping[str, str] = {**http.headers, "content-type": "text/event-stream"}

    def chunks(self) -> AsyncIterator[bytes]:
        self._chunks = self._http.chunks()
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        assert self._chunks is not None
        while True:
            try:
                chunk = await anext(self._chunks)
            except StopAsyncIteration:
                self._reader.close()
                raise
            if data := self._events(chunk):
                return data

    async def push_to(self, take: Take) -> None:
        def take_events(chunk: bytes) -> Awaitable[None] | None:
            data = self._events(chunk)
            return take(data) if data else None

        await push_to(self._http, take_events)
        self._reader.close()

    async def read(self, *, size_bytes_max: int) -> bytes:
        return self._events(await self._http.read(size_bytes_max=size_bytes_max))

    async def close(self) -> None:
        await self._http.close()

    def _events(self, chunk: bytes) -> bytes:
        return b"".join(_sse(message) for message in self._reader.feed(chunk))


def _sse(message: EventMessage) -> bytes:
    try:
        payload: Any = jsontext.decode(message.payload) if message.payload else {}
    except ValueError:
        raise ProtocolError(f"an event is not JSON: {message.payload[:80]!r}") from None
    headers = message.headers
    if headers.get(":message-type", "event") != "event":
        kind = headers.get(":exception-type") or headers.get(":error-code") or ""
        said: Any = cast("JSON", payload).get("message") if isinstance(payload, dict) else None
        words = said or headers.get(":error-message") or kind
        error = {"type": _TYPES.get(kind, "api_error"), "message": str(words)}
        data = jsontext.encode_bytes({"type": "error", "error": error})
        return b"event: error\ndata: " + data + b"\n\n"
    if headers.get(":event-type") != "chunk":
        return b""
    try:
        data = base64.b64decode(payload["bytes"])
        kind = str(jsontext.decode(data)["type"])
    except (KeyError, TypeError, ValueError, binascii.Error):
        raise ProtocolError(f"a chunk holds no event: {message.payload[:80]!r}") from None
    return b"event: " + kind.encode() + b"\ndata: " + data.replace(b"\n", b" ") + b"\n\n"
