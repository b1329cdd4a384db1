"""The simulation as a running server: for tests and the demo in a thread, or on its own."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import socket
import threading
from collections import deque
from collections.abc import Callable, Collection, Generator, Sequence
from typing import Any, Literal, cast

import uvicorn

from polycall._support.http_server import BoundedProtocol, Bounds, server_config
from polycall.sim.app import REQUESTS_MAX, App, Recorded, Script
from polycall.sim.clouds import CloudState
from polycall.sim.exchange import BODY_BYTES_MAX
from polycall.sim.programs import ProgramRunner
from polycall.sim.script import ModelSpec, Prompt, Turn
from polycall.sim.vendors.relatives import RELATIVES

START_DEADLINE_S = 20.0
STOP_DEADLINE_S = 10.0
VENDORS = ("openai", "anthropic", "google", "deepseek", "compatible")
_BASE_PATHS = {
    "openai": "/openai/v1",
    "anthropic": "/anthropic",
    "google": "/google",
    "deepseek": "/deepseek/v1",
    "compatible": "/compatible/v1",
    "relatives": "/relatives/v1",
    **{name: f"/{name}/v1" for name in RELATIVES},
    "google-interactions": "/google",
    "ollama-native": "/ollama",
    "azure": "/azure/openai/v1",
    "foundry": "/azure/openai/v1",
    "foundry-anthropic": "/azure/anthropic",
    "vertex": "/vertex/v1/projects/sim-project/locations/global/publishers/google",
    "vertex-anthropic": "/vertex/v1/projects/sim-project/locations/global/publishers/anthropic",
    "bedrock": "/bedrock",
    "bedrock-anthropic": "/bedrock/anthropic",
    "bedrock-invoke": "/bedrock",
}
# Vendors by another wire than their usual one.
OTHER_WIRES = ("google-interactions", "ollama-native")
CLOUDS = tuple(
    name for name in _BASE_PATHS if name not in (*VENDORS, "relatives", *RELATIVES, *OTHER_WIRES)
)
# Those that serve whatever model one names, as servers do that others run.
LENIENT = ("compatible", "relatives")


class _SimProtocol(BoundedProtocol):
    """The way in for requests, and for sessions of voices."""

    bounds = Bounds(body_bytes_max=BODY_BYTES_MAX)

    def hand_over(self, head: bytes, rest: bytes) -> bool:
        from polycall.sim.realtime.server import VoiceEntry, session_for  # noqa: PLC0415 - rare

        if session_for(self.url.decode("latin-1")) is None:
            return False
        app = cast("App", self.config.app)
        if app.voices is None:
            app.voices = VoiceEntry()
        app.voices.take(self.transport, head, rest)
        return True


class _Server(uvicorn.Server):
    """A server that leaves signals to its caller, and says when it is ready."""

    def __init__(self, config: uvicorn.Config, ready: threading.Event) -> None:
        super().__init__(config)
        self._when_ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._when_ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def _config(app: App, **options: Any) -> uvicorn.Config:
    return server_config(
        cast("Any", app),
        _SimProtocol,
        loop="asyncio",
        log_level=logging.CRITICAL,
        timeout_graceful_shutdown=2,
        date_header=False,
        timeout_keep_alive=75,
        **options,
    )


def base_url(root: str, vendor: str) -> str:
    """The base URL that the vendor's own SDK takes, for a simulation at `root`."""
    path = _BASE_PATHS.get(vendor)
    if path is None:
        raise ValueError(f"no simulated vendor {vendor!r}; there are {', '.join(VENDORS)}")
    return root + path


class Simulation:
    """All simulated vendors on one free port of the loopback, in a thread of their own.

    A context manager, plain and async; leaving it ends the thread and closes the port.  With
    `any_model` a name that no model has is answered by the rules of `sim-1`, and is no 404;
    a collection of vendors does that for these.  `as_of` is the day as whose vendors they answer
    (by default the last day on which the rules were read): its models, its refusals.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        host: str = "127.0.0.1",
        port: int = 0,
        any_model: bool | Collection[str] = False,
        as_of: datetime.date | None = None,
    ) -> None:
        self._app = App(seed=seed, any_model=any_model, as_of=as_of)
        self._socket = socket.create_server((host, port), backlog=512)
        # asyncio sets this only on sockets that name their protocol, which this one does not:
        # without it every answer on a kept connection waits 40 ms for the peer's acknowledgement.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.host = host
        self.port: int = self._socket.getsockname()[1]
        self._ready = threading.Event()
        self._server = _Server(_config(self._app), self._ready)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="polycall-sim", daemon=True)

    @property
    def url(self) -> str:
        """The root of the server."""
        return f"http://{self.host}:{self.port}"

    def base_url(self, vendor: str) -> str:
        """The base URL that the vendor's own SDK takes."""
        return base_url(self.url, vendor)

    @property
    def clouds(self) -> CloudState:
        """The simulated clouds' keys, tokens and clocks; they can be set."""
        return self._app.clouds

    @property
    def requests(self) -> deque[Recorded]:
        """The last requests (10,000 at most), the newest last; keys are taken out."""
        return self._app.requests

    @property
    def received(self) -> int:
        """The number of requests so far, with those that are no longer in `requests`."""
        return self._app.received

    def since(self, received: int) -> list[Recorded]:
        """The requests that came after the first `received`, the newest last.

        Raises LookupError if some of them are no longer kept.
        """
        new = self._app.received - received
        if new > len(self._app.requests):
            raise LookupError(f"{new} requests came since, and the last {REQUESTS_MAX} are kept")
        return list(self._app.requests)[len(self._app.requests) - new :]

    @property
    def programs(self) -> ProgramRunner:
        """The programs and their containers, whose times to wait can be set."""
        return self._app.programs

    def script(
        self,
        vendor: str,
        model: str,
        turns: Sequence[Turn] | Callable[[Prompt], Turn],
        *,
        reasons: Literal["always", "asked", "never"] | None = None,
        calls_tools: bool = True,
    ) -> None:
        """A model that answers with these turns, one a request; more requests are a 500.

        A function in their place gives the turn for each request; it runs on the server's thread.
        It reasons, and wants its state back, if any of its turns does.  Without `calls_tools` it
        refuses tools, calls and results.
        """
        base_url(self.url, vendor)
        decide = turns if callable(turns) else None
        turns = () if callable(turns) else turns
        if vendor != "google" and any(turn.finish == "pause" for turn in turns):
            raise ValueError(f"models of {vendor!r} do not break off with a token; Google's do")
        thinks = any(turn.reasoning is not None for turn in turns)
        spec = ModelSpec(
            model,
            reasons or ("always" if thinks else "asked"),
            scripted=True,
            calls_tools=calls_tools,
        )
        self._app.scripts[(vendor, model)] = Script(deque(turns), spec, decide)

    def remaining(self, vendor: str, model: str) -> int:
        """The number of turns of a script that are left."""
        return len(self._app.scripts[(vendor, model)].turns)

    def start(self) -> None:
        """Start serving; returns when requests are taken."""
        self._thread.start()
        if not self._ready.wait(START_DEADLINE_S):
            raise RuntimeError(f"the simulation did not start within {START_DEADLINE_S} s")

    def stop(self) -> None:
        """End the server and its thread."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._app.stopping.set)
        self._server.should_exit = True
        if self._thread.ident is not None:
            self._thread.join(STOP_DEADLINE_S)
        self._socket.close()

    def __enter__(self) -> Simulation:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Simulation:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.stop)

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._server.serve(sockets=[self._socket])
        await self._app.close()


async def serve(
    host: str = "127.0.0.1",
    port: int = 8901,
    *,
    seed: int = 0,
    as_of: datetime.date | None = None,
    announce: Callable[[], None] | None = None,
) -> None:
    """Serve all simulated vendors until cancelled or interrupted (Ctrl-C).

    `announce` is called when the address is ours; `OSError` where it cannot be had.
    """
    app = App(seed=seed, any_model=LENIENT, as_of=as_of)
    bound = socket.create_server((host, port), backlog=512)
    if announce is not None:
        announce()
    server = uvicorn.Server(_config(app))
    serving = asyncio.create_task(server.serve(sockets=[bound]))
    try:
        await asyncio.shield(serving)
    finally:
        # However it ends, sockets are closed and those who hang are let go.
        app.stopping.set()
        server.should_exit = True
        await serving
        await app.close()
