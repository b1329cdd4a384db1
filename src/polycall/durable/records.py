"""Runs, tasks and approvals of a database, as plain data."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal, TypeAlias

import msgspec
from dbos import Serializer
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
    """How a run ended; what `Run` says, as far as it is plain data.

    `output` is the answer in the agent's type, or `None` where there is none: `problem` says why.
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


class JSONSerializer(Serializer):
    """DBOS's own writes pickles, and whoever can write to the database could then run code here."""

    def serialize(self, data: Any) -> str:
        if isinstance(data, BaseException):
            return jsontext.encode({"error": type(data).__name__, "message": str(data)})
        return jsontext.encode({"value": data})

    def deserialize(self, serialized_data: str) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        data = jsontext.decode(serialized_data)
        if "error" in data:
            return RunFailedError(f"{data['error']}: {data['message']}")
        return data["value"]

    def name(self) -> str:
        return "polycall_json"


def decoded(text: str, kind: type[Any]) -> Any:
    """A value of ours from the database; `RequestError` where another program wrote it."""
    try:
        return msgspec.convert(jsontext.decode(text), kind)
    except (ValueError, msgspec.ValidationError) as error:
        raise RequestError(f"the database holds no {kind.__name__} here: {error}") from None
