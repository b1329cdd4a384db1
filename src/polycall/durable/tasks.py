"""Background tasks of durable runs: workflows of their own, done by any process of the fleet."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from dbos import DBOSClient, WorkflowStatus

from polycall._support import jsontext
from polycall.agents.task import TaskOrder, TaskStatus
from polycall.durable.database import Database
from polycall.durable.records import TASK_WORKFLOW, VERSION, decoded, error_of, state_of
from polycall.ir import ToolResult
from polycall.tools import AbstractToolset, FunctionTool, ToolContext

TASK_QUEUE = "polycall-tasks"
# Progress is for people and models to look at now and then.
_REPORT_EVERY_S = 0.2


def queue_of(tool: FunctionTool[..., Any]) -> str:
    """A queue of its own where the fleet may run only so many at a time."""
    return TASK_QUEUE if tool.concurrency is None else f"polycall-task-{tool.name}"


class DurableTasks:
    """The tasks of one run."""

    def __init__(
        self, client: DBOSClient, database: Database, run_id: str, *, poll_s: float
    ) -> None:
        self._client = client
        self._database = database
        self._run_id = run_id
        self._poll_s = poll_s

    async def start(
        self, order: TaskOrder, toolset: AbstractToolset, context: ToolContext[Any]
    ) -> None:
        beginning: asyncio.Future[Any] = asyncio.ensure_future(
            self._client.enqueue_async(
                {
                    "workflow_name": TASK_WORKFLOW,
                    "queue_name": queue_of(toolset[order.call.name]),
                    "workflow_id": self._full(order.id),
                    "app_version": VERSION,
                },
                jsontext.encode(order),
            )
        )
        try:
            await asyncio.shield(beginning)
        except asyncio.CancelledError:
            # A thread writes, and continues: the code that cancels tasks next must find this one.
            await asyncio.wait([beginning])
            raise

    async def look(self, tasks: Mapping[str, str]) -> list[TaskStatus]:
        if not tasks:
            return []
        names = [self._full(task_id) for task_id in tasks]
        found = await self._client.list_workflows_async(workflow_ids=names, load_input=False)
        rows = {status.workflow_id: status for status in found}
        progress = await self._database.patiently(progress_of, self._database, names)
        return [
            status_of(task_id, tool, rows.get(full), progress.get(full, (0.0, "")))
            for (task_id, tool), full in zip(tasks.items(), names, strict=True)
        ]

    async def wait(self, tasks: Mapping[str, str], *, for_all: bool, deadline_s: float) -> None:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + deadline_s
        while True:
            over = [status.is_over for status in await self.look(tasks)]
            if (all if for_all else any)(over) or loop.time() >= ends_at:
                return
            await asyncio.sleep(min(self._poll_s, max(0.0, ends_at - loop.time())))

    async def changes(
        self, tasks: Mapping[str, str], seen: Mapping[str, TaskStatus]
    ) -> list[TaskStatus]:
        while True:
            found = [each for each in await self.look(tasks) if seen.get(each.id) != each]
            if found:
                return found
            await asyncio.sleep(self._poll_s)

    async def cancel(self, task_id: str) -> None:
        await self._client.cancel_workflow_async(self._full(task_id))

    def _full(self, task_id: str) -> str:
        return f"{self._run_id}.{task_id}"


def status_of(
    task_id: str, tool: str, row: WorkflowStatus | None, progress: tuple[float, str]
) -> TaskStatus:
    """The status of a task, from DBOS and from the task's own reports."""
    if row is None:
        return TaskStatus(task_id, tool, "cancelled", message="there is no such task any more")
    state = state_of(row)
    result = decoded(str(row.output), ToolResult) if row.status == "SUCCESS" else None
    if result is not None and result.is_error:
        state = "failed"
    message = error_of(row) or progress[1]
    share = 1.0 if state == "finished" else progress[0]
    return TaskStatus(task_id, tool, state, progress=share, message=message, result=result)


def progress_of(database: Database, names: list[str]) -> dict[str, tuple[float, str]]:
    """The progress that tasks have reported."""
    rows = database.rows(
        "select task_id, progress, message from polycall_progress where task_id in :names",
        names=names,
    )
    return {row["task_id"]: (float(row["progress"]), row["message"]) for row in rows}


class Reporter:
    """Writes a task's progress to the database, not more often than anybody looks."""

    def __init__(self, database: Database, task_id: str) -> None:
        self._database = database
        self._task_id = task_id
        self._written_at = float("-inf")

    async def __call__(self, progress: float, message: str) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._written_at < _REPORT_EVERY_S and progress < 1:
            return
        self._written_at = now
        await self._database.patiently(
            self._database.change,
            "insert into polycall_progress (task_id, progress, message) "
            "values (:task_id, :progress, :message) on conflict (task_id) "
            "do update set progress = :progress, message = :message",
            task_id=self._task_id,
            progress=progress,
            message=message,
        )
