"""A live session is gone on with by the key that began it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from polycall.sim.realtime import VoiceSimulation
from polycall.sim.script import Turn
from polycall.voices.routes import ROUTES
from tests.gateway.harness import KEY, OTHER_KEY, Gateway

PATH = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"


@pytest.fixture(scope="module")
def sim() -> Iterator[VoiceSimulation]:
    with VoiceSimulation() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(sim: VoiceSimulation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    google = f'[providers.google]\napi_key = "sk-google"\nbase_url = "{sim.base_url("google")}"\n'
    keys = f'[[keys]]\nkey = "{KEY}"\nname = "first"\n[[keys]]\nkey = "{OTHER_KEY}"\n'
    served = Gateway(Path(tmp_path_factory.mktemp("live")), google + keys).start()
    yield served
    assert served.stop() == 0


async def begin(gateway: Gateway, key: str, resumption: Any) -> list[Any]:
    """The frames until the session can be gone on with, or until it is closed."""
    setup = {
        "model": "models/google/gemini-3.8-live",
        "generationConfig": {"responseModalities": ["AUDIO"]},
        **resumption,
    }
    frames: list[Any] = []
    async with (
        asyncio.timeout(20),
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{gateway.url}{PATH}?key={key}") as client,
    ):
        await client.send_json({"setup": setup})
        async for message in client:
            frames.append(json.loads(message.data))
            if "sessionResumptionUpdate" in frames[-1]:
                return frames
        return [*frames, client.close_code]


SPELLINGS = [
    {"sessionResumption": {"handle": "<handle>"}},
    {"session_resumption": {"handle": "<handle>"}},
    {"sessionResumption": {"Handle": "<handle>", "handle": ""}},
    {"sessionResumption": {}, "SessionResumption": {"handle": "<handle>"}},
]


@pytest.mark.parametrize("spelt", SPELLINGS, ids=json.dumps)
async def test_a_session_of_another_key_is_not_gone_on_with(
    gateway: Gateway, sim: VoiceSimulation, spelt: Any
) -> None:
    script = sim.talk("", [Turn("It snows.")], heard=["Hello"])
    frames = await begin(gateway, KEY, {"sessionResumption": {}})
    handle = frames[-1]["sessionResumptionUpdate"]["newHandle"]
    named = json.loads(json.dumps(spelt).replace("<handle>", handle))
    asked = len(script.record.received)
    assert await begin(gateway, OTHER_KEY, named) == [1008]
    assert len(script.record.received) == asked
    if spelt == SPELLINGS[0]:
        again = await begin(gateway, KEY, named)
        assert "newHandle" in again[-1]["sessionResumptionUpdate"]


@pytest.mark.parametrize(
    "frame",
    [
        {},
        {"setup": None},
        {"setup": {"sessionResumption": None}},
        {"setup": {"sessionResumption": {"handle": 5}}},
        {"setup": {"sessionResumption": [{"handle": "x"}]}},
    ],
)
def test_what_names_no_session_goes_on_with_none(frame: Any) -> None:
    for route in ROUTES.values():
        assert route.resumes(frame) == []
        assert route.resumable(json.dumps({"sessionResumptionUpdate": frame}).encode()) == ""
        assert route.resumable(b'{"newHandle"') == ""
