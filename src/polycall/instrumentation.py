"""Events of this process, reported to one watcher, where there is one.

Agents, tools, programs and tasks say here what they begin and how it ended; `polycall.tracing`
makes spans of it.  Nothing here knows how, and where nobody watches it costs a look at a variable.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from decimal import Decimal
from typing import Protocol, TypeAlias

from msgspec import Struct

from polycall.ir import Message, Request, Response, ToolCall, ToolResult, Usage

# What a request or a record takes along, so that what it leads to is known to belong here.
TraceContext: TypeAlias = dict[str, str]


class RunStarted(Struct, frozen=True):
    """An agent's run.  `carried` comes from the caller, `earlier` from the same run before."""

    agent: str
    model: str
    run_id: str
    messages: list[Message]
    carried: TraceContext = {}
    earlier: list[TraceContext] = []


class RunFinished(Struct, frozen=True):
    """The end of a run; its costs include the agents below it."""

    reason: str
    usage: Usage
    cost: Decimal | None
    answer: Message | None = None


class StepStarted(Struct, frozen=True):
    """One answer of a model, and its calls."""

    number: int
    agent: str


class ModelCalled(Struct, frozen=True):
    """A model is asked; it ends with a `Response`."""

    request: Request


class ToolCalled(Struct, frozen=True):
    """A tool is called, by a model or by its program."""

    call: ToolCall


class ToolFinished(Struct, frozen=True):
    """The result of a call; `error` is the kind of failure."""

    result: ToolResult
    error: str = ""


class ProgramStarted(Struct, frozen=True):
    """A model's program runs in a sandbox."""

    call_id: str
    code: str


class ProgramFinished(Struct, frozen=True):
    """The end of a program."""

    status: str
    calls: int
    output: str


class TaskStarted(Struct, frozen=True):
    """A call continues in the background; it ends like any call."""

    task_id: str
    run_id: str
    call: ToolCall
    carried: TraceContext = {}


class HandedOver(Struct, frozen=True):
    """A conversation goes to another agent, or back."""

    origin: str
    target: str
    reason: str
    is_return: bool


Started: TypeAlias = (
    RunStarted | StepStarted | ModelCalled | ToolCalled | ProgramStarted | TaskStarted | HandedOver
)
Finished: TypeAlias = RunFinished | Response | ToolFinished | ProgramFinished


class Watched(Protocol):
    """Something that has begun.  The code that began it ends it."""

    def current(self) -> AbstractContextManager[object]:
        """Count all that this task and its children begin meanwhile as a part of it."""
        ...

    def carried(self) -> TraceContext:
        """The trace context by which work elsewhere belongs to it."""
        ...

    def tell(self, ended: Finished) -> None:
        """Report how it ended; the last report counts."""
        ...

    def first(self) -> None:
        """A model's answer begins to come."""
        ...

    def forget(self) -> None:
        """Nothing was done after all."""
        ...

    def end(self, error: BaseException | None = None) -> None:
        """It is over; only the first time counts."""
        ...


class Watcher(Protocol):
    """Anyone who wants to know.  It raises nothing."""

    def begin(self, what: Started, above: Watched | None = None) -> Watched:
        """Something begins, below `above` or below what is current."""
        ...

    def carried(self) -> TraceContext:
        """That of what is current."""
        ...


class _Unwatched:
    """Stands for something that nobody watches."""

    def current(self) -> AbstractContextManager[object]:
        return nullcontext()

    def carried(self) -> TraceContext:
        return {}

    def tell(self, ended: Finished) -> None: ...

    def first(self) -> None: ...

    def forget(self) -> None: ...

    def end(self, error: BaseException | None = None) -> None: ...


_UNWATCHED: AbstractContextManager[Watched] = nullcontext(_Unwatched())
_watcher: Watcher | None = None
_watched: ContextVar[Watched | None] = ContextVar("polycall_watched", default=None)
_conversation: ContextVar[str] = ContextVar("polycall_conversation", default="")
# An agent tells of what it asks, and so does a client that is asked by nobody who does.
_is_asking: ContextVar[bool] = ContextVar("polycall_is_asking", default=False)


def watch(by: Watcher | None) -> None:
    """Tell `by` from now on, or nobody."""
    global _watcher  # noqa: PLW0603 - one for the process, so that looking costs nothing
    _watcher = by


def watcher() -> Watcher | None:
    """The watcher, if there is one."""
    return _watcher


def watching(what: Started) -> AbstractContextManager[Watched]:
    """Report the work inside as `what`; it must begin and end in one task."""
    return _UNWATCHED if _watcher is None else _watching(_watcher, what)


@contextmanager
def _watching(by: Watcher, what: Started) -> Generator[Watched]:
    watched = by.begin(what)
    token = _watched.set(watched)
    try:
        with watched.current():
            yield watched
    except BaseException as error:
        watched.end(error)
        raise
    else:
        watched.end()
    finally:
        _watched.reset(token)


def begin_asking(request: Request, above: Callable[[], Watched] | None = None) -> Watched | None:
    """A model is asked; none where nobody watches, or the code that asks has reported already.

    With `above` it is an agent that asks, and agents always tell.
    """
    if _watcher is None or (above is None and _is_asking.get()):
        return None
    return _watcher.begin(ModelCalled(request), above() if above is not None else None)


@contextmanager
def asking(watched: Watched) -> Generator[None]:
    """Count the work inside as a part of the request that was reported."""
    token = _is_asking.set(True)
    try:
        with watched.current():
            yield
    finally:
        _is_asking.reset(token)


@contextmanager
def conversing(conversation_id: str) -> Generator[None]:
    """Count the work inside as a part of this conversation."""
    token = _conversation.set(conversation_id)
    try:
        yield
    finally:
        _conversation.reset(token)


def conversation() -> str:
    """The conversation that is under way; empty where it has no id."""
    return _conversation.get()


def forget() -> None:
    """Drop the report that `watching` began around this: the journal answered, nothing was done."""
    watched = _watched.get()
    if watched is not None:
        watched.forget()


def carried() -> TraceContext:
    """The trace context for a request or a record made now; empty without a watcher."""
    return {} if _watcher is None else _watcher.carried()
