"""The events that agents and tools add to a run."""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct

from polycall.agents.task import TaskStatus
from polycall.ir import Response, ToolResult


class NestedStep(Struct, frozen=True, omit_defaults=True):
    """A step of an agent below: `path` are the ids of the calls that lead there."""

    path: list[str]
    number: int
    response: Response
    results: list[ToolResult] = []
    cost: Decimal | None = None


class HandoffEvent(Struct, frozen=True, tag="handoff", tag_field="type"):
    """The conversation goes to another agent with the next step, or back to the one before."""

    origin: str
    target: str
    reason: str
    is_return: bool = False


class ProgressEvent(Struct, frozen=True, tag="progress", tag_field="type"):
    """A tool's progress, from 0 to 1, in its own words."""

    progress: float
    message: str = ""


class TaskEvent(Struct, frozen=True, tag="task", tag_field="type"):
    """A background task has begun, has come further, or has ended; `step` is the run's last one."""

    step: int
    task: TaskStatus


class Resumed(Struct, frozen=True, tag="resumed", tag_field="type"):
    """A durable run continues in another process, from the beginning of `step`.

    What was read of that step before is void: the step comes again, from its start.
    """

    step: int
