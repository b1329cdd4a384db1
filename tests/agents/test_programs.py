"""Agents whose tools are reached by programs."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from polycall import Agent, AgentContext, tool
from polycall.ir import ToolCall
from polycall.sandbox import Sandbox
from polycall.testing import ScriptedModel

PROGRAM = '{"code": "rows = await sales(region=\\"west\\")\\nsum(row for row in rows)"}'


@tool(allowed_callers=["code"])
async def sales(region: str, context: AgentContext[Any]) -> list[int]:
    """The sales of a region."""
    context.variables["asked"] = region
    return list(range(10_000))


@tool(allowed_callers=["direct", "code"], needs_approval=True)
async def pay(amount: int) -> str:
    """Pay."""
    return f"paid {amount}"


class Answer(BaseModel):
    total: int


async def test_the_program_gets_the_rows_and_the_model_only_the_sum() -> None:
    with ScriptedModel([ToolCall("p", "run_code", PROGRAM), "no", '{"total":49995000}']) as model:
        agent = Agent("test/m", tools=[sales], calling="code", output=Answer, client=model)
        run = await agent.run("How much did the west sell?")
    assert run.output == Answer(total=49_995_000)
    assert [each.name for each in model.requests[0].tools] == ["run_code"]
    assert "49995000" in run.steps[0].results[0].text
    assert len(str(run.messages)) < 3_000
    assert run.history.variables == {"asked": "west"}
    assert [each.status for each in run.programs] == ["finished"]
    assert [each.rule for each in run.decisions] == ["asked"]


@pytest.mark.parametrize(("allowed", "shown"), [(True, "paid 5"), (False, "not approved")])
async def test_a_programs_call_needs_the_same_approval(allowed: bool, shown: str) -> None:
    code = (
        '{"code": "try:\\n    print(await pay(amount=5))\\nexcept Exception as e:\\n    print(e)"}'
    )
    async with Sandbox(pool=0) as sandbox:
        with ScriptedModel([ToolCall("p", "run_code", code), "ok"]) as model:
            agent = Agent("test/m", tools=[pay], calling="code", sandbox=sandbox, client=model)
            run = await agent.run("pay", approve=lambda _: allowed)
    assert shown in run.steps[0].results[0].text
