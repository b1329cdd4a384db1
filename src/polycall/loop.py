"""The tool loop: ask, run the calls, give the results back, until the model is done.

This is the whole of an agent's machinery; memory, handoff and the rest are tools.  `run_tools`
gives every stage as an event, and ends with a `RunEnd` that holds the run so far whatever ended
it: a limit is a result, not an exception.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from contextvars import ContextVar
from decimal import Decimal
from typing import Any, Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from polycall.client import Client, ModelClient
from polycall.errors import RequestError
from polycall.fold import unfold
from polycall.ir import Event, Message, Request, Response, Text, ToolCall, ToolResult, Usage
from polycall.tools.context import step_mark

Execute: TypeAlias = Callable[[ToolCall], Awaitable[ToolResult]]
EndReason: TypeAlias = Literal[
    "finished",
    "length",
    "content_filter",
    "refusal",
    "error",
    "steps",
    "tokens",
    "cost",
    "wall",
    "handoffs",
    "output",
    "paused",
    "guardrail",
    "stopped",
]


class Limits(Struct, frozen=True):
    """Bounds of one run.  `None` is not a bound.

    With `cost_usd`, a model whose price is unknown is refused before it is asked.
    """

    steps: int = 20
    tokens: int | None = None
    cost_usd: Decimal | None = None
    parallel_calls: int = 8
    wall_s: float | None = None


class Step(Struct, frozen=True):
    """One answer of the model, and the results of its calls."""

    response: Response
    results: list[ToolResult] = []
    cost: Decimal | None = None


class ModelEvent(Struct, frozen=True, tag="model", tag_field="type"):
    """The model says something more."""

    step: int
    event: Event


class CallStart(Struct, frozen=True, tag="call_start", tag_field="type"):
    """A tool begins to run."""

    step: int
    call: ToolCall


class CallEnd(Struct, frozen=True, tag="call_end", tag_field="type"):
    """A tool has given its result."""

    step: int
    call: ToolCall
    result: ToolResult


class ToolEvent(Struct, frozen=True, tag="tool", tag_field="type"):
    """A running tool says something of its own (`emit`): a nested agent's events, its progress."""

    step: int
    call: ToolCall
    event: Any


class StepEnd(Struct, frozen=True, tag="step_end", tag_field="type"):
    """A step is complete.  `messages` is the whole conversation so far."""

    number: int
    step: Step
    messages: list[Message] = []


class RunEnd(Struct, frozen=True, tag="run_end", tag_field="type"):
    """The run is over.  `messages` is the whole conversation, ready to continue."""

    reason: EndReason
    messages: list[Message]
    steps: list[Step]
    usage: Usage
    cost: Decimal | None

    @property
    def text(self) -> str:
        """The text of the last answer."""
        return self.steps[-1].response.text if self.steps else ""


LoopEvent: TypeAlias = ModelEvent | CallStart | CallEnd | ToolEvent | StepEnd | RunEnd


class Suspended(BaseException):
    """Raised by what runs a call that cannot be answered now: it waits for a person.

    The other calls of the step continue to their ends, then the run ends by `paused`.  Its messages
    are those before the step, since half a step is not a conversation.
    """


class Abandoned(BaseException):
    """Raised where this process may not continue a run: another one has it, or it was cancelled.

    No tool and no delegate makes a result of it, which is why it is no `Exception`.
    """


class Turn(Struct, frozen=True):
    """The next step's request, and the function that runs its calls."""

    request: Request
    execute: Execute


# Asked before each step, and where the model has finished: the next turn, or why the run ends.
# It sees the conversation and the steps so far, and may add messages to the conversation.
Prepare: TypeAlias = Callable[[list[Message], list[Step]], Awaitable[Turn | EndReason]]


async def run_tools(
    client: ModelClient,
    request: Request,
    execute: Execute,
    *,
    limits: Limits | None = None,
    prepare: Prepare | None = None,
) -> AsyncGenerator[LoopEvent]:
    """Run `request` to its end; close the generator to cancel whatever is under way.

    `request.stream` decides how the model is asked; the events are the same either way.  With
    `prepare`, each step asks what that says, and `request` only begins the conversation.
    """
    bounds = limits or Limits()
    messages, steps = list(request.messages), list[Step]()
    ends_at = bounds.wall_s and asyncio.get_running_loop().time() + bounds.wall_s
    while True:
        reason = _end_reason(steps, bounds)
        turn: Turn | EndReason = Turn(replace(request, messages=messages), execute)
        if prepare is not None and reason in (None, "finished"):
            turn, messages = await _prepared(prepare, messages, steps, ends_at)
            # What the hook adds is under the same bounds.
            reason = _bound_passed(steps, bounds) if isinstance(turn, Turn) else turn
        if reason is not None or not isinstance(turn, Turn):
            yield RunEnd(reason or "finished", messages, steps, _usage(steps), _cost(steps))
            return
        if bounds.cost_usd is not None:
            check_price(client, turn.request.model)
        progress = _Progress(len(steps) + 1)
        async with aclosing(_until(ends_at, _step(client, turn, bounds, progress))) as events:
            async for event in events:
                yield event
        response = progress.response
        if response is not None:
            # Calls run side by side and end in any order; the history keeps the model's.
            results = [result for _, result in sorted(progress.results.items())]
            steps.append(Step(response, results, client.cost(response.model, response.usage)))
            if progress.is_paused:
                yield RunEnd("paused", messages, steps, _usage(steps), _cost(steps))
                return
            messages = [*messages, response.message, *_result_messages(response, progress.results)]
            yield StepEnd(progress.number, steps[-1], messages)
        if not progress.is_over:
            yield RunEnd("wall", messages, steps, _usage(steps), _cost(steps))
            return


def check_price(client: ModelClient, model: str) -> None:
    """Refuse a model of unknown price, before anything is paid for it.

    Without its price a cost bound could neither hold nor be reached.
    """
    chain = client.chain(model) if isinstance(client, Client) else model.split(",")
    for name in (each.strip() for each in chain):
        if client.cost(name, Usage(1_000_000, 1_000_000)) is None:
            provider, _, own = name.partition("/")
            raise RequestError(
                f"the price of {name!r} is unknown, and the run has a bound for its cost; say the "
                f"price in polycall.toml, dollars for a million tokens:\n"
                f"[providers.{provider}.prices]\n"
                f'"{own}" = {{ input = 0.0, output = 0.0 }}\n'
                "or leave out cost_usd, and bound tokens or steps"
            )


class _Progress:
    """The progress of one step."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.response: Response | None = None
        self.results: dict[int, ToolResult] = {}
        self.is_paused = False
        self.is_over = False


async def _step(
    client: ModelClient, turn: Turn, limits: Limits, progress: _Progress
) -> AsyncGenerator[LoopEvent]:
    """One answer and its calls, kept in `progress`."""
    if turn.request.stream:
        async with client.stream_request(turn.request) as stream:
            async for event in stream:
                yield ModelEvent(progress.number, event)
        response = stream.response
    else:
        response = await client.generate_request(turn.request)
        for event in unfold(response):
            yield ModelEvent(progress.number, event)
    progress.response = response
    # An answer that was cut off may hold half a call: only a normal end makes calls run.
    calls = response.tool_calls if response.finish_reason == "tool_calls" else []
    async with aclosing(_run_calls(calls, turn.execute, limits, progress)) as events:
        async for event in events:
            yield event
    progress.is_over = True


async def _prepared(
    prepare: Prepare, messages: list[Message], steps: list[Step], ends_at: float | None
) -> tuple[Turn | EndReason, list[Message]]:
    """The next turn and the conversation with what the hook added, in the time that is left."""
    added = list(messages)
    if ends_at is None:
        return await prepare(added, steps), added
    timer = asyncio.timeout_at(ends_at)
    try:
        async with timer:
            return await prepare(added, steps), added
    except TimeoutError:
        if not timer.expired():
            raise
        return "wall", added  # also what it had added: nothing tells that a second time


async def _until(
    ends_at: float | None, events: AsyncGenerator[LoopEvent]
) -> AsyncGenerator[LoopEvent]:
    """The events, up to a moment of the event loop's clock; then what makes them is cancelled."""
    async with aclosing(events):
        while True:
            try:
                async with asyncio.timeout_at(ends_at):
                    event = await anext(events)
            except StopAsyncIteration:
                return
            except TimeoutError:
                if ends_at is None or asyncio.get_running_loop().time() < ends_at:
                    raise
                return
            yield event


def _end_reason(steps: list[Step], limits: Limits) -> EndReason | None:
    if not steps:
        return None
    match steps[-1].response.finish_reason:
        case "stop":
            return "finished"
        case "tool_calls" | "pause":
            return _bound_passed(steps, limits)
        case reason:
            return reason


def _bound_passed(steps: list[Step], limits: Limits) -> EndReason | None:
    if not steps:
        return None
    cost = _cost(steps)
    if limits.tokens is not None and _usage(steps).total_tokens >= limits.tokens:
        return "tokens"
    if limits.cost_usd is not None and (cost is None or cost >= limits.cost_usd):
        return "cost"
    return "steps" if len(steps) >= limits.steps else None


_emit: ContextVar[Callable[[Any], Awaitable[None]]] = ContextVar("polycall_emit")


async def emit(event: Any) -> None:
    """From within a running tool: put `event` among the run's events, as a `ToolEvent`.

    Outside a run there is nobody to tell, and nothing happens.
    """
    say = _emit.get(None)
    if say is not None:
        await say(event)


def unheard() -> None:
    """From within work that outlives its step: what it says by `emit` goes nowhere from now on."""
    _emit.set(_nobody)


def is_heard() -> bool:
    """Whether what is said by `emit` here is among the events of a run."""
    return _emit.get(_nobody) is not _nobody


async def _nobody(event: Any) -> None:
    """Stands for the events of a step that is over."""


async def _run_calls(
    calls: list[ToolCall], execute: Execute, limits: Limits, progress: _Progress
) -> AsyncGenerator[LoopEvent]:
    """All calls of a step, so many at a time; leaving early cancels them."""
    slots = asyncio.Semaphore(limits.parallel_calls)
    events: asyncio.Queue[CallStart | CallEnd | ToolEvent | BaseException | None] = asyncio.Queue(
        _EVENTS_MAX
    )
    step = progress.number

    async def run(place: int, call: ToolCall) -> None:
        async def say(event: Any) -> None:
            await events.put(ToolEvent(step, call, event))

        async with slots:
            _emit.set(say)
            step_mark.set(progress)
            await events.put(CallStart(step, call))
            try:
                result = await execute(call)
            except Suspended:
                progress.is_paused = True
                await events.put(None)
                return
            except BaseException as error:  # noqa: BLE001 - raised below, by the run itself
                await events.put(error)
                return
            progress.results[place] = result
            await events.put(CallEnd(step, call, result))

    tasks = [asyncio.create_task(run(place, call)) for place, call in enumerate(calls)]
    try:
        ended = 0
        while ended < len(calls):
            event = await events.get()
            if isinstance(event, BaseException):
                raise event
            ended += event is None or isinstance(event, CallEnd)
            if event is not None:
                yield event
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# A consumer that is slow slows the tools down, and not the memory's growth.
_EVENTS_MAX = 256


def _result_messages(response: Response, results: dict[int, ToolResult]) -> list[Message]:
    """The message of results; calls that did not end are answered, so that the history holds."""
    is_whole = response.finish_reason == "tool_calls"
    why = "not finished: out of time" if is_whole else "not run: the answer was cut off"
    answered = [
        results.get(place) or ToolResult(call.id, [Text(why)], is_error=True, name=call.name)
        for place, call in enumerate(response.tool_calls)
    ]
    return [Message("tool", [*answered])] if answered else []


def _usage(steps: list[Step]) -> Usage:
    return sum((step.response.usage for step in steps), Usage())


def _cost(steps: list[Step]) -> Decimal | None:
    total = Decimal(0)
    for step in steps:
        if step.cost is None:
            return None
        total += step.cost
    return total
