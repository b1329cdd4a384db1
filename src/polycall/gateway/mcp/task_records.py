"""The record of a task: one value in the store, changed only from what it was."""

from __future__ import annotations

import time
from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct

from polycall._support import jsontext
from polycall.gateway.mcp.task_names import LIVE
from polycall.gateway.processes.silence import is_suspect
from polycall.ir import JSON
from polycall.mcp.tasks import ServerTask

Status: TypeAlias = Literal["working", "input_required", "completed", "failed", "cancelled"]

MESSAGE_MAX = 500
# Of a question, an answer, an error: all tasks of a key are read at once.
PART_BYTES_MAX = 64 * 1024
LOST = (
    "the gateway's process that made this call ended; the call may have done its work, and it is "
    "not made again"
)


class TaskRecord(Struct):
    """The record of a task."""

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
    server_task: ServerTask | None = None  # the server's own, which outlives this process
    can_ask: bool = False
    question: JSON | None = None  # as the protocol has it, while it waits for a person
    question_name: str = ""
    answer: JSON | None = None  # what the person said to that question
    error: JSON | None = None
    is_lost: bool = False
    is_heard: bool = False  # by the process that makes the call: the client cancelled it

    @classmethod
    def read(cls, value: bytes) -> TaskRecord:
        """Read a stored record."""
        return msgspec.convert(jsontext.decode(value), cls)  # a server's words may be half letters

    def written(self) -> bytes:
        """The record as the store keeps it."""
        return jsontext.encode_bytes(self)

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.status not in LIVE

    @property
    def is_old(self) -> bool:
        """Whether it need not be kept any longer."""
        return time.time() > self.created + self.ttl_ms / 1000

    @property
    def is_late(self) -> bool:
        """Whether the process that makes the call may be gone."""
        return not self.is_over and is_suspect(self.beat)


def kept(task: ServerTask | None) -> ServerTask | None:
    """The kept part of a server's task."""
    return None if task is None else ServerTask(task.id, task.place)


def result_state(name: str) -> str:
    """Under which name a task's result is kept."""
    return f"mcp-result:{name}"


def is_large(part: JSON) -> bool:
    """Whether a part of a record is larger than it may be."""
    return len(jsontext.encode_bytes(part)) > PART_BYTES_MAX
