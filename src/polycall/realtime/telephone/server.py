"""The addresses of a telephone: POST /voice, POST /status, GET /media.  aiohttp, bounded.

A connection makes one request and has ten seconds for it.  More connections than calls need are
closed at once, so that idle ones cost nothing (docs/adr/0032-telephone.md).
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aiohttp import WSMsgType, web
from aiohttp.http_websocket import WebSocketError

from polycall.realtime.connection import ConnectionClosedError
from polycall.realtime.telephone.telephone import read_form
from polycall.realtime.telephone.twilio import FRAME_BYTES_MAX

if TYPE_CHECKING:
    from polycall.realtime.telephone.telephone import Telephone

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


class TelephoneServer:
    """A telephone behind a port.

    async with TelephoneServer(telephone, port=8080) as server: ...
    """

    def __init__(
        self,
        telephone: Telephone,
        *,
        host: str = "127.0.0.1",
        port: int = 8080,
        connections_max: int = 512,
        request_s: float = REQUEST_S,
    ) -> None:
        self._telephone = telephone
        self._host = host
        self.port = port
        self._connections_max = connections_max
        self._request_s = request_s
        self._began: set[Any] = set()
        self._open: set[Any] = set()

    async def __aenter__(self) -> TelephoneServer:
        self._inner = web.Server(self._handle, access_log=None, keepalive_timeout=1.0)
        loop = asyncio.get_running_loop()
        make: Callable[[], asyncio.Protocol] = self._protocol
        self._listening = await loop.create_server(make, self._host, self.port, backlog=256)
        self.port = self._listening.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listening.close()
        await self._inner.shutdown(1.0)

    def _protocol(self) -> asyncio.Protocol:
        protocol: Any = self._inner()
        made, lost = protocol.connection_made, protocol.connection_lost

        def connection_made(transport: Any) -> None:
            if len(self._open) >= self._connections_max:
                transport.abort()
                return
            made(transport)
            self._open.add(protocol)
            loop = asyncio.get_running_loop()
            protocol.polycall_timer = loop.call_later(self._request_s, self._overdue, protocol)

        def connection_lost(error: BaseException | None) -> None:
            if protocol in self._open:
                self._open.discard(protocol)
                self._began.discard(protocol)
                protocol.polycall_timer.cancel()
                lost(error)

        protocol.connection_made, protocol.connection_lost = connection_made, connection_lost
        return protocol

    def _overdue(self, protocol: Any) -> None:
        if protocol not in self._began and protocol.transport is not None:
            protocol.transport.abort()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self._began.add(request.protocol)
        headers = {name.lower(): value for name, value in request.headers.items()}
        target = request.raw_path if hasattr(request, "raw_path") else str(request.rel_url)
        if request.method == "GET" and "upgrade" in headers:
            return await self._stream(request, target, headers)
        if request.method != "POST":
            return _closing(web.Response(status=404))
        try:
            async with asyncio.timeout(self._request_s):
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


async def serve(telephone: Telephone, *, host: str, port: int, drain_s: float) -> None:
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
            log.info("draining %d calls", len(telephone.calls))
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
