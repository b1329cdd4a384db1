"""A small HTTP/1.1 client behind the transport's seam, for the gateway's hot path.

It does what talking to a provider needs and no more: pooled connections, TLS, deadlines, bodies
that arrive in pieces.  No redirects, no cookies, no proxies (an address that the environment
sends through a proxy goes to the other transport).  Parsing is llhttp's, through httptools.

One timer for all connections keeps the deadlines, so that a request costs none.
"""

from __future__ import annotations

import asyncio
import select
import ssl
import time
from collections import deque
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

import httptools

from polycall._support.memo import Memo
from polycall.errors import ProtocolError, UpstreamConnectionError, UpstreamTimeoutError
from polycall.transport.base import (
    Deadlines,
    HTTPRequest,
    HTTPResponse,
    RequestStream,
    Transport,
)
from polycall.transport.http1_response import HTTP1Response, StaleConnectionError
from polycall.transport.proxies import Proxies

IDLE_S = 30.0
_TICK_S = 0.5
# libuv reads a ready socket up to 32 times before it looks at another: a server that sends without
# pause would have the loop for that long.  After so many bytes others have their turn.
_TURN_BYTES = 128 * 1024


class _Origin(NamedTuple):
    scheme: str
    host: str
    port: int


class HTTP1Transport:
    """Connections of one event loop.  Close it."""

    def __init__(self, *, connections_max: int = 512, trust_environment: bool = True) -> None:
        self._connections_max = connections_max
        self._proxies = Proxies() if trust_environment else None
        self._fallback: Transport | None = None
        self._idle: dict[_Origin, list[_Connection]] = {}
        self._open: set[_Connection] = set()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._connecting = 0
        self._timer: asyncio.TimerHandle | None = None
        self._tls: ssl.SSLContext | None = None

    async def open(self, request: HTTPRequest, deadlines: Deadlines) -> HTTPResponse:
        """Send and wait for the headers; redirects are answers, not followed."""
        origin, host_header, target = _places[request.url]
        if self._proxies and self._proxies.of(origin.scheme, origin.host):
            return await self._get_fallback().open(request, deadlines)
        data = _serialize(request, host_header, target)
        while True:
            # A body that can be read once must not meet a connection that is about to end.
            is_fresh = request.stream is not None
            connection = None if is_fresh else self._idle_connection(origin)
            is_reused = connection is not None
            if connection is None:
                connection, is_reused = await self._connection(origin, deadlines, is_fresh=is_fresh)
            try:
                answer = connection.send(data, deadlines)
                if request.stream is not None:
                    await connection.send_stream(request.stream, answer, deadlines)
                while not answer.has_begun:
                    await answer.news()
                answer.check_headers()
            except StaleConnectionError as error:
                connection.abort()
                # Nobody can tell whether the server has read what was written (RFC 9110, 9.2.2).
                may_repeat = not connection.has_written or request.method == "GET"
                if not is_reused or not may_repeat:
                    lost = UpstreamConnectionError(
                        f"{origin.host} closed the connection without an answer"
                    )
                    lost.was_sent = connection.has_written
                    raise lost from error
            except BaseException:
                connection.abort()
                raise
            else:
                return answer

    async def close(self) -> None:
        """Close all connections."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for connection in list(self._open):
            connection.abort()
        if self._fallback is not None:
            await self._fallback.close()

    # The pool

    async def _connection(
        self, origin: _Origin, deadlines: Deadlines, *, is_fresh: bool
    ) -> tuple[_Connection, bool]:
        while True:
            connection = None if is_fresh else self._idle_connection(origin)
            if connection is not None:
                return connection, True
            if len(self._open) + self._connecting < self._connections_max:
                break
            await self._wait_for_room(deadlines)
        self._connecting += 1
        try:
            return await self._connect(origin, deadlines), False
        finally:
            self._connecting -= 1
            self._wake()

    def _idle_connection(self, origin: _Origin) -> _Connection | None:
        """One that may be used again."""
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if connection.is_usable(time.monotonic()):
                return connection
            connection.abort()
        return None

    async def _connect(self, origin: _Origin, deadlines: Deadlines) -> _Connection:
        loop = asyncio.get_running_loop()
        context: ssl.SSLContext | None = None
        if origin.scheme == "https":
            context = self._tls = self._tls or _make_tls()
        try:
            async with asyncio.timeout(min(deadlines.connect_s, deadlines.total_s)):
                _, connection = await loop.create_connection(
                    lambda: _Connection(self, origin, loop), origin.host, origin.port, ssl=context
                )
        except TimeoutError:
            raise UpstreamTimeoutError(
                f"no connection to {origin.host} within the deadline"
            ) from None
        except ssl.SSLError as error:
            raise UpstreamConnectionError(
                f"no secure connection to {origin.host}: {error.reason}", should_retry=False
            ) from error
        except (OSError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a host name"
            raise UpstreamConnectionError(
                f"cannot connect to {origin.host}: {reason or type(error).__name__}"
            ) from error
        self._open.add(connection)
        if self._timer is None:
            self._timer = loop.call_later(_TICK_S, self._tick)
        return connection

    async def _wait_for_room(self, deadlines: Deadlines) -> None:
        for connections in self._idle.values():
            if connections:
                connections.pop(0).abort()
                return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(deadlines.total_s):
                await waiter
        except TimeoutError:
            raise UpstreamTimeoutError("no free connection within the deadline") from None

    def give_back(self, connection: _Connection) -> None:
        """The connection's answer is complete and it may be used again."""
        self._idle.setdefault(connection.origin, []).append(connection)
        if self._waiting:
            self._wake()

    def forget(self, connection: _Connection) -> None:
        """The connection is gone."""
        self._open.discard(connection)
        idle = self._idle.get(connection.origin)
        if idle and connection in idle:
            idle.remove(connection)
        self._wake()

    def _wake(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _tick(self) -> None:
        self._timer = None
        now = time.monotonic()
        for connection in list(self._open):
            connection.check(now)
        if self._open:
            self._timer = asyncio.get_running_loop().call_later(_TICK_S, self._tick)

    # Proxies

    def _get_fallback(self) -> Transport:
        if self._fallback is None:
            from polycall.transport.aiohttp_transport import AiohttpTransport  # noqa: PLC0415 - 12 MB

            self._fallback = AiohttpTransport(connections_max=self._connections_max)
        return self._fallback


class _Connection(asyncio.Protocol):
    """One connection and, while there is one, the answer it receives."""

    def __init__(
        self, owner: HTTP1Transport, origin: _Origin, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.origin = origin
        self.host = origin.host
        self.loop = loop
        self._owner = owner
        self._headers: dict[str, str] = {}  # what came of an answer's
        self._pieces: list[bytes] = []
        # One call of the parser for each chunk: nothing but the list hears of it.
        self.on_body = self._pieces.append
        self._parser: Any = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._answer: HTTP1Response | None = None
        self._idle_since = 0.0
        self._poller = select.poll()
        self.has_written = False  # something of the latest request
        self._read_bytes = 0  # since others had their turn
        self._room: asyncio.Future[None] | None = None  # while the other side takes no more

    # For the pool

    def is_usable(self, now: float) -> bool:
        transport = self._transport
        if transport is None or transport.is_closing() or now - self._idle_since >= IDLE_S:
            return False
        # What is there to read of an idle connection is its end: the loop may not have seen it yet,
        # and a request that was written could not be sent again.
        return not self._poller.poll(0)

    def check(self, now: float) -> None:
        """Keep the deadlines."""
        answer = self._answer
        if answer is None:
            if self._idle_since and now - self._idle_since > IDLE_S:
                self.abort()
        elif now > answer.ends_at or (now > answer.silent_at and not answer.is_paused):
            silent = UpstreamTimeoutError(f"{self.origin.host} was silent past the deadline")
            silent.was_sent = True
            answer.fail(silent)
            self.abort()

    def abort(self) -> None:
        """Cut the connection, which is what tells a provider to stop generating."""
        if self._transport is not None:
            self._transport.abort()
        self._owner.forget(self)

    def send(self, data: list[bytes], deadlines: Deadlines) -> HTTP1Response:
        """Send a request, or its head; gives what its answer comes in."""
        transport = self._transport
        self.has_written = False
        if transport is None or transport.is_closing():
            raise StaleConnectionError
        answer = self._answer = HTTP1Response(self, self._pieces, deadlines)
        self.has_written = True
        transport.writelines(data)
        return answer

    async def send_stream(
        self, stream: RequestStream, answer: HTTP1Response, deadlines: Deadlines
    ) -> None:
        """Write a body as it comes, as fast as the other side takes it, until that answers."""
        is_chunked = stream.length is None
        async for piece in stream:
            transport = self._transport
            if transport is None or answer.has_begun:
                answer.is_delimited = False  # what is left of the body would be taken for a request
                return
            answer.silent_at = time.monotonic() + deadlines.read_s
            if is_chunked:
                transport.writelines((b"%x\r\n" % len(piece), piece, b"\r\n"))
            else:
                transport.write(piece)
            if self._room is not None:
                await self._room
        if is_chunked and self._transport is not None:
            self._transport.write(b"0\r\n\r\n")
        answer.silent_at = time.monotonic() + deadlines.read_s

    def pause_writing(self) -> None:
        if self._room is None:
            self._room = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    def release(self, *, may_be_used: bool) -> None:
        """The answer is complete, and has its pieces."""
        self._answer = None
        self._pieces.clear()
        if may_be_used and self._transport is not None and not self._transport.is_closing():
            self._idle_since = time.monotonic()
            self._owner.give_back(self)
        else:
            self.abort()

    def pause(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    # For the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._poller.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None:
            self.abort()  # bytes that nobody asked for
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not answer.is_complete or isinstance(error, httptools.HttpParserUpgrade):
                answer.take_in(len(data))
                answer.fail(ProtocolError(f"{self.origin.host} does not answer with HTTP"))
                self.abort()
                return
            answer.is_delimited = False  # what follows it is nobody's
        if not answer.take_in(len(data)):
            answer.fail(ProtocolError(f"{self.origin.host} sends headers or chunks without an end"))
            self.abort()
            return
        answer.fed()
        self._read_bytes += len(data)
        if self._read_bytes >= _TURN_BYTES and self._answer is not None:
            self._read_bytes = 0
            self.pause()
            asyncio.get_running_loop().call_soon(self._read_on)

    def _read_on(self) -> None:
        if self._answer is not None and not self._answer.is_paused:
            self.resume()

    def eof_received(self) -> None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        answer, self._answer = self._answer, None
        self._transport = self._parser = None  # which knows this connection
        self.resume_writing()
        self._owner.forget(self)
        if answer is not None:
            answer.lost(is_untouched=not self._headers)

    # The parser's callbacks

    def on_message_begin(self) -> None:
        answer = self._answer
        if answer is None or answer.is_complete:
            raise ProtocolError("something follows the answer")  # it ends the parser

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        headers, self._headers = self._headers, {}
        status = self._parser.get_status_code()
        if (status >= 200 or status == 101) and self._answer is not None:
            self._answer.begin(status, headers, is_delimited=self._parser.should_keep_alive())

    def on_message_complete(self) -> None:
        self._headers.clear()  # a trailer is not a header
        if self._answer is not None:
            self._answer.complete()


def _split(url: str) -> tuple[_Origin, str, str]:
    """Origin, `host` header and target of a URL."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not host:
        raise UpstreamConnectionError("the provider's address is not a URL", should_retry=False)
    port = port or (443 if parts.scheme == "https" else 80)
    target = parts.path or "/"
    if parts.query:
        target = f"{target}?{parts.query}"
    return _Origin(parts.scheme, host, port), parts.netloc.rpartition("@")[2], target


_places = Memo(_split, 2048)


def _serialize(request: HTTPRequest, host: str, target: str) -> list[bytes]:
    body = request.body
    head = _heads[request.method, target, host, tuple(request.headers.items())]
    if request.stream is not None:
        length = request.stream.length
        framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    elif body or request.method == "POST":
        framing = f"content-length: {len(body)}"
    else:
        return [head + b"\r\n"]
    pieces = [head, framing.encode(), b"\r\n\r\n", body]
    if len(body) <= 16_384:
        return [b"".join(pieces)]
    return pieces


def _head(asked: tuple[str, str, str, tuple[tuple[str, str], ...]]) -> bytes:
    """The request line and the headers, which are the same for most requests to one model."""
    method, target, host, headers = asked
    lines = [f"{method} {target} HTTP/1.1", f"host: {host}"]
    lines += [f"{name}: {value}" for name, value in headers]
    lines.append("accept-encoding: identity")
    text = "\r\n".join(lines)
    if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1:
        raise UpstreamConnectionError("a header holds a line break", should_retry=False)
    return (text + "\r\n").encode("latin-1", "replace")


_heads = Memo(_head, 512)


def _make_tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
