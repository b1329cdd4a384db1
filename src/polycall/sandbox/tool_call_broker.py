"""The host's side of tool calls: checks them, owns their tasks, and answers waiting programs.

One desk serves one run, on any tier.  It is the only place where a tool is called and the only one
that writes calls and results to the journal.  While a journal is replayed it answers from that.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import json
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, cast

from .errors import InDoubtError, JournalError, Pause, ProtocolViolationError
from .inside import plain
from .journal import SECONDS_MAX, Entry, Journal, RecordedRun
from .limits import Limits
from .result import Call
from .text import encodable

Function = Callable[..., Any]
_GRACE_S = 1.0
_FORMS_MAX = 100  # in which a function was called
_PARTS_MAX = 1_000  # of a result that is looked through at once
_PART_CHARS = 256  # of text take as long as one part


@dataclass(frozen=True)
class BrokerTurn:
    """A turn for a waiting program: the time, and the calls that were answered."""

    now: float
    results: list[dict[str, Any]]
    replaying: bool


@dataclass(frozen=True)
class Recovery:
    """The way a resumed run continues calls whose result the journal lacks."""

    answers: Mapping[int, Any] = field(default_factory=dict[int, Any])
    retry: Collection[str] = ()

    def check(self, recorded: RecordedRun) -> None:
        """Refuses before anything runs, where a call might be made a second time."""
        lost = [
            call_id
            for call_id, call in recorded.in_doubt().items()
            if call_id not in self.answers and call["name"] not in self.retry
        ]
        if lost:
            named = ", ".join(
                f"{call_id} ({recorded.calls[call_id]['name']!r})" for call_id in lost
            )
            raise InDoubtError(
                f"run {recorded.number}: calls began and nobody knows whether they ended: {named}; "
                "give their results in `answers`, or the names of tools in `retry`",
                calls=tuple(lost),
            )


class ToolCallBroker:
    """The tool calls of one run.  `close` leaves no task behind."""

    def __init__(
        self,
        functions: Mapping[str, Function],
        limits: Limits,
        journal: Journal,
        *,
        run: int,
        now: float,
        recorded: RecordedRun | None = None,
        recovery: Recovery | None = None,
    ) -> None:
        self.functions = functions
        self.detach()
        self._limits = limits
        self._journal = journal
        self._run = run
        self._now = now
        self._anchor = time.monotonic()
        self._recorded = recorded
        self._recovery = recovery or Recovery()
        self._live = recorded is None
        self._calls: dict[int, Call] = {}
        self._threads: ThreadPoolExecutor | None = None
        self._tools: dict[str, _Tool] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._stubborn: set[asyncio.Task[None]] = set()
        self._open: set[int] = set()
        self._paused: set[int] = set()
        self._settled: deque[dict[str, Any]] = deque()
        self._request: tuple[Callable[[BrokerTurn], None], float] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def detach(self) -> None:
        """Nobody hears of what comes: the run is over, and is not held by this."""
        self.on_stalled: Callable[[], None] = lambda: None
        self.on_fault: Callable[[BaseException], None] = lambda _: None

    # What the program asks.

    def call(self, call_id: object, name: object, args: object, kwargs: object) -> None:
        """A call of the program.  Raises `ProtocolViolationError` for what no program can send."""
        call = self._checked(call_id, name, args, kwargs)
        self._calls[call.id] = call
        self._open.add(call.id)
        if self._recorded is not None and self._recorded.check_call(
            call.id, call.name, list(call.args), call.kwargs
        ):
            self._calls[call.id] = replace(call, replayed=True)
            return
        self._record(
            {
                "kind": "call",
                "id": call.id,
                "name": call.name,
                "args": list(call.args),
                "kwargs": call.kwargs,
            }
        )
        self._start(call)

    def _checked(self, call_id: object, name: object, args: object, kwargs: object) -> Call:
        expected = self.next_id
        if call_id != expected or not isinstance(call_id, int) or isinstance(call_id, bool):
            raise ProtocolViolationError(f"a call with id {call_id!r:.40} where {expected} is next")
        if not isinstance(name, str) or name not in self.functions:
            raise ProtocolViolationError(f"a call of {name!r:.80}, which is not declared")
        if not isinstance(args, list) or not isinstance(kwargs, dict):
            raise ProtocolViolationError(f"a call of {name!r} with malformed arguments")
        if expected > self._limits.calls:
            raise ProtocolViolationError(f"more than {self._limits.calls} calls")
        if len(self._open) >= self._limits.concurrent_calls:
            raise ProtocolViolationError(
                f"more than {self._limits.concurrent_calls} calls at a time"
            )
        size_max = 2 * self._limits.argument_bytes
        given: Any = encodable([args, kwargs], size_max=size_max, is_exact=True)
        return Call(call_id, name, tuple(given[0]), given[1], outcome="pending")

    def cancel(self, call_id: object) -> None:
        """The program no longer waits for a call."""
        if type(call_id) is not int or call_id not in self._calls:
            raise ProtocolViolationError(f"cancels {call_id!r:.40}, which was not called")
        if call_id not in self._open:
            return
        self._open.discard(call_id)
        self._paused.discard(call_id)
        self._settled = deque(item for item in self._settled if item["id"] != call_id)
        task = self._tasks.pop(call_id, None)
        if task is not None:
            task.cancel()
            self._stubborn.add(task)
            task.add_done_callback(self._stubborn.discard)
        if self._calls[call_id].outcome == "pending":
            self._calls[call_id] = replace(self._calls[call_id], outcome="cancelled")
        recorded = self._recorded
        if recorded is None or call_id not in recorded.done:
            self._record({"kind": "done", "id": call_id, "cancelled": True})

    def request_turn(
        self, now: object, wait_s: object, answer: Callable[[BrokerTurn], None]
    ) -> None:
        """The program can do nothing more until a result comes, or `wait_s` has passed.

        A later request takes the place of an earlier one.
        """
        if not _is_time(now) or not (wait_s is None or _is_time(wait_s)):
            raise ProtocolViolationError("a wait with malformed times")
        assert isinstance(now, (int, float))
        self._now = max(self._now, float(now))
        self._stop_timer()
        self._request = (answer, float(now))
        if self._recorded is not None and not self._live and self._is_told_by(self._recorded):
            return
        if self._settled:
            self._answer(self.now())
        elif self._is_stalled():
            self.on_stalled()
        elif isinstance(wait_s, (int, float)):
            due = float(now) + float(wait_s)
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(float(wait_s), self._guarded, self._answer, due)

    def _is_told_by(self, recorded: RecordedRun) -> bool:
        """Whether the journal, or an answer given beforehand, has ended the wait."""
        if recorded.turns:
            self._replay_turn(recorded)
        else:
            self._go_live(recorded)
        return self._request is None

    # What the host answers.

    def now(self) -> float:
        """Seconds since the session began, by the one clock of the host."""
        anchor, self._anchor = self._anchor, time.monotonic()
        self._now += self._anchor - anchor
        return self._now

    def _answer(self, now: float) -> None:
        if self._request is None:
            return
        answer, asked = self._request
        self._request = None
        self._stop_timer()
        self._now = max(self._now, now, asked)
        results = list(self._settled)
        self._settled.clear()
        self._open.difference_update(item["id"] for item in results)
        ids = [item["id"] for item in results]
        self._record({"kind": "turn", "now": self._now, "ids": ids})
        answer(BrokerTurn(self._now, results, replaying=False))

    def _replay_turn(self, recorded: RecordedRun) -> None:
        assert self._request is not None
        answer, _ = self._request
        self._request = None
        entry = recorded.turns.popleft()
        results: list[dict[str, Any]] = []
        for call_id in entry["ids"]:
            if call_id not in self._calls:
                recorded.check_end(len(self._calls))
                raise JournalError(
                    f"the journal has a result of call {call_id}, which was not made"
                )
            results.append(self._replayed(call_id, recorded.done[call_id]))
            self._open.discard(call_id)
        self._now = max(self._now, entry["now"])
        self._anchor = time.monotonic()
        answer(BrokerTurn(entry["now"], results, replaying=True))

    def _replayed(self, call_id: int, done: Entry) -> dict[str, Any]:
        call = self._calls[call_id]
        if "error" in done:
            self._calls[call_id] = replace(call, outcome="error", error=done["error"]["message"])
            return {"id": call_id, "error": done["error"]}
        self._calls[call_id] = replace(call, outcome="ok", value=done["value"])
        return {"id": call_id, "value": done["value"]}

    def _go_live(self, recorded: RecordedRun) -> None:
        """The journal has no more turns: from here on results are made, not read."""
        self._live = True
        self._anchor = time.monotonic()
        if len(recorded.calls) > len(self._calls):
            recorded.check_end(len(self._calls))
        for call_id, done in recorded.done.items():
            if call_id in self._open and not done.get("cancelled"):
                self._settled.append(self._replayed(call_id, done))
        for call_id in sorted(self._open - recorded.done.keys() - self._tasks.keys()):
            if call_id in self._recovery.answers:
                self._settle(call_id, {"value": self._recovery.answers[call_id]})
            elif call_id in recorded.calls:
                self._start(self._calls[call_id])

    def _is_stalled(self) -> bool:
        return bool(self._paused) and not self._tasks and not self._settled

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # The tools themselves.

    def _start(self, call: Call) -> None:
        task = asyncio.get_running_loop().create_task(self._work(call), name=f"tool {call.name}")
        self._tasks[call.id] = task

    async def _work(self, call: Call) -> None:
        began = time.monotonic()
        try:
            value = await self._called(call)
            given = value, call.name, self._limits.result_bytes
            plain_value = (
                await asyncio.to_thread(_as_result, *given)
                if _has_many_parts(value)
                else _as_result(*given)
            )
            outcome = {"value": plain_value}
        except Pause:
            self._tasks.pop(call.id, None)
            self._paused.add(call.id)
            self._guarded(self._record, {"kind": "pause", "id": call.id})
            if self._request is not None and self._is_stalled():
                self.on_stalled()
            return
        except BaseException as error:
            is_stop = isinstance(error, asyncio.CancelledError)
            if is_stop and call.id not in self._tasks:
                raise
            if getattr(error, "leaves_run", False) or not (is_stop or isinstance(error, Exception)):
                self._tasks.pop(call.id, None)
                self.on_fault(error)
                return
            # Not by us: something inside the tool was cancelled, which the program must hear.
            told = RuntimeError(f"{call.name} was cancelled") if is_stop else error
            outcome = {"error": _described(told)}
        if self._tasks.pop(call.id, None) is None:
            return
        self._guarded(self._settle, call.id, outcome, time.monotonic() - began)

    def _guarded(self, work: Callable[..., None], *given: Any) -> None:
        """Do what nobody waits for: where the journal takes no entry, the run hears of it."""
        try:
            work(*given)
        except Exception as fault:  # noqa: BLE001 - a full disk's among them
            self.on_fault(fault)

    async def _called(self, call: Call) -> Any:
        """Calls a tool; a plain function gets a thread, so that it cannot hold the host's loop."""
        tool = self._tools.get(call.name)
        if tool is None:
            tool = self._tools[call.name] = _Tool(self.functions[call.name])
        function = tool.function
        tool.check(call)
        if tool.is_async:
            return await function(*call.args, **call.kwargs)
        context = contextvars.copy_context()
        work = functools.partial(context.run, function, *call.args, **call.kwargs)
        value: object = await asyncio.get_running_loop().run_in_executor(
            self._pool(), _without_stop, work, call.name
        )
        return await value if inspect.isawaitable(value) else value

    def _pool(self) -> ThreadPoolExecutor:
        """Threads of this run alone: as many as calls may be at work, made when they are needed."""
        if self._threads is None:
            size = self._limits.concurrent_calls
            self._threads = ThreadPoolExecutor(size, thread_name_prefix="polycall-tool")
        return self._threads

    def _settle(self, call_id: int, outcome: dict[str, Any], duration_s: float = 0.0) -> None:
        call = self._calls[call_id]
        if "error" in outcome:
            message = outcome["error"]["message"]
            done = replace(call, outcome="error", error=message, duration_s=duration_s)
        else:
            done = replace(call, outcome="ok", value=outcome["value"], duration_s=duration_s)
        self._calls[call_id] = done
        self._record({"kind": "done", "id": call_id, **outcome})
        self._settled.append({"id": call_id, **outcome})
        if self._request is not None:
            self._answer(self.now())

    def _record(self, entry: Entry) -> None:
        self._journal.append({**entry, "run": self._run}, self._limits)

    # The end.

    def check_end(self) -> None:
        """Raises `DivergenceError` where the program ended before the journal does."""
        if not self._live and self._recorded is not None:
            self._recorded.check_end(len(self._calls))

    @property
    def calls(self) -> tuple[Call, ...]:
        return tuple(self._calls.values())

    @property
    def next_id(self) -> int:
        """The id of the next call."""
        return len(self._calls) + 1

    @property
    def pending(self) -> bool:
        return bool(self._paused)

    async def close(self) -> None:
        """Cancels what still runs and waits for it; a tool that will not end is left behind."""
        self._request = None
        self._stop_timer()
        tasks = [*self._tasks.values(), *self._stubborn]
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_GRACE_S)
        if self._threads is not None:
            # A thread cannot be stopped; one that still works ends by itself, unheard.
            self._threads.shutdown(wait=False, cancel_futures=True)


def _without_stop(work: Callable[[], Any], name: str) -> Any:
    """Call a function; its `StopIteration` becomes a `RuntimeError`, as in a coroutine."""
    try:
        return work()
    except StopIteration as error:
        raise RuntimeError(f"{name} raised StopIteration") from error


class _Tool:
    """A function, and what is known of how it is called."""

    def __init__(self, function: Function) -> None:
        self.function = function
        self.is_async = _is_async(function)
        self._signature = _signature(function)
        self._fitting: set[tuple[int, tuple[str, ...]]] = set()

    def check(self, call: Call) -> None:
        """Raise `TypeError` where the function has no such parameters: values do not matter."""
        form = len(call.args), tuple(call.kwargs)
        if self._signature is None or form in self._fitting:
            return
        try:
            self._signature.bind(*call.args, **call.kwargs)
        except TypeError as error:
            raise TypeError(f"{call.name}{self._signature}: {error}") from None
        if len(self._fitting) < _FORMS_MAX:
            self._fitting.add(form)


def _is_async(function: Function) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004  # an object whose call is a coroutine
    )


def _signature(function: Function) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def _has_many_parts(value: object) -> bool:
    """Whether it takes long to look through a value: a thousand parts, or as much of text."""
    waiting, count = [value], 0
    while waiting and count < _PARTS_MAX:
        part = waiting.pop()
        inner: list[Any] = []
        if type(part) is str:
            count += len(part) // _PART_CHARS
        elif type(part) is dict:
            inner = list(cast("dict[str, Any]", part).values())
        elif type(part) is list:
            inner = cast("list[Any]", part)
        count += len(inner)
        waiting += inner[:_PARTS_MAX]
    return count >= _PARTS_MAX


def plain_answers(answers: Mapping[int, object], limits: Limits) -> dict[int, Any]:
    """Check the answers to calls, by id; raises for a value that no tool can give."""
    return {
        call_id: _as_result(value, f"the answer to call {call_id}", limits.result_bytes)
        for call_id, value in answers.items()
    }


def _as_result(value: object, name: str, size_bytes: int) -> Any:
    dump: Any = getattr(value, "model_dump", None)
    if callable(dump) and not isinstance(value, type):
        value = dump(mode="json")
    try:
        return plain.result(value, size_bytes=size_bytes)
    except plain.TooLargeError:
        raise ValueError(f"{name} gave a result of more than {size_bytes} bytes") from None
    except plain.NotPlainError as error:
        raise TypeError(f"{name}: {error}") from None


def _described(error: Exception) -> dict[str, Any]:
    """An exception as plain data: no object of the host crosses into a program."""
    message = _message(error)
    try:
        args = plain.arguments(list(error.args), size_bytes=20_000)
        json.dumps(args)
    except Exception:  # noqa: BLE001 - too large, not plain, or attributes that raise
        args = [message]
    return {"name": type(error).__name__, "message": message, "args": args}


def _message(error: Exception) -> str:
    """The text of an exception; its class may raise anything when it is asked."""
    try:
        text = str(error)
    except Exception as failure:  # noqa: BLE001 - see above
        text = f"<{type(error).__name__}, whose text raised {type(failure).__name__}>"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")[:5_000]


def _is_time(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return 0 <= value < SECONDS_MAX
