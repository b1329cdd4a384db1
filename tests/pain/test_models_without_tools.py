"""Models that call no tools, or of which nobody knows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from polycall.client import Client
from polycall.config import parse_config
from polycall.errors import ConfigError, UnsupportedError
from polycall.ir import Tool
from polycall.sim import Simulation

WEATHER = Tool("get_weather", "The weather", {"type": "object", "properties": {}})

CONFIG = """
[providers.acme]
dialect = "openai-chat"
base_url = "{url}"
api_key = "k"
[providers.acme.capabilities."sim-1"]
tools = {tools}
"""


@pytest.fixture(scope="module")
def simulation() -> Iterator[Simulation]:
    with Simulation() as running:
        yield running


def client_with(simulation: Simulation, tools: str) -> Client:
    text = CONFIG.format(url=simulation.base_url("compatible"), tools=tools)
    config = parse_config(text)
    return Client(providers=config.providers.values(), keys={"acme": "k"})


async def test_E05_tools_for_a_model_without_them_are_refused_and_nothing_is_sent(
    simulation: Simulation,
) -> None:
    before = simulation.received
    async with client_with(simulation, "false") as client:
        with pytest.raises(UnsupportedError, match=r"tools: 'acme/sim-1' is known to call no"):
            await client.generate("acme/sim-1", "x", tools=[WEATHER])
        with pytest.raises(UnsupportedError):
            client.stream("openai/gpt-3.5-turbo-instruct, acme/sim-1", "x", tools=[WEATHER])
        assert simulation.received == before
        # Without tools it is a model like any other.
        assert (await client.generate("acme/sim-1", "x")).text


async def test_E06_unknown_is_taken_as_able(simulation: Simulation) -> None:
    text = CONFIG.format(url=simulation.base_url("compatible"), tools="true")
    config = parse_config(text.replace("sim-1", "another"))
    async with Client(providers=config.providers.values(), keys={"acme": "k"}) as client:
        response = await client.generate("acme/sim-1", "get weather", tools=[WEATHER])
    assert [call.name for call in response.tool_calls] == ["get_weather"]


async def test_E07_configuration_overrides_what_is_known(simulation: Simulation) -> None:
    async with client_with(simulation, "true") as client:
        response = await client.generate("acme/sim-1", "get weather", tools=[WEATHER])
        assert [call.name for call in response.tool_calls] == ["get_weather"]
    async with client_with(simulation, "false") as client:
        lossy = await client.generate("acme/sim-1", "get weather", tools=[WEATHER], lossy=True)
        assert [call.name for call in lossy.tool_calls] == ["get_weather"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ('quirks = { stream_use = "x" }', "stream_use"),
        ('[providers.acme.capabilities."m"]\ntool = true', "tool"),
        ('[providers.acme.capabilities."m"]\ntools = "yes"', "'yes' is not one of its values; "),
    ],
)
def test_mistakes_in_tables_are_told_with_their_line(wrong: str, message: str) -> None:
    text = '[providers.acme]\ndialect = "openai-chat"\nbase_url = "http://127.0.0.1:1/v1"\n' + wrong
    with pytest.raises(ConfigError, match=message) as caught:
        parse_config(text)
    assert ":4" in str(caught.value) or ":5" in str(caught.value)


def test_a_table_of_quirks_changes_single_fields_of_the_careful_treatment() -> None:
    text = (
        '[providers.acme]\ndialect = "openai-chat"\nbase_url = "http://127.0.0.1:1/v1"\n'
        'quirks = { stream_usage = "always" }'
    )
    quirks = parse_config(text).providers["acme"].quirks
    assert (quirks.stream_usage, quirks.developer_role) == ("always", False)
