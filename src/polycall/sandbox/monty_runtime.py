"""The tier `monty` as the host sees it: all its workers, behind one process.

What an interpreter gives becomes values of Python in one step, in which nothing else of a process
gets its turn, and a program may make it as large as its memory.  So that is done in a process of
its own, which gives the host only what limits allow.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, cast

from .errors import ProtocolViolationError, RuntimeUnavailableError, SandboxError
from .frames import Frame, encode
from .limits import Limits
from .monty_pool import NOTES, missing
from .result import ProgramError
from .runtime import End, Job
from .tool_call_broker import BrokerTurn
from .wire import Wire

_START_S = 30.0
_CLOSE_S = 5.0
_GRACE_S = 5.0  # after the wall clock, which the other process keeps
# Nothing of the host's environment is for programs, or for what runs them.
_ENVIRONMENT = ("PATH", "LANG", "TMPDIR", "LD_LIBRARY_PATH")


class _GoneError(SandboxError):
    """The process of the workers has ended."""


def _ignore_frame(_: Frame) -> None:
    """Nobody asked."""


class MontyProcess:
    """A worker that belongs to one session, at the end of a channel."""

    def __init__(self, limits: Limits) -> None:
        self.on_frame: Callable[[Frame], None] = _ignore_frame
        self.on_violation: Callable[[ProtocolViolationError], None] = lambda _: self.kill()
        self.on_gone: Callable[[], None] = self.kill
        self.alive = False
        self._limits = limits
        self._transport: asyncio.Transport | None = None

    async def open(self, channel: socket.socket, *, began: float, seed: int) -> None:
        """Waits until the worker is there."""
        try:
            frame = await self._met(channel, {"type": "begin", "began": began, "seed": seed})
        except BaseException:
            self.kill()
            raise
        if frame["type"] != "ready":
            self.kill()
            if frame["type"] == "gone":
                raise _GoneError
            raise SandboxError(f"no worker of monty: {frame.get('text')}")
        self._quiet()
        self.alive = True

    async def _met(self, channel: socket.socket, first: Frame) -> Frame:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Frame] = loop.create_future()

        def settle(frame: Frame) -> None:
            if not answer.done():
                answer.set_result(frame)

        self.on_frame = settle
        self.on_gone = lambda: settle({"type": "gone"})
        self._transport, _ = await loop.create_connection(
            lambda: Wire(self, self._limits), sock=channel
        )
        self.send(first)
        async with asyncio.timeout(_START_S):
            return await answer

    def send(self, frame: Frame) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(encode(frame))

    async def run(self, job: Job) -> End:
        run = _Run(job, self.send)
        self.on_frame, self.on_violation, self.on_gone = run.on_frame, run.on_violation, run.on_gone
        try:
            end = await run.outcome()
        except BaseException:
            self.kill()
            raise
        finally:
            self._quiet()
        if end.status not in {"finished", "failed"}:
            self.kill()
        return end

    def _quiet(self) -> None:
        self.on_frame, self.on_violation = _ignore_frame, lambda _: self.kill()
        self.on_gone = self.kill

    def kill(self) -> None:
        """The worker ends with its channel."""
        self.alive = False
        if self._transport is not None:
            self._transport.abort()

    async def close(self) -> None:
        self.kill()


class _Run:
    """A run from its frame to its end."""

    def __init__(self, job: Job, send: Callable[[Frame], None]) -> None:
        self._job = job
        self._send = send
        self._printed = {"stdout": "", "stderr": ""}
        self._end: asyncio.Future[End] = asyncio.get_running_loop().create_future()

    async def outcome(self) -> End:
        job = self._job
        job.broker.on_stalled = lambda: self._send({"type": "stalled"})
        job.broker.on_fault = self._fail
        late_s = job.limits.wall_s + _GRACE_S
        guard = asyncio.get_running_loop().call_later(late_s, self._on_wall)
        frame = {"number": job.number, "code": job.code, "now": job.now, "replaying": job.replaying}
        limits = asdict(job.limits)
        self._send(
            {"type": "run", **frame, "tools": sorted(job.broker.functions), "limits": limits}
        )
        try:
            return await self._end
        finally:
            guard.cancel()
            job.broker.detach()
            # What it raised knows this run by its traceback: neither waits for the collector.
            self._end = _over()

    def on_frame(self, frame: Frame) -> None:
        try:
            self._handle(frame)
        except ProtocolViolationError:
            raise
        except SandboxError as fault:
            self._fail(fault)

    def _handle(self, frame: Frame) -> None:
        broker = self._job.broker
        match frame["type"]:
            case "call":
                args, kwargs = frame.get("args"), frame.get("kwargs")
                broker.call(frame.get("id"), frame.get("name"), args, kwargs)
            case "wait":
                broker.request_turn(frame.get("now"), frame.get("for"), self._pass_turn)
            case "output":
                self._printed[str(frame["stream"])] = str(frame["text"])
            case "end":
                if frame["status"] == "finished":
                    broker.check_end()
                told = cast("dict[str, Any] | None", frame["error"])
                error = None if told is None else ProgramError(**told)
                self._finish(
                    End(frame["status"], *self._words, frame["value"], error, frame["cuts"])
                )
            case other:
                raise ProtocolViolationError(f"a frame of unknown type {other!r:.40}")

    @property
    def _words(self) -> tuple[str, str]:
        return self._printed["stdout"], self._printed["stderr"]

    def _pass_turn(self, turn: BrokerTurn) -> None:
        frame = {"type": "turn", "now": turn.now, "results": turn.results}
        self._send({**frame, "replaying": turn.replaying})

    def on_violation(self, violation: ProtocolViolationError) -> None:
        error = ProgramError("ProtocolViolationError", str(violation))
        self._finish(End("crashed", *self._words, error=error))

    def on_gone(self) -> None:
        """The process of all workers has ended."""
        error = ProgramError("Crash", "the interpreter's process ended before the program did")
        self._finish(End("crashed", *self._words, error=error))

    def _on_wall(self) -> None:
        error = ProgramError("Timeout", f"ran longer than {self._job.limits.wall_s:g} s")
        self._finish(End("timeout", *self._words, error=error))

    def _fail(self, fault: BaseException) -> None:
        if not self._end.done():
            self._end.set_exception(fault)

    def _finish(self, end: End) -> None:
        if not self._end.done():
            self._end.set_result(end)


def _over() -> asyncio.Future[End]:
    future: asyncio.Future[End] = asyncio.get_running_loop().create_future()
    future.cancel()
    return future


class MontyRuntime:
    """Owns the process of the workers, which is started anew where it has ended."""

    name = "monty"
    notes = NOTES

    def __init__(self, *, pool: int = 2) -> None:
        self._pool_size = pool
        self._limits: Limits | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._starting = asyncio.Lock()

    async def start(self, limits: Limits) -> None:
        reason = missing()
        if reason:
            raise RuntimeUnavailableError(reason)
        self._limits = limits
        try:
            await self._begin(limits)
        except (OSError, SandboxError, TimeoutError) as error:
            await self.close()
            raise RuntimeUnavailableError(f"pydantic-monty did not start: {error}") from error

    async def _begin(self, limits: Limits) -> None:
        ours, theirs = socket.socketpair()
        self._control = ours
        with theirs:
            self.process = _started(theirs.fileno(), self._pool_size, limits)
        ours.setblocking(False)
        async with asyncio.timeout(_START_S):
            said = await asyncio.get_running_loop().sock_recv(ours, 4_096)
        if said != b"ready":
            raise SandboxError(said.decode("utf-8", "replace") or "its process ended")

    async def open(self, *, began: float, seed: int) -> MontyProcess:
        if self._limits is None:
            raise SandboxError("the runtime is not started")
        for _ in range(2):  # it may be ending, which is known only then
            with contextlib.suppress(_GoneError):
                return await self._opened(self._limits, began, seed)
        raise SandboxError("the process of monty's workers ends again and again")

    async def _opened(self, limits: Limits, began: float, seed: int) -> MontyProcess:
        async with self._starting:
            if self.process is None or self.process.poll() is not None:
                await self._end()
                await self._begin(limits)
            meant, control = self.process, self._control
        try:
            ours, theirs = socket.socketpair()
            with theirs:
                assert control is not None
                socket.send_fds(control, [b"+"], [theirs.fileno()])
            process = MontyProcess(limits)
            await process.open(ours, began=began, seed=seed)
        except (_GoneError, OSError) as error:
            async with self._starting:
                if self.process is meant:
                    await self._end()
            raise _GoneError(f"{error}") from None
        return process

    async def close(self) -> None:
        self._limits = None
        await self._end()

    async def _end(self) -> None:
        """The process ends when its end of the control does."""
        control, self._control = self._control, None
        if control is not None:
            control.close()
        process, self.process = self.process, None
        if process is not None:
            await asyncio.to_thread(_reap, process)


def _started(control: int, pool: int, limits: Limits) -> subprocess.Popen[bytes]:
    settings = json.dumps({"pool": pool, "limits": asdict(limits)})
    inherited = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    return subprocess.Popen(  # noqa: S603 - this interpreter, and our module
        [sys.executable, "-P", "-m", f"{__package__}.monty_main", str(control), settings],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=(control,),
        env={**inherited, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        cwd="/",
    )


def _reap(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_CLOSE_S)
        return
    process.kill()
    process.wait()
