"""Waiting for a server's task that another process of the gateway began, and is gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeAlias

import mcp_types as types

from polycall.gateway.mcp.asking import Running
from polycall.gateway.mcp.calls import CallScope, McpRequest, ToolCalls, failed
from polycall.gateway.mcp.hub import OfferedTool
from polycall.gateway.mcp.task_records import TaskRecord
from polycall.mcp.tasks import ServerTask

Made: TypeAlias = Running[types.CallToolResult]
ScopeOf: TypeAlias = Callable[[McpRequest, Made, OfferedTool], CallScope]

_LOOK_S = 1.0
_WITHIN_S_MIN = 30.0  # the result may be there, however long the gateway was away


class Resumer:
    """Makes what waits."""

    def __init__(self, calls: ToolCalls, scope_of: ScopeOf) -> None:
        self._calls = calls
        self._scope_of = scope_of
        self._telling: set[asyncio.Task[None]] = set()

    def running(self, asked: McpRequest, record: TaskRecord) -> Made:
        """Waits for the server's task of the record; its questions are of this request's key."""
        task = record.server_task
        assert task is not None, "only a call that a server made a task of can be resumed"

        async def wait(running: Made) -> types.CallToolResult:
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
    ) -> types.CallToolResult:
        whole_s = self._calls.deadline_s(record.server)
        until = max(record.created + whole_s, time.time() + _WITHIN_S_MIN)
        while True:
            offered = await self._calls.find(asked.owner, [record.server], record.tool)
            why = self._calls.unreachable(record.server)
            if offered is not None or not why or time.time() > until:
                break
            await asyncio.sleep(_LOOK_S)
        if offered is None:
            why = (
                why or self._calls.withheld(asked.owner, record.tool) or "it is not there any more"
            )
            return failed(
                f"the result of {record.tool!r} cannot be had ({why}); the call may have done its "
                "work, and it is not made again"
            )
        if offered.member.place != task.place:
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
