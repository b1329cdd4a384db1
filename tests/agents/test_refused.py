"""What an agent or a run is refused before anything is paid, and in which words."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from polycall import Agent, Client, tool
from polycall.agents import triage
from polycall.config import load_config
from polycall.errors import RequestError
from polycall.ir import ToolCall, Usage
from polycall.loop import Limits, run_tools
from polycall.testing import FunctionModel, ScriptedModel
from polycall.tools import Executor, Toolset


async def look() -> str:
    """Look out of the window."""
    return "snow"


@tool(allowed_callers=["direct"])
async def closed() -> str:
    """Be called directly."""
    return ""


@tool(allowed_callers=["code"])
async def opened() -> str:
    """Be called by programs."""
    return ""


@tool(background=True)
async def later() -> str:
    """Take a while."""
    return ""


def test_n7_functions_and_tools_that_say_nothing_are_open_to_programs() -> None:
    agent = Agent("any/model", tools=[look, closed, tool(look, name="other")], calling="code")
    callers = {each.name: each.allowed_callers for each in agent.toolsets[0]}
    assert callers == {
        "look": ("direct", "code"),
        "closed": ("direct",),
        "other": ("direct", "code"),
    }
    agent = Agent("any/model", tools=[Toolset([look, closed, later])], calling="code")
    callers = {each.name: each.allowed_callers for each in agent.toolsets[0]}
    assert callers == {"look": ("direct", "code"), "closed": ("direct",), "later": ()}
    auto = Agent("any/model", tools=[look], calling="auto")
    assert next(iter(auto.toolsets[0])).allowed_callers == ()


@pytest.mark.parametrize(
    ("tools", "words"),
    [
        ([closed], "there is 'closed'"),
        ([], "there is none at all"),
        ([Toolset([closed])], "there is 'closed'"),
        ([later], "'later'"),
    ],
)
def test_n7_programs_without_a_tool_that_is_open_to_them_are_refused(
    tools: list[Any], words: str
) -> None:
    with pytest.raises(RequestError, match="calling='code' needs a tool") as caught:
        Agent("any/model", tools=tools, calling="code")
    assert words in str(caught.value)
    assert Agent("any/model", tools=[*tools, opened], calling="code")


class Unpriced(FunctionModel):
    """A model whose price is unknown, and that must not be asked."""

    def __init__(self, *, priced: tuple[str, ...] = ()) -> None:
        super().__init__(lambda _: "paid for")
        self._priced = priced

    def cost(self, model: str, usage: Usage) -> Decimal | None:
        return Decimal(0) if model in self._priced else None


@pytest.mark.parametrize(
    ("model", "unknown"),
    [
        ("acme/house-7b", "acme/house-7b"),
        ("priced/one, acme/two", "acme/two"),
        ("acme/org/name:tag", "acme/org/name:tag"),
    ],
)
async def test_n13_a_cost_bound_refuses_a_model_without_a_price_before_it_is_asked(
    model: str, unknown: str, tmp_path: Path
) -> None:
    client = Unpriced(priced=("priced/one",))
    agent = Agent(model, client=client, limits=Limits(cost_usd=Decimal(1)))
    with pytest.raises(RequestError, match=f"the price of '{unknown}' is unknown") as caught:
        await agent.run("?")
    assert client.requests == []
    # The lines that it gives are lines of the configuration.
    lines = [line for line in str(caught.value).splitlines() if line[:1] in '["']
    provider = '[providers.acme]\nbase_url = "http://127.0.0.1:1/v1"\ndialect = "openai-chat"\n'
    (tmp_path / "polycall.toml").write_text(provider + "\n".join(lines))
    settings = load_config(tmp_path / "polycall.toml")
    priced = Client(providers=settings.providers.values())
    assert priced.cost(unknown, Usage(1, 1)) is not None


async def test_n13_the_loop_and_nested_agents_refuse_it_too() -> None:
    client = Unpriced()
    request = Client(keys={}).request("acme/m", "?", tools=[look])
    with pytest.raises(RequestError, match="the price of 'acme/m' is unknown"):
        async for _ in run_tools(
            client, request, Executor.of([look]), limits=Limits(cost_usd=Decimal(1))
        ):
            pass
    inner = Agent("acme/inner", name="inner", client=client)
    model = ScriptedModel([ToolCall("1", "inner", '{"task": "x"}'), "sorry"])
    outer = Agent("any/m", tools=[inner], client=model, limits=Limits(cost_usd=Decimal(1)))
    with pytest.raises(RequestError, match="the price of 'acme/inner' is unknown"):
        await outer.run("?")
    assert client.requests == []
    routed = triage("acme/m", [outer], client=client, limits=Limits(cost_usd=Decimal(1)))
    with pytest.raises(RequestError, match="is unknown"):
        await routed.run("?")
