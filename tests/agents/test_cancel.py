"""A run that is cancelled at any event leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from polycall import Agent, Client, Memory, WrittenTools, tool
from polycall.agents import ApprovalRequest
from polycall.agents.memory import JSONFileStore
from polycall.ir import Message, Text, ToolCall
from polycall.loop import Limits
from polycall.sandbox import Sandbox
from polycall.sim import Call, Simulation, Turn
from polycall.testing import ScriptedModel

from .support import nothing_left, play, said

running: list[float] = []


@tool
async def work(seconds: float) -> str:
    """Work for a while."""
    running.append(seconds)
    try:
        await asyncio.sleep(seconds)
    finally:
        running.remove(seconds)
    return "worked"


@tool(needs_approval=True)
async def pay(amount: int) -> str:
    """Pay."""
    return f"paid {amount}"


def script() -> list[Turn]:
    return [
        Turn(text="One moment.", calls=[Call("transfer_to_clerk", {"reason": "r"})]),
        Turn(calls=[Call("add_to_memory", {"text": "likes tea"}), Call("work", {"seconds": 0.01})]),
        Turn(calls=[Call("helper", {"task": "work"}), Call("work", {"seconds": 0.02})]),
        Turn(calls=[Call("work", {"seconds": 0.01})]),
        Turn(text="helped"),
        Turn(text="All is done."),
    ]


def team(model: str, client: Any, memory: Memory) -> Agent[Any, str]:
    helper = Agent(model, name="helper", tools=[work])
    clerk = Agent(model, name="clerk", tools=[work, helper], memory=memory)
    return Agent(model, name="desk", handoffs=[clerk], client=client)


def children() -> set[str]:
    """The processes that this one started."""
    found: set[str] = set()
    for task in Path("/proc/self/task").iterdir():
        found.update((task / "children").read_text().split())
    return found


async def test_at_every_event(simulation: Simulation, client: Client, tmp_path: Path) -> None:
    place = tmp_path / "memory.json"
    history = [said("user", "earlier"), said("assistant", "yes")]
    before = list(history)
    count, stop_at, is_over = 0, 0, False
    await team(play(simulation, "openai", *script()), client, Memory(place)).run("warm up")
    while not is_over:
        memory = Memory(place)
        agent = team(play(simulation, "openai", *script()), client, memory)
        with nothing_left():
            count, is_over = 0, True
            async with agent.stream("hello", history=history) as stream:
                async for _ in stream:
                    count += 1
                    if count > stop_at:
                        is_over = False
                        break
        assert running == []
        assert history == before
        if place.exists():
            entries = json.loads(place.read_bytes())
            assert all(entry["text"] == "likes tea" for entry in entries)
        assert isinstance(memory.store, JSONFileStore)
        assert list(tmp_path.glob(".*.tmp")) == []
        stop_at += 1
    assert stop_at > 30
    assert stream.run.text == "All is done."


@pytest.mark.parametrize("delay_s", [0.0, 0.004, 0.01, 0.02, 0.03, 0.05, 0.08])
async def test_at_any_moment(
    delay_s: float, simulation: Simulation, client: Client, tmp_path: Path
) -> None:
    agent = team(play(simulation, "anthropic", *script()), client, Memory(tmp_path / "m.json"))
    with nothing_left():
        task = asyncio.create_task(agent.run("hello"))
        await asyncio.sleep(delay_s)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert running == []


async def test_while_somebody_thinks_about_an_approval() -> None:
    call = ToolCall("c", "pay", '{"amount":1}')
    with nothing_left(), ScriptedModel([call]) as model:
        agent = Agent("test/m", tools=[pay], client=model)
        async with agent.stream("go") as stream:
            async for event in stream:
                if isinstance(event, ApprovalRequest):
                    break


async def test_while_a_program_runs() -> None:
    before = children()
    code = json.dumps({"code": "import time\ntime.sleep(30)"})
    slow = tool(allowed_callers=["code"])(never_asked)
    with nothing_left(), ScriptedModel([ToolCall("p", "run_code", code)]) as model:
        agent = Agent("test/m", tools=[slow], calling="code", client=model)
        task = asyncio.create_task(agent.run("go"))
        while len(model.requests) < 1:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    for _ in range(50):
        if children() <= before:
            break
        await asyncio.sleep(0.1)
    assert children() <= before


async def never_asked() -> str:
    """Nobody calls it."""
    return ""


async def test_while_a_written_tool_is_tested() -> None:
    before = children()
    arguments = {
        "name": "f",
        "code": "def f() -> int:\n    while True:\n        pass",
        "description": "d",
        "tests": "assert f()",
    }
    call = ToolCall("a", "add_tool", json.dumps(arguments))
    with nothing_left():
        async with Sandbox(pool=0) as sandbox:
            with ScriptedModel([call]) as model:
                agent = Agent("test/m", tools=[WrittenTools(sandbox)], client=model)
                task = asyncio.create_task(agent.run("go"))
                await asyncio.sleep(0.5)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
    for _ in range(50):
        if children() <= before:
            break
        await asyncio.sleep(0.1)
    assert children() <= before, os.getpid()


async def test_out_of_time_the_history_is_whole() -> None:
    calls = [ToolCall("a", "work", '{"seconds":0}'), ToolCall("b", "work", '{"seconds":60}')]
    with nothing_left(), ScriptedModel([calls]) as model:
        agent = Agent("test/m", tools=[work], client=model, limits=Limits(wall_s=0.2))
        run = await agent.run("go")
    assert run.reason == "wall"
    results: list[Any] = run.messages[-1].parts
    assert [result.text for result in results] == ["worked", "not finished: out of time"]
    with ScriptedModel(["fine"]) as model:
        agent.client = model
        again = await agent.run("and now?", history=run.history.to_json())
    assert again.text == "fine"
    assert again.messages[-2] == Message("user", [Text("and now?")])
    assert running == []
