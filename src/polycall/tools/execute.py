"""The one path of all tool calls: find, check, run, make a result of whatever happens.

A direct call of a model and a call from its program go through here alike.  What a tool does
wrong is a result that the model can read; only a cancelled run leaves by an exception.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from polycall.errors import ArgumentsError, ToolError
from polycall.instrumentation import ToolCalled, ToolFinished, watching
from polycall.ir import JSON, Text, ToolCall, ToolResult
from polycall.tools.context import EndRun, ToolContext, call_key, step_mark
from polycall.tools.problems import truncated
from polycall.tools.results import result_parts
from polycall.tools.toolset import AbstractToolset, AnyTool, Toolset
from polycall.tools.validate import Checked, SchemaChecker

Outcome: TypeAlias = Literal["valid", "mended", "refused"]


class ToolStats:
    """Counts per model.  Mends are counted by kind as well."""

    def __init__(self) -> None:
        self._outcomes: dict[str, Counter[str]] = {}
        self._mends: dict[str, Counter[str]] = {}

    def record(self, model: str, outcome: Outcome, mends: tuple[str, ...] = ()) -> None:
        """Count one call."""
        self._outcomes.setdefault(model, Counter())[outcome] += 1
        self._mends.setdefault(model, Counter()).update(mends)

    def table(self) -> dict[str, JSON]:
        """Counts by model: `valid`, `mended`, `refused`, and `mends` by kind."""
        return {
            model: {
                "valid": counts["valid"],
                "mended": counts["mended"],
                "refused": counts["refused"],
                "mends": dict(sorted(self._mends[model].items())),
            }
            for model, counts in sorted(self._outcomes.items())
        }


logger = logging.getLogger("polycall.tools")

# For tools that say nothing of their own: long enough for slow work, short enough to notice.
DEADLINE_S = 600.0
_LONG_CHARS = 64 * 1024  # of arguments: to check them takes a microsecond for each


async def execute(
    call: ToolCall,
    toolset: AbstractToolset,
    *,
    context: ToolContext[Any] | None = None,
    deadline_s: float | None = None,
    stats: ToolStats | None = None,
) -> ToolResult:
    """Run one call to its result; never raises but for cancellation.

    The deadline is the tool's own, or `deadline_s` where that is shorter.  The result of a tool
    that failed has `is_error` and says what happened, without a traceback.
    """
    with watching(ToolCalled(call)) as watched:
        made = await attempt(call, toolset, context, deadline_s)
        watched.tell(made.ended)
    if stats is not None:
        made.count(stats, context)
    return made.result


class Attempt(Struct, frozen=True):
    """The result of one call, and what its arguments were; `None` where nobody looked.

    `error` is the kind of what went wrong, which the result tells in words for a model.
    """

    result: ToolResult
    outcome: Outcome | None = None
    mends: tuple[str, ...] = ()
    error: str = ""

    @property
    def ended(self) -> ToolFinished:
        """The result in the form that watchers get."""
        return ToolFinished(self.result, self.error)

    def count(self, stats: ToolStats, context: ToolContext[Any] | None) -> None:
        """Add it to the counts of the run's model."""
        if self.outcome is not None:
            stats.record(context.model if context else "", self.outcome, self.mends)


async def attempt(
    call: ToolCall,
    toolset: AbstractToolset,
    context: ToolContext[Any] | None,
    deadline_s: float | None,
    *,
    is_approved: bool = False,
) -> Attempt:
    """`execute`, with what became of the arguments.

    `is_approved` is for a call about which a person was asked before it came here.
    """
    try:
        tool = _admitted(call, toolset)
        if tool.needs_approval and not is_approved and not toolset.asks(tool.name):
            raise _nobody_to_ask(tool)
        checked = await _checked(call, tool)
    except ArgumentsError as error:
        return Attempt(_failure(call, str(error)), "refused", error=type(error).__name__)
    except ToolError as error:
        kind = type(error.__cause__ or error).__name__
        return Attempt(_failure(call, _words(error)), error=kind)
    limits_s = [limit for limit in (tool.deadline_s, deadline_s) if limit is not None]
    key = call_key.get() or call.id
    known = replace(context or ToolContext(deps=None), call=call, idempotency_key=key)
    limit_s = min(limits_s, default=DEADLINE_S)
    try:
        async with tool.slots.taken(tool.name, tool.bound):
            result, error_kind = await _run(call, toolset, checked, known, limit_s)
    except tool.raises as error:
        error.leaves_run = True  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
        raise
    except ToolError as error:
        if leaves_run(error, tool):
            raise
        return Attempt(_failure(call, _words(error)), error=type(error).__name__)
    outcome: Outcome = "mended" if checked.mends else "valid"
    return Attempt(result, outcome, checked.mends, error_kind)


async def _checked(call: ToolCall, tool: AnyTool) -> Checked:
    """The arguments, fit to run with; a function's own validators run where the function does."""
    try:
        if isinstance(tool.checker, SchemaChecker) and len(call.arguments_json) >= _LONG_CHARS:
            return await asyncio.to_thread(tool.check, call.arguments_json)
        return tool.check(call.arguments_json)
    except ToolError:
        raise
    except (Exception, SystemExit) as error:
        if leaves_run(error, tool):
            error.leaves_run = True  # type: ignore[union-attr]  # pyright: ignore[reportAttributeAccessIssue]
            raise
        logger.debug("a validator of the tool %r raised", call.name, exc_info=error)
        raise ToolError(_formatted(error)) from error


async def _run(
    call: ToolCall,
    toolset: AbstractToolset,
    checked: Checked,
    context: ToolContext[Any],
    limit_s: float,
) -> tuple[ToolResult, str]:
    """The result, and the kind of what went wrong."""
    timer, tool = asyncio.timeout(limit_s), toolset[call.name]
    try:
        async with timer:
            value = await toolset.run(call.name, checked.arguments, replace(context, timer=timer))
            if isinstance(value, EndRun):
                value = value.result
        is_error = isinstance(value, ToolResult) and value.is_error
        return ToolResult(call.id, result_parts(value), is_error=is_error, name=call.name), ""
    except ToolError as error:
        if leaves_run(error, tool):
            raise
        return _failure(call, _words(error)), type(error).__name__
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if leaves_run(error, tool) or (task is not None and task.cancelling() > 0):
            raise
        # Nobody cancelled this run: the handler gave up something of its own.
        return _failure(call, "the tool was cancelled"), type(error).__name__
    except (Exception, SystemExit) as error:  # of whatever kind, it is for the model
        if leaves_run(error, tool):
            raise
        if timer.expired() and isinstance(error, TimeoutError):
            words = f"the tool did not finish within {limit_s:g} s; it may have done its work"
            return _failure(call, words), type(error).__name__
        # The model needs no traceback, and the code that wrote the tool does.
        logger.debug("the tool %r raised", call.name, exc_info=error)
        return _failure(call, _formatted(error)), type(error).__name__


@dataclass
class Executor:
    """`execute` with its surroundings, for one run: what the loop wants for each call.

    A model may correct itself: in `attempts_max` steps in a row the arguments of one tool may not
    fit, then it is asked to stop and the tool is closed to it.  Calls of one step are one attempt,
    since the model has read no error in between; where nothing goes by steps, each call is one.
    """

    toolset: AbstractToolset
    context: ToolContext[Any] | None = None
    deadline_s: float | None = None
    stats: ToolStats = field(default_factory=ToolStats)
    attempts_max: int = 3
    _refused: Counter[str] = field(default_factory=Counter[str])
    _struck: dict[str, object] = field(default_factory=dict[str, object])  # the last step, by tool

    @classmethod
    def of(cls, tools: AbstractToolset | Iterable[Any], **options: Any) -> Executor:
        """Make an executor of a toolset, or of tools and functions."""
        toolset = tools if isinstance(tools, AbstractToolset) else Toolset(tools)
        return cls(toolset, **options)

    async def __call__(self, call: ToolCall) -> ToolResult:
        """The result of one call."""
        with watching(ToolCalled(call)) as watched:
            made = await self._made(call)
            watched.tell(made.ended)
        return made.result

    async def _made(self, call: ToolCall) -> Attempt:
        mark = step_mark.get() or object()
        is_closed = self._refused[call.name] >= self.attempts_max
        if is_closed and self._struck.get(call.name) is not mark:
            words = (
                f"{call.name!r} is closed: its arguments did not fit {self.attempts_max} times "
                "in a row; continue without it"
            )
            return Attempt(_failure(call, words), error=ArgumentsError.__name__)
        made = await attempt(call, self.toolset, self.context, self.deadline_s)
        made.count(self.stats, self.context)
        if made.outcome == "refused" and self._struck.get(call.name) is not mark:
            self._struck[call.name] = mark
            self._refused[call.name] += 1
        elif made.outcome in ("valid", "mended"):
            self._refused[call.name] = 0
        return made


def leaves_run(error: BaseException, tool: AnyTool) -> bool:
    """Whether it is not for the model: the tool says so, or the error itself.

    A group of errors, as a `TaskGroup` raises it, leaves where one in it does.
    """
    if any(leaves_run(each, tool) for each in _inside(error)):
        return True
    return isinstance(error, tool.raises) or getattr(error, "leaves_run", False)


def _admitted(call: ToolCall, toolset: AbstractToolset) -> AnyTool:
    """The tool, if there is one and the caller may call it."""
    tool = toolset[call.name]
    caller = "direct" if call.caller == "direct" else "code"
    # A tool that says nothing is for the model alone: programs reach only what was opened to them.
    if caller not in (tool.allowed_callers or ("direct",)):
        how = "from a program" if caller == "direct" else "directly, and not from a program"
        raise ToolError(f"{call.name!r} may only be called {how}; nothing was run")
    return tool


def _nobody_to_ask(tool: AnyTool) -> ToolError:
    # The model cannot change it, so how to is for the log.
    logger.warning(
        "the tool %r needs approval and was not run; give it to an Agent, or wrap its toolset: "
        "toolset.approved(function)",
        tool.name,
    )
    return ToolError(f"{tool.name!r} needs approval, and there is nobody to ask; nothing was run")


def _failure(call: ToolCall, message: str) -> ToolResult:
    return ToolResult(call.id, [Text(message)], is_error=True, name=call.name)


def _formatted(error: BaseException) -> str:
    """Type and message, as Python prints them; a traceback does not concern a model."""
    message = _words(error)
    name = type(error).__name__
    if inside := _inside(error):
        # What went wrong is what a group holds.
        message += ": " + "; ".join(map(_formatted, inside))
    return truncated(f"{name}: {message}") if message else name


def _inside(error: BaseException) -> tuple[BaseException, ...]:
    inside: tuple[BaseException, ...] = getattr(error, "exceptions", ())
    return inside if isinstance(error, BaseExceptionGroup) else ()


def _words(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a class of the tool's, whose name is all that is left
        return ""
