"""An agent's run: its events as they come, and the whole at the end.

A run that raised or was stopped leaves what it had: a tool that has run has done its work, whatever
became of the run around it.  Begin with these messages to do and pay nothing twice.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias

from msgspec import Struct

from polycall import errors
from polycall._support.blocking import BlockingStream, Portal
from polycall.agents.approval_backend import ApprovalRequest
from polycall.agents.events import NestedStep, Resumed, TaskEvent
from polycall.agents.history import History
from polycall.agents.output import OutputError, OutputT, OutputType
from polycall.agents.pausing import Approval, PausedRun
from polycall.ir import Message, PartDelta, Request, Usage, Warning
from polycall.loop import (
    CallEnd,
    CallStart,
    EndReason,
    ModelEvent,
    RunEnd,
    Step,
    StepEnd,
    ToolEvent,
)

if TYPE_CHECKING:
    from polycall.program import CallingDecision, ProgramRun

# The loop's events, and approvals that somebody has to answer, from whatever depth: requests where
# the code that reads them answers, plain data where the answer is given in a database.  What nested
# agents and handoffs say comes as `ToolEvent` of the call that they are.
AgentEvent: TypeAlias = (
    ModelEvent
    | CallStart
    | CallEnd
    | ToolEvent
    | StepEnd
    | RunEnd
    | TaskEvent
    | Resumed
    | ApprovalRequest
    | Approval
)


_SHOWN_CHARS = 200


class Stopped(Struct, frozen=True):
    """Which check of a `Guarded` agent stopped a run, and why."""

    stage: Literal["input", "output"]
    guard: str
    reason: str


@dataclass(frozen=True)
class Run(Generic[OutputT]):
    """A finished run.

    `messages` is the whole conversation, `history` the same with all that a next run needs, as
    plain JSON.  `agents` names who spoke, a step each.  `usage` and `cost` hold what nested
    agents spent as well; a cost is `None` where a price is unknown.  `programs` are those that the
    model wrote, `decisions` why tools were offered directly or to programs.  `paused` is there
    where `reason` is `"paused"`: what `Agent.resume` continues; `stopped` where it is
    `"guardrail"`.
    """

    reason: EndReason
    steps: list[Step]
    usage: Usage
    cost: Decimal | None
    history: History
    agents: list[str]
    value: OutputT | None
    paused: PausedRun | None = None
    stopped: Stopped | None = None
    problem: str = ""
    decisions: list[CallingDecision] = field(default_factory=list[Any])
    programs: list[ProgramRun] = field(default_factory=list[Any])
    # Where a request did not begin as the one before it, and what that costs.
    prefix_warnings: list[Warning] = field(default_factory=list[Warning])
    nested: list[NestedStep] = field(default_factory=list[Any])
    last_request: Request | None = None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the run as one file: `NAME.html`, which opens anywhere, or `NAME.jsonl`.

        The HTML is below 2 MB, if need be with shortened texts; JSON lines are whole.
        """
        from polycall.agents.saved import save_trace, trace_of  # noqa: PLC0415 - for those who save

        save_trace(trace_of(self), path)

    def _repr_html_(self) -> str:
        """In a notebook: what it spent, and the tree of its steps, folded."""
        from polycall.agents.notebook import run_html  # noqa: PLC0415 - for notebooks

        return run_html(self)

    def __repr__(self) -> str:
        """In a line, whatever was said: `history` and `steps` have the rest."""
        cost = "unknown" if self.cost is None else f"${self.cost}"
        text = self.text if len(self.text) <= _SHOWN_CHARS else self.text[:_SHOWN_CHARS] + "…"
        paused = "" if self.paused is None else f", waiting for: {self.paused.waits_for}"
        return (
            f"Run({self.reason!r}, {len(self.steps)} steps, {self.usage.total_tokens} tokens, "
            f"cost {cost}, text={text!r}{paused})"
        )

    @property
    def output(self) -> OutputT:
        """The answer, of the agent's type; `OutputError` where the run ended without one."""
        if self.value is None and self.stopped is not None:
            stopped = self.stopped
            raise OutputError(
                f"the {stopped.stage} was stopped by {stopped.guard!r}: {stopped.reason}"
            )
        if not self.has_output:
            fit = "its last answer did not fit:\n" if self.reason == "output" else ""
            why = f"; {fit}{self.problem}" if self.problem else ""
            raise OutputError(f"the run ended by {self.reason!r} without an output{why}")
        return self.value  # type: ignore[return-value]  # pyright: ignore[reportReturnType]

    @property
    def has_output(self) -> bool:
        """Whether there is an output, which may be `None` where the agent's type has it."""
        return self.value is not None or self.reason == "finished"

    @property
    def text(self) -> str:
        """The text of the last answer, whatever the run ended by; none where a check stopped it."""
        return self.steps[-1].response.text if self.steps and self.stopped is None else ""

    @property
    def messages(self) -> list[Message]:
        """The whole conversation, that of earlier runs included."""
        return self.history.messages

    @property
    def warnings(self) -> list[Warning]:
        """The parts that the models did not get as they were written."""
        found = [warning for step in self.steps for warning in step.response.warnings]
        return [*found, *self.prefix_warnings]


class AgentStream(Generic[OutputT]):
    """The events of a run, as they come; `run` is there once they are over.

    Leaving the `async with`, or `aclose`, cancels whatever is under way.
    """

    def __init__(
        self,
        events: AsyncGenerator[AgentEvent | Run[OutputT]],
        so_far: Callable[[], Run[OutputT] | None] = lambda: None,
        output: OutputType[OutputT] | None = None,
    ) -> None:
        self.output = output
        self._events = events
        self.so_far = so_far  # the run as far as it has come, once it has begun
        self._run: Run[OutputT] | None = None
        self._nested: list[NestedStep] = []

    def __aiter__(self) -> AgentStream[OutputT]:
        return self

    async def __anext__(self) -> AgentEvent:
        event = await anext(self._events)
        if isinstance(event, ToolEvent):
            self._note_nested(event)
        elif isinstance(event, Run):
            self._run = replace(event, nested=self._nested) if self._nested else event
            await self._events.aclose()
            raise StopAsyncIteration
        return event

    def _note_nested(self, event: ToolEvent) -> None:
        """Keep the steps of agents below: their conversations are not the run's."""
        path, inner = [event.call.id], event.event
        while isinstance(inner, ToolEvent):
            path.append(inner.call.id)
            inner = inner.event
        if isinstance(inner, StepEnd):
            step = inner.step
            self._nested.append(
                NestedStep(path, inner.number, step.response, step.results, step.cost)
            )

    def __repr__(self) -> str:
        """In a line: the run as far as it has come."""
        return f"{type(self).__name__}({self._run or self.so_far() or 'not begun'})"

    def _repr_html_(self) -> str:
        """In a notebook: the run as far as it has come."""
        from polycall.agents.notebook import run_html  # noqa: PLC0415 - for notebooks

        found = self._run or self.so_far()
        return "<p>a run that has not begun</p>" if found is None else run_html(found)

    async def __aenter__(self) -> AgentStream[OutputT]:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def text(self) -> AsyncGenerator[str]:
        """The visible text of the agent's answers alone, as it comes; `run` is there after it.

        No reasoning, no arguments, nothing of nested agents.  Anyone who reads text alone cannot
        answer approvals, so those that come as events are refused, and the model is informed.
        """
        async for event in self:
            match event:
                case ModelEvent(event=PartDelta(kind="text", text=text)):
                    yield text
                case ApprovalRequest():
                    event.deny("nobody could be asked: the text of this run is read alone")
                case _:
                    pass

    async def partial_output(self) -> AsyncGenerator[Any]:
        """The agent's output while it is written, as plain JSON values; `run.output` follows.

        An object gets its fields one by one, a list its items, and the last text may be cut; a
        number comes when it is whole.  Text of an agent without `output=` comes as far as it is
        there.  Approvals are refused, as `text` does it.
        """
        # Loaded with the first of them: pydantic's reader takes longer than the rest.
        growing = importlib.import_module("polycall.agents.growing").GrowingOutput(self.output)
        async for event in self:
            match event:
                case ModelEvent(event=inner):
                    for value in growing.feed(inner):
                        yield value
                case ApprovalRequest():
                    event.deny("nobody could be asked: the output of this run is read alone")
                case _:
                    pass

    async def aclose(self) -> None:
        """Stop the run."""
        await self._events.aclose()

    @property
    def run(self) -> Run[OutputT]:
        """The finished run; `RequestError` before the last event."""
        if self._run is None:
            raise errors.RequestError(
                "the run is not over; read its events to the end first, or take stream.partial"
            )
        return self._run

    @property
    def partial(self) -> Run[OutputT]:
        """The run as far as it has come, also after a stop or an error: what to continue from.

        `RequestError` before its beginning.
        """
        found = self._run or self.so_far()
        if found is None:
            raise errors.RequestError("the run has not begun; read its events first")
        return found


class SyncAgentStream(BlockingStream[AgentEvent], Generic[OutputT]):
    """`AgentStream` for code without an event loop: iterate it, or use it as a context manager."""

    def __init__(self, portal: Portal, stream: AgentStream[OutputT]) -> None:
        super().__init__(portal, stream)
        self._stream = stream

    def __repr__(self) -> str:
        """In a line: the run as far as it has come."""
        return f"Sync{self._stream!r}"

    def partial_output(self) -> Iterator[Any]:
        """The output while it is written, as `AgentStream.partial_output` gives it."""
        return self._reading(self._stream.partial_output())

    @property
    def run(self) -> Run[OutputT]:
        """The finished run; `RequestError` before the last event."""
        return self._stream.run

    @property
    def partial(self) -> Run[OutputT]:
        """The run as far as it has come, as `AgentStream.partial` gives it."""
        return self._stream.partial


def new_events(stream: AgentStream[OutputT], paused: PausedRun) -> AgentStream[OutputT]:
    """A resumed run's events, but for those that were there before it paused."""
    answered = [int(key[6:]) for key in paused.entries if key[:6] == "model/" and key[6:].isdigit()]
    at = max(answered, default=0)  # the step that waited: its answer is known, calls may continue

    async def events() -> AsyncGenerator[AgentEvent | Run[OutputT]]:
        async with stream:
            async for event in stream:
                step = event.number if isinstance(event, StepEnd) else getattr(event, "step", at)
                is_known = step < at or (step == at and isinstance(event, ModelEvent))
                if not is_known:
                    yield event
        yield stream.run

    return AgentStream(events(), stream.so_far, stream.output)


def surfaced(event: Any) -> Any:
    """An approval from however deep, as itself; any other event as it is."""
    inner = event
    while isinstance(inner, ToolEvent):
        inner = inner.event
    return inner if isinstance(inner, ApprovalRequest | Approval) else event


def keep_on(error: BaseException, run: Run[Any]) -> None:
    """Let `error.run` be the run so far, which `partial_run` reads."""
    try:
        error.run = run  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    except AttributeError:
        # A class of somebody's with slots; the run is lost with it, the error is not.
        error.add_note("the run so far could not be kept on this error")


# Trying again does not help, and no model can: a key, a name, a setting, an account.
_OF_THE_CALLER = (
    errors.InvalidRequestError,
    errors.AuthenticationError,
    errors.BillingError,
    errors.PermissionDeniedError,
    errors.NotFoundError,
)


def leave_unless_told(error: Exception) -> None:
    """Let what ended a delegate's run end its caller's too, unless a model can make use of it.

    A vendor that is busy or unreachable, or an answer that is malformed, is told to the model that
    gave the task; what somebody has to mend who wrote or configured the program leaves.
    """
    is_told = isinstance(error, errors.ToolError | errors.UpstreamError | errors.ProtocolError)
    if not is_told or isinstance(error, (*_OF_THE_CALLER, errors.RequestError)):
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
