"""Runs Python that a model wrote where it can do no harm, with tools as functions.

    async with Sandbox() as sandbox, sandbox.session() as session:
        result = await session.run("await add(1, 2)", {"add": add})

Imports nothing else of polycall.  `docs/sandbox.md` says what it holds against, and what not.
"""

from .errors import (
    DivergenceError,
    InDoubtError,
    JournalError,
    JournalFullError,
    Pause,
    RuntimeUnavailableError,
    SandboxError,
    SessionClosedError,
    TooManySessionsError,
)
from .journal import Journal
from .limits import Limits
from .result import Call, ProgramError, RunResult
from .runtime import Process, Runtime
from .sandbox import Finding, Sandbox
from .session import Session

__all__ = [
    "Call",
    "DivergenceError",
    "Finding",
    "InDoubtError",
    "Journal",
    "JournalError",
    "JournalFullError",
    "Limits",
    "Pause",
    "Process",
    "ProgramError",
    "RunResult",
    "Runtime",
    "RuntimeUnavailableError",
    "Sandbox",
    "SandboxError",
    "Session",
    "SessionClosedError",
    "TooManySessionsError",
]
