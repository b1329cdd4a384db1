"""Kinds of tools beside plain functions, in programs and beside them."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from polycall.sim import Call, Simulation, Turn
from tests.gateway.harness import KEY, Gateway
from tests.gateway.program_drivers import TOOLS, scripted, seen_by_model

pytestmark = pytest.mark.usefixtures("runs_programs")


def converse(gateway: Gateway, model: str, tools: list[Any]) -> list[list[Any]]:
    """The output of each answer; every call gets its place as its result."""
    items: list[Any] = [{"role": "user", "content": "?"}]
    outputs: list[list[Any]] = []
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0) as client:
        while True:
            answer = client.responses.create(model=model, input=items, tools=tools, store=False)
            outputs.append(answer.output)
            items += [item.model_dump(exclude_none=True) for item in answer.output]
            calls = [item for item in answer.output if item.type.endswith("_call")]
            if not calls:
                return outputs
            items += [
                {
                    "type": f"{call.type}_output",
                    "call_id": call.call_id,
                    "output": f"result {place}",
                }
                for place, call in enumerate(calls)
            ]


@pytest.mark.parametrize("upstream", ["up-responses", "up-anthropic"])
def test_tools_in_namespaces(sim: Simulation, gateway: Gateway, upstream: str) -> None:
    """Two of one name are two functions of a program, and the client gets its own names back."""
    code = """
import asyncio
found = await asyncio.gather(crm__describe(region="west"), erp__describe(region="south"))
print(found)
"""
    direct = Call("erp__tell", {"region": "east"})
    turn = Turn(calls=[Call("run_code", {"code": code}), direct])
    model = scripted(sim, upstream, turn, Turn(text="done"))
    inner = {"type": "function", "strict": False, **TOOLS[1]}
    tools: list[Any] = [{"type": "programmatic_tool_calling"}]
    tools += [
        {
            "type": "namespace",
            "name": name,
            "description": f"the {name}",
            "tools": [{**inner, "allowed_callers": ["programmatic"]}, {**inner, "name": "tell"}],
        }
        for name in ("crm", "erp")
    ]
    first, last = converse(gateway, model, tools)
    calls = [
        (call.namespace, call.name, call.arguments, call.caller.type if call.caller else "direct")
        for call in first
        if call.type == "function_call"
    ]
    assert sorted(calls) == [
        ("crm", "describe", '{"region":"west"}', "program"),
        ("erp", "describe", '{"region":"south"}', "program"),
        ("erp", "tell", '{"region":"east"}', "direct"),
    ]
    shown = [call.name for call in first if call.type == "function_call"]
    given = [f"result {place}" for place, name in enumerate(shown) if name == "describe"]
    assert (last[0].type, last[0].result) == ("program_output", str(given))
    assert f"result {shown.index('tell')}" in seen_by_model(sim, model)


@pytest.mark.parametrize("upstream", ["up-responses", "up-gemini"])
def test_a_tool_of_free_text_beside_a_program(
    sim: Simulation, gateway: Gateway, upstream: str
) -> None:
    is_wire = upstream == "up-responses"
    text = {"raw_arguments": "free text"} if is_wire else {"arguments": {"input": "free text"}}
    code = 'print(await describe(region="west"))'
    turn = Turn(calls=[Call("note", **text), Call("run_code", {"code": code})])  # type: ignore[arg-type]
    model = scripted(sim, upstream, turn, Turn(text="done"))
    tools: list[Any] = [
        {"type": "programmatic_tool_calling"},
        {"type": "custom", "name": "note", "description": "Notes"},
        {"type": "function", "strict": False, "allowed_callers": ["programmatic"], **TOOLS[1]},
    ]
    first, last = converse(gateway, model, tools)
    assert [item.type for item in first] == ["program", "custom_tool_call", "function_call"]
    assert (first[1].name, first[1].input) == ("note", "free text")
    assert (last[0].type, last[0].result) == ("program_output", "result 1")
