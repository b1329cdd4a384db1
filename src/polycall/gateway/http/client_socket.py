"""The client's end of a WebSocket, by aiohttp's server.  It is loaded with the first of them."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, cast

from aiohttp import WSMsgType, web
from aiohttp.http_websocket import WebSocketError

from polycall.gateway.http.frame_splitter import FrameSplitter
from polycall.gateway.http.socket_entry import FRAME_BYTES_MAX, OpenSocket, SocketClosed

# A text has up to four bytes for each character, once one of them is no Latin.
WIDE_FRAME_BYTES_MAX = 4 * 2**20
CLOSE_S = 2.0
_WRITE_BYTES_MAX = 65_536
_TURN_BYTES = 32 * 1024  # thousands of the smallest frames: then others have their turn
_CLOSED_BY_US = 1000
_VERSION = "13"
# Codes that stand for what came without a code, or not at all; nobody may send them.
_UNSENDABLE = frozenset({1004, 1005, 1006, 1015})


class ClientSocket:
    """A request for a WebSocket: `accept` it, or `refuse` it by HTTP."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        self._inner: web.WebSocketResponse | None = None
        self.response: web.StreamResponse | None = None
        target = request.raw_path.partition("?")
        self.scope: dict[str, Any] = {
            "method": "GET",
            "path": target[0],
            "query_string": target[2].encode("latin-1", "replace"),
            "headers": [(name.lower(), value) for name, value in request.raw_headers],
            "client": request.transport and request.transport.get_extra_info("peername"),
        }

    @property
    def is_open(self) -> bool:
        """Whether frames can be exchanged, or could be."""
        return self._inner is not None

    async def accept(
        self,
        request_id: str,
        protocol: str = "",
        *,
        heartbeat_s: float,
        frame_bytes_max: int = FRAME_BYTES_MAX,
    ) -> None:
        """Open the WebSocket; raises `SocketClosed` where the request asks for none properly.

        A client that does not answer a ping within half of `heartbeat_s` is gone.
        """
        if self._request.headers.get("sec-websocket-version", "").strip() != _VERSION:
            # aiohttp takes two drafts as well (RFC 6455, 4.4).
            words = f"this server speaks version {_VERSION} of WebSocket"
            spoken = {"sec-websocket-version": _VERSION, "upgrade": "websocket"}
            self.response = web.Response(status=426, text=words, headers=spoken)
            self.response.force_close()
            raise SocketClosed(1002)
        inner = web.WebSocketResponse(
            timeout=CLOSE_S,
            heartbeat=heartbeat_s,
            max_msg_size=frame_bytes_max,
            protocols=(protocol,) if protocol else (),
            compress=False,
            writer_limit=_WRITE_BYTES_MAX,
            decode_text=False,
        )
        inner.headers.update({"polycall-request-id": request_id, "server": "polycall"})
        try:
            await inner.prepare(self._request)
        except web.HTTPException as error:
            self.response = web.Response(status=error.status, text=error.text)
            self.response.force_close()
            raise SocketClosed(1002) from None
        except ConnectionError:
            raise SocketClosed(1006) from None
        self._inner = inner
        self.response = inner
        if isinstance(connection := self._request.protocol, _Connection):
            connection.frame_bytes_max = frame_bytes_max

    async def receive(self) -> tuple[bytes, bool]:
        """The next frame, and whether it is a text; `SocketClosed` where there is none any more.

        A text is UTF-8, and stays bytes: it may be long, and has no second copy then.
        """
        assert self._inner is not None
        connection = self._request.protocol
        if isinstance(connection, _Connection):
            connection.put_down()
        message = await self._inner.receive()
        if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
            raise SocketClosed(self._inner.close_code or 1006)
        data = cast("bytes", message.data)
        if isinstance(connection, _Connection):
            data = connection.taken(data)
        is_text = message.type == WSMsgType.TEXT
        code, words = _problem(data) if is_text and not data.isascii() else (0, "")
        if not code:
            return data, is_text
        del message, data  # which the error would keep until the collector comes
        await self.close(code, words)
        raise SocketClosed(code)

    async def send(self, frame: str | bytes, *, is_text: bool = False) -> None:
        """Send a frame, and wait while the client has too many to take.

        A text may be there as bytes of UTF-8.
        """
        assert self._inner is not None
        try:
            if isinstance(frame, str):
                await self._inner.send_str(frame)
            elif is_text:
                await self._inner.send_frame(frame, WSMsgType.TEXT)
            else:
                await self._inner.send_bytes(frame)
        except (ConnectionError, RuntimeError, WebSocketError):
            raise SocketClosed(self._inner.close_code or 1006) from None

    async def close(self, code: int, words: str) -> None:
        """Close, in time even where the client takes nothing."""
        inner, transport = self._inner, self._request.transport
        if inner is None:
            return
        code = code if 1000 <= code < 5000 and code not in _UNSENDABLE else _CLOSED_BY_US
        # A close frame has room for so much.
        message = words.encode()[:120].decode(errors="ignore").encode()
        try:
            async with asyncio.timeout(2 * CLOSE_S):
                await inner.close(code=code, message=message)
        except (TimeoutError, ConnectionError, RuntimeError):
            pass  # it is aborted in any case
        finally:
            if transport is not None:
                transport.abort()

    async def asgi_send(self, message: MutableMapping[str, Any]) -> None:
        """Refuse by HTTP: takes what an ASGI application sends."""
        if message["type"] == "http.response.start":
            self._status: int = message["status"]
            self._headers = [
                (name.decode(), value.decode("latin-1")) for name, value in message["headers"]
            ]
            return
        response = web.Response(status=self._status, body=message["body"])
        for name, value in self._headers:
            if name.lower() not in ("content-length", "connection"):
                response.headers[name] = value
        response.headers["server"] = "polycall"
        response.force_close()
        self.response = response


def _problem(text: bytes) -> tuple[int, str]:
    """The problem of a text beyond ASCII: the code to close with, 0 where there is none."""
    if len(text) > WIDE_FRAME_BYTES_MAX:
        return 1009, f"beyond ASCII a frame has at most {WIDE_FRAME_BYTES_MAX} bytes"
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return 1007, "a text frame is UTF-8"
    return 0, ""


class _Connection(web.RequestHandler):
    """One connection of those that left HTTP."""

    def __init__(self, server: web.Server, connections: set[Any]) -> None:
        none = cast("logging.Logger", None)  # what aiohttp takes for no log of accesses
        super().__init__(server, loop=asyncio.get_running_loop(), access_log=none)
        self._connections = connections
        self._handle = OpenSocket()
        self._splitter = FrameSplitter(FRAME_BYTES_MAX)
        self._later: deque[bytes] = deque()  # was read, and waits for its turn
        self._place = 0  # in the first of it
        self._is_going_on = False  # soon
        self._is_in_hand = False  # a long frame was taken, and the next one is not asked for
        connections.add(self._handle)

    def request_received(self, data: bytes) -> None:
        """Take the request for a WebSocket; all that follows is frames."""
        super().data_received(data)

    @property
    def frame_bytes_max(self) -> int:
        """The largest size of a frame that is taken."""
        return self._splitter.bytes_max

    @frame_bytes_max.setter
    def frame_bytes_max(self, bytes_max: int) -> None:
        self._splitter.bytes_max = bytes_max

    def taken(self, frame: bytes) -> bytes:
        """A frame that was taken, or the long one for which it stands."""
        if frame != self._splitter.token:
            return frame
        self._is_in_hand = True
        self._go_on_soon()
        return self._splitter.long.popleft()

    def put_down(self) -> None:
        """The frame that was taken last is in hand no more."""
        if self._is_in_hand:
            self._is_in_hand = False
            self._go_on_soon()

    @property
    def _is_full(self) -> bool:
        """Whether nothing is read: one long frame at a time takes room enough."""
        splitter = self._splitter
        return bool(splitter.long) or (self._is_in_hand and splitter.is_gathering)

    def data_received(self, data: bytes) -> None:
        if self._later or self._is_full or len(data) > _TURN_BYTES:
            self._later.append(data)
            self._pause_reading_for_buffer()  # taking frames has no more read
            if len(self._later) == 1:
                self._go_on()
            return
        self._feed(data)

    def _feed(self, data: bytes) -> None:
        passed = self._splitter.feed(data)
        if not passed and self._data_received_cb is not None:
            self._data_received_cb()  # a long frame comes: the client is there
        super().data_received(passed)
        if self._is_full:
            self._pause_reading_for_buffer()  # until it is taken, or the one before is done with

    def _go_on_soon(self) -> None:
        if not self._is_going_on:
            self._is_going_on = True
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        """Take the next of what was read."""
        self._is_going_on = False
        if self.transport is None or self._is_full:
            return
        if self._later:
            start, self._place = self._place, self._place + _TURN_BYTES
            piece = self._later[0][start : self._place]
            if self._place >= len(self._later[0]):
                self._later.popleft()
                self._place = 0
            self._feed(piece)
        if self._later:
            self._go_on_soon()
        elif not self._is_full:
            self._resume_reading_for_buffer()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._connections.discard(self._handle)
        self._splitter.drop()
        self._later.clear()
        super().connection_lost(exc)


class SocketServer:
    """Runs `serve` for each request for a WebSocket."""

    def __init__(self, serve: Callable[[ClientSocket], Awaitable[None]]) -> None:
        self._serve = serve
        self._inner = web.Server(self._handle)

    def take(
        self, transport: asyncio.Transport, head: bytes, rest: bytes, connections: set[Any]
    ) -> None:
        """Serve the connection from its request on."""
        connection = _Connection(self._inner, connections)
        connection.connection_made(transport)
        transport.set_protocol(connection)
        connection.request_received(head)
        if rest:
            connection.data_received(rest)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        socket = ClientSocket(request)
        await self._serve(socket)
        if socket.response is None:
            socket.response = web.Response(status=500)
            socket.response.force_close()
        return socket.response

    async def close(self) -> None:
        """End what is left."""
        await self._inner.shutdown(CLOSE_S)
