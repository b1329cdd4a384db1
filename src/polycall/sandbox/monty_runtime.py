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
from pathlib import Path
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
_HOME = str(Path(__file__).absolute().parents[2])  # where polycall is found


class _GoneError(SandboxError):
    """The process of the workers has ended."""


def _ignore_frame(_: Frame) -> None:
    """Nobody asked."""


class MontyProcess:
    """A worker that belongs to one session, at the end of a channel."""

    def __init__(self, limits: Limits, channel: socket.socket) -> None:
        self.on_frame: Callable[[Frame], None] = _ignore_frame
        self.on_violation: Callable[[ProtocolViolationError], None] = lambda _: self.kill()
        self.on_fault: Callable[[Exception], None] = lambda _: self.kill()
        self.on_gone: Callable[[], None] = self.kill
        self._is_open = False
        self._limits = limits
        self._channel = channel
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None

    @property
    def alive(self) -> bool:
        """Whether it hears: its channel is read in the loop that opened it, and in no other."""
        return self._is_open and asyncio.get_running_loop() is self._loop

    async def open(self, *, began: float, seed: int) -> None:
        """Waits until the worker is there."""
        try:
            frame = await self._met({"type": "begin", "began": began, "seed": seed})
        except TimeoutError:
            self.kill()
            raise SandboxError(
                f"the process of monty's workers gave no worker within {_START_S:g} s"
            ) from None
        except BaseException:
            self.kill()
            raise
        if frame["type"] != "ready":
            self.kill()
            if frame["type"] == "gone":
                raise _GoneError
            raise SandboxError(f"no worker of monty: {frame.get('text')}")
        self._quiet()
        self._is_open = True

    async def _met(self, first: Frame) -> Frame:
        answer: asyncio.Future[Frame] = self._loop.create_future()

        def settle(frame: Frame) -> None:
            if not answer.done():
                answer.set_result(frame)

        self.on_frame = settle
        self.on_gone = lambda: settle({"type": "gone"})
        self._transport, _ = await self._loop.create_connection(
            lambda: Wire(self, self._limits), sock=self._channel
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
        self.on_fault = run.on_fault
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
        self.on_frame, self.on_gone = _ignore_frame, self.kill
        self.on_violation = self.on_fault = lambda _: self.kill()

    def kill(self) -> None:
        """The worker ends with its channel, also where a fork of this process has a copy."""
        self._is_open = False
        _hang_up(self._channel)
        if self._transport is None or self._loop.is_closed():
            self._channel.close()
        elif asyncio.get_running_loop() is self._loop:  # another hears of it by itself
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
        job.broker.on_fault = self.on_fault
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

    def on_fault(self, fault: BaseException) -> None:
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
        except SandboxError as error:
            raise RuntimeUnavailableError(f"pydantic-monty did not start: {error}") from error

    async def _begin(self, limits: Limits) -> None:
        try:
            ours, theirs = socket.socketpair()
            self._control = ours
            with theirs:
                self.process = _started(theirs.fileno(), self._pool_size, limits)
            ours.setblocking(False)
            async with asyncio.timeout(_START_S):
                said = await asyncio.get_running_loop().sock_recv(ours, 4_096)
        except BaseException as error:
            await self._end()
            if isinstance(error, OSError):
                words = str(error) or f"no answer within {_START_S:g} s"
                raise SandboxError(f"its process does not begin: {words}") from error
            raise
        if said != b"ready":
            await self._end()
            words = said.decode("utf-8", "replace")
            raise SandboxError(words or f"the process of {sys.executable!r} ended")

    async def open(self, *, began: float, seed: int) -> MontyProcess:
        for _ in range(2):  # it may be ending, which is known only then
            with contextlib.suppress(_GoneError):
                return await self._opened(began, seed)
        raise SandboxError("the process of monty's workers ends again and again")

    async def _opened(self, began: float, seed: int) -> MontyProcess:
        async with self._starting:
            if self.process is not None and self.process.poll() is not None:
                await self._end()
            limits = self._limits
            if limits is None:
                raise SandboxError("the runtime is not started, or is closed")
            if self.process is None:
                await self._begin(limits)
            control = self._control
        assert control is not None
        try:
            process = MontyProcess(limits, _passed(control))
            await process.open(began=began, seed=seed)
        except _GoneError:
            async with self._starting:
                await self._ask_why(control)
            raise
        return process

    async def _ask_why(self, control: socket.socket) -> None:
        """Whether the process has ended, or had no room for one channel more."""
        if self._control is not control:
            return
        said = b""
        with contextlib.suppress(ConnectionError):
            try:
                async with asyncio.timeout(_CLOSE_S):
                    said = await asyncio.get_running_loop().sock_recv(control, 1)
            except TimeoutError:
                raise SandboxError("the process of monty's workers closed a channel") from None
        if said:
            raise SandboxError("the process of monty's workers has as many files open as it may")
        await self._end()

    async def close(self) -> None:
        self._limits = None
        if self._control is not None:
            _hang_up(self._control)  # who waits for it hears of that
        async with self._starting:
            await self._end()

    async def _end(self) -> None:
        """The process ends when its end of the control does."""
        control, self._control = self._control, None
        if control is not None:
            _hang_up(control)
            control.close()
        process, self.process = self.process, None
        if process is not None:
            await asyncio.to_thread(_reap, process)


def _hang_up(channel: socket.socket) -> None:
    """End it for both sides: to close it does not, where a fork of this process has a copy."""
    with contextlib.suppress(OSError):  # it may be over
        channel.shutdown(socket.SHUT_RDWR)


def _passed(control: socket.socket) -> socket.socket:
    """A new channel, of which the other process gets its end."""
    try:
        ours, theirs = socket.socketpair()
    except OSError as error:
        raise SandboxError(f"no channel to a worker of monty: {error}") from error
    with theirs:
        try:
            socket.send_fds(control, [b"+"], [theirs.fileno()])
        except OSError as error:
            ours.close()
            if isinstance(error, ConnectionError) or control.fileno() < 0:
                raise _GoneError from None
            raise SandboxError(f"no channel to a worker of monty: {error}") from error
    return ours


def _started(control: int, pool: int, limits: Limits) -> subprocess.Popen[bytes]:
    settings = json.dumps({"pool": pool, "limits": asdict(limits)})
    inherited = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    return subprocess.Popen(  # noqa: S603 - this interpreter, and our module
        [sys.executable, "-P", "-m", f"{__package__}.monty_main", str(control), settings],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=(control,),
        env={**inherited, "PYTHONPATH": os.pathsep.join(_places())},
        cwd="/",
    )


def _places() -> list[str]:
    """The folders of modules, as absolute paths."""
    places = [os.path.abspath(place) for place in sys.path]
    return places if _HOME in places else [_HOME, *places]


def _reap(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_CLOSE_S)
        return
    process.kill()
    process.wait()
