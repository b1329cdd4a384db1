"""Recordings: made once, replayed without a network, and without a key in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from polycall.client import Client
from polycall.errors import ProtocolError
from polycall.ir import Tool
from polycall.providers.catalogue import CATALOGUE
from polycall.providers.provider import Provider
from polycall.sim import Simulation
from polycall.testing import record, replay
from polycall.transport.aiohttp_transport import AiohttpTransport

VENDORS = ["openai", "anthropic", "google", "deepseek"]
KEY = "sk-very-secret-key"
TOOL = Tool("get_weather", "The weather (날씨)", {"type": "object", "properties": {}})


def provider(vendor: str, base_url: str) -> Provider:
    return replace(CATALOGUE[vendor], base_url=base_url)


@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_recording_replays_whole_and_streamed(vendor: str, tmp_path: Path) -> None:
    path = tmp_path / "tape" / "weather.jsonl"

    async def ask(client: Client) -> list[object]:
        async with client:
            whole = await client.generate(f"{vendor}/sim-1", "서울 날씨", tools=[TOOL])
            stream = client.stream(f"{vendor}/sim-1", "서울 날씨", tools=[TOOL])
            events = [event async for event in stream]
            return [whole, *events]

    with Simulation() as simulation:
        row = provider(vendor, simulation.base_url(vendor))
        recording = record(path, AiohttpTransport())
        told = await ask(Client(providers=[row], keys={vendor: KEY}, transport=recording))
    assert KEY not in path.read_text(encoding="utf-8")
    assert [file.name for file in path.parent.iterdir()] == ["weather.jsonl"]

    # Another host and another key, and nobody listens there.
    elsewhere = provider(vendor, row.base_url.replace(row.base_url.split("/")[2], "127.0.0.1:1"))
    again = await ask(Client(providers=[elsewhere], keys={vendor: "other"}, transport=replay(path)))
    assert again == told

    async with Client(providers=[elsewhere], keys={vendor: "k"}, transport=replay(path)) as client:
        with pytest.raises(ProtocolError, match="holds no answer to this request"):
            await client.generate(f"{vendor}/sim-1", "다른 질문")
