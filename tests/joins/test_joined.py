"""Programs that join what nobody joined before: two to four features, and what then has to hold."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from polycall import Agent, Limits, Memory, Toolset, ToolTree, tool
from polycall.agents import (
    AgentContext,
    ApprovalRequest,
    Guarded,
    Handoff,
    PausedRun,
    Run,
    Sessions,
    TaskEvent,
    partial_run,
)
from polycall.errors import AuthenticationError, PolycallError, RateLimitError, RequestError
from polycall.ir import Message, Request, Response, Text, ToolCall, ToolResult, Usage
from polycall.loop import StepEnd
from polycall.sandbox import Sandbox
from polycall.testing import FunctionModel, ScriptedModel
from polycall.tools import AbstractToolset, EndRun, FunctionTool

from .forked import in_child


class Order(BaseModel):
    item: str


def offered(request: Request) -> list[str]:
    return [each.name for each in request.tools]


def said(message: Message) -> str:
    """The results of a step's calls."""
    return " ".join(part.text for part in message.parts if isinstance(part, ToolResult))


def again(run: Run[Any]) -> PausedRun:
    """What another process has of a paused run."""
    assert run.paused is not None
    return PausedRun.from_json(run.paused.to_json("s"), "s")


@tool(background=True)
async def ship(what: str) -> str:
    """Ship something."""
    await asyncio.sleep(30)
    return f"{what} shipped"


@tool(background=True)
async def quick(what: str) -> str:
    """Ship something at once."""
    return f"{what} shipped"


def reserve(item: str) -> str:
    """Put an item aside."""
    return f"{item} is put aside"


# Limits with what happens between the steps


async def test_a_bound_of_time_holds_while_the_run_waits_for_its_tasks() -> None:
    model = ScriptedModel([{"ship": {"what": "tea"}}, "It is under way."])
    agent = Agent("test/m", tools=[ship], client=model, limits=Limits(wall_s=0.2))
    begun = time.monotonic()
    run = await agent.run("ship tea")
    assert run.reason == "wall"
    assert run.text == "It is under way."
    assert time.monotonic() - begun < 5


async def test_a_bound_of_time_holds_while_instructions_are_made() -> None:
    async def slowly(context: AgentContext[Any]) -> str:
        await asyncio.sleep(30)
        return "Be kind."

    agent = Agent(
        "test/m", instructions=slowly, client=ScriptedModel(["x"]), limits=Limits(wall_s=0.2)
    )
    run = await agent.run("hello")
    assert (run.reason, run.steps) == ("wall", [])


async def test_what_was_told_stays_in_a_run_whose_time_ends_before_its_next_step() -> None:
    asked: list[int] = []

    async def slowly(context: AgentContext[Any]) -> str:
        asked.append(1)
        if len(asked) > 1:
            await asyncio.sleep(30)
        return "Be kind."

    @tool(background=True)
    async def count() -> str:
        return "seven teapots"

    model = ScriptedModel([{"count": {}}, "later"])
    agent = Agent(
        "test/m", instructions=slowly, tools=[count], client=model, limits=Limits(wall_s=0.3)
    )
    run = await agent.run("count")
    assert run.reason == "wall"
    assert "seven teapots" in str(run.messages) or run.history.tasks


# Trees with what is put around toolsets


def tree() -> ToolTree:
    return ToolTree({"stock": {f"count_{each}": reserve for each in "abcdef"}})


FINDERS = ["search_tools", "open_namespace"]


async def test_n12_a_tree_with_a_background_tool_stays_a_tree() -> None:
    model = ScriptedModel(["hello"])
    branches = {"mail": [ship], "stock": {f"count_{each}": reserve for each in "abcdef"}}
    await Agent("test/m", tools=[ToolTree(branches)], client=model).run("hi")
    assert [each for each in offered(model.requests[0]) if "." in each] == []
    assert offered(model.requests[0])[:2] == FINDERS


def is_first(each: FunctionTool[..., Any]) -> bool:
    return each.name == "stock.count_a"


AROUND: dict[str, Callable[[ToolTree], AbstractToolset]] = {
    "logged": lambda each: each.logged(),
    "limited": lambda each: each.limited(5),
    "approved": lambda each: each.approved(lambda tool, arguments: True),
    "a sum": lambda each: each + Toolset([ship]),
    "two": lambda each: each.logged().limited(9),
    "filtered": lambda each: each.filtered(lambda tool: not is_first(tool)),
    "around a sum": lambda each: (each + Toolset([reserve])).logged(),
}


@pytest.mark.parametrize("around", AROUND)
async def test_n12_a_tree_stays_a_tree_whatever_is_put_around_it(around: str) -> None:
    model = ScriptedModel(
        [
            {"open_namespace": {"namespace": "stock"}},
            {"stock.count_b": {"item": "tea"}},
            "done",
        ]
    )
    agent = Agent("test/m", tools=[AROUND[around](tree())], client=model)
    run = await agent.run("count")
    assert [each for each in offered(model.requests[0]) if each.startswith("stock")] == []
    assert offered(model.requests[0])[:2] == FINDERS
    assert "stock.count_b" in offered(model.requests[1])
    assert "put aside" in run.steps[1].results[0].text


# Delegates with the mistakes of those who configure them


@pytest.mark.parametrize(
    "error",
    [
        RequestError("there is no provider 'opnai'"),
        AuthenticationError("Incorrect API key"),
    ],
)
@pytest.mark.parametrize("streams", [False, True])
async def test_a_delegates_configuration_error_leaves_the_run(
    error: PolycallError, *, streams: bool
) -> None:
    inner = Agent("test/m", name="expert", client=FunctionModel(lambda request: error))
    model = ScriptedModel([{"expert": {"task": "look"}}, "never"])
    agent = Agent("test/m", tools=[inner, reserve], client=model)
    with pytest.raises(type(error)) as caught:
        if streams:
            async with agent.stream("go") as stream:
                async for _ in stream:
                    pass
        else:
            await agent.run("go")
    run = partial_run(caught.value)
    assert run is not None
    assert run.messages[0].text == "go"
    assert len(model.requests) == 1


async def test_a_delegate_whose_vendor_is_busy_is_an_answer_that_the_model_reads() -> None:
    busy = RateLimitError("slow down")
    inner = Agent("test/m", name="expert", client=FunctionModel(lambda request: busy))
    model = ScriptedModel([{"expert": {"task": "look"}}, "I could not ask."])
    run = await Agent("test/m", tools=[inner], client=model).run("go")
    assert "slow down" in run.steps[0].results[0].text


async def test_a_delegates_broken_hook_leaves_the_run() -> None:
    def broken(event: object) -> None:
        if isinstance(event, StepEnd):
            raise KeyError("metrics")

    inner = Agent("test/m", name="expert", client=ScriptedModel(["found"]), hooks=[broken])
    model = ScriptedModel([{"expert": {"task": "look"}}, "never"])
    with pytest.raises(KeyError, match="metrics"):
        await Agent("test/m", tools=[inner], client=model).run("go")


async def test_a_delegate_whose_script_is_over_fails_the_test() -> None:
    inner = Agent("test/m", name="expert", client=ScriptedModel([]))
    model = ScriptedModel([{"expert": {"task": "look"}}, "never"])
    with pytest.raises(AssertionError, match="script is over"):
        await Agent("test/m", tools=[inner], client=model).run("go")


async def test_a_configuration_error_below_a_program_leaves_the_run() -> None:
    wrong = RequestError("there is no provider 'opnai'")
    inner = Agent("test/m", name="expert", client=FunctionModel(lambda request: wrong))
    code = {"run_code": {"code": "print(await expert(task='look'))"}}
    model = ScriptedModel([code, "never"])
    async with Sandbox("monty", pool=0) as sandbox:
        agent = Agent("test/m", tools=[inner], client=model, calling="code", sandbox=sandbox)
        with pytest.raises(RequestError, match="opnai"):
            await agent.run("go")


# Approvals with code that is wrong


async def test_an_approver_that_fails_leaves_the_run_and_nothing_runs() -> None:
    paid: list[int] = []

    @tool(needs_approval=True)
    def pay(amount: int) -> str:
        """Pay."""
        paid.append(amount)
        return "paid"

    def approve(request: ApprovalRequest) -> bool:
        raise LookupError("no such desk")

    model = ScriptedModel([{"pay": {"amount": 5}}, "never"])
    agent = Agent("test/m", tools=[pay], client=model)
    with pytest.raises(LookupError, match="no such desk"):
        await agent.run("pay", approve=approve)
    assert paid == []


async def test_an_approval_in_a_task_of_a_stream_is_not_waited_for_for_ever() -> None:
    @tool(needs_approval=True)
    def pay(amount: int) -> str:
        """Pay."""
        return "paid"

    payer = Agent("test/m", name="payer", tools=[pay])
    model = FunctionModel(answers)
    task = dataclasses.replace(payer.as_tool(), background=True)
    agent = Agent("test/m", tools=[task], client=model)
    async with asyncio.timeout(5), agent.stream("go") as stream:
        async for event in stream:
            if isinstance(event, ApprovalRequest):
                event.allow()
    assert "nobody to ask" in str(stream.run.messages)


def answers(request: Request) -> Any:
    """A front that begins a task, and a payer that pays."""
    is_payer = "pay" in offered(request)
    last = request.messages[-1]
    if is_payer:
        return f"payer: {said(last)}" if last.role == "tool" else {"pay": {"amount": 5}}
    is_over = last.role == "tool" or "[task" in last.text
    return "front: done" if is_over else {"payer": {"task": "x"}}


# What one run's variables are to another


async def test_a_delegate_cannot_change_what_is_inside_its_callers_variables() -> None:
    def add(item: str, context: AgentContext[Any]) -> str:
        """Add to the cart."""
        context.variables["cart"].append(item)
        return "added"

    inner = Agent(
        "test/m", name="expert", tools=[add], client=ScriptedModel([{"add": {"item": "x"}}, "ok"])
    )
    model = ScriptedModel([{"expert": {"task": "add"}}, "done"])
    agent = Agent("test/m", tools=[inner], client=model)
    run = await agent.run("go", variables={"cart": ["tea"]})
    assert run.history.variables == {"cart": ["tea"]}


async def test_two_runs_from_one_history_do_not_share_a_cart() -> None:
    def add(item: str, context: AgentContext[Any]) -> str:
        """Add to the cart."""
        context.variables["cart"].append(item)
        return "added"

    def script(item: str) -> list[Any]:
        return [{"add": {"item": item}}, "done"]

    model = ScriptedModel([*script("tea"), *script("left"), *script("right")])
    agent = Agent("test/m", tools=[add], client=model)
    first = await agent.run("go", variables={"cart": []})
    left = await agent.run("go", history=first.history)
    right = await agent.run("go", history=first.history)
    assert first.history.variables == {"cart": ["tea"]}
    assert left.history.variables == {"cart": ["tea", "left"]}
    assert right.history.variables == {"cart": ["tea", "right"]}


# A model for one run, with agents that hand over to each other


async def test_a_model_for_one_run_where_two_agents_hand_over_to_each_other() -> None:
    model = ScriptedModel(
        [
            {"transfer_to_sales": {"reason": "buy"}},
            {"transfer_to_desk": {"reason": "ask"}},
            "desk again",
        ]
    )
    sales = Agent("test/s", name="sales", client=model)
    desk = Agent("test/d", name="desk", handoffs=[sales], client=model)
    sales.hand_to(desk)
    run = await desk.run("go", model="test/other")
    assert run.agents == ["desk", "sales", "desk"]
    assert [each.model for each in model.requests] == ["test/other", "test/s", "test/other"]
    settled = await desk.changed(client=ScriptedModel(["hello"])).run("go")
    assert settled.text == "hello"


# An answer that did not fit, and a handoff that shows the user's last words


async def test_the_words_that_ask_for_a_fitting_answer_are_not_the_users() -> None:
    model = ScriptedModel(["no json", {"transfer_to_sales": {"reason": "x"}}, '{"item": "tea"}'])
    sales = Agent("test/s", name="sales")
    desk = Agent(
        "test/d",
        name="desk",
        handoffs=[Handoff(sales, history="last")],
        client=model,
        output=Order,
    )
    run = await desk.run("I want tea")
    assert run.output == Order(item="tea")
    assert "I want tea" in [each.text for each in model.requests[-1].messages]


# Sessions with options that are theirs


async def test_a_session_refuses_what_it_gives_itself(tmp_path: Path) -> None:
    with Sessions(f"sqlite:///{tmp_path / 's.db'}") as sessions:
        agent = Agent("test/m", client=ScriptedModel(["hi"]))
        with pytest.raises(RequestError, match="history"):
            await sessions.open("a").run(agent, "hi", history=[])
        with pytest.raises(RequestError, match="user-17"):
            await sessions.open("b", user="user-17").run(agent, "hi", user="user-18")
        with pytest.raises(RequestError, match="history"):
            sessions.open("a").stream(agent, "hi", history=[])


# Guards with runs that end otherwise than well


@pytest.mark.parametrize("reason", ["length", "steps"])
async def test_an_output_guard_sees_a_run_that_was_cut_off(reason: str) -> None:
    said = Response(
        id="r",
        model="test/m",
        message=Message("assistant", [Text("the secret is 42")]),
        finish_reason="length",
        raw_finish_reason="length",
        usage=Usage(1, 1),
    )
    called = Message(
        "assistant", [Text("the secret is 42"), ToolCall("c", "reserve", '{"item":"t"}')]
    )
    model = ScriptedModel([said if reason == "length" else called])
    agent = Agent("test/m", tools=[reserve], client=model, limits=Limits(steps=1))
    guarded = Guarded(agent, outputs=[lambda run: "a secret" if "secret" in run.text else None])
    run = await guarded.run("tell")
    assert run.reason == "guardrail"
    assert "secret" not in run.text
    assert run.stopped is not None
    assert run.stopped.reason == "a secret"
    assert "secret" not in str(run.history.messages)
    assert ("reserve" in str(run.history.messages)) is (reason == "steps")


async def test_a_guarded_streams_text_of_a_stopped_run_is_not_its_runs(tmp_path: Path) -> None:
    agent = Agent("test/m", client=ScriptedModel(["the secret is 42"]))
    guarded = Guarded(agent, outputs=[lambda run: "a secret" if "secret" in run.text else None])
    with Sessions(f"sqlite:///{tmp_path / 's.db'}") as sessions:
        session = sessions.open("a")
        async with session.stream(guarded, "tell") as stream:
            async for _ in stream:
                pass
        assert stream.run.text == ""
        assert "secret" not in str(await session.messages())


# Pauses at any depth


async def test_a_program_calls_a_delegate_whose_tool_waits_for_a_person() -> None:
    paid: list[int] = []

    @tool(needs_approval=True)
    def pay(amount: int) -> str:
        """Pay."""
        paid.append(amount)
        return f"paid {amount}"

    def inner(request: Request) -> Any:
        last = request.messages[-1]
        return said(last) if last.role == "tool" else {"pay": {"amount": 7}}

    payer = Agent("test/p", name="payer", tools=[pay], client=FunctionModel(inner))
    code = {"run_code": {"code": "print(await payer(task='pay'))"}}
    model = ScriptedModel([code, "done"])
    async with Sandbox("monty", pool=0) as sandbox:
        agent = Agent("test/m", tools=[payer], client=model, calling="code", sandbox=sandbox)
        run = await agent.run("go", approve="pause")
        assert (run.reason, paid) == ("paused", [])
        paused = again(run)
        paused.allow(paused.waiting[0].id)
        run = await agent.resume(paused)
    assert (run.text, paid) == ("done", [7])
    assert "paid 7" in run.steps[0].results[0].text


async def test_a_handoff_and_an_approval_in_one_step_survive_a_pause() -> None:
    paid: list[int] = []

    @tool(needs_approval=True)
    def pay(amount: int) -> str:
        """Pay."""
        paid.append(amount)
        return "paid"

    both = [
        ToolCall("a", "transfer_to_sales", '{"reason": "x"}'),
        ToolCall("b", "pay", '{"amount": 3}'),
    ]
    model = ScriptedModel([both, "sales here", "sales still"])
    sales = Agent("test/s", name="sales")
    desk = Agent("test/d", name="desk", tools=[pay], handoffs=[sales], client=model)
    run = await desk.run("go", approve="pause")
    paused = again(run)
    paused.allow(paused.waiting[0].id)
    run = await desk.resume(paused)
    assert (run.text, run.agents, paid) == ("sales here", ["desk", "sales"], [3])
    run = await desk.run("and?", history=run.history.to_json())
    assert run.agents == ["sales"]


async def test_a_delegates_task_is_done_once_over_a_pause() -> None:
    done: list[str] = []

    @tool(background=True)
    async def look(what: str) -> str:
        """Look something up."""
        done.append(what)
        return f"found {what}"

    @tool(needs_approval=True)
    def pay(amount: int) -> str:
        """Pay."""
        return f"paid {amount}"

    def inner(request: Request) -> Any:
        calls = [call.name for each in request.messages for call in each.tool_calls]
        if "look" not in calls:
            return [ToolCall("l", "look", '{"what": "tea"}'), ToolCall("p", "pay", '{"amount": 1}')]
        return "all: " + " ".join(each.text for each in request.messages[2:])

    expert = Agent("test/e", name="expert", tools=[look, pay], client=FunctionModel(inner))
    model = ScriptedModel([{"expert": {"task": "x"}}, "done"])
    agent = Agent("test/m", tools=[expert], client=model)
    run = await agent.run("go", approve="pause")
    assert run.reason == "paused"
    paused = again(run)
    paused.allow(paused.waiting[0].id)
    run = await agent.resume(paused)
    assert done == ["tea"]
    assert run.text == "done"
    assert "found tea" in run.steps[0].results[0].text


async def test_edited_arguments_reach_a_background_task() -> None:
    seen: list[str] = []

    @tool(background=True, needs_approval=True)
    async def send(what: str) -> str:
        """Send."""
        seen.append(what)
        return f"{what} sent"

    model = ScriptedModel([{"send": {"what": "gold"}}, "under way", "arrived"])
    agent = Agent("test/m", tools=[send], client=model)
    run = await agent.run("go", approve="pause")
    paused = again(run)
    paused.allow(paused.waiting[0].id, arguments={"what": "tea"})
    run = await agent.resume(paused)
    assert seen == ["tea"]
    assert "tea sent" in str(run.messages)


# Tools that end a run, and what stands beside them


async def test_a_tool_that_ends_a_delegate_does_not_end_its_caller() -> None:
    def close(note: str) -> EndRun:
        """End."""
        return EndRun(note)

    inner = Agent(
        "t/i", name="expert", tools=[close], client=ScriptedModel([{"close": {"note": "n"}}])
    )
    model = ScriptedModel([{"expert": {"task": "x"}}, "the caller goes on"])
    run = await Agent("t/m", tools=[inner], client=model).run("go")
    assert (run.steps[0].results[0].text, run.text) == ("n", "the caller goes on")


async def test_a_tool_that_ends_the_run_beside_a_task_waits_for_the_task() -> None:
    def close(note: str) -> EndRun:
        """End."""
        return EndRun(note)

    both = [ToolCall("a", "quick", '{"what": "tea"}'), ToolCall("b", "close", '{"note": "n"}')]
    agent = Agent("t/m", tools=[quick, close], client=ScriptedModel([both]))
    run = await agent.run("go")
    assert (run.reason, run.output) == ("finished", "n")


async def test_a_background_tools_end_of_the_run_is_its_result() -> None:
    @tool(background=True)
    async def later() -> EndRun:
        """End later."""
        return EndRun("over")

    model = ScriptedModel([{"later": {}}, "wait", "it is over"])
    run = await Agent("t/m", tools=[later], client=model).run("go")
    assert run.reason == "finished"
    assert "over" in str(run.messages)


# Errors that leave, from where nobody waits


async def test_an_error_that_leaves_a_background_task_leaves_the_session_with_what_was_done(
    tmp_path: Path,
) -> None:
    @tool(background=True, raises=[AssertionError])
    async def later() -> str:
        """Fail later."""
        raise AssertionError("the stub was called")

    with Sessions(f"sqlite:///{tmp_path / 's.db'}") as sessions:
        session = sessions.open("a")
        agent = Agent("t/m", tools=[later], client=ScriptedModel([{"later": {}}, "wait", "no"]))
        with pytest.raises(AssertionError, match="the stub was called"):
            await session.run(agent, "go")
        assert [each.role for each in await session.messages()][:2] == ["user", "assistant"]


# Memory of a delegate, the session's user, and a program


async def test_a_delegates_memory_is_of_the_sessions_user(tmp_path: Path) -> None:
    memory = Memory()
    script = [{"add_to_memory": {"text": "allergic to nuts"}}, "noted"]
    inner = Agent("t/i", name="expert", memory=memory, client=ScriptedModel(script))
    model = ScriptedModel([{"expert": {"task": "note it"}}, "done"])
    agent = Agent("t/m", tools=[inner], client=model)
    with Sessions(f"sqlite:///{tmp_path / 's.db'}") as sessions:
        run = await sessions.open("a", user="user-17").run(agent, "go")
    assert [each.number for each in run.nested] == [1, 2]
    reader = Agent("t/r", memory=memory, client=ScriptedModel([{"get_memory": {}}, "x"]))
    mine = await reader.run("what?", user="user-17")
    assert "nuts" in mine.steps[0].results[0].text
    reader = Agent("t/r", memory=memory, client=ScriptedModel([{"get_memory": {}}, "x"]))
    other = await reader.run("what?", user="user-18")
    assert "nuts" not in other.steps[0].results[0].text


# A task that was left, and the agent that holds the conversation now


async def test_a_task_left_before_a_handoff_is_told_to_the_one_who_speaks_now(
    tmp_path: Path,
) -> None:
    release = asyncio.Event()

    @tool(background=True)
    async def parcel(what: str) -> str:
        """Ship."""
        await release.wait()
        return f"{what} arrived"

    first = [{"parcel": {"what": "tea"}}, {"transfer_to_sales": {"reason": "x"}}, "sales here"]
    model = ScriptedModel([*first, "it has arrived"])
    sales = Agent("t/s", name="sales")
    desk = Agent("t/d", name="desk", tools=[parcel], handoffs=[sales], client=model)
    with Sessions(f"sqlite:///{tmp_path / 's.db'}") as sessions:
        session = sessions.open("a")
        await session.run(desk, "go", tasks="leave")
        release.set()
        await asyncio.sleep(0.01)
        run = await session.run(desk, "and now?")
        assert run.agents == ["sales"]
        asked = model.requests[-1].messages
        assert "tea arrived" in str(asked)
        # It has to know whose words those are, although it has no such tools.
        assert "no request of the user" in asked[0].text


# Streams that are read for their text alone


async def test_text_alone_refuses_a_delegates_approval_and_hangs_on_nothing() -> None:
    @tool(needs_approval=True)
    def pay(amount: int) -> str:
        """Pay."""
        return "paid"

    payer = Agent(
        "t/p", name="payer", tools=[pay], client=ScriptedModel([{"pay": {"amount": 1}}, "no"])
    )
    agent = Agent(
        "t/m", tools=[payer], client=ScriptedModel([{"payer": {"task": "x"}}, "I could not"])
    )
    async with asyncio.timeout(5), agent.stream("go") as stream:
        assert "".join([each async for each in stream.text()]) == "I could not"


async def test_a_task_event_of_a_delegate_is_in_the_stream() -> None:
    inner = Agent(
        "t/i",
        name="expert",
        tools=[quick],
        client=ScriptedModel([{"quick": {"what": "tea"}}, "wait", "done", "done"]),
    )
    agent = Agent("t/m", tools=[inner], client=ScriptedModel([{"expert": {"task": "x"}}, "ok"]))
    found: list[Any] = []
    async with agent.stream("go") as stream:
        async for event in stream:
            inner_event: Any = event
            while hasattr(inner_event, "event") and not isinstance(inner_event, TaskEvent):
                inner_event = inner_event.event
            found += [inner_event] if isinstance(inner_event, TaskEvent) else []
    assert found[-1].task.state == "finished"


async def test_n7_code_opens_the_functions_of_a_toolset() -> None:
    plain = Toolset([reserve])
    async with Sandbox("monty", pool=0) as sandbox:
        for source in (plain, plain.limited(3), plain.prefixed("s")):
            name = next(iter(source.tools))
            code = {"run_code": {"code": f"print(await {name}(item='tea'))"}}
            model = ScriptedModel([code, "done"])
            agent = Agent("t/m", tools=[source], client=model, calling="code", sandbox=sandbox)
            run = await agent.run("go")
            assert offered(model.requests[0]) == ["run_code"]
            assert "put aside" in run.steps[0].results[0].text


def test_n7_code_takes_a_tree_and_functions_as_a_sum_as_it_takes_a_list() -> None:
    for tools in ([tree(), Toolset([reserve])], [tree() + Toolset([reserve])]):
        agent = Agent("t/m", tools=tools, calling="code")
        assert [type(each).__name__ for each in agent.toolsets] == ["ToolTree", "OpenedToolset"]


def test_n7_code_with_a_tree_alone_is_refused_with_words() -> None:
    with pytest.raises(RequestError, match="tools of a tree are called directly"):
        Agent("t/m", tools=[tree()], calling="code")
    with pytest.raises(RequestError, match="cannot be renamed or prefixed"):
        Agent("t/m", tools=[tree().logged().prefixed("x")])


# Memory and sessions in a forked child


async def test_a_forked_child_has_connections_of_its_own(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "memory.db")
    with Sessions(f"sqlite:///{tmp_path / 's.db'}") as sessions:
        script = [{"add_to_memory": {"text": "likes tea"}}, "one", "two", "three"]
        agent = Agent("t/m", memory=memory, client=ScriptedModel(script))
        session = sessions.open("a")
        await session.run(agent, "note it")
        parents = sessions.store._sqlite._connection

        def child() -> bool:
            asyncio.run(session.run(agent, "in the child"))
            return sessions.store._sqlite._connection is not parents

        assert await asyncio.to_thread(in_child, child)
        await session.run(agent, "in the parent")
        said_here = [each.text for each in await session.messages() if each.role == "user"]
        assert said_here == ["note it", "in the child", "in the parent"]
        assert sessions.store._sqlite._connection is parents
