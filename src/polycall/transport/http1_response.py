"""One answer on a connection of `http1.py`: from what the parser found to the code that reads it.

A body is pulled (`chunks`, `read`) or poured: then each piece goes to its taker out of the very
call in which the event loop read it, and nobody has to be woken up for it.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Mapping
from io import BytesIO
from typing import Any, Protocol, Self

from polycall.errors import ProtocolError, UpstreamConnectionError, UpstreamError
from polycall.transport.base import Deadlines, Take

_BUFFER_BYTES_MAX = 512 * 1024
# Of headers, interim answers, chunks' framing and trailers, alongside the body; and what one read
# may grow to where a server compresses though it was asked not to.
_WASTE_BYTES_MAX = 256 * 1024
_CHUNK_BYTES = 16  # of framing that a piece may have without being counted as waste
_EXPANDED_BYTES_MAX = 8 * 1024 * 1024
_ENCODINGS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


class StaleConnectionError(Exception):
    """The connection ended before the first byte of an answer."""


class Connection(Protocol):
    """The connection, as far as an answer uses it."""

    loop: asyncio.AbstractEventLoop

    @property
    def host(self) -> str: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def release(self, *, may_be_used: bool) -> None: ...
    def abort(self) -> None: ...


class HTTP1Response:
    """The answer to one request, filled by its connection."""

    def __init__(self, connection: Connection, pieces: list[bytes], deadlines: Deadlines) -> None:
        """`pieces` is the connection's list of what has come of the body."""
        now = time.monotonic()
        self.status = 0
        self.ends_at = now + deadlines.total_s
        self.silent_at = now + deadlines.read_s
        self.is_paused = False
        self._read_s = deadlines.read_s
        self._connection = connection
        self.headers: Mapping[str, str] = {}
        self._waste = 0
        self._pieces = pieces
        self._known = 0  # pieces that are no news any more
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None
        self._taker: Take | None = None  # while the body is poured
        self._rest: Awaitable[None] | None = None  # what the taker could not do at once
        self.has_begun = False  # its headers are there, or it failed
        self._has_headers = False
        self.is_complete = False
        self.is_delimited = False
        self._is_closed = False
        self._error: Exception | None = None
        self._decoder: Any = None

    # The seam

    def chunks(self) -> AsyncIterator[bytes]:
        return self  # no generator, which would have to be closed by the code that stops in between

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._pieces:
            if self._is_over():
                raise StopAsyncIteration
            await self.news()
        return self._take()

    async def push_to(self, take: Take) -> None:
        while True:
            if self._pieces:
                rest = take(self._take())
            elif self._is_over():
                return
            else:
                rest = await self._poured(take)
            if rest is not None:
                await rest

    def take_whole(self, size_bytes_max: int) -> bytes | None:
        """The whole body where it has come; `None` where it is to be read."""
        is_here = self.is_complete and self._error is None and self._size <= size_bytes_max
        return self._take() if is_here else None

    async def read(self, *, size_bytes_max: int) -> bytes:
        whole = BytesIO()  # gives what it has without a second copy of it
        size = 0
        async for piece in self:
            size += len(piece)
            if size > size_bytes_max:
                raise ProtocolError(f"the answer is larger than {size_bytes_max} bytes")
            if size == len(piece):
                whole = BytesIO(piece)
                whole.seek(size)
            else:
                whole.write(piece)
        return whole.getvalue()

    async def close(self) -> None:
        """Cut the connection where the body has not ended; else it is in the pool already."""
        if not self._is_closed and not self.is_complete:
            self._is_closed = True
            self._connection.abort()

    # For the connection

    def check_headers(self) -> None:
        """Raise what went wrong before the headers were there."""
        if not self._has_headers and self._error is not None:
            raise self._error

    def news(self) -> asyncio.Future[None]:
        """A future that is done once there is something new."""
        self._waiter = self._connection.loop.create_future()
        return self._waiter

    def begin(self, status: int, headers: Mapping[str, str], *, is_delimited: bool) -> None:
        """The status and headers are there; another request may follow where it `is_delimited`."""
        self.status = status
        self.headers = headers
        self.is_delimited = is_delimited
        self._has_headers = self.has_begun = True
        encoding = headers.get("content-encoding")
        if encoding and encoding != "identity":
            bits = _ENCODINGS.get(encoding.lower())
            if bits is None:
                self.fail(ProtocolError(f"the answer is encoded as {encoding!r}, not asked for"))
            else:
                self._decoder = zlib.decompressobj(bits)

    def complete(self) -> None:
        """The answer has come to its end, or an interim one has."""
        self.is_complete = self._has_headers

    def take_in(self, size: int) -> bool:
        """Take what the parser made of a read of `size` bytes; whether that had content enough."""
        pieces = self._pieces
        new = pieces[self._known :] if self._known else pieces
        content = sum(map(len, new))
        self._waste = max(0, self._waste + size - 3 * content - _CHUNK_BYTES * len(new))
        if self._decoder is not None and new:
            pieces[self._known :] = expanded = self._decompressed(b"".join(new))
            content = sum(map(len, expanded))
        self._size += content
        self._known = len(pieces)
        return self.is_complete or self._waste <= _WASTE_BYTES_MAX

    def fed(self) -> None:
        """A read has been parsed."""
        if self.is_complete:
            self._pieces = self._pieces.copy()  # the connection's are the next answer's
            self._wake()
            self._connection.release(may_be_used=self.is_delimited)
            return
        self.silent_at = time.monotonic() + self._read_s
        if self._taker is not None:
            if self._pieces:
                self._hand_over(self._taker)
        elif self._pieces or self._has_headers:
            self._wake()
        if self._size > _BUFFER_BYTES_MAX and not self.is_paused:
            self.is_paused = True
            self._connection.pause()

    def lost(self, *, is_untouched: bool) -> None:
        """The connection ended; `is_untouched` says that nothing of the answer had come."""
        if self.is_complete:
            return
        if self._has_headers and self._ends_with_connection():
            self.is_complete = True
        elif self._error is None:
            if is_untouched and not self._has_headers:
                self._error = StaleConnectionError()
            else:
                host = self._connection.host
                broken = UpstreamConnectionError(f"{host} broke off in the middle of its answer")
                broken.was_sent = True
                self._error = broken
            self.has_begun = True
        self._wake()

    def fail(self, error: UpstreamError | ProtocolError) -> None:
        """The code that waits gets `error`, after what came before it."""
        if self._error is None:
            self._error = error
        self.has_begun = True
        self._wake()

    # Within

    def _decompressed(self, data: bytes) -> list[bytes]:
        if self._error is not None:
            return []
        try:
            data = self._decoder.decompress(data, _EXPANDED_BYTES_MAX)
        except zlib.error:
            self.fail(ProtocolError("the answer is not what its content-encoding says"))
            return []
        if self._decoder.unconsumed_tail:
            self.fail(ProtocolError("the answer grows without bound when it is decompressed"))
            return []
        return [data] if data else []

    def _is_over(self) -> bool:
        """Whether nothing more comes; raises what ended it before its end."""
        if self._error is not None:
            raise self._error
        return self.is_complete

    async def _poured(self, take: Take) -> Awaitable[None] | None:
        """Wait while `fed` hands over; gives what a taker has left to be awaited."""
        self._taker = take
        try:
            await self.news()
        finally:
            self._taker = None
        rest, self._rest = self._rest, None
        return rest

    def _hand_over(self, take: Take) -> None:
        try:
            self._rest = take(self._take())
        except BaseException as error:  # noqa: BLE001 - it goes to the code that pours
            self._taker = None
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_exception(error)
            return
        if self._rest is not None:
            self._taker = None
            self._wake()

    def _ends_with_connection(self) -> bool:
        headers = self.headers
        return "content-length" not in headers and "chunked" not in headers.get(
            "transfer-encoding", ""
        )

    def _take(self) -> bytes:
        pieces = self._pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._size = self._known = 0
        if self.is_paused:
            self.is_paused = False
            self.silent_at = time.monotonic() + self._read_s
            self._connection.resume()
        return data

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
