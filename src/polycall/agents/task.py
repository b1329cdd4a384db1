"""A background task: its order, how it is doing, and who runs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol, TypeAlias

from msgspec import Struct

from polycall.instrumentation import TraceContext
from polycall.ir import JSON, ToolCall, ToolResult
from polycall.tools import AbstractToolset, ToolContext

TaskState: TypeAlias = Literal["queued", "running", "finished", "failed", "cancelled"]


class TaskNote(Struct, frozen=True, omit_defaults=True):
    """A run's note of a task that it began.  `is_told`: the model has seen how it ended."""

    tool: str
    is_told: bool = False


class TaskOrder(Struct, frozen=True):
    """A task to begin: which call of which agent it is.  `key` is the call's idempotency key.

    `carried` says to those who watch where it was begun.
    """

    id: str
    agent: str
    call: ToolCall
    key: str
    run_id: str = ""
    carried: TraceContext = {}


class TaskStatus(Struct, frozen=True, omit_defaults=True):
    """The status of a task."""

    id: str
    tool: str
    state: TaskState = "queued"
    progress: float = 0.0
    message: str = ""
    result: ToolResult | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.state in ("finished", "failed", "cancelled")

    def reported(self) -> JSON:
        """The status as the model reads it."""
        said: JSON = {"task_id": self.id, "tool": self.tool, "state": self.state}
        if not self.is_over:
            said["progress"] = round(self.progress, 3)
        if self.message:
            said["message"] = self.message
        if self.result is not None:
            said["result"] = self.result.text
        return said


class TaskRunner(Protocol):
    """Runs the tasks of a run: in this process, or in any that shares a database."""

    async def start(
        self, order: TaskOrder, toolset: AbstractToolset, context: ToolContext[Any]
    ) -> None:
        """Begin a task; one that was begun already stays as it is."""
        ...

    async def look(self, tasks: Mapping[str, str]) -> list[TaskStatus]:
        """The status of each of these tasks (their tools by id), in their order."""
        ...

    async def wait(self, tasks: Mapping[str, str], *, for_all: bool, deadline_s: float) -> None:
        """Return once one of them, or all, are over, or the deadline has passed."""
        ...

    async def changes(
        self, tasks: Mapping[str, str], seen: Mapping[str, TaskStatus]
    ) -> list[TaskStatus]:
        """Those of the tasks whose status is not the one that was seen, once there are some."""
        ...

    async def cancel(self, task_id: str) -> None:
        """Stop a task; nothing happens where it is over."""
        ...


def ended(task_id: str, name: str, result: ToolResult | None) -> TaskStatus:
    """The status of a task with this result."""
    failed = result is None or result.is_error
    return TaskStatus(
        task_id, name, "failed" if failed else "finished", progress=1.0, result=result
    )
