"""The change of a connection from HTTP to a WebSocket: it goes to aiohttp, with its request.

HTTP is served without aiohttp's server, which takes a while to load: the first WebSocket loads it,
in a thread, and others are served meanwhile.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polycall.gateway.http.client_socket import ClientSocket, SocketServer

logger = logging.getLogger("polycall.gateway")

_MODULE = "polycall.gateway.http.client_socket"
FRAME_BYTES_MAX = 16 * 2**20  # what vendors take, too


class SocketClosed(Exception):  # noqa: N818 - the client's right
    """The client closed, vanished, or sent what is no WebSocket frame."""

    def __init__(self, code: int) -> None:
        super().__init__(f"closed with code {code}")
        self.code = code


class OpenSocket:
    """One that the server waits for when it ends, as it does for other connections."""

    def shutdown(self) -> None:
        """Nothing: it continues until it has drained, or until the time to drain is over."""


class SocketEntry:
    """Takes connections over.  One for the process; `close` it after the last of them."""

    def __init__(self, serve: Callable[[ClientSocket], Awaitable[None]]) -> None:
        self._serve = serve
        self._server: SocketServer | None = None
        self._starting: set[asyncio.Task[None]] = set()

    def take(
        self, transport: asyncio.Transport, head: bytes, rest: bytes, connections: set[Any]
    ) -> None:
        """Serve a connection from now on.  `head` is the request, `rest` what came after it."""
        if self._server is not None:
            self._server.take(transport, head, rest, connections)
            return
        transport.pause_reading()
        handle = OpenSocket()
        connections.add(handle)
        task = asyncio.ensure_future(self._start(transport, head, rest, connections))
        self._starting.add(task)

        def started(task: asyncio.Task[None]) -> None:
            self._starting.discard(task)
            connections.discard(handle)
            if not task.cancelled() and (error := task.exception()) is not None:
                logger.error("a WebSocket could not begin: %s", error)
                transport.abort()

        task.add_done_callback(started)

    async def _start(
        self, transport: asyncio.Transport, head: bytes, rest: bytes, connections: set[Any]
    ) -> None:
        module = await asyncio.to_thread(importlib.import_module, _MODULE)
        server = self._server or module.SocketServer(self._serve)
        self._server = server
        if not transport.is_closing():
            server.take(transport, head, rest, connections)
            transport.resume_reading()

    async def close(self) -> None:
        """End what is left."""
        for task in list(self._starting):
            task.cancel()
        if self._server is not None:
            await self._server.close()


async def nothing_received() -> MutableMapping[str, Any]:
    """The only message that a WebSocket receives by ASGI: its client speaks by frames alone."""
    return await asyncio.get_running_loop().create_future()
