"""The interface of a tier.  `jail` and `monty` are two; `remote` may be yours.

A runtime opens processes; a process runs the programs of one session, one after the other, in one
namespace.  Tool calls, the clock, the journal and the limits on calls are not the tier's business:
each job carries a desk that does all of that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from .limits import Limits
from .result import ProgramError, Status
from .tool_call_broker import ToolCallBroker


@dataclass(frozen=True)
class Job:
    """A program to run."""

    code: str
    number: int
    limits: Limits
    broker: ToolCallBroker
    now: float
    replaying: bool = False


@dataclass(frozen=True)
class End:
    """The end of a job, as far as the tier can tell."""

    status: Status
    stdout: str = ""
    stderr: str = ""
    value: Any = None
    error: ProgramError | None = None
    cuts: list[str] = field(default_factory=list[str])
    memory_mib: float = 0.0


class Process(Protocol):
    """The home of one session.  Belongs to it alone and is never handed to another."""

    @property
    def alive(self) -> bool:
        """False once its state is gone; it is then only good to be closed."""
        ...

    async def run(self, job: Job) -> End:
        """Runs a program.

        Takes calls to `job.desk.call`, and what the program waits for to `job.desk.request_turn`.
        Keeps the wall clock; leaves nothing running when it returns or is cancelled.
        """
        ...

    async def close(self) -> None: ...


class Runtime(Protocol):
    """A tier.  Give one of your own as `Sandbox(runtime=...)` for a container or microVM service.

    This is the whole interface of `remote`: nothing in it assumes that the process is on this
    machine.
    """

    @property
    def name(self) -> str: ...

    @property
    def notes(self) -> str:
        """Notes for a model on writing programs for this tier; empty where there are none."""
        ...

    async def start(self, limits: Limits) -> None:
        """Makes ready.  Raises `RuntimeUnavailableError` where it cannot."""
        ...

    async def open(self, *, began: float, seed: int) -> Process:
        """A fresh process.  `began` is the time and `seed` the randomness that programs see."""
        ...

    async def close(self) -> None: ...
