"""Runs, tasks and approvals of a database, as plain data."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal, TypeAlias

import msgspec
from dbos import Serializer, WorkflowStatus
from msgspec import Struct

from polycall._support import jsontext
from polycall.agents import History
from polycall.agents.pausing import Approval
from polycall.agents.task import TaskState
from polycall.errors import PolycallError, RequestError
from polycall.ir import JSON, Usage
from polycall.loop import EndReason

RunState: TypeAlias = Literal["queued", "running", "waiting", "finished", "failed", "cancelled"]

RUN_WORKFLOW = "polycall.run"
TASK_WORKFLOW = "polycall.task"
# One for all versions of an application, as its agents are not part of the workflows' code: a
# process must be able to take over from one that runs yesterday's.
VERSION = "polycall-1"


class RunFailedError(PolycallError):
    """A run, or a task, that ended by an error."""


class RunCancelledError(PolycallError):
    """A run that was cancelled."""


class RunResult(Struct, frozen=True, omit_defaults=True):
    """The end of a run: the fields of `Run`, as far as they are plain data.

    `output` is the answer in the agent's type, or `None` if absent: `problem` says why.
    """

    reason: EndReason
    text: str
    history: History
    usage: Usage = Usage()
    cost: Decimal | None = None
    agents: list[str] = []
    problem: str = ""
    output: Any = None


class RunInfo(Struct, frozen=True, omit_defaults=True):
    """One run.  Times are seconds since the epoch; `executor` is who had it last."""

    id: str
    agent: str
    state: RunState
    prompt: str = ""
    created_at: float = 0.0
    updated_at: float = 0.0
    executor: str = ""
    error: str = ""
    approvals: list[Approval] = []


class TaskInfo(Struct, frozen=True, omit_defaults=True):
    """One background task, by the run that began it."""

    id: str
    run_id: str
    tool: str
    state: TaskState
    progress: float = 0.0
    message: str = ""
    arguments: JSON = {}
    result: str = ""
    created_at: float = 0.0
    updated_at: float = 0.0
    executor: str = ""


class _Inputs(Struct):
    args: list[str]


class JSONSerializer(Serializer):
    """DBOS's own writes pickles: anyone who can write to the database could run code here."""

    def serialize(self, data: Any) -> str:
        if isinstance(data, BaseException):
            return jsontext.encode({"error": type(data).__name__, "message": str(data)})
        return jsontext.encode({"value": data})

    def deserialize(self, serialized_data: str) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        data: Any = jsontext.decode(serialized_data)
        if isinstance(data, dict) and "error" in data:
            return RunFailedError(f"{data['error']}: {data.get('message', '')}")  # pyright: ignore[reportUnknownMemberType]
        if not isinstance(data, dict) or "value" not in data:
            raise RequestError("the database holds a value here that polycall did not write")
        return data["value"]  # pyright: ignore[reportUnknownVariableType]

    def name(self) -> str:
        return "polycall_json"


_STATES: dict[str, TaskState] = {
    "DELAYED": "queued",
    "ENQUEUED": "queued",
    "PENDING": "running",
    "SUCCESS": "finished",
    "CANCELLED": "cancelled",
}


def state_of(row: WorkflowStatus) -> TaskState:
    """The state of a workflow, in our words."""
    return _STATES.get(row.status, "failed")


def argument_of(row: WorkflowStatus) -> str:
    """The argument of a workflow; raises `RequestError` where DBOS could not read it.

    DBOS gives the raw text of what it cannot read, such as a pickle, which is not read here.
    """
    try:
        given = msgspec.convert(row.input, _Inputs)
        return given.args[0]
    except (msgspec.ValidationError, IndexError):
        raise RequestError(
            f"the row of {row.workflow_id!r} was written by another program"
        ) from None


def error_of(row: WorkflowStatus) -> str:
    """The error of a workflow; empty where it has none, or DBOS could not read it."""
    # DBOS gives the raw text of what it cannot read.
    error: object = row.error
    return str(error) if isinstance(error, BaseException) else ""


def decoded(text: str, kind: type[Any]) -> Any:
    """A value of ours from the database; `RequestError` where another program wrote it."""
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance] - from a database
        raise RequestError(f"the database holds no {kind.__name__} here, but {text!r:.80}")
    try:
        return msgspec.convert(jsontext.decode(text), kind)
    except (ValueError, msgspec.ValidationError) as error:
        raise RequestError(f"the database holds no {kind.__name__} here: {error}") from None
