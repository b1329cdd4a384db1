"""The events of a durable run, as they come in the process that works for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from polycall.agents.pausing import Start
from polycall.agents.run import AgentEvent
from polycall.durable.event_log import EventReader
from polycall.durable.records import RunResult
from polycall.errors import RequestError
from polycall.ir import PartDelta
from polycall.loop import ModelEvent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

# A reader that is slow slows the run down, and not the memory's growth.
_EVENTS_MAX = 256


class RunStream:
    """A run that begins with `async with`, in this process, and its events.

    Leaving does not stop the run.  One that was begun before is joined, and its events come from
    the first; one that is taken over by another process is read on from the database.  `position`
    is the number of the last event, as `handle.stream(after=...)` takes it.  The stream ends when
    the run has, by the error that it ended by if any.
    """

    def __init__(
        self,
        start: Start,
        begin: Callable[[RunStream], Awaitable[bool]],
        result: Callable[[str], Awaitable[RunResult]],
        read: Callable[[str, int], EventReader],
    ) -> None:
        self.start = start
        self.position = 0
        self._begin = begin
        self._result = result
        self._read = read
        self._reader: EventReader | None = None
        self._events: asyncio.Queue[tuple[AgentEvent, int] | None] = asyncio.Queue(_EVENTS_MAX)
        self._has_begun = False
        self._is_left = False
        self._is_over = False

    @property
    def run_id(self) -> str:
        """By which it is known in the database."""
        return self.start.run_id

    async def result(self) -> RunResult:
        """How it ended, when it has; `RunFailedError` or `RunCancelledError` otherwise."""
        return await self._result(self.run_id)

    async def heard(self, event: AgentEvent, position: int) -> None:
        """From the run: one more event, and its number."""
        if not self._is_left:
            await self._events.put((event, position))

    def ended(self) -> None:
        """From the run: there will be no more here."""
        self._is_over = True
        if not self._events.full():
            self._events.put_nowait(None)

    async def __aenter__(self) -> RunStream:
        self._has_begun = True
        if not await self._begin(self):
            self._reader = self._read(self.run_id, 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_left = True
        # Room for the event that the run may be waiting to tell.
        while not self._events.empty():
            self._events.get_nowait()

    def __aiter__(self) -> RunStream:
        return self

    async def __anext__(self) -> AgentEvent:
        if not self._has_begun:
            raise RequestError(
                "the run begins with a block: write 'async with durable.stream(...) as stream', "
                "or 'with' where Durable is used so"
            )
        if self._reader is None and not (self._is_over and self._events.empty()):
            heard = await self._events.get()
            if heard is not None:
                event, self.position = heard
                return event
        if self._reader is None:
            # Over here, and perhaps continued elsewhere.
            self._reader = self._read(self.run_id, self.position)
        try:
            event = await anext(self._reader)
        except StopAsyncIteration:
            await self.result()
            raise
        self.position = self._reader.position
        return event

    async def text(self) -> AsyncGenerator[str]:
        """The visible text of the run's answers alone, as it comes."""
        async for event in self:
            match event:
                case ModelEvent(event=PartDelta(kind="text", text=text)):
                    yield text
                case _:
                    pass
