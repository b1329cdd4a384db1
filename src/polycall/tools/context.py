"""The context of a tool call: facts about the run that it is part of."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Generic

from typing_extensions import TypeVar

from polycall.errors import ToolError
from polycall.ir import ToolCall

DepsT_co = TypeVar("DepsT_co", default=None, covariant=True)


@dataclass(frozen=True)
class EndRun:
    """Returned by a tool: its result is `result`, and the agent's run ends with it as its output.

    The other calls of the step end first.  Outside of an agent it is the result and no more.
    """

    result: Any


@contextmanager
def leaving() -> Generator[None]:
    """Mark the application's own code around a call: its exceptions leave the run.

    Only a `ToolError` is for the model.
    """
    try:
        yield
    except ToolError:
        raise
    except StopIteration as error:
        # What Python makes of it where it leaves a coroutine would be another error, unmarked.
        made = RuntimeError(f"{type(error).__name__} was raised in place of an answer")
        made.leaves_run = True  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
        raise made from None
    except BaseException as error:
        error.leaves_run = True  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
        raise


# How the call that runs here is known in its run's journal; the same when the run is replayed.
call_key: ContextVar[str] = ContextVar("polycall_call_key", default="")

# The step whose call runs here, as an object of its own; none where nobody goes by steps.
step_mark: ContextVar[object | None] = ContextVar("polycall_step", default=None)


@dataclass(frozen=True, kw_only=True)
class ToolContext(Generic[DepsT_co]):
    """Given to tools with a parameter annotated `ToolContext`; the model never sees it.

    `deps` is whatever the application hands to its tools: a database, a user, a setting.
    `idempotency_key` is the same each time a call is made again after a crash, and another for
    every other call: what the tool does outside is done once if it is passed on.
    """

    deps: DepsT_co
    call: ToolCall | None = None
    model: str = ""
    idempotency_key: str = ""
    timer: asyncio.Timeout | None = field(default=None, repr=False)
    reporter: Callable[[float, str], Awaitable[None]] | None = field(default=None, repr=False)

    async def report(self, progress: float, message: str = "") -> None:
        """Say how far the work is, from 0 to 1; nothing happens where nobody asks."""
        if self.reporter is not None:
            await self.reporter(min(1.0, max(0.0, progress)), message)

    @contextmanager
    def paused(self) -> Generator[None]:
        """Stop the call's deadline meanwhile, for what a person must be waited for."""
        ends_at = self.timer.when() if self.timer is not None else None
        if self.timer is None or ends_at is None:
            yield
            return
        loop = asyncio.get_running_loop()
        left_s = ends_at - loop.time()
        self.timer.reschedule(None)
        try:
            yield
        finally:
            self.timer.reschedule(loop.time() + left_s)
