"""What the loop does between steps, for running tools, and at the end of its time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from polycall.ir import Message, Request, Text, ToolCall, ToolResult
from polycall.loop import (
    CallEnd,
    EndReason,
    Limits,
    LoopEvent,
    RunEnd,
    Step,
    ToolEvent,
    Turn,
    emit,
    is_heard,
    run_tools,
    unheard,
)
from polycall.testing import ScriptedModel

ASKED = [Message("user", [Text("go")])]
FIRST = Request("test/m", ASKED)
CALL = ToolCall("c1", "work")


async def done(call: ToolCall) -> ToolResult:
    return ToolResult(call.id, [Text("done")], name=call.name)


async def collect(events: AsyncGenerator[LoopEvent]) -> tuple[list[LoopEvent], RunEnd]:
    seen = [event async for event in events]
    assert isinstance(seen[-1], RunEnd)
    return seen, seen[-1]


async def test_the_hook_decides_what_each_step_asks_and_what_runs_its_calls() -> None:
    asked: list[tuple[int, int]] = []

    async def prepare(messages: list[Message], steps: list[Step]) -> Turn | EndReason:
        asked.append((len(messages), len(steps)))
        if steps and steps[-1].response.finish_reason == "stop":
            return "finished"
        return Turn(Request(f"test/{len(steps)}", messages), done)

    with ScriptedModel([CALL, "ok"]) as model:
        _, end = await collect(run_tools(model, FIRST, _refuse, prepare=prepare))
    assert asked == [(1, 0), (3, 1), (4, 2)]
    assert [request.model for request in model.requests] == ["test/0", "test/1"]
    assert end.reason == "finished"


async def test_the_hook_may_go_on_after_the_model_finished_but_not_past_a_bound() -> None:
    async def again(messages: list[Message], steps: list[Step]) -> Turn | EndReason:
        if steps:
            messages.append(Message("user", [Text("again")]))
        return Turn(Request("test/m", messages), done)

    with ScriptedModel(["one", "two", "three"]) as model:
        _, end = await collect(run_tools(model, FIRST, done, prepare=again, limits=Limits(steps=3)))
    assert end.reason == "steps"
    assert [message.text for message in model.requests[-1].messages] == [
        "go",
        "one",
        "again",
        "two",
        "again",
    ]


async def test_a_run_that_is_past_its_bound_asks_the_hook_for_nothing() -> None:
    asked: list[int] = []

    async def prepare(messages: list[Message], steps: list[Step]) -> Turn | EndReason:
        asked.append(len(steps))
        return Turn(Request("test/m", messages), done)

    with ScriptedModel([CALL, CALL]) as model:
        run = run_tools(model, FIRST, done, prepare=prepare, limits=Limits(steps=2))
        _, end = await collect(run)
    assert (end.reason, asked) == ("steps", [0, 1])


async def test_the_hook_may_end_the_run() -> None:
    async def stop(messages: list[Message], steps: list[Step]) -> Turn | EndReason:
        return "handoffs" if steps else Turn(Request("test/m", messages), done)

    with ScriptedModel([CALL]) as model:
        _, end = await collect(run_tools(model, FIRST, done, prepare=stop))
    assert (end.reason, len(end.messages)) == ("handoffs", 3)


async def test_a_running_tool_is_heard_before_it_ends() -> None:
    async def work(call: ToolCall) -> ToolResult:
        for part in range(600):
            await emit(part)
        return await done(call)

    with ScriptedModel([CALL, "ok"]) as model:
        seen, _ = await collect(run_tools(model, FIRST, work))
    places = [event.event for event in seen if isinstance(event, ToolEvent)]
    assert places == list(range(600))
    kinds = [type(event) for event in seen]
    assert kinds.index(CallEnd) == kinds.index(ToolEvent) + 600


async def test_outside_a_run_nobody_hears() -> None:
    await emit("anything")
    assert not is_heard()


async def test_within_a_tool_the_run_hears_until_the_tool_says_that_it_does_not() -> None:
    heard: list[bool] = []

    async def work(call: ToolCall) -> ToolResult:
        heard.append(is_heard())
        unheard()
        heard.append(is_heard())
        return await done(call)

    with ScriptedModel([CALL, "ok"]) as model:
        await collect(run_tools(model, FIRST, work))
    assert heard == [True, False]


async def test_the_wall_clock_ends_a_run_with_a_whole_history() -> None:
    finished: list[str] = []

    async def work(call: ToolCall) -> ToolResult:
        await asyncio.sleep(0 if call.id == "fast" else 60)
        finished.append(call.id)
        return await done(call)

    calls = [ToolCall("fast", "work"), ToolCall("slow", "work")]
    with ScriptedModel([calls]) as model:
        _, end = await collect(run_tools(model, FIRST, work, limits=Limits(wall_s=0.1)))
    assert end.reason == "wall"
    assert finished == ["fast"]
    assert end.messages[-1] == Message(
        "tool",
        [
            ToolResult("fast", [Text("done")], name="work"),
            ToolResult("slow", [Text("not finished: out of time")], is_error=True, name="work"),
        ],
    )


async def _refuse(call: ToolCall) -> ToolResult:
    raise AssertionError(call)
