"""Calls that outlive their request: the protocol's tasks, each its key's own, in the store.

The process that makes the call says every few seconds that it still does.  One that fell silent is
taken for dead: its task ends with a result that says so, and the call is never made twice.  All
that is known of a task is one record, changed only from what it was: whatever process a client
comes to, the first end holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable
from typing import Literal, TypeAlias, cast

import mcp_types as types
import msgspec
from mcp.shared.exceptions import MCPError
from msgspec import Struct

from polycall._support import jsontext
from polycall.errors import OverloadedError, RateLimitError, StoreError
from polycall.gateway.accounts.keys import Owner
from polycall.gateway.mcp.asking import Running, question_request
from polycall.gateway.mcp.calls import call_row
from polycall.gateway.store import Store
from polycall.ir import JSON
from polycall.mcp.asking import Elicitation, ElicitationAnswer

logger = logging.getLogger("polycall.mcp")

Status: TypeAlias = Literal["working", "input_required", "completed", "failed", "cancelled"]
Made: TypeAlias = Running[types.CallToolResult]

LIVE = ("working", "input_required")
TTL_MS = 3_600_000
TTL_MS_MAX = 24 * TTL_MS
POLL_MS = 1_000
_HEAD = "mcp-task:"
_LOOK_S = 0.5
_BEAT_S = 2.0
_SILENT_S = 8.0  # of a process that makes a call: it is gone
_RUNNING_MAX = 500
_RUNNING_OF_KEY_MAX = 32
_KEPT_OF_KEY_MAX = 200
_MESSAGE_MAX = 500
_ID = re.compile(r"[0-9a-f]{32}")
# Of a question, an answer, an error: all tasks of a key are read at once.
_PART_BYTES_MAX = 64 * 1024
_SAVE_TRIES = 10
LOST = (
    "the gateway's process that made this call ended; the call may have done its work, and it is "
    "not made again"
)


class TaskRecord(Struct):
    """What is known of a task."""

    id: str
    tool: str  # its full name; of code mode, the tool's alone
    server: str  # empty for code mode
    key: str
    worker: str
    created: float
    updated: float
    beat: float
    ttl_ms: int
    status: Status = "working"
    message: str = ""
    call_id: str = ""
    question: JSON | None = None  # as the protocol has it, while it waits for a person
    question_name: str = ""
    answer: JSON | None = None  # what the person said to that question
    error: JSON | None = None
    is_lost: bool = False

    @classmethod
    def read(cls, value: bytes) -> TaskRecord:
        """What was written."""
        return msgspec.convert(jsontext.decode(value), cls)  # a server's words may be half letters

    def written(self) -> bytes:
        """As the store keeps it."""
        return jsontext.encode_bytes(self)

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.status not in LIVE

    @property
    def is_old(self) -> bool:
        """Whether it need not be kept any longer."""
        return time.time() > self.created + self.ttl_ms / 1000


class Tasks:
    """Begins, answers and ends them.  One for the process; `close` it at the end."""

    def __init__(self, store: Store, worker: str) -> None:
        self._store = store
        self._worker = worker
        self._jobs: dict[str, _Job] = {}
        self._beginning: Counter[str] = Counter()  # by key, those that are not in the store yet

    async def begin(
        self,
        owner: Owner,
        tool: str,
        server: str,
        make: Callable[[], Made],
        *,
        can_ask: bool,
        ttl_ms: int | None = None,
        message: str = "",
    ) -> TaskRecord:
        """Make the call as a task; when this returns, the task is in the store.

        Raises `RateLimitError` or `OverloadedError` where there are too many.
        """
        self._check(owner)
        self._beginning[owner.id] += 1
        try:
            return await self._begun(
                owner, tool, server, make, can_ask=can_ask, ttl_ms=ttl_ms, message=message
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
        message: str,
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
            ttl_ms=min(max(ttl_ms or TTL_MS, 1_000), TTL_MS_MAX),
            message=message[:_MESSAGE_MAX],
        )
        await self._store.save_state(owner.id, _HEAD + record.id, record.written())
        job = self._jobs[record.id] = _Job(self._store, owner, record, make(), can_ask=can_ask)
        job.task = asyncio.get_running_loop().create_task(job.work())
        job.task.add_done_callback(lambda _: self._jobs.pop(record.id, None))
        return record

    async def find(self, owner: Owner, name: str) -> TaskRecord | None:
        """A task of this key; one whose process is gone is ended first."""
        if _ID.fullmatch(name) is None:
            return None
        state = _HEAD + name
        found = await self._store.load_states(owner.id, [state], may_change=True)
        if state not in found:
            return None
        record = TaskRecord.read(found[state])
        if record.is_old and record.is_over:
            await self._drop(owner, [name])
            return None
        if record.server and not owner.may_call(record.tool):
            return None
        if record.is_over or time.time() - record.beat < _SILENT_S:
            return record
        return await self._lose(owner, record)

    async def all(self, owner: Owner) -> list[TaskRecord]:
        """The tasks of this key, the oldest first."""
        values = await self._store.owner_states(owner.id, _HEAD, 2 * _KEPT_OF_KEY_MAX)
        read = sorted(map(TaskRecord.read, values.values()), key=lambda each: each.created)
        found = [await self.find(owner, each.id) for each in read]
        return [each for each in found if each is not None]

    async def result(self, owner: Owner, record: TaskRecord) -> JSON:
        """What the call of a completed task gave."""
        if record.is_lost:
            said = types.CallToolResult(content=[types.TextContent(text=LOST)], is_error=True)
            return said.model_dump(by_alias=True, exclude_none=True, mode="json")
        state = _result_state(record.id)
        found = await self._store.load_states(owner.id, [state], may_change=True)
        if state not in found:
            raise MCPError(types.INTERNAL_ERROR, "the result of this task is not kept any more")
        return jsontext.decode(found[state])

    async def answer(self, owner: Owner, name: str, responses: JSON) -> None:
        """What a person said to the task's question; all else is no answer to anything."""
        try:
            size = len(msgspec.json.encode(responses))
        except UnicodeEncodeError:
            raise MCPError(types.INVALID_PARAMS, "the answer holds half of a character") from None
        if size > _PART_BYTES_MAX:
            words = f"the answer has {size} bytes, and at most {_PART_BYTES_MAX} are taken"
            raise MCPError(types.INVALID_PARAMS, words)

        def answered(value: bytes) -> bytes | None:
            record = TaskRecord.read(value)
            given = responses.get(record.question_name)
            if record.question is None or record.answer is not None or not isinstance(given, dict):
                return None
            record.answer = given  # pyright: ignore[reportUnknownMemberType]
            return record.written()

        await self._store.change_state(owner.id, _HEAD + name, answered)
        self._nudge(name)

    async def cancel(self, owner: Owner, name: str) -> bool:
        """End a task; false where it had ended."""
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

        await self._store.change_state(owner.id, _HEAD + name, cancelled)
        self._nudge(name)
        return is_ours

    async def settled(self, name: str) -> None:
        """Wait until there may be something new of a task."""
        job = self._jobs.get(name)
        if job is None:
            await asyncio.sleep(_LOOK_S)
        else:
            await job.changed()

    async def close(self, within_s: float = 5.0) -> None:
        """End the calls that are under way; their tasks say so."""
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
        values = await self._store.owner_states(owner.id, _HEAD, 2 * _KEPT_OF_KEY_MAX)
        records = sorted(map(TaskRecord.read, values.values()), key=lambda each: each.created)
        over = [each for each in records if each.is_over]
        gone = [each.id for each in over if each.is_old]
        surplus = len(records) - len(gone) - _KEPT_OF_KEY_MAX + 1
        gone += [each.id for each in over if not each.is_old][: max(surplus, 0)]
        if gone:
            await self._drop(owner, gone)

    async def _drop(self, owner: Owner, names: list[str]) -> None:
        states = [state for name in names for state in (_HEAD + name, _result_state(name))]
        await self._store.delete_states(owner.id, states)

    async def _lose(self, owner: Owner, record: TaskRecord) -> TaskRecord:
        """End, in its process's place, a task that nobody works on any more."""
        is_ours = False

        def lost(value: bytes) -> bytes | None:
            nonlocal is_ours
            found = TaskRecord.read(value)
            is_ours = not found.is_over and time.time() - found.beat >= _SILENT_S
            if not is_ours:
                return None
            found.status, found.is_lost, found.message = "completed", True, LOST
            found.updated, found.question, found.answer = time.time(), None, None
            return found.written()

        value = await self._store.change_state(owner.id, _HEAD + record.id, lost)
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
        return record if value is None else TaskRecord.read(value)


class _Job:
    """The call of one task, within its process."""

    def __init__(
        self, store: Store, owner: Owner, record: TaskRecord, running: Made, *, can_ask: bool
    ) -> None:
        self.owner = owner
        self.task: asyncio.Task[None] | None = None
        self._store = store
        self._record = record
        self._running = running
        self._can_ask = can_ask
        self._asked: object = None
        self._questions = 0
        self._is_abandoned = False
        self._nudged = asyncio.Event()
        self._changed = asyncio.Event()
        running.listen(None, None)  # the request that listened is over

    def nudge(self) -> None:
        """Look at once at what became of the task."""
        self._nudged.set()

    def abandon(self) -> None:
        """The process ends, and the call with it."""
        self._is_abandoned = True
        self._running.cancel()

    async def changed(self) -> None:
        """Wait until there may be something new."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_S):
                await self._changed.wait()

    async def work(self) -> None:
        """Until the call has ended, and its result is kept."""
        self._running.when_done(self._nudged.set)
        while not self._running.is_done:
            with contextlib.suppress(StoreError):  # it comes back, or its end is told then
                await self._look()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._nudged.wait()
            self._nudged.clear()
        for _ in range(_SAVE_TRIES):
            try:
                await self._end()
            except StoreError:
                logger.warning("the result of the task %s is not kept yet", self._record.id)
                await asyncio.sleep(_BEAT_S)
            else:
                break
        self._changed.set()

    async def _look(self) -> None:
        """Say that somebody is at work, and take what the client said."""
        question = self._running.question
        if question is not self._asked:
            self._asked = question
            if question is not None:
                self._questions += 1
                is_large = _is_large(_shown(question))
                if is_large:
                    logger.warning(
                        "MCP server %r asks in the task %s more than %d bytes hold: declined",
                        question.server,
                        self._record.id,
                        _PART_BYTES_MAX,
                    )
                if is_large or not self._can_ask:
                    self._running.answer(ElicitationAnswer("decline"))
        await self._store.change_state(
            self.owner.id, _HEAD + self._record.id, lambda value: self._merged(value, question)
        )
        if self._record.is_over or self._record.is_old:
            self._running.cancel()

    def _merged(self, value: bytes, question: Elicitation | None) -> bytes | None:
        record = self._record = TaskRecord.read(value)
        if record.is_over:
            return None
        before = (record.status, record.message, record.question_name, record.call_id)
        if record.answer is not None and record.question is not None:
            if record.question_name == f"q{self._questions}":  # it may ask something else by now
                self._running.answer(_answer_of(record.answer))
                question = None
            record.answer = record.question = None
        if not self._can_ask or (question is not None and _is_large(_shown(question))):
            question = None
        if question is not None and record.question_name != f"q{self._questions}":
            record.question_name = f"q{self._questions}"
            record.question = _shown(question)
        is_waiting = question is not None and record.question is not None
        record.status = "input_required" if is_waiting else "working"
        if not is_waiting:
            record.question = None
        record.message = self._running.message[:_MESSAGE_MAX]
        record.call_id = self._running.call_id
        now = time.time()
        after = (record.status, record.message, record.question_name, record.call_id)
        if after != before:
            record.updated = now
            self._changed.set()
            self._changed = asyncio.Event()
        elif now - record.beat < _BEAT_S:
            return None
        record.beat = now
        return record.written()

    async def _end(self) -> None:
        """Keep the result, unless somebody ended the task before."""
        status: Status = "completed"
        error: JSON | None = None
        message = ""
        try:
            result = self._running.result()
        except asyncio.CancelledError:
            status, message = "cancelled", "it took longer than the task may be kept"
            if self._is_abandoned:
                status, message = "completed", LOST
        except MCPError as failure:
            status, message = "failed", failure.message[:_MESSAGE_MAX]
            error = failure.error.model_dump(exclude_none=True, mode="json")
            if _is_large(error):
                error = {"code": failure.error.code, "message": f"{message} (cut: it is too long)"}
        except Exception:
            # A mistake of ours: the client reads of it in its task.
            logger.exception("the task %s failed", self._record.id)
            status, message = "failed", "the gateway failed; its log has the reason"
            error = {"code": types.INTERNAL_ERROR, "message": message}
        else:
            shown = result.model_dump(by_alias=True, exclude_none=True, mode="json")
            state = _result_state(self._record.id)
            await self._store.save_state(self.owner.id, state, jsontext.encode_bytes(shown))

        def ended(value: bytes) -> bytes | None:
            record = TaskRecord.read(value)
            if record.is_over:
                return None
            record.status, record.message, record.error = status, message, error
            record.is_lost = message is LOST
            record.question, record.answer, record.updated = None, None, time.time()
            return record.written()

        await self._store.change_state(self.owner.id, _HEAD + self._record.id, ended)


def _result_state(name: str) -> str:
    """Under which name a task's result is kept."""
    return f"mcp-result:{name}"


def _shown(question: Elicitation) -> JSON:
    return question_request(question).model_dump(by_alias=True, exclude_none=True, mode="json")


def _is_large(part: JSON) -> bool:
    return len(jsontext.encode_bytes(part)) > _PART_BYTES_MAX


def _answer_of(given: JSON) -> ElicitationAnswer:
    """What a person said, as it came from a client."""
    action, content = given.get("action"), given.get("content")
    if action not in ("accept", "decline", "cancel"):
        return ElicitationAnswer("cancel")
    return ElicitationAnswer(action, cast("JSON", content) if isinstance(content, dict) else None)
