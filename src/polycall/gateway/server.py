"""The gateway as a process: binding, limits of HTTP itself, draining on a signal."""

from __future__ import annotations

import asyncio
import contextlib
import gc
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

_LISTENERS = 8
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_TOO_LONG = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b"
)
_TOO_LONG_BODY = b'{"error":{"message":"the headers are too large","type":"invalid_request_error"}}'


class _Corked:
    """A transport that sends a response's head together with what follows it.

    uvicorn writes them one after the other, which costs a system call and a packet more.
    """

    __slots__ = ("_held", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""

    def write(self, data: bytes) -> None:
        if self._held:
            data, self._held = self._held + data, b""
        elif data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 1"):
            self._held = data
            # Nothing may follow (an answer to HEAD).
            self._loop.call_soon(self._flush)
            return
        self._transport.write(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._held:
            data, self._held = self._held, b""
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with bounds on headers: their size, and the time they may take."""

    headers_bytes_max = 64 * 1024
    headers_s = 15.0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._in_headers = True
        self._has_ended = False  # a request ended within this read
        self._headers_bytes = 0
        self._headers_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(_Corked(transport, self.loop))  # pyright: ignore[reportArgumentType]
        self._headers_timer = self.loop.call_later(self.headers_s, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        was_in_headers = self._in_headers
        super().data_received(data)
        if not (was_in_headers and self._in_headers) or self._has_ended:
            self._has_ended = False
            return
        # Headers that came whole within one read are bounded by the read.
        self._headers_bytes += len(data)
        if self._headers_bytes > self.headers_bytes_max and not self.transport.is_closing():
            self.transport.write(_TOO_LONG % (len(_TOO_LONG_BODY), _TOO_LONG_BODY))
            self.transport.close()

    def on_headers_complete(self) -> None:
        self._in_headers = False
        self._headers_bytes = 0
        if self._headers_timer is not None:
            self._stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_headers = self._has_ended = True
        super().on_message_complete()

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
    # What is loaded by now stays; and a large body is thousands of objects without a cycle among
    # them, which the collector would count and search in vain.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
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
    # libuv accepts one connection a round and listener, and a round of a busy gateway is long: a
    # crowd that comes at once would wait for seconds.  The same socket listens several times.
    listeners = [bound, *(bound.dup() for _ in range(_LISTENERS - 1))]
    try:
        await _Server(uvicorn_config, gateway, announce).serve(sockets=listeners)
    finally:
        await gateway.close()
