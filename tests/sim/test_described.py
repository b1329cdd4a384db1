"""Tools in the words of a prompt: `sim-1` calls them in words (N4)."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from polycall import Agent, tool
from polycall.sim import Simulation
from polycall.sim.described import with_described
from polycall.sim.script import Called, Prompt, Said

from ..agents.support import client_of


class Weather(BaseModel):
    city: str


@tool
def get_weather(city: str) -> dict[str, Any]:
    """The weather in a city (날씨)."""
    return {"city": city, "sky": "clear"}


async def ran(vendor: str, words: str, **options: Any) -> Any:
    with Simulation() as simulation:
        async with client_of(simulation) as client:
            agent = Agent[Any, Any](
                f"{vendor}/sim-1", tools=[get_weather], client=client, prompted=True, **options
            )
            return await agent.run(words)


@pytest.mark.parametrize("vendor", ["openai", "anthropic", "compatible"])
@pytest.mark.parametrize(
    ("words", "cities"),
    [
        ("What is the weather in Paris and in Seoul?", ["Paris", "Seoul"]),
        ("부산 날씨 알려줘", ["부산"]),
    ],
)
async def test_n4_tools_that_a_prompt_describes_are_called_in_words(
    vendor: str, words: str, cities: list[str]
) -> None:
    run = await ran(vendor, words)
    calls = [call.arguments for step in run.steps for call in step.response.tool_calls]
    assert calls == [{"city": city} for city in cities]
    for city in cities:
        assert f"get_weather({city}): city: {city}, sky: clear" in run.text


async def test_n4_a_required_call_in_words_and_an_answer_by_a_schema() -> None:
    run = await ran("compatible", "hello", tool_choice="required")
    assert [call.name for call in run.steps[0].response.tool_calls] == ["get_weather"]
    run = await ran("google", "the weather in Paris?", output=Weather)
    assert run.output == Weather(city="Paris")


def test_what_stands_beside_a_call_in_words_is_said_before_it() -> None:
    spec = '{"name": "look", "parameters": {"type": "object"}}'
    asked = Said("system", f"Answer with <tool_call>.\n{spec}")
    call = '<tool_call>\n{"name": "look", "arguments": {}}\n</tool_call>'
    answer = Said("assistant", f"I look.\n{call}\nThen I go on.")
    found = with_described(Prompt("m", [asked, answer, Said("assistant", "Done.")], [], {}))
    assert found is not None
    said, called, last = found.entries[1:]
    assert isinstance(said, Said)
    assert said.text.split() == ["I", "look.", "Then", "I", "go", "on."]
    assert isinstance(called, Called)
    assert last == Said("assistant", "Done.")
