"""Takes off Bedrock's framing: what `invoke-with-response-stream` wraps is the vendor's stream.

Everything above reads server-sent events, as from the vendor itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping
from functools import partial
from typing import Self

import msgspec
from msgspec import Struct, field

from polycall._support import jsontext
from polycall._support.event_stream import CONTENT_TYPE, EventMessage, EventStreamReader
from polycall._support.json_weight import LONG_BYTES, check_weight
from polycall.errors import ProtocolError
from polycall.transport.base import HTTPResponse, Run, Take, push_to

# The vendor's words for the exceptions that may end a stream (botocore 1.44, ResponseStream).
_TYPES = {
    "throttlingException": "rate_limit_error",
    "validationException": "invalid_request_error",
    "serviceUnavailableException": "overloaded_error",
    "modelTimeoutException": "timeout_error",
}


class _Chunk(Struct):
    """The contents of an event: another one, in base64."""

    data: bytes = field(name="bytes")


class _Named(Struct):
    """An event of the vendor's; all but its type is left alone."""

    type: str


class _Said(Struct):
    """The contents of an exception."""

    message: str = ""


def unframed(http: HTTPResponse, stream_type: str, run: Run | None = None) -> HTTPResponse:
    """The answer as server-sent events, unless its dialect's own streams are framed so.

    `run` does what takes long for so many bytes, away from the loop.
    """
    if not http.headers.get("content-type", "").startswith(CONTENT_TYPE):
        return http
    return http if stream_type.startswith(CONTENT_TYPE) else _Unframed(http, run)


class _Unframed:
    """The same answer.  No generators: it may be left before its end."""

    def __init__(self, http: HTTPResponse, run: Run | None) -> None:
        self._http = http
        self._run = run
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
            if data := await self._taken(chunk):
                return data

    async def push_to(self, take: Take) -> None:
        def take_events(chunk: bytes) -> Awaitable[None] | None:
            if self._is_long(chunk):
                return self._take_long(take, chunk)
            data = self._events(chunk)
            return take(data) if data else None

        await push_to(self._http, take_events)
        self._reader.close()

    async def read(self, *, size_bytes_max: int) -> bytes:
        return await self._taken(await self._http.read(size_bytes_max=size_bytes_max))

    async def close(self) -> None:
        await self._http.close()

    async def _take_long(self, take: Take, chunk: bytes) -> None:
        data = await self._taken(chunk)
        rest = take(data) if data else None
        if rest is not None:
            await rest

    async def _taken(self, chunk: bytes) -> bytes:
        if self._run is None or not self._is_long(chunk):
            return self._events(chunk)
        return await self._run(LONG_BYTES, partial(self._events, chunk))

    def _is_long(self, chunk: bytes) -> bool:
        """Whether a long event may end in these bytes."""
        return self._reader.held_bytes + len(chunk) > LONG_BYTES

    def _events(self, chunk: bytes) -> bytes:
        return b"".join(_sse(message) for message in self._reader.feed(chunk))


def _sse(message: EventMessage) -> bytes:
    headers = message.headers
    if headers.get(":message-type", "event") != "event":
        kind = headers.get(":exception-type") or headers.get(":error-code") or ""
        words = _said(message.payload) or headers.get(":error-message") or kind
        error = {"type": _TYPES.get(kind, "api_error"), "message": words}
        data = jsontext.encode_bytes({"type": "error", "error": error})
        return b"event: error\ndata: " + data + b"\n\n"
    if headers.get(":event-type") != "chunk":
        return b""
    try:
        data = msgspec.json.decode(message.payload, type=_Chunk).data
        kind = _kind(data).encode()
    except (KeyError, TypeError, ValueError, RecursionError):
        raise ProtocolError(f"a chunk holds no event: {message.payload[:80]!r}") from None
    return b"".join((b"event: ", kind, b"\ndata: ", data.replace(b"\n", b" "), b"\n\n"))


def _kind(data: bytes) -> str:
    try:
        return msgspec.json.decode(data, type=_Named).type
    except msgspec.DecodeError:
        check_weight(data)
        return str(jsontext.decode(data)["type"])  # where it holds half of a character


def _said(payload: bytes) -> str:
    """The text of an exception; empty where it is unreadable."""
    try:
        return msgspec.json.decode(payload, type=_Said).message
    except (msgspec.DecodeError, RecursionError):
        return ""
