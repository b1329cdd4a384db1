"""The process of monty's workers: `python -m polycall.sandbox.monty_main`.

Each session has a channel, whose descriptor comes over the control.  A run here is as it would be
in the host, but that its calls and waits are frames to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections.abc import Callable, Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from .errors import ProtocolViolationError, RuntimeUnavailableError
from .frames import Frame, FrameReader, encode
from .limits import Limits
from .monty_pool import MontyPool
from .result import ProgramError
from .runtime import End, Job
from .tool_call_broker import BrokerTurn, ToolCallBroker

_FRAME_BYTES_MAX = 2**31  # the host is believed
_CLOSE_S = 5.0


class RemoteBroker:
    """The host's desk, as far as a run needs it.  The host checks what it receives."""

    def __init__(self, tools: Collection[str], send: Callable[[Frame], None]) -> None:
        self.functions = dict.fromkeys(tools)
        self.next_id = 1  # of the call that comes next
        self.on_stalled: Callable[[], None] = lambda: None
        self.on_fault: Callable[[BaseException], None] = lambda _: None
        self._send = send
        self._answer: Callable[[BrokerTurn], None] = lambda _: None

    def call(self, call_id: int, name: str, args: list[Any], kwargs: dict[str, Any]) -> None:
        self.next_id += 1
        self._send({"type": "call", "id": call_id, "name": name, "args": args, "kwargs": kwargs})

    def request_turn(
        self, now: float, wait_s: float | None, answer: Callable[[BrokerTurn], None]
    ) -> None:
        self._answer = answer
        self._send({"type": "wait", "now": now, "for": wait_s})

    def take_turn(self, frame: Frame) -> None:
        """Take the host's answer to a wait."""
        self._answer(BrokerTurn(frame["now"], frame["results"], replaying=frame["replaying"]))

    def check_end(self) -> None:
        """The host does that."""

    def detach(self) -> None:
        """Take no more turns."""
        self._answer = lambda _: None
        self.on_fault = lambda _: None
        self.on_stalled = lambda: None


class SessionChannel(asyncio.Protocol):
    """One session: its worker, and the programs that it runs one after the other."""

    def __init__(self, pool: MontyPool) -> None:
        self._pool = pool
        self._reader = FrameReader(_FRAME_BYTES_MAX)
        self._transport: asyncio.Transport | None = None
        self._jobs: asyncio.Queue[Frame] = asyncio.Queue()
        self._broker = RemoteBroker((), self._send)
        self.serving: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        for frame in self._reader.feed(data):
            match frame["type"]:
                case "begin":
                    self.serving = asyncio.create_task(self._serve(frame["began"], frame["seed"]))
                case "run":
                    self._jobs.put_nowait(frame)
                case "turn":
                    self._broker.take_turn(frame)
                case _:
                    self._broker.on_stalled()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.serving is not None:
            self.serving.cancel()

    def _send(self, frame: Frame) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(encode(frame))

    async def _serve(self, began: float, seed: int) -> None:
        try:
            worker = await self._pool.open(began=began, seed=seed)
        except Exception as error:  # noqa: BLE001 - the host hears of whatever it is
            self._send({"type": "failed", "text": f"{type(error).__name__}: {error}"})
            return
        try:
            self._send({"type": "ready"})
            while True:
                self._tell_end(await self._run(worker, await self._jobs.get()))
        finally:
            await worker.close()
            if self._transport is not None:
                self._transport.abort()

    async def _run(self, worker: Any, frame: Frame) -> End:
        self._broker = RemoteBroker(frame["tools"], self._send)
        job = Job(
            frame["code"],
            frame["number"],
            Limits(**frame["limits"]),
            cast("ToolCallBroker", self._broker),  # what a tier needs of it
            frame["now"],
            frame["replaying"],
        )
        try:
            return await worker.run(job)
        except ProtocolViolationError as violation:
            return End("crashed", error=ProgramError("ProtocolViolationError", str(violation)))

    def _tell_end(self, end: End) -> None:
        # Each by itself, since a frame has a bound.
        for stream in ("stdout", "stderr"):
            self._send({"type": "output", "stream": stream, "text": getattr(end, stream)})
        error = None if end.error is None else asdict(end.error)
        told = {"status": end.status, "value": end.value, "error": error, "cuts": end.cuts}
        self._send({"type": "end", **told})


async def serve(control: socket.socket, pool: MontyPool, limits: Limits) -> None:
    """Serve sessions until the host closes the control, or ends."""
    try:
        await pool.start(limits)
    except RuntimeUnavailableError as error:
        control.sendall(f"{error}".encode()[:4_000])
        return
    loop, channels = asyncio.get_running_loop(), set[SessionChannel]()
    beginning: set[asyncio.Task[Any]] = set()
    ended: asyncio.Future[None] = loop.create_future()

    def make() -> SessionChannel:
        channel = SessionChannel(pool)
        channels.add(channel)
        return channel

    def take() -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        except OSError:
            data, descriptors = b"", []
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)  # a worker would keep it open
            channel = socket.socket(fileno=descriptor)
            channel.setblocking(False)
            task = asyncio.ensure_future(loop.create_connection(make, sock=channel))
            beginning.add(task)
            task.add_done_callback(beginning.discard)
        if data and not descriptors:  # there was no room for it
            with contextlib.suppress(OSError):
                control.send(b"-", socket.MSG_DONTWAIT)
        for over in [each for each in channels if each.serving and each.serving.done()]:
            channels.discard(over)
        if not data and not ended.done():
            ended.set_result(None)

    loop.add_reader(control, take)
    control.sendall(b"ready")
    await ended
    loop.remove_reader(control)
    left = [each.serving for each in channels if each.serving is not None]
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=_CLOSE_S)


def main() -> None:
    """Run until the host ends."""
    with contextlib.suppress(OSError):  # before the host, where there is no memory
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")
    settings = json.loads(sys.argv[2])
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    asyncio.run(serve(control, MontyPool(pool=settings["pool"]), Limits(**settings["limits"])))


if __name__ == "__main__":
    try:
        main()
    finally:
        os._exit(0)  # threads may wait for workers, which end with this
