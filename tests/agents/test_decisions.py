"""What people decide about a call is checked when they say it, not where the run continues."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from polycall import Agent
from polycall.agents import ApprovalRequest, PausedRun, Sessions
from polycall.agents.approval_backend import Answered
from polycall.agents.pausing import ApprovalDecision
from polycall.errors import RequestError
from polycall.ir import ToolCall
from polycall.testing import ScriptedModel
from polycall.tools import tool

paid: list[float | None] = []


@tool(needs_approval=True)
def pay(amount: float | None) -> str:
    """Pay."""
    paid.append(amount)
    return f"paid {amount}"


PAY = ToolCall("c1", "pay", '{"amount": 1}')

NO_ARGUMENTS: list[tuple[Any, str]] = [
    ([], r"arguments are a dictionary by parameters' names, not \[\]"),
    ("all", r"arguments are a dictionary by parameters' names, not 'all'"),
    ({1: 2}, r"arguments are a dictionary by parameters' names, not \{1: 2\}"),
    ({"amount": float("nan")}, "the arguments are not JSON: Out of range float"),
    ({"amount": [{"in": float("-inf")}]}, "the arguments are not JSON: Out of range float"),
    ({"amount": object()}, "the arguments are not JSON: Encoding objects of type object"),
]


@pytest.fixture
async def paused() -> PausedRun:
    paid.clear()
    agent = Agent("test/m", tools=[pay], client=ScriptedModel([PAY]))
    found = (await agent.run("pay", approve="pause")).paused
    assert found is not None
    return found


@pytest.mark.parametrize(("arguments", "words"), NO_ARGUMENTS)
async def test_arguments_that_no_tool_could_get_are_refused_and_nothing_is_decided(
    paused: PausedRun, arguments: Any, words: str
) -> None:
    waiting = paused.waiting[0].id
    with pytest.raises(RequestError, match=words):
        paused.allow(waiting, arguments=arguments)
    paused.allow(waiting, arguments={"amount": 2})
    again = PausedRun.from_json(paused.to_json())
    agent = Agent("test/m", tools=[pay], client=ScriptedModel(["done"]))
    assert ((await agent.resume(again)).text, paid) == ("done", [2.0])


@pytest.mark.parametrize("result", [float("nan"), {"a": [float("inf")]}, {"a": object()}, KeyError])
async def test_a_result_without_json_is_refused_and_nothing_is_decided(
    paused: PausedRun, result: Any
) -> None:
    waiting = paused.waiting[0].id
    with pytest.raises(RequestError, match="the result is not JSON: "):
        paused.answer(waiting, result)
    assert [each.id for each in paused.waiting] == [waiting]


async def test_a_reason_and_for_always_are_what_they_say(paused: PausedRun) -> None:
    waiting = paused.waiting[0].id
    for reason in (3, None, ["no"]):
        with pytest.raises(RequestError, match="reason is text that the model reads, not "):
            paused.deny(waiting, reason)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    for always in ("yes", 1, None):
        with pytest.raises(RequestError, match="always is true or false, not "):
            paused.allow(waiting, always=always)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    # What is put into a database or read from one is the same kind of decision.
    with pytest.raises(RequestError, match="the result is not JSON"):
        ApprovalDecision(allowed=True, result=Answered(float("nan")))


@pytest.mark.parametrize(("arguments", "words"), NO_ARGUMENTS)
async def test_the_same_where_the_call_waits_here(arguments: Any, words: str) -> None:
    paid.clear()
    agent = Agent("test/m", tools=[pay], client=ScriptedModel([PAY, "done"]))
    async with agent.stream("pay") as stream:
        async for event in stream:
            if isinstance(event, ApprovalRequest):
                with pytest.raises(RequestError, match=words):
                    event.allow(arguments=arguments)
                event.allow(arguments={"amount": 3})
    assert (stream.run.text, paid) == ("done", [3.0])


async def test_a_session_whose_stream_was_dropped_runs_again_in_the_same_code(
    tmp_path: Path,
) -> None:
    with Sessions(f"sqlite:///{tmp_path / 's.db'}", wait_s=5) as sessions:
        session = sessions.open("s")
        stream = session.stream(Agent("test/m", client=ScriptedModel(["dropped"])), "hello")
        async for _ in stream:
            break  # with no `async with` around it
        # As the event loop closes a generator that nobody reads: in a task of its own.
        await asyncio.create_task(stream.aclose())
        run = await session.run(Agent("test/m", client=ScriptedModel(["kept"])), "and?")
        assert run.text == "kept"
