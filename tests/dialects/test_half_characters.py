"""Half a character, as cut text has it, reaches every vendor in whatever place it stands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from polycall import Agent, Client
from polycall.ir import Message, Text, ToolCall, ToolResult
from polycall.sim import Simulation
from polycall.tools import tool
from tests.support import simulated

VENDORS = ["openai", "anthropic", "google", "deepseek", "compatible"]
HALF = "a\ud83d"


@pytest.fixture(scope="module")
def simulation() -> Iterator[Simulation]:
    with Simulation() as running:
        yield running


@tool
def get_weather(city: str) -> str:
    """The weather in a city now."""
    return f"{city}: {HALF}"


CALL = ToolCall("call_1", "get_weather", '{"city": "Paris\\ud83d"}')
HISTORY = [
    Message("user", [Text("Weather in Paris?")]),
    Message("assistant", [CALL]),
    Message("tool", [ToolResult("call_1", [Text(HALF)], name="get_weather")]),
    Message("assistant", [Text(HALF)]),
]


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(
    ("prompt", "history", "options"),
    [
        ("What is the weather in Paris?", [], {}),
        (f"What is the weather in Paris? {HALF}", [], {}),
        ("What is the weather in Paris?", HISTORY, {}),
        ("What is the weather in Paris?", [], {"instructions": HALF}),
    ],
)
async def test_half_a_character_is_sent(
    simulation: Simulation,
    vendor: str,
    prompt: str,
    history: list[Message],
    options: dict[str, Any],
) -> None:
    async with Client(providers=[simulated(simulation, vendor)], keys={vendor: "k"}) as client:
        agent = Agent(f"{vendor}/sim-1", tools=[get_weather], client=client, **options)
        run = await agent.run(prompt, history=history)
        again = await agent.run("And in Rome?", history=run.history.to_json())
    assert (run.reason, again.reason) == ("finished", "finished")
    assert [each.name for each in run.steps[0].response.tool_calls] == ["get_weather"]
    assert run.steps[0].results[0].text == f"Paris: {HALF}"
