"""The gateway as a process: binding, limits of HTTP itself, draining on a signal."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import signal
import socket
from collections.abc import Callable, Generator
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from polycall.config import Config
from polycall.errors import RequestError
from polycall.gateway.app import Gateway

logger = logging.getLogger("polycall.server")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_TOO_LONG = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b"
)
_TOO_LONG_BODY = b'{"error":{"message":"the headers are too large","type":"invalid_request_error"}}'


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with bounds on headers: their size, and the time they may take."""

    headers_bytes_max = 64 * 1024
    headers_s = 15.0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._headers_bytes = 0
        self._headers_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        self._headers_timer = self.loop.call_later(self.headers_s, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._headers_bytes = 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._count(len(name) + len(value))

    def on_headers_complete(self) -> None:
        if self._headers_bytes > self.headers_bytes_max:
            return
        if self._headers_timer is not None:
            self._stop_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._headers_bytes <= self.headers_bytes_max:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._headers_bytes <= self.headers_bytes_max:
            super().on_message_complete()

    def _count(self, size: int) -> None:
        self._headers_bytes += size
        if self._headers_bytes > self.headers_bytes_max and not self.transport.is_closing():
            self.transport.write(_TOO_LONG % (len(_TOO_LONG_BODY), _TOO_LONG_BODY))
            self.transport.close()

    def _give_up(self) -> None:
        # The first request's headers did not come in time.
        if not self.transport.is_closing():
            self.transport.close()

    def _stop_timer(self) -> None:
        if self._headers_timer is not None:
            self._headers_timer.cancel()
            self._headers_timer = None


class _Server(uvicorn.Server):
    """Tells the application when draining begins, and the caller where it listens."""

    def __init__(
        self, config: uvicorn.Config, gateway: Gateway, announce: Callable[[int], None]
    ) -> None:
        super().__init__(config)
        self._gateway = gateway
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            self._announce(sockets[0].getsockname()[1])

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Drain on a signal, and end well: uvicorn's own would die of it afterwards."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._gateway.is_draining = True
        logger.info("draining: %d requests in flight", len(self._gateway.watchman))
        await super().shutdown(sockets)


def check_binding(config: Config, host: str) -> None:
    """Refuse to serve the network without clients' keys."""
    if not config.keys and not _is_loopback(host):
        raise RequestError(
            f"refusing to listen on {host!r} without any [[keys]]: everybody could spend your "
            "providers' money; add a key, or listen on 127.0.0.1"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def run(config: Config, *, announce: Callable[[int], None]) -> None:
    """Serve until a signal; then finish what is in flight, and return."""
    server = config.server
    check_binding(config, server.host)
    try:
        family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
        bound = socket.create_server((server.host, server.port), family=family, backlog=2048)
    except OSError as error:
        raise RequestError(
            f"cannot listen on {server.host}:{server.port}: {error.strerror or error}"
        ) from None
    with bound, asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(config, bound, announce))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve(config: Config, bound: socket.socket, announce: Callable[[int], None]) -> None:
    server = config.server

    class Protocol(BoundedProtocol):
        headers_bytes_max = server.headers_bytes_max
        headers_s = server.headers_s

    gateway = Gateway(config)
    uvicorn_config = uvicorn.Config(
        gateway,  # pyright: ignore[reportArgumentType] - a bare ASGI callable
        http=Protocol,
        ws="none",
        loop="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(server.drain_s) or 1,
        limit_concurrency=server.connections_max,
    )
    try:
        await _Server(uvicorn_config, gateway, announce).serve(sockets=[bound])
    finally:
        await gateway.close()
