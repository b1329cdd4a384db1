"""The call of a task within its process, which says every few seconds that it works on it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TypeAlias, cast

import mcp_types as types
from mcp.shared.exceptions import MCPError

from polycall._support import jsontext
from polycall.errors import StoreError
from polycall.gateway.accounts.keys import Owner
from polycall.gateway.mcp.asking import Running, question_request
from polycall.gateway.mcp.task_names import HEAD
from polycall.gateway.mcp.task_records import (
    LOST,
    MESSAGE_MAX,
    PART_BYTES_MAX,
    Status,
    TaskRecord,
    is_large,
    kept,
    result_state,
)
from polycall.gateway.processes.silence import BEAT_S, LEFT
from polycall.gateway.store import Store
from polycall.ir import JSON
from polycall.mcp.asking import Elicitation, ElicitationAnswer

logger = logging.getLogger("polycall.mcp")

Made: TypeAlias = Running[JSON]

LOOK_S = 0.5
_SAVE_TRIES = 10


class TaskJob:
    """One of them."""

    def __init__(self, store: Store, owner: Owner, record: TaskRecord, running: Made) -> None:
        self.owner = owner
        self.task: asyncio.Task[None] | None = None
        self._store = store
        self._record = record
        self._running = running
        self._worker = record.worker
        self._can_ask = record.can_ask
        self._asked: object = None
        self._questions = int(record.question_name[1:] or 0)  # no name is given twice
        self._is_abandoned = False
        self._nudged = asyncio.Event()
        self._changed = asyncio.Event()
        running.listen(None, None)  # the request that listened is over

    def nudge(self) -> None:
        """Look at once at what became of the task."""
        self._nudged.set()

    def abandon(self) -> None:
        """The process ends, and the call with it, unless that is a task of its server's."""
        self._is_abandoned = True
        self._running.leave()

    async def changed(self) -> None:
        """Wait until there may be something new."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S):
                await self._changed.wait()

    async def work(self) -> None:
        """Until the call has ended, and its result is kept."""
        self._running.heed(self._nudged.set)
        while not self._running.is_done:
            with contextlib.suppress(StoreError):  # it comes back, or its end is reported then
                await self._look()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._nudged.wait()
            self._nudged.clear()
        for _ in range(_SAVE_TRIES):
            try:
                await self._end()
            except StoreError:
                logger.warning("the result of the task %s is not kept yet", self._record.id)
                await asyncio.sleep(BEAT_S)
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
                is_too_large = is_large(_shown(question))
                if is_too_large:
                    logger.warning(
                        "MCP server %r asks in the task %s more than %d bytes hold: declined",
                        question.server,
                        self._record.id,
                        PART_BYTES_MAX,
                    )
                if is_too_large or not self._can_ask:
                    self._running.answer(ElicitationAnswer("decline"))
        await self._store.change_state(
            self.owner.id, HEAD + self._record.id, lambda value: self._merged(value, question)
        )
        if self._record.worker != self._worker:
            self._running.leave()  # this process was taken for dead
        elif self._record.is_over or self._record.is_old:
            self._running.cancel()

    def _merged(self, value: bytes, question: Elicitation | None) -> bytes | None:
        record = self._record = TaskRecord.read(value)
        if record.is_over or record.worker != self._worker:
            return None
        before = _state_of(record)
        if record.answer is not None and record.question is not None:
            if record.question_name == f"q{self._questions}":  # it may ask something else by now
                self._running.answer(_answer_of(record.answer))
                question = None
            record.answer = record.question = None
        if not self._can_ask or (question is not None and is_large(_shown(question))):
            question = None
        if question is not None and record.question_name != f"q{self._questions}":
            record.question_name = f"q{self._questions}"
            record.question = _shown(question)
        is_waiting = question is not None and record.question is not None
        record.status = "input_required" if is_waiting else "working"
        if not is_waiting:
            record.question = None
        record.message = self._running.message[:MESSAGE_MAX]
        record.call_id = self._running.call_id or record.call_id
        record.server_task = kept(self._running.server_task) or record.server_task
        now = time.time()
        after = _state_of(record)
        if after != before:
            record.updated = now
            self._changed.set()
            self._changed = asyncio.Event()
        elif now - record.beat < BEAT_S:
            return None
        record.beat = now
        return record.written()

    async def _end(self) -> None:
        """Keep the result, unless somebody ended the task before."""
        status: Status = "completed"
        error: JSON | None = None
        message, is_lost = "", False
        task = self._running.server_task
        if task is not None and task.is_left:
            await self._store.change_state(self.owner.id, HEAD + self._record.id, self._left)
            return
        try:
            result = self._running.result()
        except asyncio.CancelledError:
            status, message = "cancelled", "it took longer than the task may be kept"
            if self._is_abandoned:
                status, message, is_lost = "completed", LOST, True
        except MCPError as failure:
            status, message = "failed", failure.message[:MESSAGE_MAX]
            error = failure.error.model_dump(exclude_none=True, mode="json")
            if is_large(error):
                error = {"code": failure.error.code, "message": f"{message} (cut: it is too long)"}
        except Exception:
            # A mistake of ours: the client reads of it in its task.
            logger.exception("the task %s failed", self._record.id)
            status, message = "failed", "the gateway failed; its log has the reason"
            error = {"code": types.INTERNAL_ERROR, "message": message}
        else:
            state = result_state(self._record.id)
            await self._store.save_state(self.owner.id, state, jsontext.encode_bytes(result))

        def ended(value: bytes) -> bytes | None:
            record = TaskRecord.read(value)
            if record.worker != self._worker:
                return None
            if record.is_over:
                record.is_heard = True
                return record.written()
            record.status, record.message, record.error = status, message, error
            record.is_lost = is_lost
            record.question, record.answer, record.updated = None, None, time.time()
            return record.written()

        await self._store.change_state(self.owner.id, HEAD + self._record.id, ended)

    def _left(self, value: bytes) -> bytes | None:
        """The record with which another process can resume at once."""
        record = TaskRecord.read(value)
        if record.is_over or record.worker != self._worker:
            return None
        record.server_task = kept(self._running.server_task) or record.server_task
        record.call_id, record.beat = self._running.call_id, LEFT
        return record.written()


def _state_of(record: TaskRecord) -> tuple[object, ...]:
    """The state of a task for its client and its next process."""
    server = "" if record.server_task is None else record.server_task.id
    return record.status, record.message, record.question_name, record.call_id, server


def _shown(question: Elicitation) -> JSON:
    return question_request(question).model_dump(by_alias=True, exclude_none=True, mode="json")


def _answer_of(given: JSON) -> ElicitationAnswer:
    """A person's answer, as it came from a client."""
    action, content = given.get("action"), given.get("content")
    if action not in ("accept", "decline", "cancel"):
        return ElicitationAnswer("cancel")
    return ElicitationAnswer(action, cast("JSON", content) if isinstance(content, dict) else None)
