"""The gateway as a process: binding, limits of HTTP itself, draining on a signal."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
from collections.abc import Callable, Generator

import uvicorn

from polycall._support.http_server import BoundedProtocol, Bounds, server_config
from polycall._support.listening import is_loopback, listen
from polycall.config import Config
from polycall.errors import InvalidRequestError
from polycall.gateway.app import SOCKET_PATHS, Gateway
from polycall.gateway.forwarding.routes import is_upload
from polycall.gateway.generation.endpoints import dialect_for
from polycall.gateway.http.administered import Administered
from polycall.gateway.http.replies import render_error
from polycall.gateway.processes.binding import check_binding, check_workers, has_stored_keys
from polycall.gateway.processes.memory_guard import give_large_back
from polycall.gateway.processes.reload import reread
from polycall.gateway.processes.shared_metrics import SharedMetrics, WorkerSlot
from polycall.gateway.processes.workers import Post, Supervisor

logger = logging.getLogger("polycall.server")

_LISTENERS = 8
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LAST_WORDS_S = 1.0  # for what is cut at the end of draining to say so


class GatewayProtocol(BoundedProtocol):
    """The way in, which refuses in the client's own shape as far as it has said who it is."""

    gateway: Gateway

    def refusal_body(self, status: int, message: str) -> bytes:
        path = self.url.partition(b"?")[0].decode("latin-1")
        dialect = dialect_for(path, dict(self.headers))
        return render_error(dialect, InvalidRequestError(message, status=status))[1]

    def hand_over(self, head: bytes, rest: bytes) -> bool:
        path = self.url.partition(b"?")[0].decode("latin-1")
        if self.gateway.is_draining or path not in SOCKET_PATHS:
            return False
        self.gateway.entry.take(self.transport, head, rest, self.connections)
        return True

    def body_seconds(self) -> float:
        path = self.url.partition(b"?")[0].decode("latin-1")
        return self.gateway.config.server.upload_s if is_upload(path) else self.bounds.body_s

    def choose_application(self) -> None:
        is_full = len(self.connections) > self.bounds.connections_max
        self.app = self.gateway.turn_away if is_full else self.gateway


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
        # Reading may run commands, and the streams continue meanwhile.
        changed = await asyncio.to_thread(reread, self._gateway.config, self._load)
        if changed is not None:
            self._gateway.reload(changed)
        self._gateway.metrics.count_reload(is_good=changed is not None)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._gateway.drain()
        gateway = self._gateway
        logger.info("draining: %d requests in flight", len(gateway.monitor))
        ending = asyncio.get_running_loop().call_later(
            gateway.config.server.drain_s, gateway.monitor.end_all
        )
        try:
            await super().shutdown(sockets)
        finally:
            ending.cancel()
        self._post.slot.close()


def run(
    config: Config,
    load: Callable[[], Config],
    *,
    announce: Callable[[int], None],
    administer: Callable[[Gateway], Administered] | None = None,
) -> None:
    """Serve until a signal; then finish what is in flight, and return.

    `load` reads the configuration again whenever SIGHUP asks for it; `announce` is told the port
    once everybody serves; `administer` makes what administers a gateway.
    """
    server = config.server
    check_binding(config, server.host)
    check_workers(config)

    # Decided here for good: a worker that is started later may find the store emptied.
    may_be_open = is_loopback(server.host) and not (config.keys or has_stored_keys(config))

    def make(config: Config, post: Post) -> Gateway:
        return Gateway(config, slot=post.slot, may_be_open=may_be_open, administer=administer)

    def work(config: Config, post: Post) -> None:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(config, load, bound, post, make))

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
    config: Config,
    load: Callable[[], Config],
    bound: socket.socket,
    post: Post,
    make: Callable[[Config, Post], Gateway],
) -> None:
    server = config.server

    served = make(config, post)

    class Protocol(GatewayProtocol):
        gateway = served
        bounds = Bounds(
            head_bytes_max=server.headers_bytes_max,
            head_s=server.headers_s,
            body_s=server.body_s,
            linger_s=min(server.body_s, 5.0),
            connections_max=server.connections_max,
        )

    # What is loaded by now stays; and a large body is thousands of objects without a cycle among
    # them, which the collector would count and search in vain.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    give_large_back()
    uvicorn_config = server_config(
        served,
        Protocol,
        loop="none",
        timeout_graceful_shutdown=int(server.drain_s + _LAST_WORDS_S) + 1,
    )
    # libuv accepts one connection a round and listener, and a round of a busy gateway is long: a
    # crowd that comes at once would wait for seconds.  The same socket listens several times.
    listeners = [bound, *(bound.dup() for _ in range(_LISTENERS - 1))]
    served.start()
    try:
        await _Server(uvicorn_config, served, load, post).serve(sockets=listeners)
    finally:
        await served.close()
