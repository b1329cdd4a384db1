"""What a tool and a person can say to a run: its end, an error that leaves it, other arguments."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from polycall import Agent, Limits, Memory, tool
from polycall.agents import AgentContext, ApprovalRequest, PausedRun, Sessions, partial_run
from polycall.agents.approval_backend import Answered, Edited
from polycall.errors import AbortRunError, RequestError, ToolDefinitionError
from polycall.ir import Request, ToolCall, ToolChoice, ToolResult
from polycall.testing import FunctionModel, ScriptedModel
from polycall.tools import EndRun

paid: list[int] = []


@pytest.fixture(autouse=True)
def _nothing_paid() -> None:
    paid.clear()


@tool(needs_approval=True)
async def pay(amount: int) -> str:
    """Pay."""
    paid.append(amount)
    return f"paid {amount}"


PAY = ToolCall("p", "pay", '{"amount": 900}')


def results(run: Any) -> list[ToolResult]:
    return [result for step in run.steps for result in step.results]


# ---------------------------------------------------------------------------------------------
# Approval with other arguments, or with a result


@pytest.mark.parametrize("how", ["approve", "events", "pause", "session"])
async def test_l13_a_person_may_change_the_arguments(how: str, tmp_path: Path) -> None:
    with ScriptedModel([PAY, "done"]) as model:
        agent = Agent("test/m", tools=[pay], client=model)
        if how == "approve":
            run = await agent.run("pay", approve=lambda request: Edited({"amount": 9}))
        elif how == "events":
            async with agent.stream("pay") as stream:
                async for event in stream:
                    if isinstance(event, ApprovalRequest):
                        event.allow(arguments={"amount": 9})
            run = stream.run
        elif how == "pause":
            paused = (await agent.run("pay", approve="pause")).paused
            assert paused is not None
            paused.allow(paused.waiting[0].id, arguments={"amount": 9})
            run = await agent.resume(PausedRun.from_json(paused.to_json()))
        else:
            with Sessions(f"sqlite:///{tmp_path / 'chat.db'}") as sessions:
                session = sessions.open("a")
                paused = (await session.run(agent, "pay", approve="pause")).paused
                assert paused is not None
                paused.allow(paused.waiting[0].id, arguments={"amount": 9})
                run = await session.resume(agent, paused)
    assert paid == [9]
    assert results(run)[0].text == '[a person changed the arguments to {"amount":9}]\npaid 9'


async def test_l13_changed_arguments_are_checked_as_the_models_are() -> None:
    with ScriptedModel([PAY, "done"]) as model:
        agent = Agent("test/m", tools=[pay], client=model)
        run = await agent.run("pay", approve=lambda request: Edited({"amount": "much"}))
    assert paid == []
    assert results(run)[0].is_error


@pytest.mark.parametrize("is_error", [False, True])
async def test_l13_the_application_may_give_the_result_itself(is_error: bool) -> None:
    with ScriptedModel([PAY, PAY, "done"]) as model:
        agent = Agent("test/m", tools=[pay], client=model)
        paused = (await agent.run("pay", approve="pause")).paused
        assert paused is not None
        paused.answer(paused.waiting[0].id, {"paid_elsewhere": 900}, is_error=is_error)
        paused = (await agent.resume(PausedRun.from_json(paused.to_json()))).paused
        assert paused is not None
        with pytest.raises(RequestError, match="is not JSON"):
            paused.answer(paused.waiting[0].id, object())
        paused.answer(paused.waiting[0].id, "later")
        run = await agent.resume(paused)
    assert paid == []
    assert [(each.text, each.is_error) for each in results(run)] == [
        ('{"paid_elsewhere":900}', is_error),
        ("later", False),
    ]
    with ScriptedModel([PAY, "done"]) as model:
        agent = Agent("test/m", tools=[pay], client=model)
        run = await agent.run("pay", approve=lambda request: Answered("by hand"))
    assert results(run)[0].text == "by hand"


async def test_l13_another_thread_may_answer() -> None:
    with ScriptedModel([PAY, "done"]) as model:
        agent = Agent("test/m", tools=[pay], client=model)
        async with agent.stream("pay") as stream:
            async for event in stream:
                if isinstance(event, ApprovalRequest):
                    threading.Timer(0.05, event.allow).start()
    assert paid == [900]


# ---------------------------------------------------------------------------------------------
# The end of a run


class Order(BaseModel):
    item: str
    count: int


@tool
async def finish(item: str) -> EndRun:
    """Finish."""
    return EndRun(Order(item=item, count=2))


@tool
async def finish_in_words(item: str) -> EndRun:
    """Finish."""
    return EndRun(f"{item} it is")


@pytest.mark.parametrize("mode", ["run", "stream", "pause", "handoff"])
async def test_l13_a_tool_may_end_the_run_with_its_result(mode: str) -> None:
    script: list[Any] = [ToolCall("f", "finish", '{"item":"tea"}')]
    if mode == "handoff":
        script.insert(0, ToolCall("t", "transfer_to_clerk", '{"reason":"r"}'))
    with ScriptedModel(script) as model:
        agent = Agent("test/m", tools=[finish], output=Order, client=model)
        if mode == "handoff":
            clerk = Agent("test/m", name="clerk", tools=[finish], output=Order)
            agent = Agent("test/m", handoffs=[clerk], output=Order, client=model)
        if mode == "stream":
            async with agent.stream("order") as stream:
                async for _ in stream:
                    pass
            run = stream.run
        elif mode == "pause":
            run = await agent.run("order", approve="pause")
        else:
            run = await agent.run("order")
    assert (run.reason, run.output) == ("finished", Order(item="tea", count=2))
    assert run.messages[-1].role == "tool"


async def test_l13_plain_text_wrapped_types_and_delegates_end_too() -> None:
    with ScriptedModel([ToolCall("f", "finish_in_words", '{"item":"tea"}')]) as model:
        agent = Agent("test/m", tools=[finish_in_words], client=model)
        assert (await agent.run("order")).output == "tea it is"

    @tool
    async def choose(number: int) -> EndRun:
        """Choose."""
        return EndRun(number)

    kind: Any = Literal[1, 2]
    for number, reason in ((2, "finished"), (3, "output")):
        with ScriptedModel([ToolCall("c", "choose", f'{{"number":{number}}}')]) as model:
            run = await Agent("test/m", tools=[choose], output=kind, client=model).run("choose")
            assert (run.reason, run.value) == (reason, 2 if number == 2 else None)
    script = [
        ToolCall("w", "worker", '{"task":"order tea"}'),
        ToolCall("f", "finish_in_words", '{"item":"tea"}'),
        "all done",
    ]
    with ScriptedModel(script) as model:
        worker = Agent("test/m", name="worker", tools=[finish_in_words])
        run2 = await Agent("test/m", name="boss", tools=[worker], client=model).run("order")
    assert (results(run2)[0].text, run2.output) == ("tea it is", "all done")


# ---------------------------------------------------------------------------------------------
# An exception that leaves the run


class OutOfMoneyError(Exception):
    pass


@pytest.mark.parametrize("face", ["run", "delegate", "background", "sync"])
@pytest.mark.parametrize("kind", ["assert", "own", "abort"])
def test_l13_an_exception_that_the_tool_names_leaves_the_run(kind: str, face: str) -> None:
    errors = {"assert": AssertionError, "own": OutOfMoneyError, "abort": AbortRunError}

    @tool(raises=[AssertionError, OutOfMoneyError], background=face == "background")
    async def act() -> str:
        """Act."""
        raise errors[kind]("not today")

    def answer(request: Request) -> Any:
        name = "worker" if request.model == "boss/m" else "act"
        is_done = request.messages[-1].role == "tool"
        return "done" if is_done else ToolCall("a", name, '{"task":"t"}' if "w" in name else "{}")

    agent = Agent("test/m", tools=[act], client=FunctionModel(answer))
    if face == "delegate":
        worker = Agent("test/m", name="worker", tools=[act])
        agent = Agent("boss/m", tools=[worker], client=FunctionModel(answer))
    run: Callable[[str], Any] = agent.run_sync
    if face != "sync":
        run = lambda words: asyncio.run(agent.run(words))  # noqa: E731 - the same in a line
    with pytest.raises(errors[kind], match="not today") as caught:
        run("act")
    left = partial_run(caught.value)
    assert left is not None
    assert left.messages[0].text == "act"


async def test_l13_all_other_exceptions_are_the_models_to_read() -> None:
    @tool(raises=[OutOfMoneyError])
    async def act() -> str:
        """Act."""
        raise ValueError("try again")

    with ScriptedModel([ToolCall("a", "act", "{}"), "done"]) as model:
        run = await Agent("test/m", tools=[act], client=model).run("act")
    assert results(run)[0].text == "ValueError: try again"
    with pytest.raises(ToolDefinitionError, match="lists types of exceptions"):
        tool(raises=["ValueError"])(act.function)  # type: ignore[list-item]


# ---------------------------------------------------------------------------------------------
# One at a time


@pytest.mark.parametrize(("bound", "most"), [(1, 1), (2, 2), (None, 5)])
async def test_l13_so_many_calls_of_a_tool_run_at_a_time(bound: int | None, most: int) -> None:
    running: list[int] = [0, 0]

    @tool(concurrency=bound)
    async def act(number: int) -> str:
        """Act."""
        running[0] += 1
        running[1] = max(running)
        await asyncio.sleep(0.02)
        running[0] -= 1
        return str(number)

    calls = [ToolCall(f"c{number}", "act", f'{{"number":{number}}}') for number in range(5)]
    with ScriptedModel([calls, "done"]) as model:
        run = await Agent("test/m", tools=[act], client=model).run("act")
    assert running[1] == most
    assert [each.text for each in results(run)] == ["0", "1", "2", "3", "4"]


async def test_l13_a_call_that_would_wait_for_itself_is_refused() -> None:
    @tool(concurrency=1)
    async def act(context: AgentContext[Any]) -> str:
        """Act."""
        inner = Agent("test/m", tools=[act], client=ScriptedModel([ToolCall("i", "act"), "in"]))
        return results(await inner.run("again"))[0].text

    with ScriptedModel([ToolCall("o", "act", "{}"), "done"]) as model:
        run = await Agent("test/m", tools=[act], client=model).run("act")
    assert "nothing was run" in results(run)[0].text


# ---------------------------------------------------------------------------------------------
# Another model for a run, OpenAI's messages


async def test_l13_settings_for_one_run_and_for_tests() -> None:
    with ScriptedModel(["one", "two", "three"]) as model:
        agent = Agent("a/m", tools=[pay], client=model, temperature=0.5)
        await agent.changed(model="b/m", tools=[finish], temperature=0.1).run("go")
        with agent.override(model="c/m", max_output_tokens=5) as same:
            assert same is agent
            await agent.run("go")
        await agent.run("go")
    first, second, third = model.requests
    assert (first.model, first.temperature, [each.name for each in first.tools]) == (
        *("b/m", 0.1),
        ["finish"],
    )
    assert (second.model, second.max_output_tokens, second.temperature) == ("c/m", 5, 0.5)
    assert (third.model, third.max_output_tokens) == ("a/m", None)
    for changes in ({"name": "x"}, {"modle": "x"}, {"limits": 3}):
        with pytest.raises(RequestError):
            agent.changed(**changes)
    assert agent.limits == Limits()


@pytest.mark.parametrize(
    ("made", "changes", "names", "calling"),
    [
        ({"tool_choice": "weigh"}, {"temperature": 0.1}, ["weigh"], "direct"),
        ({"calling": "code"}, {"model": "b/m"}, ["weigh"], "code"),
        ({"calling": "code"}, {"calling": "direct"}, ["weigh"], "direct"),
        ({}, {"calling": "code"}, ["weigh"], "code"),
        ({}, {"memory": Memory()}, ["weigh", *Memory().toolset.tools], "direct"),
        ({"memory": Memory()}, {"memory": None}, ["weigh"], "direct"),
        ({"memory": Memory()}, {"tools": [finish]}, ["finish", *Memory().toolset.tools], "direct"),
    ],
)
def test_l13_what_is_changed_is_checked_with_what_is_not(
    made: dict[str, Any], changes: dict[str, Any], names: list[str], calling: str
) -> None:
    def weigh(thing: str) -> int:
        """Weigh a thing."""
        return len(thing)

    agent = Agent("a/m", tools=[weigh], **made)
    before = [name for toolset in agent.toolsets for name in toolset.tools]
    for other in (agent.changed(**changes), agent.changed(**changes).changed(effort="low")):
        assert [name for toolset in other.toolsets for name in toolset.tools] == names
        assert other.calling == calling
    with agent.override(**changes):
        assert [name for toolset in agent.toolsets for name in toolset.tools] == names
    assert [name for toolset in agent.toolsets for name in toolset.tools] == before


def test_l13_a_change_that_does_not_fit_the_rest_is_refused() -> None:
    agent = Agent("a/m", tools=[finish], tool_choice="finish", calling="direct")
    refused: list[tuple[dict[str, Any], str]] = [
        ({"tools": [pay]}, "tool_choice is 'finish'"),
        ({"calling": "code", "tools": [], "tool_choice": "auto"}, "calling='code' needs a tool"),
        ({"native": True}, "native= is about programs"),
    ]
    for changes, words in refused:
        with pytest.raises(RequestError, match=words):
            agent.changed(**changes)
    assert agent.calling == "direct"


@pytest.mark.parametrize("way", ["agent", "session", "stream"])
async def test_l13_what_a_run_alone_was_given_holds_after_it_paused(way: str) -> None:
    @tool(needs_approval=True)
    async def send(to: str) -> str:
        """Send something."""
        return "sent"

    def answer(request: Request) -> ToolCall:
        seen.append((request.model, request.temperature, request.tool_choice))
        return ToolCall(str(len(seen)), "send", '{"to":"mina"}')

    seen: list[Any] = []
    choice = ToolChoice("tool", ["send"])
    agent = Agent("a/m", tools=[send], client=FunctionModel(answer), temperature=0.9)
    session = Sessions(":memory:").open("a")
    given: Any = {
        "model": ["b/m", "c/m"],
        "settings": {"temperature": 0.1, "tool_choice": "send"},
        "limits": Limits(steps=3, cost_usd=Decimal("0.5")),
        "approval_ttl_s": 50,
        "approve": "pause",
    }
    if way == "session":
        run = await session.run(agent, "go", **given)
    else:
        run = await agent.run("go", **given)
    for _ in range(2):
        assert run.paused is not None
        paused = PausedRun.from_json(run.paused.to_json())
        (waiting,) = paused.waiting
        assert waiting.expires_at is not None
        paused.allow(waiting.id)
        if way == "stream":
            async with agent.resume_stream(paused) as stream:
                async for _event in stream:
                    pass
            run = stream.run
        elif way == "session":
            run = await session.resume(agent, paused)
        else:
            run = await agent.resume(paused)
    assert seen == [("b/m,c/m", 0.1, choice), ("b/m,c/m", 0.1, None), ("b/m,c/m", 0.1, None)]
    assert run.paused is not None
    run.paused.deny(run.paused.waiting[0].id)
    if way != "session":
        # Bounds may be given anew.
        other = await agent.resume(run.paused, limits=Limits(steps=4))
        assert other.reason == "paused"
        run = await agent.resume(run.paused)
        assert run.reason == "steps"


async def test_l13_messages_of_openai_are_a_history_and_a_history_is_messages_of_openai() -> None:
    theirs: list[Any] = [
        {"role": "user", "content": "How heavy is tea?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "w", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "light"},
        {"role": "assistant", "content": "It is light."},
    ]
    with ScriptedModel(["As I said."]) as model:
        run = await Agent("test/m", client=model).run("Sure?", history=theirs)
    assert [each.role for each in model.requests[0].messages] == [
        *("user", "assistant", "tool", "assistant"),
        "user",
    ]
    made = run.history.to_openai()
    assert [each["role"] for each in made] == [
        *("user", "assistant", "tool", "assistant"),
        *("user", "assistant"),
    ]
    assert made[1]["tool_calls"][0]["function"]["name"] == "w"
    with pytest.raises(RequestError, match=r"messages\[0\]"):
        await Agent("test/m", client=model).run("x", history=[{"role": "robot", "content": 5}])
