"""Calls that outlive their request: the protocol's tasks, each its key's own, in the store.

The process that makes the call says every few seconds that it still does.  One that fell silent is
taken for dead.  Where the server made a task of the call, the process that sees the silence first
waits for that in its place; else the task ends with a result that says so.
No call is made twice.  All that is known of a task is one record, changed only from what it was:
whatever process a client comes to, the first end holds.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import mcp_types as types
import msgspec
from mcp.shared.exceptions import MCPError

from polycall._support import jsontext
from polycall.errors import OverloadedError, PolycallError, RateLimitError, StoreError
from polycall.gateway.accounts.keys import Owner
from polycall.gateway.mcp.calls import call_row, failed
from polycall.gateway.mcp.task_jobs import LOOK_S, Made, TaskJob
from polycall.gateway.mcp.task_names import HEAD, TTL_S_MAX
from polycall.gateway.mcp.task_records import (
    LOST,
    MESSAGE_MAX,
    PART_BYTES_MAX,
    TaskRecord,
    kept,
    result_state,
)
from polycall.gateway.processes.silence import BEAT_S, LEFT, LOOKS, stood_still
from polycall.gateway.store import Store
from polycall.ir import JSON

logger = logging.getLogger("polycall.mcp")

# Waits for the server's task of a record, for the key that asks.
Resume: TypeAlias = Callable[[TaskRecord], Made]
Leave: TypeAlias = Callable[[Owner, TaskRecord], Awaitable[None]]

POLL_MS = 1_000
_TTL_MS = 3_600_000
_TTL_MS_MAX = int(TTL_S_MAX * 1000)
_RUNNING_MAX = 500
_RUNNING_OF_KEY_MAX = 32
_KEPT_OF_KEY_MAX = 200
_HEARD_S = 10.0  # after which a process that heard nothing of it is gone
_ID = re.compile(r"[0-9a-f]{32}")


class Tasks:
    """Begins, answers and ends them.  One for the process; `close` it at the end."""

    def __init__(self, store: Store, worker: str) -> None:
        self._store = store
        self._worker = worker
        self._jobs: dict[str, TaskJob] = {}
        self._beginning: Counter[str] = Counter()  # by key, those that are not in the store yet
        self._taking_up: dict[str, asyncio.Task[None]] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._asked: dict[str, Resume] = {}  # of those, for the client that asked last

    async def begin(
        self,
        owner: Owner,
        tool: str,
        server: str,
        make: Callable[[], Made],
        *,
        can_ask: bool,
        ttl_ms: int | None = None,
        going: Made | None = None,
    ) -> TaskRecord:
        """Make the call as a task; when this returns, the task is in the store.

        `going` is a call that is under way already: another process may have to wait for it from
        here on.  Raises `RateLimitError` or `OverloadedError` where there are too many.
        """
        self._check(owner)
        self._beginning[owner.id] += 1
        try:
            return await self._begun(
                owner, tool, server, make, can_ask=can_ask, ttl_ms=ttl_ms, going=going
            )
        finally:
            self._beginning[owner.id] -= 1
            self._beginning += Counter()  # keeps those that are more than none

    async def _begun(
        self,
        owner: Owner,
        tool: str,
        server: str,
        make: Callable[[], Made],
        *,
        can_ask: bool,
        ttl_ms: int | None,
        going: Made | None,
    ) -> TaskRecord:
        await self._make_room(owner)
        now = time.time()
        record = TaskRecord(
            id=secrets.token_hex(16),
            tool=tool,
            server=server,
            key=owner.name,
            worker=self._worker,
            created=now,
            updated=now,
            beat=now,
            ttl_ms=min(max(ttl_ms or _TTL_MS, 1_000), _TTL_MS_MAX),
            can_ask=can_ask,
        )
        if going is not None:
            record.message = going.message[:MESSAGE_MAX]
            record.call_id, record.server_task = going.call_id, kept(going.server_task)
        await self._store.save_state(owner.id, HEAD + record.id, record.written())
        self._work(owner, record, make())
        return record

    def _work(self, owner: Owner, record: TaskRecord, running: Made) -> None:
        job = self._jobs[record.id] = TaskJob(self._store, owner, record, running)
        job.task = asyncio.get_running_loop().create_task(job.work())

        def over(_: object) -> None:
            if self._jobs.get(record.id) is job:
                del self._jobs[record.id]

        job.task.add_done_callback(over)

    async def find(
        self, owner: Owner, name: str, resume: Resume | None = None
    ) -> TaskRecord | None:
        """A task of this key; one whose process may be gone is taken up."""
        record = await self._record(owner, name)
        if record is None or not record.is_late:
            return record
        if record.id in self._jobs:  # ours, which the store was away from
            self._nudge(record.id)
        elif record.beat == LEFT:
            return await self._replace(owner, record, resume)
        elif self.take_up(owner, name, resume) and resume is not None:
            self._asked[name] = resume
        return record

    async def _record(self, owner: Owner, name: str) -> TaskRecord | None:
        if _ID.fullmatch(name) is None:
            return None
        state = HEAD + name
        found = await self._store.load_states(owner.id, [state], may_change=True)
        if state not in found:
            return None
        record = TaskRecord.read(found[state])
        if record.is_old and record.is_over:
            await self._drop(owner, [name])
            return None
        if record.server and not owner.may_call(record.tool):
            return None
        return record

    def take_up(self, owner: Owner, name: str, resume: Resume | None) -> bool:
        """See to it that a task is resumed or ended if its process is gone, though nobody asks.

        False where too many are looked after already.
        """
        if name not in self._taking_up:
            if len(self._taking_up) >= _RUNNING_MAX:
                return False
            task = asyncio.ensure_future(self._taken_up(owner, name, resume))
            self._taking_up[name] = task
            task.add_done_callback(lambda _: self._forget(name))
        return True

    def _forget(self, name: str) -> None:
        self._taking_up.pop(name, None)
        self._asked.pop(name, None)

    async def _taken_up(self, owner: Owner, name: str, resume: Resume | None) -> None:
        async def look() -> float | None:
            record = await self._record(owner, name)
            is_others = record is not None and not record.is_over and name not in self._jobs
            return record.beat if record is not None and is_others else None

        while True:
            try:
                beat = await stood_still(look)
                record = None if beat is None else await self._record(owner, name)
                if record is None or record.is_over or record.beat != beat:
                    return
                record = await self._replace(owner, record, self._asked.get(name, resume))
                if record.is_over or record.beat != beat:
                    return
            except StoreError:
                pass  # it comes back
            except Exception:
                logger.exception("the task %s of a process that is gone is left", name)
                return
            await asyncio.sleep(BEAT_S)

    async def _replace(self, owner: Owner, record: TaskRecord, resume: Resume | None) -> TaskRecord:
        """Resume or end a task whose process is gone."""
        if resume is None or record.server_task is None:
            return await self._lose(owner, record)
        try:
            self._check(owner)
        except PolycallError:
            return record  # it waits, as it does at its server
        return await self._resume(owner, record, resume)

    async def all(self, owner: Owner, resume: Resume | None = None) -> list[TaskRecord]:
        """The tasks of this key, the oldest first."""
        values = await self._store.owner_states(owner.id, HEAD, 2 * _KEPT_OF_KEY_MAX)
        read = sorted(map(TaskRecord.read, values.values()), key=lambda each: each.created)
        found = [await self.find(owner, each.id, resume) for each in read]
        return [each for each in found if each is not None]

    async def result(self, owner: Owner, record: TaskRecord) -> JSON:
        """The result of a completed task's call."""
        if record.is_lost:
            return failed(LOST)
        state = result_state(record.id)
        found = await self._store.load_states(owner.id, [state], may_change=True)
        if state not in found:
            raise MCPError(types.INTERNAL_ERROR, "the result of this task is not kept any more")
        return jsontext.decode(found[state])

    async def answer(self, owner: Owner, name: str, responses: JSON) -> None:
        """Give a person's answer to the task's question; other answers are ignored."""
        try:
            size = len(msgspec.json.encode(responses))
        except UnicodeEncodeError:
            raise MCPError(types.INVALID_PARAMS, "the answer holds half of a character") from None
        if size > PART_BYTES_MAX:
            words = f"the answer has {size} bytes, and at most {PART_BYTES_MAX} are taken"
            raise MCPError(types.INVALID_PARAMS, words)

        def answered(value: bytes) -> bytes | None:
            record = TaskRecord.read(value)
            given = responses.get(record.question_name)
            if record.question is None or record.answer is not None or not isinstance(given, dict):
                return None
            record.answer = given  # pyright: ignore[reportUnknownMemberType]
            return record.written()

        await self._store.change_state(owner.id, HEAD + name, answered)
        self._nudge(name)

    async def cancel(self, owner: Owner, name: str, leave: Leave | None = None) -> bool:
        """End a task; false where it had ended.

        Where its process is gone, another one takes it up first, which tells its server; where that
        is not known yet, `leave` does so if that process hears nothing of it.
        """
        if (taking := self._taking_up.get(name)) is not None:
            await asyncio.wait([taking], timeout=(LOOKS + 1) * BEAT_S)
        is_ours = False

        def cancelled(value: bytes) -> bytes | None:
            nonlocal is_ours
            record = TaskRecord.read(value)
            is_ours = not record.is_over
            if not is_ours:
                return None
            record.status, record.updated = "cancelled", time.time()
            record.message = "its client cancelled it"
            record.question = record.answer = None
            return record.written()

        await self._store.change_state(owner.id, HEAD + name, cancelled)
        self._nudge(name)
        is_elsewhere = is_ours and name not in self._jobs
        if is_elsewhere and leave is not None and len(self._leaving) < _RUNNING_MAX:
            task = asyncio.ensure_future(self._left(owner, name, leave))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)
        return is_ours

    async def _left(self, owner: Owner, name: str, leave: Leave) -> None:
        """Do what is left of a task that was cancelled, unless its process does."""
        await asyncio.sleep(_HEARD_S)
        is_ours = False

        def heard(value: bytes) -> bytes | None:
            nonlocal is_ours
            record = TaskRecord.read(value)
            is_ours, record.is_heard = not record.is_heard, True
            return record.written() if is_ours else None

        try:
            value = await self._store.change_state(owner.id, HEAD + name, heard)
            if value is not None and is_ours:
                await leave(owner, TaskRecord.read(value))
        except Exception:
            logger.exception("the server of the cancelled task %s does not know of it", name)

    async def settled(self, name: str) -> None:
        """Wait until there may be something new of a task."""
        job = self._jobs.get(name)
        if job is None:
            await asyncio.sleep(LOOK_S)
        else:
            await job.changed()

    async def close(self, within_s: float = 5.0) -> None:
        """End the calls that are under way; their tasks say so."""
        for task in [*self._taking_up.values(), *self._leaving]:
            task.cancel()
        for job in list(self._jobs.values()):
            job.abandon()
        tasks = [job.task for job in self._jobs.values() if job.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=within_s)

    def _nudge(self, name: str) -> None:
        if (job := self._jobs.get(name)) is not None:
            job.nudge()

    def _check(self, owner: Owner) -> None:
        if len(self._jobs) + self._beginning.total() >= _RUNNING_MAX:
            raise OverloadedError(
                f"{_RUNNING_MAX} tasks are under way, the most that the gateway takes; try again",
                retry_after_s=5.0,
            )
        mine = sum(job.owner.id == owner.id for job in self._jobs.values())
        mine += self._beginning[owner.id]
        if mine >= _RUNNING_OF_KEY_MAX:
            raise RateLimitError(
                f"{mine} tasks of this key are under way; wait for one, or cancel it",
                retry_after_s=5.0,
            )

    async def _make_room(self, owner: Owner) -> None:
        values = await self._store.owner_states(owner.id, HEAD, 2 * _KEPT_OF_KEY_MAX)
        records = sorted(map(TaskRecord.read, values.values()), key=lambda each: each.created)
        over = [each for each in records if each.is_over]
        gone = [each.id for each in over if each.is_old]
        surplus = len(records) - len(gone) - _KEPT_OF_KEY_MAX + 1
        gone += [each.id for each in over if not each.is_old][: max(surplus, 0)]
        if gone:
            await self._drop(owner, gone)

    async def _drop(self, owner: Owner, names: list[str]) -> None:
        states = [state for name in names for state in (HEAD + name, result_state(name))]
        await self._store.delete_states(owner.id, states)

    async def _resume(self, owner: Owner, record: TaskRecord, resume: Resume) -> TaskRecord:
        """Wait in the place of a process that is gone, unless another one does."""

        def taken(found: TaskRecord) -> None:
            found.worker, found.beat = self._worker, time.time()
            found.status, found.question, found.answer = "working", None, None

        record, is_ours = await self._changed_unless_moved(owner, record, taken)
        if is_ours:
            logger.info("the task %s is resumed at its server", record.id)
            self._work(owner, record, resume(record))
        return record

    async def _lose(self, owner: Owner, record: TaskRecord) -> TaskRecord:
        """End, in its process's place, a task that nobody works on any more."""

        def lost(found: TaskRecord) -> None:
            found.status, found.is_lost, found.message = "completed", True, LOST
            found.updated, found.question, found.answer = time.time(), None, None

        record, is_ours = await self._changed_unless_moved(owner, record, lost)
        if is_ours and record.server:
            row = call_row(
                f"{record.call_id or record.id}_lost",  # it may end well, and have a row, after all
                (record.key, owner.id),
                (record.tool, record.server),
                record.worker,
                status=500,
                outcome="error",
                error="the process that made the call ended",
            )
            self._store.add_row(row)
        return record

    async def _changed_unless_moved(
        self, owner: Owner, record: TaskRecord, change: Callable[[TaskRecord], None]
    ) -> tuple[TaskRecord, bool]:
        """The record as it is now, and whether nobody else changed it, and it is changed."""
        is_ours = False

        def changed(value: bytes) -> bytes | None:
            nonlocal is_ours
            found = TaskRecord.read(value)
            is_ours = not found.is_over and found.beat == record.beat
            if not is_ours:
                return None
            change(found)
            return found.written()

        value = await self._store.change_state(owner.id, HEAD + record.id, changed)
        return (record if value is None else TaskRecord.read(value)), is_ours
