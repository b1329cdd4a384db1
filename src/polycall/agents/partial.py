"""A run as far as it has come: what is left of one that raised, or was stopped.

A tool that has run has done its work, whatever became of the run around it.  Anyone who repeats
such a run begins with these messages, so that nothing is done or paid twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polycall.errors import (
    AuthenticationError,
    BillingError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RequestError,
    ToolError,
    UpstreamError,
)

if TYPE_CHECKING:
    from polycall.agents.run import Run


def keep_on(error: BaseException, run: Run[Any]) -> None:
    """Let `error.run` be the run so far, which `partial_run` reads."""
    try:
        error.run = run  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    except AttributeError:
        # A class of somebody's with slots; the run is lost with it, the error is not.
        error.add_note("the run so far could not be kept on this error")


# Trying again does not help, and no model can: a key, a name, a setting, an account.
_OF_THE_CALLER = (
    InvalidRequestError,
    AuthenticationError,
    BillingError,
    PermissionDeniedError,
    NotFoundError,
)


def leave_unless_told(error: Exception) -> None:
    """Let what ended a delegate's run end its caller's too, unless a model can make use of it.

    A vendor that is busy or unreachable, or an answer that is malformed, is told to the model that
    gave the task; what somebody has to mend who wrote or configured the program leaves.
    """
    is_told = isinstance(error, ToolError | UpstreamError | ProtocolError)
    if not is_told or isinstance(error, (*_OF_THE_CALLER, RequestError)):
        error.leaves_run = True  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


def partial_run(error: BaseException) -> Run[Any] | None:
    """The run that `error` has ended, as far as it came: messages, usage, cost.

    `None` where it ended no run.  The outermost run counts.  Of an error that was raised from
    another, such as a `TimeoutError` or Ctrl-C, it is the run that the other ended.
    """
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        found = getattr(cause, "run", None)
        if hasattr(found, "history") and hasattr(found, "steps"):
            return found
        seen.add(id(cause))
        cause = cause.__cause__
    return None
