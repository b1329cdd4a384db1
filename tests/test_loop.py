"""The tool loop, driven by scripted models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from decimal import Decimal
from typing import Any

import pytest

from polycall.errors import RequestError, ServerError
from polycall.ir import Message, Request, Response, Text, Tool, ToolCall, ToolResult, Usage
from polycall.loop import (
    CallEnd,
    CallStart,
    Limits,
    LoopEvent,
    ModelEvent,
    RunEnd,
    StepEnd,
    run_tools,
)
from polycall.testing import FunctionModel, ScriptedModel

REQUEST = Request(
    model="test/scripted",
    messages=[Message("user", [Text("go")])],
    tools=[Tool("double", "Twice a number", {"type": "object"})],
)


# Answers say which model gave them.
MARK = {"polycall": {"model": "test/scripted"}}


async def double(call: ToolCall) -> ToolResult:
    value = (call.arguments or {})["n"]
    return ToolResult(call.id, [Text(str(2 * value))], name=call.name)


def calls(*numbers: int) -> list[ToolCall]:
    return [ToolCall(f"c{n}", "double", f'{{"n":{n}}}') for n in numbers]


async def collect(events: AsyncGenerator[LoopEvent]) -> tuple[list[LoopEvent], RunEnd]:
    seen = [event async for event in events]
    end = seen[-1]
    assert isinstance(end, RunEnd)
    return seen, end


@pytest.mark.parametrize("streamed", [False, True])
async def test_calls_results_and_answer(streamed: bool) -> None:
    request = Request(REQUEST.model, REQUEST.messages, REQUEST.tools, stream=streamed)
    with ScriptedModel([calls(2), "four"]) as model:
        seen, end = await collect(run_tools(model, request, double))
    assert end.reason == "finished"
    assert end.text == "four"
    assert end.messages == [
        Message("user", [Text("go")]),
        Message("assistant", [ToolCall("c2", "double", '{"n":2}')], metadata=MARK),
        Message("tool", [ToolResult("c2", [Text("4")], name="double")]),
        Message("assistant", [Text("four")], metadata=MARK),
    ]
    kinds = [type(event) for event in seen if not isinstance(event, ModelEvent)]
    assert kinds == [CallStart, CallEnd, StepEnd, StepEnd, RunEnd]
    assert end.usage == sum((s.response.usage for s in end.steps), Usage())
    assert end.cost == 0


async def test_a_timeout_that_is_not_the_bounds_stays_an_error() -> None:
    def fails(request: Request) -> str:
        raise TimeoutError("of a socket")

    with pytest.raises(TimeoutError, match="of a socket"):
        await collect(run_tools(FunctionModel(fails), REQUEST, double, limits=Limits(wall_s=60)))


async def test_parallel_calls_keep_the_models_order() -> None:
    async def slow_first(call: ToolCall) -> ToolResult:
        await asyncio.sleep(0.03 if call.id == "c1" else 0)
        return await double(call)

    with ScriptedModel([calls(1, 2, 3), "done"]) as model:
        seen, end = await collect(run_tools(model, REQUEST, slow_first))
    assert [event.call.id for event in seen if isinstance(event, CallEnd)] == ["c2", "c3", "c1"]
    assert [part.call_id for part in end.messages[2].parts if isinstance(part, ToolResult)] == [
        "c1",
        "c2",
        "c3",
    ]


async def test_no_more_calls_at_once_than_allowed() -> None:
    running, most = 0, 0

    async def count(call: ToolCall) -> ToolResult:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.002)
        running -= 1
        return ToolResult(call.id)

    with ScriptedModel([calls(*range(50)), "done"]) as model:
        await collect(run_tools(model, REQUEST, count, limits=Limits(parallel_calls=8)))
    assert most == 8


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(steps=3), "steps"),
        (Limits(tokens=1), "tokens"),
        (Limits(cost_usd=Decimal(0)), "cost"),
    ],
)
async def test_a_limit_ends_the_run_with_what_it_has(limits: Limits, reason: str) -> None:
    number = iter(range(100))
    model = FunctionModel(lambda _: calls(next(number)))
    _, end = await collect(run_tools(model, REQUEST, double, limits=limits))
    assert end.reason == reason
    assert end.messages[-1].role == "tool"


async def test_an_unknown_price_does_not_pass_a_cost_limit() -> None:
    class Unpriced(FunctionModel):
        def cost(self, model: str, usage: Usage) -> Decimal | None:
            return None

    model = Unpriced(lambda _: calls(1))
    with pytest.raises(RequestError, match="the price of 'test/scripted' is unknown"):
        await collect(run_tools(model, REQUEST, double, limits=Limits(cost_usd=Decimal(9))))
    assert model.requests == []


async def test_D02_a_cut_answer_runs_no_call() -> None:
    cut = Response("r", "m", Message("assistant", [ToolCall("c1", "double", '{"n": 1')]), "length")
    model = FunctionModel(lambda _: cut)
    seen, end = await collect(run_tools(model, REQUEST, double))
    assert end.reason == "length"
    assert not [event for event in seen if isinstance(event, CallStart)]
    assert end.messages[-1] == Message(
        "tool",
        [
            ToolResult(
                "c1",
                [Text("not run: the answer was cut off")],
                is_error=True,
                name="double",
            )
        ],
    )


async def test_C05_two_calls_of_one_id_both_run() -> None:
    same = [ToolCall("c", "double", '{"n":1}'), ToolCall("c", "double", '{"n":2}')]
    with ScriptedModel([same, "done"]) as model:
        _, end = await collect(run_tools(model, REQUEST, double))
    results: list[Any] = end.messages[2].parts
    assert [result.text for result in results] == ["2", "4"]


async def test_an_executor_that_raises_ends_the_run_and_the_other_calls() -> None:
    cancelled: list[str] = []

    async def one_fails(call: ToolCall) -> ToolResult:
        if call.id == "c1":
            raise ServerError("broken")
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            cancelled.append(call.id)
            raise
        raise AssertionError("unreachable")

    model = FunctionModel(lambda _: calls(0, 1, 2))
    with pytest.raises(ServerError):
        await collect(run_tools(model, REQUEST, one_fails))
    assert sorted(cancelled) == ["c0", "c2"]


async def test_closing_the_run_leaves_no_task_behind() -> None:
    started = asyncio.Event()

    async def hang(call: ToolCall) -> ToolResult:
        started.set()
        await asyncio.sleep(60)
        return ToolResult(call.id)

    before = asyncio.all_tasks()
    events = run_tools(FunctionModel(lambda _: calls(1, 2)), REQUEST, hang)
    async for event in events:
        if isinstance(event, CallStart):
            break
    await events.aclose()
    assert asyncio.all_tasks() == before


async def test_a_script_that_is_too_short_or_too_long_fails() -> None:
    with pytest.raises(AssertionError, match="asked again"):
        await collect(run_tools(ScriptedModel([calls(1)]), REQUEST, double))
    model = ScriptedModel(["one", "two"])
    await collect(run_tools(model, REQUEST, double))
    with pytest.raises(AssertionError, match="1 scripted answers were never asked for"):
        model.assert_done()


async def test_the_loops_pause_goes_on() -> None:
    paused = Response("r", "m", Message("assistant", [Text("...")]), "pause")
    with ScriptedModel([paused, "done"]) as model:
        _, end = await collect(run_tools(model, REQUEST, double))
    assert [message.text for message in end.messages] == ["go", "...", "done"]
