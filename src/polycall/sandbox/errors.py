"""The errors of the sandbox.

    SandboxError
    ├── RuntimeUnavailableError   the tier that was asked for cannot run on this machine
    ├── SessionClosedError        the session was closed, or has expired
    ├── TooManySessionsError      the sandbox holds as many sessions as it may
    ├── JournalFullError          the session's calls and results are more than its journal holds
    ├── JournalError         a journal that cannot be read, or was made by something else
    │   ├── DivergenceError       a replayed program did not do what the journal says it did
    │   └── InDoubtError          calls began, and nobody knows whether they ended
    └── ProtocolViolationError    the program's process sent what no program can send

What a program does wrong is never raised: it is in the `RunResult`.
`Pause` is raised by a tool, to say that nobody can answer this call now.
"""

from __future__ import annotations


class SandboxError(Exception):
    """Base of all."""


class RuntimeUnavailableError(SandboxError):
    """The tier cannot run here.  The message says why and what would help."""


class SessionClosedError(SandboxError):
    """The session is over; its state is gone."""


class TooManySessionsError(SandboxError):
    """Close a session, or give the sandbox a larger `sessions_max`."""


class JournalFullError(SandboxError):
    """The run is stopped, and its session can make no more calls: begin another one."""


class JournalError(SandboxError):
    """The journal cannot be replayed here."""


class DivergenceError(JournalError):
    """The program took another way than in the journal; `call_id` is the call at which it did."""

    def __init__(self, message: str, *, call_id: int) -> None:
        super().__init__(message)
        self.call_id = call_id


class InDoubtError(JournalError):
    """Calls that began before the journal ends, without a result.

    Say what became of them: `answers={id: value}`, or name their tools in `retry` where running
    them a second time does no harm.
    """

    def __init__(self, message: str, *, calls: tuple[int, ...]) -> None:
        super().__init__(message)
        self.calls = calls


class ProtocolViolationError(SandboxError):
    """A frame that is malformed or out of turn.  The process that sent it is killed."""


class Pause(Exception):  # noqa: N818  # a signal to the sandbox, not an error
    """Raised by a tool that cannot answer now, such as one that waits for a person.

    The run continues with whatever else it can do, then ends as `paused`.
    """
