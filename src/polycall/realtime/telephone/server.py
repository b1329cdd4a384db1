"""The addresses of a telephone: POST /voice, POST /status, GET /media.  aiohttp, bounded.

A connection makes one request and has ten seconds for it.  More connections than calls need are
closed at once, so that idle ones cost nothing (docs/adr/0032-telephone.md).
"""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import TYPE_CHECKING, cast

from aiohttp import WSMsgType, web
from aiohttp.http_websocket import WebSocketError

from polycall.realtime.telephone.signed_calls import read_form
from polycall.realtime.telephone.twilio import FRAME_BYTES_MAX
from polycall.voices.connection import ConnectionClosedError

if TYPE_CHECKING:
    from polycall.realtime.telephone.signed_calls import SignedCalls

REQUEST_S = 10.0
BODY_BYTES_MAX = 32_768
_SEND_BUFFER_BYTES = 65_536

log = logging.getLogger(__name__)


class _WebSocket:
    """The server's end of a WebSocket, as a call wants it."""

    def __init__(self, inner: web.WebSocketResponse) -> None:
        self._inner = inner

    async def send(self, frame: str) -> None:
        try:
            await self._inner.send_str(frame)
        except (ConnectionError, RuntimeError, WebSocketError) as error:
            raise ConnectionClosedError(type(error).__name__) from None

    async def receive(self) -> str | bytes:
        message = await self._inner.receive()
        if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
            return message.data
        raise ConnectionClosedError(f"closed with code {self._inner.close_code}")

    async def close(self) -> None:
        await self._inner.close()


class _Connection(web.RequestHandler):
    """One connection: refused where there are too many, and closed where no request comes."""

    def __init__(self, server: TelephoneServer, inner: web.Server) -> None:
        loop = asyncio.get_running_loop()
        none = cast("logging.Logger", None)  # what aiohttp takes for no log of accesses
        super().__init__(inner, loop=loop, access_log=none, keepalive_timeout=1.0)
        self._server = server
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if len(self._server.open) >= self._server.connections_max:
            self.began()
            cast("asyncio.Transport", transport).abort()
            return
        self._server.open.add(self)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(
            self._server.request_s, cast("asyncio.Transport", transport).abort
        )

    def connection_lost(self, exc: BaseException | None) -> None:
        self._server.open.discard(self)
        self.began()
        super().connection_lost(exc)

    def began(self) -> None:
        """The head of a request has come."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class TelephoneServer:
    """A telephone behind a port.

    async with TelephoneServer(telephone, port=8080) as server: ...
    """

    def __init__(
        self,
        telephone: SignedCalls,
        *,
        host: str = "127.0.0.1",
        port: int = 8080,
        connections_max: int = 512,
        request_s: float = REQUEST_S,
    ) -> None:
        self._telephone = telephone
        self._host = host
        self.port = port
        self.connections_max = connections_max
        self.request_s = request_s
        self.open: set[_Connection] = set()

    async def __aenter__(self) -> TelephoneServer:
        self._inner = web.Server(self._handle)
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(
            self._protocol, self._host, self.port, backlog=256
        )
        self.port = self._listening.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listening.close()
        await self._inner.shutdown(1.0)

    def _protocol(self) -> _Connection:
        return _Connection(self, self._inner)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        cast("_Connection", request.protocol).began()
        headers = {name.lower(): value for name, value in request.headers.items()}
        target = request.raw_path
        if request.method == "GET" and "upgrade" in headers:
            return await self._stream(request, target, headers)
        if request.method != "POST":
            return _closing(web.Response(status=404))
        try:
            async with asyncio.timeout(self.request_s):
                body = await _body(request)
            form = read_form(body)
        except TimeoutError:
            return _closing(web.Response(status=408))
        except ValueError:
            return _closing(web.Response(status=413))
        status, text = self._telephone.answer(target, headers, form)
        kind = "text/xml" if text else None
        return _closing(web.Response(status=status, text=text or None, content_type=kind))

    async def _stream(
        self, request: web.BaseRequest, target: str, headers: dict[str, str]
    ) -> web.StreamResponse:
        if status := self._telephone.refuses_media(target, headers):
            return _closing(web.Response(status=status))
        inner = web.WebSocketResponse(
            timeout=1.0,
            max_msg_size=FRAME_BYTES_MAX,
            compress=False,
            writer_limit=_SEND_BUFFER_BYTES,
        )
        try:
            await inner.prepare(request)
        except web.HTTPException:
            return _closing(web.Response(status=400))
        await self._telephone.media(_WebSocket(inner))
        if not inner.closed:
            await inner.close()
        return inner


def _closing(response: web.Response) -> web.Response:
    response.force_close()
    return response


async def _body(request: web.BaseRequest) -> str:
    """The body of a form; `ValueError` where it is too long or no text."""
    found = bytearray()
    async for piece in request.content.iter_any():
        found += piece
        if len(found) > BODY_BYTES_MAX:
            raise ValueError
    return found.decode("utf-8")


async def serve(telephone: SignedCalls, *, host: str, port: int, drain_s: float) -> None:
    """Answer calls until SIGTERM or SIGINT; a second signal ends what is left at once."""
    loop = asyncio.get_running_loop()
    stopping, again = asyncio.Event(), asyncio.Event()

    def stop() -> None:
        (again if stopping.is_set() else stopping).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        async with TelephoneServer(telephone, host=host, port=port) as server:
            log.info("listening on %s:%d", host, server.port)
            await stopping.wait()
            log.info("draining %d calls", telephone.calls_count)
            draining = asyncio.create_task(telephone.drain(drain_s))
            waiting = asyncio.create_task(again.wait())
            await asyncio.wait([draining, waiting], return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if not draining.done():
                draining.cancel()
                await telephone.drain(0.0)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
