"""Waiting for a server's task that another process of the gateway began, and is gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeAlias

from polycall.gateway.accounts.keys import Owner
from polycall.gateway.http.request import GatewayRequest, Scope
from polycall.gateway.mcp.asking import Running
from polycall.gateway.mcp.calls import CallScope, McpRequest, ToolCalls, call_row, failed
from polycall.gateway.mcp.hub import OfferedTool
from polycall.gateway.mcp.task_records import TaskRecord
from polycall.ir import JSON
from polycall.mcp.tasks import ServerTask

Made: TypeAlias = Running[JSON]
ScopeOf: TypeAlias = Callable[[McpRequest, Made, OfferedTool], CallScope]

_LOOK_S = 1.0
_NOBODY: Scope = {"method": "POST", "path": "/mcp", "query_string": b"", "headers": []}
_WITHIN_S_MIN = 30.0  # the result may be there, however long the gateway was away


class Resumer:
    """Makes what waits."""

    def __init__(self, calls: ToolCalls, scope_of: ScopeOf) -> None:
        self._calls = calls
        self._scope_of = scope_of
        self._telling: set[asyncio.Task[None]] = set()

    def alone(self, owner: Owner, record: TaskRecord) -> Made:
        """The same while no client asks: what the server asks of a model is refused."""
        request = GatewayRequest(_NOBODY, _nothing, _unheard, f"task_{record.id[:16]}")
        names = (record.server,)
        asked = McpRequest(owner, names, is_code=False, is_one=False, gateway_request=request)
        return self.running(asked, record)

    async def leave(self, owner: Owner, record: TaskRecord) -> None:
        """End a call whose client cancelled it when its process was gone already."""
        if not record.server:  # a program
            return
        self._write_down(owner, record, status=499, outcome="cancelled")
        member = await self._calls.member(record.server)
        task = record.server_task
        if member is not None and task is not None and member.place == task.place:
            await self._calls.cancel_task(record.server, task)

    def running(self, asked: McpRequest, record: TaskRecord) -> Made:
        """Waits for the server's task of the record; its questions are of this request's key."""
        task = record.server_task
        assert task is not None, "only a call that a server made a task of can be resumed"

        async def wait(running: Made) -> JSON:
            try:
                return await self._waited(asked, record, task, running)
            except asyncio.CancelledError:
                if not (task.is_left or task.is_cancelled):
                    telling = asyncio.create_task(self._calls.cancel_task(record.server, task))
                    self._telling.add(telling)
                    telling.add_done_callback(self._telling.discard)
                raise

        running = Running(wait)
        running.call_id = record.call_id
        running.tasked(task)
        return running

    async def _waited(
        self, asked: McpRequest, record: TaskRecord, task: ServerTask, running: Made
    ) -> JSON:
        until = time.time() + _WITHIN_S_MIN
        until = max(record.created + self._calls.deadline_s(record.server), until)
        try:
            offered, why = await self._offered(asked, record, until)
        except asyncio.CancelledError:
            if not task.is_left:
                self._write_down(asked.owner, record, status=499, outcome="cancelled")
            raise
        if offered is None:
            self._write_down(
                asked.owner, record, error="the result of the server's task cannot be had"
            )
            return failed(
                f"the result of {record.tool!r} cannot be had ({why}); the call may have done its "
                "work, and it is not made again"
            )
        if offered.member.place != task.place:
            self._write_down(
                asked.owner, record, error="another server is in the place of the task's"
            )
            return failed(
                f"[mcp.{record.server}] is another server than the one that began this task; the "
                "call may have done its work there, and it is not made again"
            )
        scope = self._scope_of(asked, running, offered)
        outcome = await self._calls.resume(
            offered,
            task,
            scope,
            record.call_id,
            within_s=until - time.time(),
            reporter=running.report,
        )
        return outcome.served

    async def _offered(
        self, asked: McpRequest, record: TaskRecord, until: float
    ) -> tuple[OfferedTool | None, str]:
        """The tool, or why it is not there even after a while."""
        while True:
            offered = await self._calls.find(asked.owner, [record.server], record.tool)
            why = self._calls.unreachable(record.server)
            if offered is not None or not why or time.time() > until:
                break
            await asyncio.sleep(_LOOK_S)
        why = why or self._calls.withheld(asked.owner, record.tool) or "it is not there any more"
        return offered, why

    def _write_down(
        self,
        owner: Owner,
        record: TaskRecord,
        *,
        status: int = 200,
        outcome: str = "error",
        error: str = "",
    ) -> None:
        """Write the row of a call whose result is not to be had."""
        row = call_row(
            record.call_id or record.id,
            (record.key, owner.id),
            (record.tool, record.server),
            self._calls.worker,
            status=status,
            outcome=outcome,
            error=error,
        )
        self._calls.write_row(row)


async def _nothing() -> Scope:
    return {"type": "http.disconnect"}


async def _unheard(_: Scope) -> None:
    """Nobody is there."""
