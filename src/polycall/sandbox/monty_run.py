"""One run in monty: answers its snapshots until it is at its end.

Every question of the interpreter (a call, a name, the time, a sleep, a random byte) comes to the
host, so all of it can be answered from the journal.  Imported only where pydantic-monty is.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import datetime
import random
import re
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from pydantic_monty import (
    FunctionSnapshot,
    FutureSnapshot,
    MontyComplete,
    MontyCrashedError,
    MontyError,
    MontyRuntimeError,
    MontySession,
    MontySyntaxError,
    NameLookupSnapshot,
)

from .errors import ProtocolViolationError
from .inside import plain
from .result import ProgramError, Status
from .runtime import End, Job
from .text import encodable, printable
from .tool_call_broker import BrokerTurn

Snapshot = FunctionSnapshot | NameLookupSnapshot | FutureSnapshot | MontyComplete
InThread = Callable[[Callable[[], Any]], Awaitable[Any]]

_TICK_S = 1e-6
# The interpreter would make another character of it, and the program not know.
_SURROGATE = re.compile(r"(?<!\\)(?:\\\\)*\\(?:u|U0000)[dD][89a-fA-F][0-9a-fA-F]{2}")
_STOPPED_MARKS = ("time limit exceeded", "suspension")


class _Stalled(Exception):  # noqa: N818  # control flow of this file
    """Only paused calls are left."""


class _Expired(Exception):  # noqa: N818  # control flow of this file
    """The wall clock ran out while the host had the turn."""


class _Printed:
    """A stream of the program, its middle cut.  Filled from another thread."""

    def __init__(self, limit_bytes: int) -> None:
        self._half = limit_bytes // 2
        self._head = bytearray()
        self._tail = bytearray()
        self._total = 0

    def add(self, text: str) -> None:
        data = text.encode("utf-8", "backslashreplace")
        self._total += len(data)
        room = self._half - len(self._head)
        self._head += data[:room] if room > 0 else b""
        self._tail += data[max(room, 0) :]
        if len(self._tail) > 4 * self._half:
            del self._tail[: -self._half]

    def text(self) -> tuple[str, int]:
        tail = self._tail[-self._half :]
        dropped = self._total - len(self._head) - len(tail)
        cut = f"\n… {dropped} bytes cut …\n" if dropped else ""
        decoded = (part.decode("utf-8", "ignore") for part in (self._head, tail))
        return printable(cut.join(decoded)), dropped


class MontyRun:
    """Made for one job, used once.  `last` is the value that the program finds as `_`."""

    def __init__(
        self, session: MontySession, job: Job, in_thread: InThread, *, began: float, seed: int
    ) -> None:
        self.last: object = None
        self._session = session
        self._job = job
        self._in_thread = in_thread
        self._began = began
        self._now = job.now
        self._replaying = job.replaying
        self._entropy = random.Random(  # noqa: S311  # meant to be reproducible
            f"entropy:{seed}:{job.number}"
        )
        self._streams = {
            "stdout": _Printed(job.limits.stdout_bytes),
            "stderr": _Printed(job.limits.stderr_bytes),
        }
        self._calls = 0
        # Calls of the program by monty's number: those not begun, those that wait, those to tell.
        self._new: deque[tuple[int, str, list[Any], dict[str, Any]]] = deque()
        self._begun: dict[int, int] = {}
        self._sleeps: dict[int, float] = {}
        self._settled: dict[int, dict[str, Any]] = {}
        self._expired = False
        self._turn: asyncio.Future[BrokerTurn] | None = None
        self._fault: BaseException | None = None  # that came while the program was not waiting

    def expire(self) -> None:
        """The wall clock has run out."""
        self._expired = True
        self._on_fault(_Expired())

    async def outcome(self) -> End:
        """The end of the run.  Nothing of it holds what it raises."""
        try:
            return await self._outcome()
        finally:
            self._job.broker.detach()
            self._turn = self._fault = None

    async def _outcome(self) -> End:
        job = self._job
        job.broker.on_fault = self._on_fault
        job.broker.on_stalled = lambda: self._on_fault(_Stalled())
        if _SURROGATE.search(job.code):
            words = "half of a surrogate pair is not text here; write the character itself"
            return self._end("failed", ProgramError("UnicodeError", words))
        try:
            snapshot = await self._in_thread(lambda: self._advanced(self._start))
            while not isinstance(snapshot, MontyComplete):
                answer = await self._answered(snapshot)
                snapshot = await self._in_thread(partial(self._advanced, answer))
            if self._fault is not None:
                raise self._fault
            job.broker.check_end()
            # Alongside the loop: values and errors may be large.
            complete = snapshot
            return await self._in_thread(lambda: self._finished(complete))
        except _Stalled:
            return self._end("paused")
        except MontyCrashedError as error:
            if self._expired or error.timed_out:
                return self._timed_out()
            return self._end("crashed", ProgramError("Crash", printable(str(error))[:500]))
        except MontyError as error:
            if self._expired:
                return self._timed_out()
            failure = error
            return await self._in_thread(lambda: self._failed(failure))
        except _Expired:
            return self._timed_out()

    def _on_fault(self, fault: BaseException) -> None:
        if self._turn is not None and not self._turn.done():
            self._turn.set_exception(fault)
        elif not isinstance(fault, _Expired | _Stalled):
            self._fault = fault

    def _start(self) -> Snapshot:
        inputs = {} if self.last is None else {"_": self.last}
        try:
            return self._feed(inputs)
        except TypeError:
            return self._feed({})

    def _feed(self, inputs: dict[str, Any]) -> Snapshot:
        return self._session.feed_start(
            self._job.code, inputs=inputs, print_callback=self._on_print
        )

    def _on_print(self, stream: str, text: str) -> None:
        self._streams.get(stream, self._streams["stderr"]).add(text)

    # Answers: each is what is left to do in the thread.

    def _advanced(self, answer: Callable[[], Snapshot]) -> Snapshot:
        """Answer, and all that can be answered without waiting, in one stay in the thread."""
        snapshot = answer()
        while (following := self._at_once(snapshot)) is not None:
            snapshot = following()
        return snapshot

    def _at_once(self, snapshot: Any) -> Callable[[], Snapshot] | None:
        if isinstance(snapshot, NameLookupSnapshot):
            return self._answered_name(snapshot)
        if not isinstance(snapshot, FunctionSnapshot) or _sleeps(snapshot):
            return None
        result = self._answered_call(snapshot)
        return snapshot.resume_not_handled if result is None else partial(snapshot.resume, result)

    async def _answered(self, snapshot: Any) -> Callable[[], Snapshot]:
        if isinstance(snapshot, FutureSnapshot):
            results = await self._waited(snapshot.pending_call_ids)
            return lambda: snapshot.resume(results)
        if not isinstance(snapshot, FunctionSnapshot):
            raise ProtocolViolationError(f"a snapshot of type {type(snapshot).__name__!r}")
        seconds = max(float(snapshot.args[0]), 0.0)
        if not self._replaying:
            await self._slept(seconds)
        self._now += seconds
        return lambda: snapshot.resume({"return_value": None})

    def _answered_name(self, snapshot: NameLookupSnapshot) -> Callable[[], Snapshot]:
        name = snapshot.variable_name
        if snapshot.object_id is not None or name not in self._job.broker.functions:
            return snapshot.resume
        stand_in = _stand_in(name)
        return lambda: snapshot.resume(value=stand_in)

    def _answered_call(self, snapshot: FunctionSnapshot) -> Any:
        name, args = str(snapshot.function_name), snapshot.args
        if snapshot.is_os_function:
            return self._answered_system(name, args, snapshot.call_id)
        if name == "import":
            module = str(args[0]) if args else ""
            return {"exception": ModuleNotFoundError(f"No module named {module!r}")}
        if snapshot.object_id is not None or name not in self._job.broker.functions:
            return {"exception": NameError(f"name {name!r} is not defined")}
        limits = self._job.limits
        if self._calls >= limits.calls:
            return {"exception": Exception(f"{name}: the limit on calls of a run is reached")}
        try:
            plain_args = plain.arguments(list(args), size_bytes=limits.argument_bytes)
            plain_kwargs = plain.arguments(snapshot.kwargs, size_bytes=limits.argument_bytes)
        except plain.NotPlainError as error:
            return {"exception": TypeError(f"{name}: {error}")}
        except plain.TooLargeError:
            message = f"{name}: arguments of more than {limits.argument_bytes} bytes"
            return {"exception": Exception(message)}
        self._calls += 1
        # Begun when the program waits, as in CPython: a call that is not awaited is not made.
        self._new.append((snapshot.call_id, name, plain_args, plain_kwargs))
        return {"future": ...}

    def _answered_system(self, name: str, args: tuple[Any, ...], call_id: int) -> Any:
        match name:
            case "time.time":
                clock = str(args[0]) if args else ""
                is_span = clock.startswith(("time.monotonic", "time.perf_counter"))
                return {"return_value": self._read() if is_span else self._began + self._read()}
            case "datetime.now":
                zone = args[0] if args else None
                zone = datetime.UTC if zone is None else zone
                moment = datetime.datetime.fromtimestamp(self._began + self._read(), zone)
                return {"return_value": moment if args and args[0] else moment.replace(tzinfo=None)}
            case "date.today":
                moment = datetime.datetime.fromtimestamp(self._began + self._read(), datetime.UTC)
                return {"return_value": moment.date()}
            case "os.urandom":
                return {"return_value": self._entropy.randbytes(min(int(args[0]), 1 << 20))}
            case "asyncio.sleep":
                self._sleeps[call_id] = self._now + max(float(args[0]), 0.0)
                return {"future": ...}
            case _:
                # No file, no environment: monty's own refusal.
                return None

    def _read(self) -> float:
        self._now += _TICK_S
        return self._now

    async def _waited(self, pending: list[int]) -> dict[int, Any]:
        """The results of some of what the program waits for: at least one."""
        while True:
            self._begin_new()
            due = {call_id for call_id, at in self._sleeps.items() if at <= self._now}
            ready = {call_id: {"return_value": None} for call_id in due}
            for call_id in due:
                del self._sleeps[call_id]
            told = {
                call_id: self._settled.pop(call_id)
                for call_id in pending
                if call_id in self._settled
            }
            if ready or told:
                return {**ready, **told}
            next_due = min(self._sleeps.values(), default=None)
            wait_s = None if next_due is None else max(next_due - self._now, 0.0)
            turn = await self._next_turn(wait_s)
            self._now = max(self._now, turn.now)
            self._replaying = turn.replaying
            numbers = {desk_id: call_id for call_id, desk_id in self._begun.items()}
            for result in turn.results:
                call_id = numbers[result["id"]]
                del self._begun[call_id]
                self._settled[call_id] = _as_answer(result)

    def _begin_new(self) -> None:
        broker = self._job.broker
        while self._new and len(self._begun) < self._job.limits.concurrent_calls:
            call_id, name, args, kwargs = self._new.popleft()
            desk_id = broker.next_id
            broker.call(desk_id, name, args, kwargs)
            self._begun[call_id] = desk_id

    async def _next_turn(self, wait_s: float | None) -> BrokerTurn:
        turn = self._new_turn()
        self._job.broker.request_turn(self._now, wait_s, lambda answer: _settle(turn, answer))
        return await turn

    async def _slept(self, seconds: float) -> None:
        """Sleeps no longer than the run may."""
        turn = self._new_turn()
        seconds = min(seconds, self._job.limits.wall_s + 1)
        over = BrokerTurn(self._now + seconds, [], replaying=False)
        timer = asyncio.get_running_loop().call_later(seconds, lambda: _settle(turn, over))
        try:
            await turn
        finally:
            timer.cancel()

    def _new_turn(self) -> asyncio.Future[BrokerTurn]:
        if self._expired:
            raise _Expired
        if self._fault is not None:
            raise self._fault
        self._turn = asyncio.get_running_loop().create_future()
        return self._turn

    # The end.

    def _finished(self, complete: MontyComplete) -> End:
        try:
            output = complete.output
        except (MontyError, TypeError, ValueError) as error:
            return self._end("failed", ProgramError(type(error).__name__, str(error)[:500]))
        shown, cuts = plain.shown(output, size_bytes=self._job.limits.value_bytes)
        if output is not None:
            self.last = output
        value = encodable(shown, size_max=2 * self._job.limits.value_bytes)
        return self._end("finished", value=value, cuts=cuts)

    def _failed(self, error: MontyError) -> End:
        shown = error.display() if isinstance(error, MontyRuntimeError | MontySyntaxError) else ""
        # "ValueError: what was wrong", or the name alone.
        summary = str(shown).strip().rpartition("\n")[2] or str(error)
        name, _, message = summary.partition(": ")
        # Cut first: to clean millions of characters takes a second.
        name, message, shown = name[-200:], message[:2_000], shown[:8_000]
        if name == "TimeoutError" and any(mark in message for mark in _STOPPED_MARKS):
            return self._timed_out(message)
        line = None
        if isinstance(error, MontyRuntimeError | MontySyntaxError):
            frames = error.traceback()
            line = frames[-1].line if frames else None
        problem = ProgramError(
            type=printable(name.rpartition(".")[2])[:200],
            message=printable(message)[:2_000],
            traceback=printable(f"{shown}\n")[:8_000],
            line=line,
        )
        return self._end("failed", problem)

    def _timed_out(self, message: str = "") -> End:
        limit = self._job.limits.wall_s
        return self._end(
            "timeout", ProgramError("Timeout", message or f"ran longer than {limit:g} s")
        )

    def _end(
        self,
        status: Status,
        error: ProgramError | None = None,
        *,
        value: Any = None,
        cuts: list[str] | None = None,
    ) -> End:
        stdout, dropped = self._streams["stdout"].text()
        stderr, _ = self._streams["stderr"].text()
        all_cuts = list(cuts or [])
        if dropped:
            all_cuts.append(f"stdout: {dropped} bytes")
        if error is not None:
            stderr += error.traceback
        return End(status, stdout, stderr, value, error, all_cuts)


def _sleeps(snapshot: FunctionSnapshot) -> bool:
    """Whether the program stands still for a while."""
    return snapshot.is_os_function and str(snapshot.function_name) == "time.sleep"


def _settle(turn: asyncio.Future[BrokerTurn], answer: BrokerTurn) -> None:
    if not turn.done():
        turn.set_result(answer)


def _stand_in(name: str) -> Callable[..., None]:
    """A function that monty knows by its name; it is never called, the name comes back."""

    def function() -> None:
        """Stands for a tool."""

    function.__name__ = function.__qualname__ = name
    return function


def _as_answer(result: dict[str, Any]) -> dict[str, Any]:
    if "error" not in result:
        return {"return_value": result["value"]}
    error = result["error"]
    kind = getattr(builtins, error["name"], None)
    if isinstance(kind, type) and issubclass(kind, Exception) and "Unicode" not in error["name"]:
        # Some check what they are made of; a tool's own class may only have the same name.
        with contextlib.suppress(Exception):
            return {"exception": kind(*error["args"])}
    return {"exception": Exception(error["message"])}
