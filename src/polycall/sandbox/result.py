"""The result of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Status = Literal["finished", "failed", "timeout", "killed", "crashed", "paused"]


@dataclass(frozen=True)
class ProgramError:
    """Why a run did not finish.

    `type` and `message` are the program's exception where it raised one; otherwise what the
    sandbox has to say.  `traceback` holds only the program's own lines.
    """

    type: str
    message: str
    traceback: str = ""
    line: int | None = None

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


@dataclass(frozen=True)
class Call:
    """A tool call of a run.

    `outcome` is `"pending"` where the run ended, or was paused, before the tool had answered.
    """

    id: int
    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outcome: Literal["ok", "error", "cancelled", "pending"]
    value: Any = None
    error: str = ""
    duration_s: float = 0.0
    replayed: bool = False


@dataclass(frozen=True)
class RunResult:
    """A run, which ends exactly once and in one of these ways.

    - `finished`: the program came to its end; `value` is that of its last expression.
    - `failed`: the program raised; `error` says what and where.
    - `timeout`: the wall clock or the processor limit ended it.
    - `killed`: another limit ended it (memory, calls, output), or the host did.
    - `crashed`: its process died, or sent what no program can send.
    - `paused`: a tool cannot answer now; `session.journal` is what a resume needs.

    After `timeout`, `killed`, `crashed` and `paused` the process is gone.  The next run of the
    session gets a new one, in which the finished runs are replayed from the journal.
    """

    status: Status
    stdout: str = ""
    stderr: str = ""
    value: Any = None
    error: ProgramError | None = None
    calls: tuple[Call, ...] = ()
    duration_s: float = 0.0
    truncated: bool = False
    cuts: tuple[str, ...] = ()
    """What was cut, such as `value[3]: 400 of 420 items`; in full it is `_` in the session."""
    memory_mib: float = 0.0
    """The most memory that the process was seen to hold."""

    @property
    def ok(self) -> bool:
        return self.status == "finished"
