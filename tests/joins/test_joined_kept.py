"""Joins of what is kept: durable runs, sessions, pauses, with delegates, guards, limits, tasks."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from polycall import Agent, Limits, Toolset, tool
from polycall.agents import (
    AgentContext,
    ApprovalRequest,
    Guarded,
    PausedRun,
    Run,
    Sessions,
    partial_run,
)
from polycall.durable import Durable, RunFailedError
from polycall.errors import RequestError, ServerError
from polycall.ir import Message, Request, Text, ToolCall
from polycall.loop import RunEnd, run_tools
from polycall.testing import FunctionModel, ScriptedModel
from polycall.tools import Executor

paid: list[int] = []


@pytest.fixture(autouse=True)
def _nothing_paid() -> None:
    paid.clear()


@tool(needs_approval=True)
async def pay(amount: int) -> str:
    """Pay."""
    paid.append(amount)
    return f"paid {amount}"


@tool(background=True)
async def ship(what: str) -> str:
    """Ship something."""
    await asyncio.sleep(30)
    return what


def again(run: Run[Any]) -> PausedRun:
    assert run.paused is not None
    return PausedRun.from_json(run.paused.to_json("s"), "s")


async def test_a_durable_run_fails_by_its_delegates_configuration_and_goes_on_when_mended(
    tmp_path: Path,
) -> None:
    broken: list[Any] = [RequestError("no key for provider 'acme'; set ACME_API_KEY")]
    inner = Agent(
        "t/i", name="expert", client=FunctionModel(lambda r: broken[0] if broken else "found")
    )
    model = ScriptedModel([{"expert": {"task": "x"}}, "done"])
    agent = Agent("t/m", name="desk", tools=[inner], client=model)
    async with Durable(f"sqlite:///{tmp_path / 'r.db'}", agents=[agent], poll_s=0.02) as durable:
        handle = await durable.start(agent, "go", run_id="r")
        with pytest.raises(RunFailedError, match="ACME_API_KEY"):
            await handle.result()
        broken.clear()
        await durable.resume("r")
        result = await handle.result()
    assert result.text == "done"
    assert "found" in str(result.history.messages)


async def test_a_durable_run_keeps_its_bound_of_time_while_a_task_runs(tmp_path: Path) -> None:
    model = ScriptedModel([{"ship": {"what": "tea"}}, "under way"])
    agent = Agent("t/m", name="desk", tools=[ship], client=model, limits=Limits(wall_s=0.5))
    begun = time.monotonic()
    async with Durable(f"sqlite:///{tmp_path / 'r.db'}", agents=[agent], poll_s=0.02) as durable:
        result = await (await durable.start(agent, "go", run_id="r")).result()
        assert result.reason == "wall"
        async with asyncio.timeout(10):
            while (await durable.tasks("r"))[0].state in ("queued", "running"):
                await asyncio.sleep(0.02)
    assert time.monotonic() - begun < 20


async def test_a_session_keeps_what_was_done_before_an_approver_failed(tmp_path: Path) -> None:
    def approve(request: ApprovalRequest) -> bool:
        if request.arguments["amount"] == 2:
            raise LookupError("no such desk")
        return True

    model = ScriptedModel([{"pay": {"amount": 1}}, {"pay": {"amount": 2}}, "both are known"])
    agent = Agent("t/m", tools=[pay], client=model)
    with Sessions(f"sqlite:///{tmp_path / 's.db'}") as sessions:
        session = sessions.open("a")
        with pytest.raises(LookupError) as caught:
            await session.run(agent, "pay both", approve=approve)
        kept = partial_run(caught.value)
        assert kept is not None
        assert paid == [1]
        assert "paid 1" in str(await session.messages())
        run = await session.run(agent, "and?")
    assert "paid 1" in str(model.requests[-1].messages)
    assert run.text == "both are known"


async def test_a_guarded_session_that_is_resumed_remembers_a_refund_whose_answer_was_refused(
    tmp_path: Path,
) -> None:
    def rude(run: Run[Any]) -> str | None:
        return "rude" if "fool" in run.text else None

    model = ScriptedModel([{"pay": {"amount": 7}}, "there, fool", "it was refunded"])
    guarded = Guarded(Agent("t/m", tools=[pay], client=model), outputs=[rude])
    with Sessions(f"sqlite:///{tmp_path / 's.db'}", secret="0123456789abcdef-x") as sessions:
        session = sessions.open("a", user="mina")
        paused = again(await session.run(guarded, "refund me", approve="pause"))
        paused.allow(paused.waiting[0].id)
        async with session.resume_stream(guarded, paused) as stream:
            async for _ in stream:
                pass
        assert (stream.run.reason, stream.run.text, paid) == ("guardrail", "", [7])
        assert "fool" not in str(await session.messages())
        await session.run(guarded, "was it?")
    assert "paid 7" in str(model.requests[-1].messages)
    assert "fool" not in str(model.requests[-1].messages)


async def test_a_bound_of_time_holds_in_a_resumed_run_too() -> None:
    model = ScriptedModel(
        [[ToolCall("p", "pay", '{"amount": 1}')], {"ship": {"what": "tea"}}, "under way"]
    )
    agent = Agent("t/m", tools=[pay, ship], client=model)
    paused = again(await agent.run("go", approve="pause", limits=Limits(wall_s=0.3)))
    paused.allow(paused.waiting[0].id)
    async with asyncio.timeout(10):
        run = await agent.resume(paused)
    assert (run.reason, run.text, paid) == ("wall", "under way", [1])


async def test_the_loop_alone_ends_where_its_approver_fails() -> None:
    def approve(each: Any, arguments: Any) -> bool:
        raise LookupError("no such desk")

    tools = Toolset([pay]).approved(approve).logged(lambda line: None)
    request = Request("t/m", [Message("user", [Text("go")])], tools.definitions)
    model = ScriptedModel([{"pay": {"amount": 1}}, "never"])
    with pytest.raises(LookupError):
        async for event in run_tools(model, request, Executor.of(tools)):
            assert not isinstance(event, RunEnd)
    assert paid == []


async def test_delegates_side_by_side_and_one_of_them_is_misconfigured() -> None:
    ended: list[str] = []

    @tool
    async def slow() -> str:
        """Work."""
        try:
            await asyncio.sleep(30)
        finally:
            ended.append("slow")
        return ""

    good = Agent("t/g", name="good", tools=[slow], client=ScriptedModel([{"slow": {}}, "x"]))
    error = RequestError("unknown model")
    bad = Agent("t/b", name="bad", client=FunctionModel(lambda request: error))
    both = [ToolCall("a", "good", '{"task": "x"}'), ToolCall("b", "bad", '{"task": "x"}')]
    agent = Agent("t/m", tools=[good, bad], client=ScriptedModel([both, "never"]))
    async with asyncio.timeout(5):
        with pytest.raises(RequestError, match="unknown model") as caught:
            async with agent.stream("go") as stream:
                async for _ in stream:
                    pass
    run = partial_run(caught.value)
    assert run is not None
    # The outermost run, with every call answered, ready to go on.
    assert [message.role for message in run.messages] == ["user", "assistant", "tool"]
    assert ended in ([], ["slow"])


async def test_a_delegate_whose_vendor_fails_is_told_and_its_spending_counts() -> None:
    answers: list[Any] = [{"note": {"text": "x"}}, ServerError("down")]

    def note(text: str, context: AgentContext[Any]) -> str:
        """Note."""
        return text

    inner = Agent("t/i", name="expert", tools=[note], client=ScriptedModel(answers))
    model = ScriptedModel([{"expert": {"task": "x"}}, "I could not ask"])
    run = await Agent("t/m", tools=[inner], client=model).run("go")
    assert "down" in run.steps[0].results[0].text
    spent = sum(step.response.usage.total_tokens for step in run.steps)
    assert run.usage.total_tokens > spent
