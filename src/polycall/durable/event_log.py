"""The events of durable runs, kept in the database: written where a run works, read anywhere.

Each event of a run has a number, from 1.  One process writes at a time: it takes the next `epoch`
when it begins, and rows of an older one are refused from then on, so that a process that was
given up for dead adds nothing.  A run that continues elsewhere repeats no step that is complete
here; the one that was under way comes again, after a `Resumed`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from typing import TYPE_CHECKING, Any, cast

from msgspec import Struct

from polycall._support import jsontext
from polycall.agents import AgentEvent, Resumed, event_json, event_of
from polycall.agents.pausing import Start
from polycall.durable.database import Database
from polycall.durable.records import RunResult
from polycall.errors import RequestError
from polycall.ir import PartDelta
from polycall.loop import ModelEvent, RunEnd, StepEnd

if TYPE_CHECKING:
    from polycall.durable.runs import Runs

# How long text waits for more text: a reader sees it as typing, and the database few writes.
_GATHER_S = 0.05
_WAITING_MAX = 1000
_ROWS_AT_ONCE = 50

_INSERT = (
    "insert into polycall_events (run_id, epoch, first, count, ended, is_over, events) "
    "select :run_id, :epoch, next, :count, :ended, :is_over, :events from ("
    "select coalesce(max(first + count), 1) as next, coalesce(max(epoch), 0) as newest "
    "from polycall_events where run_id = :run_id) as known where newest <= :epoch"
)
_KNOWN = (
    "select coalesce(max(epoch), 0) as epoch, coalesce(max(first + count), 1) as next, "
    "coalesce(max(ended), 0) as ended, coalesce(max(is_over), 0) as is_over "
    "from polycall_events where run_id = :run_id"
)


class EventLog:
    """Writes the events of one run, in the process that works for it."""

    def __init__(self, database: Database, run_id: str) -> None:
        self.position = 0  # the number of the last event
        self._database = database
        self._run_id = run_id
        self._epoch = 1
        self._from_step = 1
        self._step = 0
        self._is_over = False
        self._waiting: list[AgentEvent] = []
        self._wake = asyncio.Event()
        self._writing = asyncio.Lock()

    async def __aenter__(self) -> EventLog:
        known = (await self._rows(_KNOWN))[0]
        self._epoch = int(known["epoch"]) + 1
        self._from_step = int(known["ended"]) + 1
        self._is_over = bool(known["is_over"])
        if self._epoch > 1 and not self._is_over:
            await self._insert([Resumed(self._from_step)])
        # What an earlier process had under way is refused from here on.
        self.position = int((await self._rows(_KNOWN))[0]["next"]) - 1
        self._keeping = asyncio.create_task(self._keep(), name=f"events of {self._run_id}")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._keeping.cancel()
        await asyncio.wait([self._keeping])
        await self._flush()

    async def add(self, event: AgentEvent) -> bool:
        """Keep an event; false where it is kept already, by a process before this one."""
        step = event.number if isinstance(event, StepEnd) else getattr(event, "step", 0)
        self._step = max(self._step, step)
        is_known = self._step < self._from_step and not isinstance(event, RunEnd)
        if self._is_over or is_known:
            return False
        self._waiting.append(event)
        self.position += 1
        self._wake.set()
        if len(self._waiting) >= _WAITING_MAX:
            await self._flush()
        return True

    async def _keep(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(_GATHER_S)
            await self._flush()

    async def _flush(self) -> None:
        async with self._writing:
            waiting, self._waiting = self._waiting, []
            if waiting:
                await self._insert(waiting)

    async def _insert(self, events: list[AgentEvent]) -> None:
        ended = max((each.number for each in events if isinstance(each, StepEnd)), default=0)
        # A thread that writes cannot be stopped, and must not write twice.
        writing = asyncio.ensure_future(
            self._database.patiently(
                self._database.change,
                _INSERT,
                run_id=self._run_id,
                epoch=self._epoch,
                count=len(events),
                ended=ended,
                is_over=int(any(isinstance(each, RunEnd) for each in events)),
                events=jsontext.encode([event_json(each) for each in events]),
            )
        )
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait([writing])
            raise

    async def _rows(self, sql: str) -> Any:
        return await self._database.patiently(self._database.rows, sql, run_id=self._run_id)


class StoredEvent(Struct, frozen=True):
    """An event, and its number among those of its run."""

    position: int
    event: Any


class EventReader:
    """The events of a run, from any process: those that are kept, and then as they come.

    `position` is the number of the last event that was given: `handle.stream(after=position)`
    continues from there.  The stream ends with the run, by the error that it ended by if any.
    Events are read each `poll_s` of the database; `StepEnd` and `RunEnd` come without messages,
    which `result()` has.
    """

    def __init__(self, runs: Runs, run_id: str, *, after: int = 0) -> None:
        if after < 0:
            raise RequestError(f"after is the number of an event, or 0, not {after!r}")
        self.run_id = run_id
        self.position = after
        self._runs = runs
        self._ready: list[StoredEvent] = []
        self._is_over = False

    async def __aenter__(self) -> EventReader:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing is held; the run continues."""

    def __aiter__(self) -> EventReader:
        return self

    async def __anext__(self) -> AgentEvent:
        while not self._ready:
            if self._is_over:
                await self.result()
                raise StopAsyncIteration
            await self._read()
        stored = self._ready.pop(0)
        self.position = stored.position
        return cast("AgentEvent", stored.event)

    def text(self) -> AsyncGenerator[str]:
        """The visible text of the run's answers alone, as it comes."""
        return _texts(self)

    async def result(self) -> RunResult:
        """The result of the finished run.

        Raises `RunFailedError` or `RunCancelledError` otherwise.
        """
        return await self._runs.result(self.run_id)

    async def _read(self) -> None:
        """Wait for further events, or for the run's end."""
        while True:
            # Asked first: what is kept once a run is over is all that there will be.
            state = (await self._runs.show(self.run_id)).state
            self._ready = await asyncio.to_thread(self._stored)
            if self._ready:
                return
            if state in ("finished", "failed", "cancelled"):
                self._is_over = True
                return
            await asyncio.sleep(self._runs.poll_s)

    def _stored(self) -> list[StoredEvent]:
        rows = self._runs.database.rows(
            "select first, events from polycall_events where run_id = :run_id "
            "and first + count > :next order by first limit :rows",
            run_id=self.run_id,
            next=self.position + 1,
            rows=_ROWS_AT_ONCE,
        )
        found: list[StoredEvent] = []
        for row in rows:
            for place, data in enumerate(jsontext.decode(row["events"]), int(row["first"])):
                if place > self.position:
                    found.append(StoredEvent(place, event_of(data)))
        return found


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
        """The run's id in the database."""
        return self.start.run_id

    async def result(self) -> RunResult:
        """The result of the finished run.

        Raises `RunFailedError` or `RunCancelledError` otherwise.
        """
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

    def text(self) -> AsyncGenerator[str]:
        """The visible text of the run's answers alone, as it comes."""
        return _texts(self)


async def _texts(events: AsyncIterable[AgentEvent]) -> AsyncGenerator[str]:
    async for event in events:
        match event:
            case ModelEvent(event=PartDelta(kind="text", text=text)):
                yield text
            case _:
                pass
