"""The events of a durable run, as they come in the process that works for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from polycall.agents.pausing import Start
from polycall.agents.run import AgentEvent
from polycall.durable.records import RunResult

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

# A reader that is slow slows the run down, and not the memory's growth.
_EVENTS_MAX = 256


class RunStream:
    """A run that begins with `async with`, in this process, and its events.

    Leaving does not stop the run.  Where it is taken over by another process its events are not
    heard any more, and the stream ends when the run has, by the error that it ended by if any.
    """

    def __init__(
        self,
        start: Start,
        begin: Callable[[RunStream], Awaitable[None]],
        result: Callable[[str], Awaitable[RunResult]],
    ) -> None:
        self.start = start
        self._begin = begin
        self._result = result
        self._events: asyncio.Queue[AgentEvent | None] = asyncio.Queue(_EVENTS_MAX)
        self._is_left = False
        self._is_over = False

    @property
    def run_id(self) -> str:
        """By which it is known in the database."""
        return self.start.run_id

    async def result(self) -> RunResult:
        """How it ended, when it has; `RunFailedError` or `RunCancelledError` otherwise."""
        return await self._result(self.run_id)

    async def heard(self, event: AgentEvent) -> None:
        """From the run: one more event."""
        if not self._is_left:
            await self._events.put(event)

    def ended(self) -> None:
        """From the run: there will be no more here."""
        self._is_over = True
        if not self._events.full():
            self._events.put_nowait(None)

    async def __aenter__(self) -> RunStream:
        await self._begin(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_left = True
        # Room for the event that the run may be waiting to tell.
        while not self._events.empty():
            self._events.get_nowait()

    def __aiter__(self) -> RunStream:
        return self

    async def __anext__(self) -> AgentEvent:
        event = None
        if not (self._is_over and self._events.empty()):
            event = await self._events.get()
        if event is None:
            await self.result()
            raise StopAsyncIteration
        return event
