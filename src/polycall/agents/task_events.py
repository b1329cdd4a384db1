"""Background tasks among a run's events: that they have begun, how far they are, how they end."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncGenerator, Awaitable
from typing import TypeAlias, TypeVar

from polycall.agents.context import RunState
from polycall.agents.events import TaskEvent
from polycall.agents.task import TaskStatus
from polycall.agents.tasks import runner
from polycall.loop import LoopEvent, RunEnd, StepEnd


async def with_task_events(
    events: AsyncGenerator[LoopEvent], state: RunState
) -> AsyncGenerator[LoopEvent | TaskEvent]:
    """The loop's events, and those of the run's tasks as they come, also while the loop waits.

    A task that reports faster than its events are read skips to what it reported last.
    """
    merger = _Merger(events, state)
    try:
        while True:
            found = await merger.next()
            if found is None:
                return
            for event in found:
                yield event
    finally:
        await merger.close()


T = TypeVar("T")
# What was waited for; or what no task may raise.
_Outcome: TypeAlias = "tuple[T | None, KeyboardInterrupt | SystemExit | None]"


class _Merger:
    """Waits for whichever comes first: the loop's next event, or something new of a task."""

    def __init__(self, events: AsyncGenerator[LoopEvent], state: RunState) -> None:
        self._events = events
        self._state = state
        self._seen: dict[str, TaskStatus] = {}
        self._step = 1
        # One for all of the loop's events once there are tasks: what it sets, it finds again.
        self._context: contextvars.Context | None = None
        self._asking: asyncio.Task[_Outcome[LoopEvent]] | None = None
        self._watching: asyncio.Task[_Outcome[list[TaskStatus]]] | None = None
        self._names: dict[str, str] = {}

    async def next(self) -> list[LoopEvent | TaskEvent] | None:
        """At least one event; `None` after the last."""
        names = self._open()
        if self._context is None and not names:
            event = await _next(self._events)
        else:
            changed, event = await self._raced(names)
            if changed:
                return self._told(changed)
        if event is None:
            return None
        before: list[LoopEvent | TaskEvent] = []
        if isinstance(event, RunEnd) and (left := self._open()):
            before = self._told(await runner(self._state).look(left))
        if isinstance(event, StepEnd):
            self._step = event.number + 1
        return [*before, event]

    async def close(self) -> None:
        """Stop what is waited for."""
        for each in (self._asking, self._watching):
            if each is not None:
                each.cancel()
                await asyncio.wait([each])
                # Read, so that nobody learns of an error that nobody asked for.
                _ = each.cancelled() or each.exception()

    async def _raced(self, names: dict[str, str]) -> tuple[list[TaskStatus], LoopEvent | None]:
        if self._context is None:
            self._context = contextvars.copy_context()
        if self._asking is None:
            self._asking = asyncio.create_task(_outcome(_next(self._events)), context=self._context)
        await self._watch(names)
        waiting = {self._asking, *([self._watching] if self._watching is not None else [])}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if self._watching is not None and self._watching.done():
            watching, self._watching = self._watching, None
            changed, fault = watching.result()
            if fault is not None:
                raise fault
            return changed or [], None
        asking, self._asking = self._asking, None
        event, error = asking.result()
        if error is not None:
            raise error
        return [], event

    async def _watch(self, names: dict[str, str]) -> None:
        """Watch these tasks, and no others."""
        if self._watching is not None and names != self._names:
            self._watching.cancel()
            await asyncio.wait([self._watching])
            self._watching = None
        if self._watching is None and names:
            self._names = names
            self._watching = asyncio.create_task(
                _outcome(runner(self._state).changes(names, dict(self._seen)))
            )

    def _open(self) -> dict[str, str]:
        """The run's tasks whose end was not seen here: their tools by id."""
        return {
            task_id: note.tool
            for task_id, note in self._state.tasks.items()
            if not (task_id in self._seen and self._seen[task_id].is_over)
        }

    def _told(self, statuses: list[TaskStatus]) -> list[LoopEvent | TaskEvent]:
        new = [each for each in statuses if self._seen.get(each.id) != each]
        self._seen.update({each.id: each for each in new})
        return [TaskEvent(self._step, each) for each in new]


async def _outcome(waited_for: Awaitable[T | None]) -> _Outcome[T]:
    """A task that raised `SystemExit` would end the event loop, not the run."""
    try:
        return await waited_for, None
    except (KeyboardInterrupt, SystemExit) as error:
        return None, error


async def _next(events: AsyncGenerator[LoopEvent]) -> LoopEvent | None:
    return await anext(events, None)
