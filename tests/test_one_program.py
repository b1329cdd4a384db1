"""One program, any model: the string changes, nothing else does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from typing import Literal

import pytest

from polycall import Client, ToolContext, Toolset, run_tools, tool
from polycall.ir import Message, Request, Text, ToolCall, ToolResult, Usage
from polycall.loop import CallEnd, Limits, RunEnd
from polycall.providers.prices import cost_usd
from polycall.providers.provider import Price, Provider
from polycall.sim import Simulation
from polycall.testing import FunctionModel, ScriptedModel
from polycall.tools import Executor
from polycall.transport.base import Retry
from tests.support import simulated

VENDORS = ["openai", "anthropic", "google", "deepseek", "compatible"]
PRICE = Price(input=Decimal("1.00"), output=Decimal("4.00"), cached=Decimal("0.10"))


@pytest.fixture(scope="module")
def simulation() -> Iterator[Simulation]:
    with Simulation() as running:
        yield running


def priced(simulation: Simulation, vendor: str) -> Provider:
    return simulated(simulation, vendor, prices={"sim-1": PRICE})


async def the_program(
    simulation: Simulation, model: str
) -> tuple[dict[str, int], list[object], RunEnd]:
    """Orders a shop has received; asks the model, and gives the state it left behind."""
    state: dict[str, int] = {}

    @tool
    def order_item(item: Literal["coffee", "tea"], quantity: int) -> str:
        """Order an item (주문).

        Args:
            item: what to order
            quantity: how many
        """
        state[item] = state.get(item, 0) + quantity
        return f"ordered {quantity} {item}"

    tools = Toolset([order_item])
    executor = Executor(tools, ToolContext(deps=None, model=model))
    request = Request(model, [Message("user", [Text("order 3 coffee please")])], tools.definitions)
    calls: list[object] = []
    rows = [priced(simulation, vendor) for vendor in VENDORS]
    keys = dict.fromkeys(VENDORS, "k")
    async with Client(providers=rows, keys=keys, retry=Retry(attempts=1)) as client:
        async for event in run_tools(client, request, executor):
            if isinstance(event, CallEnd):
                calls.append((event.call.name, event.call.arguments, event.result.is_error))
            if isinstance(event, RunEnd):
                return state, calls, event
    raise AssertionError("unreachable")


async def test_the_same_calls_state_and_usage_on_every_provider(simulation: Simulation) -> None:
    seen = {}
    for vendor in VENDORS:
        state, calls, end = await the_program(simulation, f"{vendor}/sim-1")
        assert end.reason == "finished"
        assert all(step.response.model == f"{vendor}/sim-1" for step in end.steps)
        assert end.cost == sum(
            cost_usd(priced(simulation, vendor), "sim-1", step.response.usage) or 0
            for step in end.steps
        )
        seen[vendor] = (state, calls, end.usage, end.cost)
    assert all(row == seen["openai"] for row in seen.values())
    state, calls, usage, cost = seen["openai"]
    assert state == {"coffee": 3}
    assert calls == [("order_item", {"item": "coffee", "quantity": 3}, False)]
    assert cost == (usage.input_tokens * 1 + usage.output_tokens * 4) / Decimal(1_000_000)
    assert cost > 0


@pytest.mark.parametrize("last", VENDORS)
async def test_a_chain_of_models_ends_with_the_same(simulation: Simulation, last: str) -> None:
    others = [vendor for vendor in VENDORS if vendor != last][:2]
    chain = ", ".join([*(f"{vendor}/fault-503" for vendor in others), f"{last}/sim-1"])
    state, calls, end = await the_program(simulation, chain)
    assert state == {"coffee": 3}
    assert calls == [("order_item", {"item": "coffee", "quantity": 3}, False)]
    assert {step.response.model for step in end.steps} == {f"{last}/sim-1"}
    told = [w.detail for w in end.steps[0].response.warnings if w.feature == "model"]
    assert len(told) == 2


async def test_fifty_calls_of_which_one_hangs_one_raises_and_one_is_cancelled() -> None:
    """The loop under load: order kept, deadlines held, nothing left behind."""
    running, most = 0, 0

    async def work(number: int) -> str:
        """Do a piece of work."""
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            await asyncio.sleep(60 if number == 7 else 0.005)
            if number == 11:
                raise ValueError("no eleven")
            if number == 13:
                raise asyncio.CancelledError
        finally:
            running -= 1
        return f"did {number}"

    calls = [ToolCall(f"c{n}", "work", f'{{"number":{n}}}') for n in range(50)]
    executor = Executor(Toolset([tool(work, deadline_s=0.2)]))
    request = Request("t/m", [Message("user", [Text("go")])], executor.toolset.definitions)
    before = asyncio.all_tasks()
    with ScriptedModel([calls, "done"]) as model:
        end = None
        async for event in run_tools(model, request, executor, limits=Limits(parallel_calls=8)):
            end = event
    assert isinstance(end, RunEnd)
    assert asyncio.all_tasks() == before
    assert (running, most) == (0, 8)
    results = [part for part in end.messages[2].parts if isinstance(part, ToolResult)]
    assert [result.call_id for result in results] == [call.id for call in calls]
    wrong = {int(r.call_id[1:]): r.text for r in results if r.is_error}
    assert set(wrong) == {7, 11, 13}
    assert "did not finish within 0.2 s" in wrong[7]
    assert wrong[11] == "ValueError: no eleven"
    assert "cancelled" in wrong[13]
    assert results[49].text == "did 49"


async def test_usage_and_cost_limits_give_a_partial_result() -> None:
    class Priced(FunctionModel):
        def cost(self, model: str, usage: Usage) -> Decimal | None:
            return Decimal("0.01")

    numbers = iter(range(100))
    model = Priced(lambda _: ToolCall(f"c{next(numbers)}", "work", "{}"))

    async def execute(call: ToolCall) -> ToolResult:
        return ToolResult(call.id, [Text("ok")])

    request = Request("t/m", [Message("user", [Text("go")])])
    end = None
    async for event in run_tools(model, request, execute, limits=Limits(cost_usd=Decimal("0.03"))):
        end = event
    assert isinstance(end, RunEnd)
    assert (end.reason, len(end.steps), end.cost) == ("cost", 3, Decimal("0.03"))
    assert end.messages[-1] == Message("tool", [ToolResult("c2", [Text("ok")])])
