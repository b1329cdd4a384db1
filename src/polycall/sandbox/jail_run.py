"""One run in a jail: reads the frames of its process, keeps the clock, and decides how it ended.

The process is not believed: a frame that is malformed, that comes out of turn or that asks for what
was not declared ends the run and the process.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

from .errors import ProtocolViolationError
from .frames import Frame
from .jail import Jail
from .result import ProgramError, Status
from .runtime import End, Job
from .text import Capture, encodable, printable
from .tool_call_broker import BrokerTurn

_WATCH_S = 0.05
_RUN_LIMITS = (
    "calls",
    "concurrent_calls",
    "argument_bytes",
    "stdout_bytes",
    "stderr_bytes",
    "value_bytes",
)


class JailRun:
    """A run from its `run` frame to its end.  Made for one job, used once."""

    def __init__(self, jail: Jail, job: Job) -> None:
        self._jail = jail
        self._job = job
        self._stdout = Capture(job.limits.stdout_bytes)
        self._stderr = Capture(job.limits.stderr_bytes)
        self._end: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        self._cpu_before_s = 0.0
        self._began = time.monotonic()

    async def outcome(self) -> End:
        """Runs the job.  Raises what the desk cannot reconcile with its journal."""
        jail, job = self._jail, self._job
        loop = asyncio.get_running_loop()
        jail.on_frame = self._on_frame
        jail.on_violation = self._on_violation
        jail.on_fault = self._on_fault
        jail.on_gone = self._on_gone
        job.broker.on_stalled = lambda: self._finish("paused")
        job.broker.on_fault = self._on_fault
        self._cpu_before_s, _ = jail.measure()
        wall = loop.call_later(job.limits.wall_s, self._on_wall)
        watch = loop.call_later(_WATCH_S, self._watch)
        jail.send(self._run_frame())
        try:
            return await self._end
        finally:
            wall.cancel()
            watch.cancel()
            self._end.cancel()
            jail.on_frame = _out_of_turn
            jail.on_violation = jail.on_fault = lambda _: jail.kill()
            jail.on_gone = jail.kill
            if not self._ended_by_itself():
                jail.kill()
            job.broker.detach()
            # What it raised knows this run by its traceback: neither waits for the collector.
            self._end = loop.create_future()
            self._end.cancel()

    def _ended_by_itself(self) -> bool:
        if self._end.cancelled() or self._end.exception() is not None:
            return False
        return self._end.result().status in {"finished", "failed"}

    def _run_frame(self) -> Frame:
        job = self._job
        tools = {
            name: getattr(function, "__doc__", None) or ""
            for name, function in job.broker.functions.items()
        }
        return {
            "type": "run",
            "number": job.number,
            "code": job.code,
            "now": job.now,
            "replaying": job.replaying,
            "tools": tools,
            "limits": {name: getattr(job.limits, name) for name in _RUN_LIMITS},
        }

    # What the process sends.

    def _on_frame(self, frame: Frame) -> None:
        if self._end.done():
            raise ProtocolViolationError("a frame after the end")
        broker = self._job.broker
        match frame["type"]:
            case "output":
                streams = {"stdout": self._stdout, "stderr": self._stderr}
                stream = streams.get(str(frame.get("stream")))
                if stream is None:
                    raise ProtocolViolationError("output to no stream")
                stream.add(frame.get("text"), frame.get("dropped"))
            case "call":
                args, kwargs = frame.get("args"), frame.get("kwargs")
                broker.call(frame.get("id"), frame.get("name"), args, kwargs)
            case "cancel":
                broker.cancel(frame.get("id"))
            case "wait":
                broker.request_turn(frame.get("now"), frame.get("for"), self._pass_turn)
            case "end":
                broker.check_end()
                self._on_end(frame)
            case other:
                raise ProtocolViolationError(f"a frame of unknown type {other!r:.40}")

    def _pass_turn(self, turn: BrokerTurn) -> None:
        if self._jail.unsent_bytes > 2 * self._job.limits.result_bytes:
            self._on_violation(ProtocolViolationError("waits for turns that it does not read"))
            return
        frame = {"type": "turn", "now": turn.now, "results": turn.results}
        self._jail.send({**frame, "replaying": turn.replaying})

    def _on_end(self, frame: Frame) -> None:
        cuts = [printable(str(cut))[:200] for cut in _list(frame.get("cuts"))[:40]]
        if frame.get("ok") is True:
            size_max = 2 * self._job.limits.value_bytes
            value = encodable(frame.get("value"), size_max=size_max)
            self._finish("finished", value=value, cuts=cuts)
            return
        told = frame.get("error")
        if not isinstance(told, dict):
            raise ProtocolViolationError("a failure without its error")
        told = cast(dict[str, Any], told)
        line = told.get("line")
        error = ProgramError(
            type=printable(str(told.get("name")))[:200],
            message=printable(str(told.get("message")))[:2_000],
            traceback=printable(str(told.get("traceback")))[:8_000],
            line=line if isinstance(line, int) else None,
        )
        self._finish("failed", error=error, cuts=cuts)

    # What ends it otherwise.

    def _on_violation(self, violation: ProtocolViolationError) -> None:
        self._finish("crashed", error=ProgramError("ProtocolViolationError", str(violation)))

    def _on_fault(self, fault: BaseException) -> None:
        if not self._end.done():
            self._end.set_exception(fault)

    def _on_wall(self) -> None:
        limit = self._job.limits.wall_s
        self._finish("timeout", error=ProgramError("Timeout", f"ran longer than {limit:g} s"))

    def _watch(self) -> None:
        """Measures the process; where the kernel's own limits hold too, this one is first."""
        if self._end.done():
            return
        limits = self._job.limits
        cpu_s, _ = self._jail.measure()
        if cpu_s - self._cpu_before_s > limits.cpu_s:
            message = f"used more than {limits.cpu_s:g} s of processor"
            self._finish("timeout", error=ProgramError("Timeout", message))
            return
        if self._jail.files_made() > limits.files:
            message = f"made more than {limits.files} files"
            self._finish("killed", error=ProgramError("FileLimit", message))
            return
        asyncio.get_running_loop().call_later(_WATCH_S, self._watch)

    def _on_gone(self) -> None:
        """The process is dead and had not said that it was at its end."""
        if self._end.done():
            return
        words = printable(self._jail.last_words())[-500:]
        if self._jail.group.memory_kills() or words.endswith("MemoryError"):
            limit = self._job.limits.memory_mib
            error = ProgramError("MemoryLimit", f"held more than {limit} MiB")
            self._finish("killed", error=error)
            return
        message = "the program's process ended before the program did"
        self._finish(
            "crashed", error=ProgramError("Crash", f"{message}: {words}" if words else message)
        )

    def _finish(
        self,
        status: Status,
        *,
        value: Any = None,
        error: ProgramError | None = None,
        cuts: list[str] | None = None,
    ) -> None:
        if self._end.done():
            return
        stderr = self._stderr.text()
        if error is not None and error.traceback:
            stderr += error.traceback
        self._end.set_result(
            End(
                status=status,
                stdout=self._stdout.text(),
                stderr=stderr,
                value=value,
                error=error,
                cuts=cuts or [],
                memory_mib=round(self._jail.memory_peak_mib, 1),
            )
        )


def _out_of_turn(frame: Frame) -> None:
    raise ProtocolViolationError(f"a frame of type {frame['type']!r:.40} between runs")


def _list(value: object) -> list[Any]:
    return cast(list[Any], value) if isinstance(value, list) else []
