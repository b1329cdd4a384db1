"""Durable runs for code without an event loop: each method, waited for.

`with Durable(...) as durable` gives these.  The work is done on the event loop of `run_sync`, in a
thread of its own, so runs continue while nothing is waited for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from polycall._support.blocking import BlockingStream, Portal
from polycall.agents.run import AgentEvent
from polycall.agents.synchronous import portal
from polycall.durable.durable import Durable
from polycall.durable.event_log import RunStream
from polycall.durable.runs import AnyAgent, RunHandle, Runs

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from polycall.agents.options import Prompt
    from polycall.durable.event_log import EventReader
    from polycall.durable.records import RunInfo, RunResult
    from polycall.durable.runs import StartOptions

P = ParamSpec("P")
T = TypeVar("T")
RunsT_co = TypeVar("RunsT_co", bound=Runs, covariant=True)


def _waited(
    method: Callable[Concatenate[Runs, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[SyncRuns[Any], P], T]:
    @functools.wraps(method)
    def waited(self: SyncRuns[Any], /, *args: P.args, **options: P.kwargs) -> T:
        return portal().run(method(self.runs, *args, **options))

    return waited


class SyncRuns(Generic[RunsT_co]):
    """`Runs`, waited for."""

    def __init__(self, runs: RunsT_co) -> None:
        self._runs = runs

    @property
    def runs(self) -> RunsT_co:
        """The asynchronous one."""
        return self._runs

    def start(
        self, agent: AnyAgent | str, prompt: Prompt, **options: Unpack[StartOptions]
    ) -> SyncRunHandle:
        """Begin a run, somewhere in the fleet.  The same `run_id` again is the same run."""
        return SyncRunHandle(portal().run(self.runs.start(agent, prompt, **options)))

    def handle(self, run_id: str) -> SyncRunHandle:
        """A run that was begun before, here or elsewhere."""
        return SyncRunHandle(self.runs.handle(run_id))

    result = _waited(Runs.result)
    list = _waited(Runs.list)
    unfinished = _waited(Runs.unfinished)
    show = _waited(Runs.show)
    steps = _waited(Runs.steps)
    tasks = _waited(Runs.tasks)
    task = _waited(Runs.task)
    approvals = _waited(Runs.approvals)
    allow = _waited(Runs.allow)
    answer = _waited(Runs.answer)
    deny = _waited(Runs.deny)
    cancel = _waited(Runs.cancel)
    resume = _waited(Runs.resume)
    cancel_task = _waited(Runs.cancel_task)
    resume_task = _waited(Runs.resume_task)


class SyncDurable(SyncRuns[Durable]):
    """`Durable`, waited for."""

    def stream(
        self, agent: AnyAgent | str, prompt: Prompt, **options: Unpack[StartOptions]
    ) -> SyncRunStream:
        """Begin a run in this process and hear its events, in a `with` block."""
        return SyncRunStream(portal(), self.runs.stream(agent, prompt, **options))


class SyncRunHandle:
    """A run, wherever it is."""

    def __init__(self, handle: RunHandle) -> None:
        self._handle = handle
        self.run_id = handle.run_id

    def result(self) -> RunResult:
        """The result of the finished run.

        Raises `RunFailedError` or `RunCancelledError` otherwise.
        """
        return portal().run(self._handle.result())

    def stream(self, *, after: int = 0) -> SyncRunStream:
        """Its events from any process: those after number `after`, and then as they come."""
        return SyncRunStream(portal(), self._handle.stream(after=after))

    def info(self) -> RunInfo:
        """The run's present state."""
        return portal().run(self._handle.info())

    def cancel(self) -> None:
        """Stop it, and its tasks."""
        portal().run(self._handle.cancel())


class SyncRunStream(BlockingStream[AgentEvent]):
    """A durable run's events.  Leaving the `with` does not stop the run."""

    def __init__(self, portal: Portal, stream: RunStream | EventReader) -> None:
        super().__init__(portal, stream)
        self._stream = stream

    def __enter__(self) -> Self:
        self._portal.run(self._stream.__aenter__())
        return self

    def close(self) -> None:
        """Hear no more of it; the run continues."""
        self._portal.run(self._stream.__aexit__())

    @property
    def run_id(self) -> str:
        """The run's id in the database."""
        return self._stream.run_id

    @property
    def position(self) -> int:
        """The number of the last event, as `handle.stream(after=...)` takes it."""
        return self._stream.position

    def result(self) -> RunResult:
        """The result of the finished run.

        Raises `RunFailedError` or `RunCancelledError` otherwise.
        """
        return self._portal.run(self._stream.result())
