"""A saved run: its messages whole, and the agent and cost of each step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from polycall._support import jsontext
from polycall.agents.events import NestedStep
from polycall.errors import RequestError
from polycall.ir import JSON, Message, Text, Tool, ToolResult, Usage, Warning

if TYPE_CHECKING:
    from polycall.agents.run import Run
    from polycall.loop import Step

FORMAT = 1


class TraceStep(Struct, frozen=True, omit_defaults=True):
    """One answer of a model.  `at` is the place of its message; what follows are its results."""

    number: int
    at: int
    agent: str = ""
    model: str = ""
    finish_reason: str = ""
    usage: Usage = Usage()
    cost: Decimal | None = None
    warnings: list[Warning] = []


class Trace(Struct, frozen=True, omit_defaults=True):
    """A run as plain data.

    `tools` and `instructions` are those of the last request.  `is_cut` says that texts were
    shortened to bound a file's size: such a trace can be looked at, and not replayed.
    """

    agent: str = ""
    reason: str = ""
    usage: Usage = Usage()
    cost: Decimal | None = None
    messages: list[Message] = []
    steps: list[TraceStep] = []
    nested: list[NestedStep] = []
    programs: list[JSON] = []
    tools: list[Tool] = []
    instructions: str = ""
    is_cut: bool = False

    def before(self, number: int) -> list[Message]:
        """The conversation as it was when step `number` was asked for."""
        return self.messages[: self.step(number).at]

    def step(self, number: int) -> TraceStep:
        """One step; `RequestError` where there is none."""
        for step in self.steps:
            if step.number == number:
                return step
        last = self.steps[-1].number if self.steps else 0
        raise RequestError(f"the run has no step {number}; it has {last}")

    def lines(self) -> Iterator[JSON]:
        """The run, and then each message, step and the rest, as JSON objects with a `type`."""
        head = {
            "type": "run",
            "polycall_trace": FORMAT,
            "agent": self.agent,
            "reason": self.reason,
            "usage": self.usage,
            "cost": self.cost,
            "instructions": self.instructions,
            "tools": self.tools,
            "is_cut": self.is_cut,
        }
        yield msgspec.to_builtins(head)
        starts = {step.at: step for step in self.steps}
        for place, message in enumerate(self.messages):
            if place in starts:
                yield {"type": "step", **msgspec.to_builtins(starts[place])}
            yield {"type": "message", **msgspec.to_builtins(message)}
        for nested in self.nested:
            yield {"type": "nested", **msgspec.to_builtins(nested)}
        for program in self.programs:
            yield {"type": "program", **program}


def from_lines(lines: Iterable[str | bytes]) -> Trace:
    """The trace that `Trace.lines` wrote; `RequestError` says which line is none of it."""
    kinds: dict[str, list[JSON]] = {name: [] for name in ("message", "step", "nested", "program")}
    head: JSON | None = None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value: Any = jsontext.decode(line)
            kind = str(value.pop("type"))
            if kind == "run":
                head = value
                if value.pop("polycall_trace", None) != FORMAT:
                    raise RequestError(f"line {number}: this is no trace of this version")
            else:
                kinds[kind].append(value)
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise RequestError(f"line {number} is no line of a trace: {error}") from None
    if head is None:
        raise RequestError("this is no trace of a run: no line has the type 'run'")
    try:
        return msgspec.convert(
            {
                **head,
                "messages": kinds["message"],
                "steps": kinds["step"],
                "nested": kinds["nested"],
                "programs": kinds["program"],
            },
            Trace,
        )
    except msgspec.ValidationError as error:
        raise RequestError(f"this is no trace of a run: {error}") from None


def trace_of(run: Run[Any]) -> Trace:
    """The trace of a finished run, or of one that has paused."""
    asked = run.last_request
    heads = [] if asked is None else [m for m in asked.messages[:1] if m.role == "system"]
    return Trace(
        agent=run.agents[0] if run.agents else run.history.agent,
        reason=run.reason,
        usage=run.usage,
        cost=run.cost,
        messages=run.messages,
        steps=list(_steps(run.messages, run.steps, run.agents)),
        nested=run.nested,
        programs=[msgspec.to_builtins(program) for program in run.programs],
        tools=[] if asked is None else asked.tools,
        instructions="".join(message.text for message in heads),
    )


def trace_of_messages(messages: Sequence[Message], **known: Any) -> Trace:
    """The trace of a conversation of which nothing more is known: a durable run's."""
    places = [place for place, message in enumerate(messages) if message.role == "assistant"]
    steps = [TraceStep(number, place) for number, place in enumerate(places, 1)]
    return Trace(messages=list(messages), steps=steps, **known)


def _steps(
    messages: Sequence[Message], steps: Sequence[Step], agents: Sequence[str]
) -> Iterator[TraceStep]:
    """The steps with their places, found from the end: messages of earlier runs come first."""
    places: list[int] = []
    at = len(messages)
    for step in reversed(steps):
        sought = step.response.message
        found = next((n for n in range(at - 1, -1, -1) if messages[n] is sought), None)
        if found is None:
            found = next((n for n in range(at - 1, -1, -1) if messages[n] == sought), None)
        at = at if found is None else found
        places.append(-1 if found is None else found)
    for number, (step, place) in enumerate(zip(steps, reversed(places), strict=True), 1):
        if place >= 0:
            response = step.response
            yield TraceStep(
                number=number,
                at=place,
                agent=agents[number - 1] if number <= len(agents) else "",
                model=response.model,
                finish_reason=response.finish_reason,
                usage=response.usage,
                cost=step.cost,
                warnings=response.warnings,
            )


def text_of(message: Message) -> str:
    """All that a message says, in words, for a person."""
    pieces: list[str] = []
    for part in message.parts:
        match part:
            case ToolResult():
                pieces.append(f"{part.name or part.call_id}: {part.text}")
            case Text():
                pieces.append(part.text)
            case _:
                name = getattr(part, "name", "") or type(part).__name__.lower()
                detail = getattr(part, "arguments_json", "") or getattr(part, "text", "")
                pieces.append(f"{name}({detail})")
    return "\n".join(piece for piece in pieces if piece)
