"""Calls that wait for a person: asked at the top, however deep they are."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from polycall import Client
from polycall.agents import Agent, ApprovalRequest
from polycall.ir import ToolCall
from polycall.sim import Call, Simulation, Turn
from polycall.testing import ScriptedModel
from polycall.tools import tool

from .support import PROVIDERS, play

paid: list[str] = []


@tool(needs_approval=True)
async def pay(order_id: str) -> str:
    """Pay an order back."""
    paid.append(order_id)
    return f"paid {order_id}"


def nested(model: str, client: Any) -> Agent[Any, str]:
    clerk = Agent(model, name="clerk", tools=[pay])
    refunds = Agent(model, name="refunds", tools=[clerk])
    return Agent(model, name="triage", handoffs=[refunds], client=client)


def script() -> list[Turn]:
    return [
        Turn(calls=[Call("transfer_to_refunds", {"reason": "r"})]),
        Turn(calls=[Call("clerk", {"task": "pay A1"})]),
        Turn(calls=[Call("pay", {"order_id": "A1"})]),
        Turn(text="clerk: done"),
        Turn(text="refunds: done"),
    ]


@pytest.mark.parametrize("vendor", PROVIDERS)
async def test_a_nested_approval_surfaces_and_resumes(
    vendor: str, simulation: Simulation, client: Client
) -> None:
    paid.clear()
    agent = nested(play(simulation, vendor, *script()), client)
    asked: list[ApprovalRequest] = []
    async with agent.stream("money back for A1") as stream:
        async for event in stream:
            if isinstance(event, ApprovalRequest):
                assert paid == []
                asked.append(event)
                event.allow()
                event.deny("too late: the first answer counts")
    assert [(each.agents, each.tool, each.arguments) for each in asked] == [
        (("refunds", "clerk"), "pay", {"order_id": "A1"})
    ]
    assert (paid, stream.run.text) == (["A1"], "refunds: done")


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (True, "paid A1"),
        (False, "the call of 'pay' was not approved; nothing was run"),
        ("not on Sundays", "the call of 'pay' was not approved: not on Sundays; nothing was run"),
    ],
)
async def test_a_function_may_answer(answer: bool | str, text: str) -> None:
    async def approve(request: ApprovalRequest) -> bool | str:
        await asyncio.sleep(0)
        return answer

    paid.clear()
    with ScriptedModel([ToolCall("c", "pay", '{"order_id":"A1"}'), "ok"]) as model:
        run = await Agent("test/m", tools=[pay], client=model).run("go", approve=approve)
    assert run.steps[0].results[0].text == text
    assert paid == (["A1"] if answer is True else [])


async def test_where_nobody_can_be_asked_nothing_runs() -> None:
    paid.clear()
    with ScriptedModel([ToolCall("c", "pay", '{"order_id":"A1"}'), "ok"]) as model:
        run = await Agent("test/m", tools=[pay], client=model).run("go")
    assert run.steps[0].results[0].text == (
        "the call of 'pay' was not approved: there is nobody to ask; nothing was run"
    )
    assert paid == []


async def test_a_call_by_the_model_itself_is_not_in_a_program() -> None:
    asked: list[bool] = []

    def approve(request: ApprovalRequest) -> bool:
        asked.append(request.is_in_program)
        return True

    with ScriptedModel([[ToolCall("c1", "pay", '{"order_id": "A1"}')], "done"]) as model:
        await Agent("test/m", tools=[pay], client=model).run("pay", approve=approve)
    assert asked == [False]
