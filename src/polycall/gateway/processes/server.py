"""The gateway as a process: binding, limits of HTTP itself, draining on a signal."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
from collections.abc import Callable, Generator
from http import HTTPStatus
from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from polycall._support.listening import listen
from polycall.config import Config
from polycall.errors import InvalidRequestError
from polycall.gateway.app import Gateway, dialect_for
from polycall.gateway.http.replies import render_error
from polycall.gateway.processes.binding import check_binding, check_workers
from polycall.gateway.processes.reload import reread
from polycall.gateway.processes.shared_metrics import SharedMetrics, WorkerSlot
from polycall.gateway.processes.workers import Post, Supervisor

logger = logging.getLogger("polycall.server")

_LISTENERS = 8
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_REFUSAL = (
    b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b"
)
_NOT_HTTP = "this is not HTTP/1.1; look at the request line, the headers and how the body is framed"
_TOO_LONG = "the headers are too large; send fewer, or raise server.headers_bytes_max"
# What asks for another protocol.  There is none, and a server may go on as if nobody had asked;
# Java's own client asks for HTTP/2 with every first request, and sends its body along.
_UPGRADES = (b"http2-settings", b"connection")  # without these, `upgrade` asks for nothing


class _Corked:
    """A transport that sends a response's head together with what follows it.

    uvicorn writes them one after the other, which costs a system call and a packet more.
    """

    __slots__ = ("_held", "_linger_s", "_loop", "_transport")

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, *, linger_s: float
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._linger_s = linger_s
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
        if self._transport.get_write_buffer_size():
            # Who takes nothing does not keep the connection for as long as it likes.
            self._loop.call_later(self._linger_s, self._transport.abort)

    def _flush(self) -> None:
        if self._held:
            data, self._held = self._held, b""
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with bounds on headers: their size, and the time they may take."""

    gateway: Gateway
    headers_bytes_max = 64 * 1024
    headers_s = 15.0
    linger_s = 5.0
    connections_max = 4096

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._in_headers = True
        self._has_ended = False  # a request ended within this read
        self._headers_bytes = 0
        self._headers_timer: asyncio.TimerHandle | None = None
        self._is_upgrade = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(_Corked(transport, self.loop, linger_s=self.linger_s))  # pyright: ignore[reportArgumentType]
        self._headers_timer = self.loop.call_later(self.headers_s, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        was_in_headers = self._in_headers
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._go_on_without(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError:
            self._refuse(400, _NOT_HTTP)
            return
        if not (was_in_headers and self._in_headers) or self._has_ended:
            self._has_ended = False
            return
        # Headers that came whole within one read are bounded by the read; the rest of these has to
        # come in time, on a connection that was used before too.
        if self._headers_timer is None and not self.transport.is_closing():
            self._headers_timer = self.loop.call_later(self.headers_s, self._give_up)
        self._headers_bytes += len(data)
        if self._headers_bytes > self.headers_bytes_max and not self.transport.is_closing():
            self._refuse(431, _TOO_LONG)

    def _go_on_without(self, rest: bytes) -> None:
        """Read the request again without its wish for another protocol."""
        method = self.parser.get_method()
        kept = [b"%b: %b\r\n" % pair for pair in self.headers if pair[0] not in _UPGRADES]
        if any(name == b"connection" and b"close" in value.lower() for name, value in self.headers):
            kept.append(b"connection: close\r\n")
        self.parser = httptools.HttpRequestParser(self)
        self._is_upgrade = False
        head = b"%b %b HTTP/1.1\r\n%b\r\n" % (method, self.url, b"".join(kept))
        self.data_received(head + rest)

    def _refuse(self, status: int, message: str) -> None:
        """Answer in the client's own shape, as far as it has said who it is, and hang up.

        An answer that is under way is finished first: what is wrong came after its request.
        """
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete and not cycle.more_body:  # pyright: ignore[reportUnnecessaryComparison]
            cycle.keep_alive = False
            self.flow.pause_reading()
            return
        path = getattr(self, "url", b"").partition(b"?")[0].decode("latin-1")
        dialect = dialect_for(path, dict(self.headers or ()))
        _, body = render_error(dialect, InvalidRequestError(message, status=status))
        phrase = HTTPStatus(status).phrase.encode()
        self.transport.write(_REFUSAL % (status, phrase, len(body), body))
        self.transport.close()

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._is_upgrade = True
            return
        self._in_headers = False
        self._headers_bytes = 0
        if self._headers_timer is not None:
            self._stop_timer()
        is_full = len(self.connections) > self.connections_max
        self.app = self.gateway.turn_away if is_full else self.gateway  # pyright: ignore[reportAttributeAccessIssue]
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        if self._is_upgrade:
            return
        self._in_headers = self._has_ended = True
        super().on_message_complete()

    def _give_up(self) -> None:
        # A request's headers did not come in time; an answer that is under way is not cut for it.
        self._headers_timer = None
        if self.cycle is not None and not self.cycle.response_complete:  # pyright: ignore[reportUnnecessaryComparison]
            self._headers_timer = self.loop.call_later(self.headers_s, self._give_up)
        elif not self.transport.is_closing():
            self.transport.close()

    def _stop_timer(self) -> None:
        if self._headers_timer is not None:
            self._headers_timer.cancel()
            self._headers_timer = None


class _Server(uvicorn.Server):
    """Tells everybody when serving begins and when it ends, and hears signals."""

    def __init__(
        self, config: uvicorn.Config, gateway: Gateway, load: Callable[[], Config], post: Post
    ) -> None:
        super().__init__(config)
        self._gateway = gateway
        self._load = load
        self._post = post
        self._reloading: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._post.slot.serve(self._gateway.snapshot)
        if self._post.announce is not None and sockets:
            self._post.announce(sockets[0].getsockname()[1])

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Drain on a signal, and end well: uvicorn's own would die of it afterwards."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        lifeline = self._post.lifeline
        if lifeline is not None:
            loop.add_reader(lifeline, self._be_orphaned, loop, lifeline)
        try:
            yield
        finally:
            for number in (*_SIGNALS, signal.SIGHUP):
                loop.remove_signal_handler(number)

    def _be_orphaned(self, loop: asyncio.AbstractEventLoop, lifeline: int) -> None:
        loop.remove_reader(lifeline)
        logger.error("the supervisor is gone; this worker ends")
        self.handle_exit(signal.SIGTERM, None)

    def _reload(self) -> None:
        if self._reloading is None or self._reloading.done():
            self._reloading = asyncio.ensure_future(self._reread())

    async def _reread(self) -> None:
        # Reading may run commands, and the streams go on meanwhile.
        changed = await asyncio.to_thread(reread, self._gateway.config, self._load)
        if changed is not None:
            self._gateway.reload(changed)
        self._gateway.metrics.count_reload(is_good=changed is not None)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._gateway.is_draining = True
        logger.info("draining: %d requests in flight", len(self._gateway.monitor))
        await super().shutdown(sockets)
        self._post.slot.close()


def run(config: Config, load: Callable[[], Config], *, announce: Callable[[int], None]) -> None:
    """Serve until a signal; then finish what is in flight, and return.

    `load` reads the configuration again whenever SIGHUP asks for it; `announce` is told the port
    once everybody serves.
    """
    server = config.server
    check_binding(config, server.host)
    check_workers(config)

    def work(config: Config, post: Post) -> None:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(config, load, bound, post))

    with listen(server.host, server.port) as bound:
        if server.workers > 1:
            Supervisor(
                config,
                bound,
                work=work,
                reread=lambda current: reread(current, load),
                announce=announce,
            ).run()
        else:
            work(config, Post(WorkerSlot(SharedMetrics(1), 0), announce=announce))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve(
    config: Config, load: Callable[[], Config], bound: socket.socket, post: Post
) -> None:
    server = config.server

    served = Gateway(config, slot=post.slot)

    class Protocol(BoundedProtocol):
        gateway = served
        headers_bytes_max = server.headers_bytes_max
        headers_s = server.headers_s
        linger_s = min(server.body_s, 5.0)
        connections_max = server.connections_max

    # What is loaded by now stays; and a large body is thousands of objects without a cycle among
    # them, which the collector would count and search in vain.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    uvicorn_config = uvicorn.Config(
        served,  # pyright: ignore[reportArgumentType] - a bare ASGI callable
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
    )
    # libuv accepts one connection a round and listener, and a round of a busy gateway is long: a
    # crowd that comes at once would wait for seconds.  The same socket listens several times.
    listeners = [bound, *(bound.dup() for _ in range(_LISTENERS - 1))]
    served.start()
    try:
        await _Server(uvicorn_config, served, load, post).serve(sockets=listeners)
    finally:
        await served.close()
