"""What is left of a run that raised or was stopped, so that nothing is done twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from polycall import Agent, Limits, tool
from polycall.agents import Guarded, Run, Sessions, partial_run
from polycall.errors import ProtocolError, RequestError, UpstreamConnectionError
from polycall.ir import Message, Request, ToolCall, ToolResult, Usage
from polycall.loop import CallEnd, ModelEvent
from polycall.testing import FunctionModel, ScriptedModel

paid: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_paid() -> None:
    paid.clear()


@tool
async def pay(to: str) -> str:
    """Pay."""
    paid.append(to)
    return f"paid {to}"


@tool
async def wait_long() -> str:
    """Wait."""
    await asyncio.sleep(30)
    return "waited"


class Priced(ScriptedModel):
    def cost(self, model: str, usage: Usage) -> Decimal | None:
        return Decimal(1)


def broken() -> list[Any]:
    return [ToolCall("c1", "pay", '{"to":"mina"}'), UpstreamConnectionError("cut off")]


async def _failed(agent: Any, prompt: str = "pay mina", **options: Any) -> BaseException:
    with pytest.raises(BaseException) as caught:
        await agent.run(prompt, **options)
    return caught.value


async def test_l7_an_error_carries_the_run_so_far_and_a_retry_goes_on_from_it() -> None:
    with Priced([*broken(), "Mina was paid."]) as model:
        agent = Agent("test/m", tools=[pay], client=model)
        error = await _failed(agent)
        assert isinstance(error, UpstreamConnectionError)
        run = error.run
        assert isinstance(run, Run)
        assert run is partial_run(error)
        assert (run.reason, run.cost, len(run.steps)) == ("error", 1, 1)
        assert run.usage.total_tokens > 0
        assert [message.role for message in run.messages] == ["user", "assistant", "tool"]
        again = await agent.run("", history=run.history.to_json())
    assert again.text == "Mina was paid."
    assert paid == ["mina"]


@pytest.mark.parametrize("where", ["hook", "instructions", "client", "tool", "output check"])
async def test_l7_whatever_raises_the_run_so_far_is_there(where: str) -> None:
    steps: list[int] = []

    def hook(event: Any) -> None:
        if where == "hook" and isinstance(event, CallEnd):
            raise RuntimeError("the hook")

    def instructions(context: Any) -> str:
        steps.append(1)
        if where == "instructions" and len(steps) == 2:
            raise RuntimeError("the instructions")
        return "Pay."

    @tool
    async def leave() -> str:
        """Leave."""
        while not paid:
            await asyncio.sleep(0.01)
        raise KeyboardInterrupt

    def answer(request: Request) -> Any:
        if len(request.messages) > 2 and where == "client":
            raise ValueError("a client of somebody's")
        calls = [ToolCall("c1", "pay", '{"to":"mina"}')]
        if where == "tool":
            calls.append(ToolCall("c2", "leave", "{}"))
        return "done" if len(request.messages) > 2 else calls

    def check(run: Any) -> str | None:
        raise RuntimeError("the check")

    agent: Any = Agent(
        "test/m",
        tools=[pay, leave],
        client=FunctionModel(answer),
        hooks=[hook],
        instructions=instructions,
    )
    if where == "output check":
        agent = Guarded(agent, outputs=[check])
    run = partial_run(await _failed(agent))
    assert run is not None
    assert [message.role for message in run.messages][:3] == ["user", "assistant", "tool"]
    results = [part for part in run.messages[2].parts if isinstance(part, ToolResult)]
    assert results[0].text == "paid mina"
    if where == "tool":
        assert "not finished" in results[1].text
        assert results[1].is_error


async def test_l7_the_outermost_run_counts_and_what_delegates_spent_is_in_it() -> None:
    # The delegate's error is a result for its boss, which is asked again.
    script = [ToolCall("d", "worker", '{"task":"pay mina"}'), *broken(), ProtocolError("garbage")]
    with Priced(script) as model:
        worker = Agent("test/w", name="worker", tools=[pay], client=model)
        run = partial_run(await _failed(Agent("test/b", name="boss", tools=[worker], client=model)))
    assert run is not None
    assert (run.history.agent, run.cost) == ("boss", 2)
    assert "UpstreamConnectionError" in str(run.messages[-1])


async def test_l7_cancelled_and_closed_runs_are_kept_too() -> None:
    calls = [ToolCall("c1", "pay", '{"to":"mina"}'), ToolCall("c2", "wait_long", "{}")]
    agent = Agent("test/m", tools=[pay, wait_long], client=ScriptedModel([calls, calls]))
    running = asyncio.create_task(agent.run("pay"))
    while not paid:
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await running
    run = partial_run(caught.value)
    assert run is not None
    assert run.reason == "stopped"
    assert [part.text for part in run.messages[-1].parts] == [  # type: ignore[union-attr]
        "paid mina",
        "not finished: the run ended before this call did; it may have done its work",
    ]
    async with agent.stream("pay") as stream:
        async for event in stream:
            if isinstance(event, CallEnd):
                break
    assert [message.role for message in stream.partial.messages] == ["user", "assistant", "tool"]
    with pytest.raises(RequestError, match=r"stream\.partial"):
        _ = stream.run


async def test_l7_the_text_of_an_answer_that_was_cut_off_is_kept() -> None:
    agent = Agent("test/m", client=ScriptedModel(["a long answer"]))
    async with agent.stream("tell") as stream:
        with pytest.raises(RequestError, match="has not begun"):
            _ = stream.partial
        async for event in stream:
            if isinstance(event, ModelEvent) and type(event.event).__name__ == "PartDelta":
                break
    assert stream.partial.text == "a long answer"
    assert stream.partial.messages[-1].role == "assistant"


async def test_l7_a_resumed_run_that_raises_does_not_act_again() -> None:
    @tool(needs_approval=True)
    async def refund(order: str) -> str:
        """Pay back."""
        paid.append(order)
        return "refunded"

    script = [ToolCall("r", "refund", '{"order":"A1"}'), ProtocolError("garbage"), "It is done."]
    with ScriptedModel(script) as model:
        agent = Agent("test/m", tools=[refund], client=model)
        paused = (await agent.run("refund A1", approve="pause")).paused
        assert paused is not None
        paused.allow(paused.waiting[0].id)
        with pytest.raises(ProtocolError) as caught:
            await agent.resume(paused)
        again = caught.value.run.paused
        assert paid == ["A1"]
        run = await agent.resume(again)
    assert run.text == "It is done."
    assert paid == ["A1"]


@pytest.fixture
def sessions(tmp_path: Path) -> Any:
    with Sessions(f"sqlite:///{tmp_path / 'chat.db'}") as made:
        yield made


async def test_l7_a_session_keeps_what_was_done_before_the_error(sessions: Sessions) -> None:
    with ScriptedModel([*broken(), "She was paid already."]) as model:
        agent = Agent("test/m", tools=[pay], client=model)
        session = sessions.open("a")
        with pytest.raises(UpstreamConnectionError):
            await session.run(agent, "pay mina")
        assert [m.role for m in await session.messages()] == ["user", "assistant", "tool"]
        await session.run(agent, "pay mina")
    assert "paid mina" in str(model.requests[-1].messages)
    assert paid == ["mina"]
    assert len(await session.messages()) == 5


async def test_l7_where_nothing_was_done_or_only_whole_runs_count_nothing_is_kept(
    sessions: Sessions,
) -> None:
    script = [UpstreamConnectionError("cut off"), *broken()]
    agent = Agent("test/m", tools=[pay], client=ScriptedModel(script))
    session = sessions.open("a")
    with pytest.raises(UpstreamConnectionError):
        await session.run(agent, "hello")
    assert await session.messages() == []
    with pytest.raises(UpstreamConnectionError):
        await session.run(agent, "pay mina", keep="whole")
    assert await session.messages() == []
    with pytest.raises(RequestError, match="keep is"):
        await session.run(agent, "pay mina", keep="all")  # type: ignore[arg-type]


@pytest.mark.parametrize("stop", ["cancel", "timeout", "tool"])
async def test_l7_a_session_keeps_what_was_done_before_a_stop(
    sessions: Sessions, stop: str
) -> None:
    @tool
    async def leave() -> str:
        """Leave."""
        while stop != "tool" or not paid:
            await asyncio.sleep(0.01)
        raise GeneratorExit

    calls = [ToolCall("c1", "pay", '{"to":"mina"}'), ToolCall("c2", "leave", "{}")]
    agent = Agent("test/m", tools=[pay, leave], client=ScriptedModel([calls]))
    session = sessions.open("a")
    running: Callable[[], Any] = lambda: session.run(agent, "pay mina")  # noqa: E731
    if stop == "cancel":
        task = asyncio.create_task(running())
        while not paid:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    elif stop == "timeout":
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await running()
    else:
        with pytest.raises(GeneratorExit):
            await running()
    kept: list[Message] = await session.messages()
    assert [message.role for message in kept] == ["user", "assistant", "tool"]
    assert Limits() == agent.limits
