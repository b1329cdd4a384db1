"""N16, L13: a typed output while it is written."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from polycall import Agent, Guarded, Sessions, tool
from polycall.agents.growing import GrowingOutput
from polycall.agents.output import OutputType
from polycall.ir import PartDelta, ToolCall
from polycall.sim import Simulation
from polycall.testing import FunctionModel, ScriptedModel

from .support import client_of


@dataclass
class Order:
    item: str
    amounts: list[int]
    note: str = ""


def values(kind: Any, text: str, size: int) -> list[Any]:
    growing = GrowingOutput(OutputType(kind))
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    return [value for piece in pieces for value in growing.feed(PartDelta(0, piece, "text"))]


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(
    ("kind", "text", "whole"),
    [
        (Order, '{"item": "찻주전자 🫖", "amounts": [12, -3], "note": "\\u00e9"}', None),
        (list[int], '{"result": [1, 20, 300]}', [1, 20, 300]),
        (Order, '```json\n{"item": "tea", "amounts": []}\n```', {"item": "tea", "amounts": []}),
        ({"type": "array", "items": {"type": "number"}}, '{"result": [1.5, 2e3]}', [1.5, 2000.0]),
    ],
)
def test_l13_the_last_value_is_the_whole_one_and_none_goes_back(
    kind: Any, text: str, whole: Any, size: int
) -> None:
    found = values(kind, text, size)
    assert found[-1] == (json.loads(text) if whole is None else whole)
    # No number is ever seen that is only the beginning of another.
    numbers = {number for value in found for number in _numbers(value)}
    assert numbers <= set(_numbers(found[-1]))
    sizes = [len(str(value)) for value in found]
    assert sizes == sorted(sizes)


def _numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [number for each in value.values() for number in _numbers(each)]
    if isinstance(value, list):
        return [number for each in value for number in _numbers(each)]
    return [value] if isinstance(value, int | float) else []


def test_l13_words_and_garbage_give_no_value() -> None:
    assert values(Order, "I cannot say that.", 2) == []
    assert values(Order, '{"item": ]', 1)[-1:] == [{}]
    assert values(list[int], '{"other": 1}', 1) == []


def test_a_long_output_is_not_read_again_at_each_letter() -> None:
    text = json.dumps({"item": "x" * 50_000, "amounts": []})
    assert 100 < len(values(Order, text, 5)) < 2_000


async def test_l13_every_stream_of_an_agent_has_it(tmp_path: Path) -> None:
    answer = '{"item": "tea", "amounts": [1, 2]}'
    agent = Agent("a/m", output=Order, client=FunctionModel(lambda request: answer))
    with Sessions(f"sqlite:///{tmp_path / 'chat.db'}") as sessions:
        session = sessions.open("a")
        streams = [agent.stream("x"), Guarded(agent).stream("x"), session.stream(agent, "x")]
        streams.append(session.stream(Guarded(agent), "x"))
        for stream in streams:
            async with stream:
                found = [value async for value in stream.partial_output()]
            assert found[-1] == {"item": "tea", "amounts": [1, 2]}
            assert stream.run.output == Order("tea", [1, 2])

    def plainly() -> list[Any]:
        with agent.stream_sync("x") as stream:
            return list(stream.partial_output())

    assert (await asyncio.to_thread(plainly))[-1] == {"item": "tea", "amounts": [1, 2]}


async def test_l13_an_answer_that_is_asked_for_again_begins_anew_and_calls_do_not_count() -> None:
    @tool(needs_approval=True)
    async def pay() -> str:
        """Pay."""
        raise AssertionError("nobody was asked")

    script = [ToolCall("1", "pay", "{}"), '{"item": 5}', '{"item": "tea", "amounts": []}']
    with ScriptedModel(script) as model:
        async with Agent("a/m", tools=[pay], output=Order, client=model).stream("x") as stream:
            found = [value async for value in stream.partial_output()]
    assert found == [{"item": 5}, {"item": "tea", "amounts": []}]
    assert "was not approved" in stream.run.steps[0].results[0].text


@pytest.mark.parametrize("vendor", ["openai", "anthropic", "google"])
async def test_l13_it_grows_with_what_a_provider_sends(vendor: str) -> None:
    with Simulation() as simulation:
        async with client_of(simulation) as client:
            agent = Agent(f"{vendor}/sim-1", output=Order, client=client)
            async with agent.stream("item 'a blue teapot', amounts 3") as stream:
                found = [value async for value in stream.partial_output()]
    assert len(found) > 2
    assert isinstance(stream.run.output, Order)


async def test_text_comes_as_far_as_it_is_there() -> None:
    model = FunctionModel(lambda request: "hello")
    async with Agent("a/m", client=model).stream("x") as stream:
        found = [value async for value in stream.partial_output()]
    assert found[-1] == "hello"
