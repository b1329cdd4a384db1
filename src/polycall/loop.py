"""The tool loop: ask, run the calls, give the results back, until the model is done.

This is the whole of an agent's machinery; memory, handoff and the rest are tools.  `run_tools`
gives every stage as an event, and ends with a `RunEnd` that holds the run so far whatever ended
it: a limit is a result, not an exception.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from decimal import Decimal
from typing import Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from polycall.client import ModelClient
from polycall.fold import unfold
from polycall.ir import Event, Message, Request, Response, Text, ToolCall, ToolResult, Usage

Execute: TypeAlias = Callable[[ToolCall], Awaitable[ToolResult]]
EndReason: TypeAlias = Literal[
    "finished", "length", "content_filter", "refusal", "error", "steps", "tokens", "cost"
]


class Limits(Struct, frozen=True):
    """Bounds of one run.  `None` is no bound; a cost bound stops a run whose price is unknown."""

    steps: int = 20
    tokens: int | None = None
    cost_usd: Decimal | None = None
    parallel_calls: int = 8


class Step(Struct, frozen=True):
    """One answer of the model, and the results of its calls."""

    response: Response
    results: list[ToolResult] = []
    cost: Decimal | None = None


class ModelEvent(Struct, frozen=True):
    """The model says something more."""

    step: int
    event: Event


class CallStart(Struct, frozen=True):
    """A tool begins to run."""

    step: int
    call: ToolCall


class CallEnd(Struct, frozen=True):
    """A tool has given its result."""

    step: int
    call: ToolCall
    result: ToolResult


class StepEnd(Struct, frozen=True):
    """A step is complete.  `messages` is the whole conversation so far."""

    number: int
    step: Step
    messages: list[Message] = []


class RunEnd(Struct, frozen=True):
    """The run is over.  `messages` is the whole conversation, ready to go on."""

    reason: EndReason
    messages: list[Message]
    steps: list[Step]
    usage: Usage
    cost: Decimal | None

    @property
    def text(self) -> str:
        """The text of the last answer."""
        return self.steps[-1].response.text if self.steps else ""


LoopEvent: TypeAlias = ModelEvent | CallStart | CallEnd | StepEnd | RunEnd


async def run_tools(
    client: ModelClient, request: Request, execute: Execute, *, limits: Limits | None = None
) -> AsyncGenerator[LoopEvent]:
    """Run `request` to its end; close the generator to cancel whatever is under way.

    `request.stream` decides how the model is asked; the events are the same either way.
    """
    bounds = limits or Limits()
    messages, steps = list(request.messages), list[Step]()
    while True:
        number = len(steps) + 1
        turn = replace(request, messages=messages)
        if request.stream:
            async with client.stream_request(turn) as stream:
                async for event in stream:
                    yield ModelEvent(number, event)
            response = stream.response
        else:
            response = await client.generate_request(turn)
            for event in unfold(response):
                yield ModelEvent(number, event)
        # An answer that was cut off may hold half a call: only a normal end makes calls run.
        calls = response.tool_calls if response.finish_reason == "tool_calls" else []
        results: dict[int, ToolResult] = {}
        async with aclosing(_run_calls(number, calls, execute, bounds, results)) as events:
            async for event in events:
                yield event
        # Calls run side by side and end in any order; the history keeps the model's.
        ordered = [results[place] for place in range(len(calls))]
        steps.append(Step(response, ordered, client.cost(response.model, response.usage)))
        messages = [*messages, response.message, *_result_messages(response, ordered)]
        yield StepEnd(number, steps[-1], messages)
        reason = _end_reason(steps, bounds)
        if reason is not None:
            yield RunEnd(reason, messages, steps, _usage(steps), _cost(steps))
            return


def _end_reason(steps: list[Step], limits: Limits) -> EndReason | None:
    match steps[-1].response.finish_reason:
        case "stop":
            return "finished"
        case "tool_calls" | "pause":
            pass
        case reason:
            return reason
    cost = _cost(steps)
    if limits.tokens is not None and _usage(steps).total_tokens >= limits.tokens:
        return "tokens"
    if limits.cost_usd is not None and (cost is None or cost >= limits.cost_usd):
        return "cost"
    return "steps" if len(steps) >= limits.steps else None


async def _run_calls(
    step: int,
    calls: list[ToolCall],
    execute: Execute,
    limits: Limits,
    results: dict[int, ToolResult],
) -> AsyncGenerator[CallStart | CallEnd]:
    """All calls of a step, so many at a time, into `results`; leaving early cancels them."""
    slots = asyncio.Semaphore(limits.parallel_calls)
    events: asyncio.Queue[CallStart | CallEnd | Exception] = asyncio.Queue()

    async def run(place: int, call: ToolCall) -> None:
        async with slots:
            events.put_nowait(CallStart(step, call))
            try:
                results[place] = await execute(call)
                events.put_nowait(CallEnd(step, call, results[place]))
            except Exception as error:  # noqa: BLE001 - the loop raises it
                events.put_nowait(error)

    tasks = [asyncio.create_task(run(place, call)) for place, call in enumerate(calls)]
    try:
        for _ in range(2 * len(calls)):
            event = await events.get()
            if isinstance(event, Exception):
                raise event
            yield event
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _result_messages(response: Response, results: list[ToolResult]) -> list[Message]:
    """The message of results; calls that were cut off are answered, so that the history holds."""
    ran = {result.call_id for result in results}
    cut = [
        ToolResult(
            call.id, [Text("not run: the answer was cut off")], is_error=True, name=call.name
        )
        for call in response.tool_calls
        if call.id not in ran
    ]
    return [Message("tool", [*results, *cut])] if results or cut else []


def _usage(steps: list[Step]) -> Usage:
    return sum((step.response.usage for step in steps), Usage())


def _cost(steps: list[Step]) -> Decimal | None:
    total = Decimal(0)
    for step in steps:
        if step.cost is None:
            return None
        total += step.cost
    return total
