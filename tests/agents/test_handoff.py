"""Agents that hand over, give back, delegate and choose: whole histories, on every provider."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from polycall import Client, tool
from polycall.agents import (
    Agent,
    AgentContext,
    Handoff,
    HandoffEvent,
    PausedRun,
    Router,
    Sessions,
    by_words,
    triage,
)
from polycall.errors import RequestError, UpstreamError
from polycall.ir import Message, Request, Text, ToolCall, ToolResult, Usage
from polycall.loop import CallEnd, Limits, RunEnd, ToolEvent
from polycall.sim import Call, Simulation, Turn
from polycall.testing import FunctionModel, ScriptedModel

from .support import PROVIDERS, bare, play, said


async def get_order(order_id: str) -> str:
    """Look an order up."""
    return f"{order_id}: shipped"


async def refund(order_id: str) -> str:
    """Pay an order back."""
    return f"{order_id}: refunded"


def ask(number: int, name: str, arguments: str) -> ToolCall:
    return ToolCall(f"call_{number}", name, arguments)


def got(number: int, name: str, text: str, *, is_error: bool = False) -> ToolResult:
    return ToolResult(f"call_{number}", [Text(text)], is_error, name=name)


@pytest.mark.parametrize("vendor", PROVIDERS)
async def test_there_and_back(vendor: str, simulation: Simulation, client: Client) -> None:
    model = play(
        simulation,
        vendor,
        Turn(calls=[Call("transfer_to_refunds", {"reason": "wants money back"})]),
        Turn(calls=[Call("refund", {"order_id": "A1"})]),
        Turn(calls=[Call("return_to_shop", {"reason": "refunded"})]),
        Turn(text="Your money is on its way."),
        Turn(text="Anything else?"),
    )
    refunds = Agent(model, name="refunds", tools=[refund])
    shop = Agent(model, name="shop", tools=[get_order], handoffs=[refunds], client=client)
    run = await shop.run("I want my money back for A1")
    assert run.agents == ["shop", "refunds", "refunds", "shop"]
    assert bare(run.messages) == [
        said("user", "I want my money back for A1"),
        said("assistant", ask(1, "transfer_to_refunds", '{"reason":"wants money back"}')),
        said("tool", got(1, "transfer_to_refunds", "refunds takes over: wants money back")),
        said("assistant", ask(2, "refund", '{"order_id":"A1"}')),
        said("tool", got(2, "refund", "A1: refunded")),
        said("assistant", ask(3, "return_to_shop", '{"reason":"refunded"}')),
        said("tool", got(3, "return_to_shop", "shop takes over: refunded")),
        said("assistant", "Your money is on its way."),
    ]
    assert run.history.agent == "shop"
    again = await shop.run("no", history=run.history.to_json())
    assert again.text == "Anything else?"


@pytest.mark.parametrize("vendor", PROVIDERS)
async def test_triage_over_six(vendor: str, simulation: Simulation, client: Client) -> None:
    model = play(
        simulation,
        vendor,
        Turn(calls=[Call("transfer_to_shipping", {"reason": "late parcel"})]),
        Turn(text="It arrives tomorrow."),
    )
    names = ["orders", "refunds", "shipping", "accounts", "products", "complaints"]
    agents = [Agent(model, name=name, description=f"All about {name}.") for name in names]
    run = await triage(model, agents, client=client).run("Where is my parcel?")
    assert run.agents == ["triage", "shipping"]
    assert bare(run.messages) == [
        said("user", "Where is my parcel?"),
        said("assistant", ask(1, "transfer_to_shipping", '{"reason":"late parcel"}')),
        said("tool", got(1, "transfer_to_shipping", "shipping takes over: late parcel")),
        said("assistant", "It arrives tomorrow."),
    ]
    asked = simulation.requests[-2].body
    assert all(f"transfer_to_{name}" in str(asked) for name in names)


@pytest.mark.parametrize("vendor", PROVIDERS)
async def test_three_deep(vendor: str, simulation: Simulation, client: Client) -> None:
    model = play(
        simulation,
        vendor,
        Turn(calls=[Call("planner", {"task": "plan a trip"})]),
        Turn(calls=[Call("researcher", {"task": "find a hotel"})]),
        Turn(calls=[Call("get_order", {"order_id": "H7"})]),
        Turn(text="Hotel H7 is booked."),
        Turn(text="Plan: stay at H7."),
        Turn(text="You stay at H7."),
    )
    researcher = Agent(model, name="researcher", tools=[get_order])
    planner = Agent(model, name="planner", tools=[researcher])
    top = Agent(model, name="top", tools=[planner], client=client)
    async with top.stream("Plan my trip") as stream:
        events = [event async for event in stream]
    run = stream.run
    assert bare(run.messages) == [
        said("user", "Plan my trip"),
        said("assistant", ask(1, "planner", '{"task":"plan a trip"}')),
        said("tool", got(1, "planner", "Plan: stay at H7.")),
        said("assistant", "You stay at H7."),
    ]
    middle = [event.event for event in events if isinstance(event, ToolEvent)]
    inner = [event.event for event in middle if isinstance(event, ToolEvent)]
    ends = [event for event in inner if isinstance(event, RunEnd)]
    assert [bare(end.messages) for end in ends] == [
        [
            said("user", "find a hotel"),
            said("assistant", ask(1, "get_order", '{"order_id":"H7"}')),
            said("tool", got(1, "get_order", "H7: shipped")),
            said("assistant", "Hotel H7 is booked."),
        ]
    ]
    ends += [event for event in middle if isinstance(event, RunEnd)]
    own = sum((step.response.usage for step in run.steps), Usage())
    assert run.usage == sum((end.usage for end in ends), own)


@pytest.mark.parametrize("vendor", PROVIDERS)
async def test_two_that_never_stop(vendor: str, simulation: Simulation, client: Client) -> None:
    turns = [
        Turn(calls=[Call(f"transfer_to_{name}", {"reason": "not mine"})])
        for name in ["right", "left", "right", "left"]
    ]
    model = play(simulation, vendor, *turns)
    left = Agent(model, name="left", client=client, handoffs_max=3)
    right = Agent(model, name="right")
    left.hand_to(Handoff(right, returns=False))
    right.hand_to(Handoff(left, returns=False))
    run = await left.run("help")
    assert run.reason == "handoffs"
    assert run.agents == ["left", "right", "left", "right"]
    refused = "there were 3 handoffs already, which is the bound"
    expected = [said("user", "help")]
    for number, name in enumerate(["right", "left", "right", "left"], 1):
        tool = f"transfer_to_{name}"
        answer = f"{name} takes over: not mine" if number < 4 else refused
        expected += [
            said("assistant", ask(number, tool, '{"reason":"not mine"}')),
            said("tool", got(number, tool, answer, is_error=number == 4)),
        ]
    told = [message for message in bare(run.messages) if message.role != "system"]
    assert told == expected


def chatter(*answers: Any) -> ScriptedModel:
    return ScriptedModel(answers)


def transfer(name: str, reason: str = "r") -> ToolCall:
    return ToolCall(f"t_{name}", f"transfer_to_{name}", f'{{"reason":"{reason}"}}')


def only_first(messages: list[Message]) -> list[Message]:
    return messages[:2]


@pytest.mark.parametrize(
    ("kept", "seen"),
    [
        ("all", ["user", "assistant", "tool", "assistant", "tool"]),
        ("said", ["user", "assistant"]),
        ("last", ["user"]),
        (only_first, ["user", "assistant"]),
        (lambda messages: messages[2:], ["assistant", "tool"]),
    ],
)
async def test_the_next_agent_sees_a_filtered_history(kept: Any, seen: list[str]) -> None:
    first = Message("assistant", [Text("One moment."), ask(1, "get_order", '{"order_id":"A"}')])
    with chatter(first, transfer("b", "because"), "done", "more") as model:
        other = Agent("test/m", name="b", instructions="You are b.")
        agent = Agent(
            "test/m", name="a", tools=[get_order], handoffs=[Handoff(other, kept)], client=model
        )
        run = await agent.run("hello")
        assert [message.role for message in model.requests[2].messages[1:]] == seen
        assert model.requests[2].messages[0] == said(
            "system", "You are b.\n\na handed this conversation to you. Reason: because"
        )
        for message in model.requests[2].messages:
            ids = {call.id for call in message.tool_calls}
            later = str(model.requests[2].messages)
            assert all(later.count(f"'{each}'") == 2 for each in ids)
        # What was left out is not lost, and stays left out with the next prompt.
        assert len(run.messages) == 6
        await agent.run("again", history=run.history.to_json())
        roles = [message.role for message in model.requests[3].messages[1:]]
        assert roles == [*seen, "assistant", "user"]


async def test_of_two_handoffs_in_one_answer_the_first_counts() -> None:
    with chatter([transfer("b"), transfer("c")], "I am b") as model:
        others = [Agent("test/m", name="b"), Agent("test/m", name="c")]
        run = await Agent("test/m", name="a", handoffs=others, client=model).run("go")
    assert run.agents == ["a", "b"]
    assert [(r.is_error, r.text) for r in run.steps[0].results] == [
        (False, "b takes over: r"),
        (True, "the conversation goes to b already"),
    ]


async def test_variables_are_shared_by_those_who_hand_over() -> None:
    def mark(context: AgentContext[Any]) -> str:
        """Leave a mark."""
        context.variables.setdefault("marks", []).append(context.agent)
        return "ok"

    def instructions(context: AgentContext[Any]) -> str:
        return f"marks: {context.variables.get('marks')}"

    calls = [ToolCall("m1", "mark"), transfer("b"), ToolCall("m2", "mark"), "ok"]
    with chatter(*calls) as model:
        b = Agent("test/m", name="b", tools=[mark], instructions=instructions)
        a = Agent("test/m", name="a", tools=[mark], handoffs=[b], client=model)
        run = await a.run("go")
    assert run.history.variables == {"marks": ["a", "b"]}
    assert model.requests[3].messages[0].text.startswith("marks: ['a', 'b']")


async def test_a_handoff_is_an_event() -> None:
    with chatter(transfer("b", "why"), "ok") as model:
        agent = Agent("test/m", name="a", handoffs=[Agent("test/m", name="b")], client=model)
        async with agent.stream("go") as stream:
            events = [event async for event in stream]
    inner = [event.event for event in events if isinstance(event, ToolEvent)]
    assert inner == [HandoffEvent("a", "b", "why")]


def ask_sub(request: Request) -> Any:
    done = request.messages[-1].role == "tool"
    return "done" if done else ask(1, "sub", '{"task":"x"}')


def endless() -> FunctionModel:
    return FunctionModel(lambda r: ask(len(r.messages), "get_order", '{"order_id":"x"}'))


async def test_a_delegate_that_fails_is_a_result() -> None:
    sub = Agent("test/m", name="sub", tools=[get_order], limits=Limits(steps=2), client=endless())
    run = await Agent("test/m", tools=[sub], client=FunctionModel(ask_sub)).run("go")
    assert run.text == "done"
    assert run.steps[0].results == [
        got(1, "sub", "'sub' ended by 'steps' without an answer: ", is_error=True)
    ]


async def test_delegates_do_not_nest_without_end() -> None:
    model = FunctionModel(
        lambda r: "up" if r.messages[-1].role == "tool" else ask(1, "again", '{"task":"x"}')
    )
    sub: Agent[Any, str] = Agent("test/m", name="again", depth_max=3)
    sub.toolsets = Agent("test/m", tools=[sub]).toolsets
    sub.client = model
    async with sub.stream("go") as stream:
        deepest: list[CallEnd] = []
        async for event in stream:
            inner: Any = event
            while isinstance(inner, ToolEvent):
                inner = inner.event
            if isinstance(inner, CallEnd) and inner.result.is_error:
                deepest.append(inner)
    assert [end.result.text for end in deepest] == [
        "'again' would be the 4th agent in a row; do it yourself"
    ]


async def test_nested_runs_spend_what_is_left() -> None:
    sub = Agent("test/m", name="sub", tools=[get_order], client=endless())
    agent = Agent("test/m", tools=[sub], client=FunctionModel(ask_sub), limits=Limits(tokens=900))
    run = await agent.run("go")
    assert run.reason == "tokens"
    assert len(run.steps) == 1
    assert "ended by 'tokens'" in run.steps[0].results[0].text
    assert 900 <= run.usage.total_tokens < 1300


async def test_delegates_side_by_side_share_what_is_left() -> None:
    def ask_three(request: Request) -> Any:
        if request.messages[-1].role == "tool":
            return "done"
        return [ask(n, f"sub{n}", '{"task":"x"}') for n in (1, 2, 3)]

    subs = [Agent("test/m", name=f"sub{n}", tools=[get_order], client=endless()) for n in (1, 2, 3)]
    agent = Agent("test/m", tools=subs, client=FunctionModel(ask_three), limits=Limits(tokens=900))
    run = await agent.run("go")
    assert run.reason == "tokens"
    assert ["ended by 'tokens'" in result.text for result in run.steps[0].results] == [True] * 3
    # A step is counted when it ends: each may be in one. Three times what is left would be 2,600.
    assert 900 <= run.usage.total_tokens < 2 * 900


async def test_what_a_broken_delegate_spent_is_counted() -> None:
    def broken(request: Request) -> Any:
        if request.messages[-1].role == "tool":
            return UpstreamError("the provider is down")
        return ask(1, "get_order", '{"order_id":"x"}')

    sub = Agent("test/m", name="sub", tools=[get_order], client=FunctionModel(broken))
    run = await Agent("test/m", tools=[sub], client=FunctionModel(ask_sub)).run("go")
    assert run.steps[0].results[0].is_error
    own = sum((step.response.usage.total_tokens for step in run.steps), 0)
    assert run.usage.total_tokens > own


def test_two_agents_of_one_name_are_refused() -> None:
    agent = Agent("test/m", name="a", handoffs=[Agent("test/m", name="a")], client=chatter())
    with pytest.raises(RequestError, match="two agents are named 'a'"):
        agent.run_sync("go")


async def test_a_history_of_other_agents_is_refused() -> None:
    with chatter(transfer("b"), "ok") as model:
        a = Agent("test/m", name="a", handoffs=[Agent("test/m", name="b")], client=model)
        run = await a.run("go")
    with pytest.raises(RequestError, match="held by 'a', which 'other' cannot reach"):
        await Agent("test/m", name="other", client=model).run("x", history=run.history)


async def test_a_router_needs_no_model() -> None:
    with chatter("from b", "from b again", "from a") as model:
        agents = [Agent("test/m", name=name, client=model) for name in ("a", "b")]
        rule = by_words({"a": ["order", "주문"], "b": ["refund", "환불"]}, default="a")
        router = Router(agents, rule)
        run = await router.run("환불은 언제 되나요?")
        assert (run.text, run.agents) == ("from b", ["b"])
        again = await router.run("my order?", history=run.history)
        assert again.agents == ["b"]
        assert (await router.run("hello")).agents == ["a"]
    with pytest.raises(RequestError, match="chose 'z', which it does not have"):
        await Router(agents, lambda _: "z").run("x")


# ---------------------------------------------------------------------------------------------
# A target's own client and hooks


def _pair(*, returns: bool = True) -> tuple[Agent[Any, str], FunctionModel, FunctionModel]:
    """An agent that hands over, and the models behind its own and the target's client."""
    ours = FunctionModel(
        lambda request: (
            "back at the shop"
            if any(message.role == "tool" for message in request.messages)
            else ask(1, "transfer_to_law", '{"reason":"a contract"}')
        )
    )
    theirs = FunctionModel(lambda request: "a secret opinion")
    law = Agent("theirs/m", name="law", client=theirs)
    return Agent("ours/m", name="shop", handoffs=[law], client=ours), ours, theirs


@pytest.mark.parametrize("face", ["run", "stream", "history", "journal", "session", "triage"])
async def test_l8_a_handoff_asks_by_the_targets_own_client(face: str) -> None:
    shop, ours, theirs = _pair()
    law = shop.handoffs[0].agent
    assert isinstance(law, Agent)
    if face == "stream":
        async with shop.stream("my contract") as stream:
            async for _ in stream:
                pass
        run = stream.run
    elif face == "journal":
        run = await shop.run("my contract", approve="pause")
        assert run.paused is None
    elif face == "session":
        with Sessions("sqlite:///:memory:") as sessions:
            run = await sessions.open("a").run(shop, "my contract")
    elif face == "triage":
        shop = triage("ours/m", [law], client=ours)
        run = await shop.run("my contract")
    else:
        run = await shop.run("my contract")
    if face == "history":
        # The conversation is the target's, from the first request of the next run on.
        run = await shop.run("and now?", history=run.history.to_json())
    assert run.text == "a secret opinion"
    assert [request.model for request in ours.requests] == ["ours/m"]
    assert {request.model for request in theirs.requests} == {"theirs/m"}


async def test_l8_a_target_that_pauses_asks_by_its_own_client_when_it_goes_on() -> None:
    shop, ours, theirs = _pair()
    answers = iter([ask(2, "sign", "{}"), "signed"])
    theirs = FunctionModel(lambda request: next(answers))

    @tool(needs_approval=True)
    async def sign() -> str:
        """Sign it."""
        return "done"

    shop.handoffs.clear()
    shop.hand_to(Agent("theirs/m", name="law", client=theirs, tools=[sign]))
    paused = (await shop.run("my contract", approve="pause")).paused
    assert paused is not None
    paused.allow(paused.waiting[0].id)
    run = await shop.resume(PausedRun.from_json(paused.to_json()))
    assert run.text == "signed"
    assert (len(ours.requests), len(theirs.requests)) == (1, 2)


async def test_l8_a_delegate_of_a_target_asks_by_the_targets_client() -> None:
    shop, ours, _ = _pair()

    def answer(request: Request) -> str | ToolCall:
        if request.model == "helper/m":
            return "found"
        done = any(message.role == "tool" for message in request.messages[-1:])
        is_first = "transfer_to_law" in str(request.messages[-1:])
        return ask(2, "helper", '{"task":"look"}') if is_first or not done else "advice"

    theirs = FunctionModel(answer)
    helper = Agent("helper/m", name="helper")
    shop.handoffs.clear()
    shop.hand_to(Agent("theirs/m", name="law", client=theirs, tools=[helper]))
    run = await shop.run("my contract")
    assert run.text == "advice"
    assert [request.model for request in theirs.requests] == ["theirs/m", "helper/m", "theirs/m"]
    assert [request.model for request in ours.requests] == ["ours/m"]


async def test_l8_a_targets_cost_is_its_own_clients() -> None:
    class Priced(FunctionModel):
        def cost(self, model: str, usage: Usage) -> Decimal | None:
            return Decimal(7)

    shop, _, _ = _pair()
    shop.handoffs.clear()
    shop.hand_to(Agent("theirs/m", name="law", client=Priced(lambda request: "advice")))
    run = await shop.run("my contract")
    assert [step.cost for step in run.steps] == [Decimal(0), Decimal(7)]
    assert run.cost == 7


async def test_l8_a_target_and_those_it_gives_back_to_hear_their_own_steps_by_their_hooks() -> None:
    heard: dict[str, list[str]] = {"shop": [], "law": [], "both": []}
    law_answers = iter([ask(2, "return_to_shop", '{"reason":"done"}')])
    shop_answers = iter([ask(1, "transfer_to_law", '{"reason":"a contract"}'), "welcome back"])

    def listening(name: str) -> Any:
        return lambda event: heard[name].append(type(event).__name__)

    both = listening("both")
    law = Agent(
        "theirs/m",
        name="law",
        client=FunctionModel(lambda request: next(law_answers)),
        hooks=[listening("law"), both],
    )
    shop = Agent(
        "ours/m",
        name="shop",
        handoffs=[law],
        client=FunctionModel(lambda request: next(shop_answers)),
        hooks=[listening("shop"), both],
    )
    run = await shop.run("my contract")
    assert run.agents == ["shop", "law", "shop"]
    assert heard["law"].count("StepEnd") == 1
    assert heard["shop"].count("StepEnd") == 3
    # A hook of both is called once for each event.
    assert heard["both"] == heard["shop"]
