"""Answers that Gemini breaks off, and goes on with when it gets its token back."""

from __future__ import annotations

import re
from typing import Any

import pytest
from msgspec.structs import replace

from polycall import Client, tool
from polycall.fold import fold
from polycall.providers.catalogue import CATALOGUE
from polycall.sim import Call, Simulation, Turn
from polycall.translation.continuation import ROUNDS_MAX
from tests.gateway.compatibility import PYTHON
from tests.gateway.drivers import Call as Seen
from tests.gateway.drivers import Result
from tests.gateway.harness import KEY, Gateway

GOES = [
    Turn("first, ", finish="pause"),
    Turn("second, ", finish="pause"),
    Turn("third", calls=[Call("get_weather", {"city": "서울"})]),
    Turn("it is ", finish="pause"),
    Turn("done"),
]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("client", PYTHON)
def test_every_client_gets_the_whole_answer(
    gateway: Gateway, sim: Simulation, client: str, streamed: bool
) -> None:
    name = f"goes-{len(client)}-{streamed}"
    sim.script("google", name, GOES)
    before = len(gateway.ledger(0))
    driver = PYTHON[client](gateway.url, KEY, f"up-gemini/{name}", streamed=streamed)
    step = driver.ask("서울 날씨?")
    assert (step.text, [call.name for call in step.calls]) == (
        "first, second, third",
        ["get_weather"],
    )
    step = driver.give([Result(Seen(*step.calls[0]), "3°C")])
    assert (step.text, step.calls) == ("it is done", [])
    assert sim.remaining("google", name) == 0
    driver.close()
    if client != "google-genai (Python)":  # which goes on itself, a row each time
        first = gateway.ledger(before + 2)[before]
        asked = [r for r in sim.requests if name in r.path]
        assert len(asked) == 5
        # Each go was read and written anew, and is paid for.
        assert first["input_tokens"] > 2 * len("서울 날씨?".encode()) // 4
        assert first["outcome"] == "ok"


def test_goes_have_an_end(gateway: Gateway, sim: Simulation) -> None:
    sim.script("google", "endless", [Turn("x", finish="pause")] * (ROUNDS_MAX + 3))
    body: dict[str, Any] = {
        "model": "up-gemini/endless",
        "messages": [{"role": "user", "content": "go on"}],
    }
    answer = gateway.post("/v1/chat/completions", body)
    choice = answer.json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("x" * ROUNDS_MAX, "length")
    assert sim.remaining("google", "endless") == 3


def test_an_error_between_two_goes_is_an_error(gateway: Gateway, sim: Simulation) -> None:
    sim.script("google", "broken-off", [Turn("half", finish="pause")])
    body: dict[str, Any] = {
        "model": "up-gemini/broken-off",
        "messages": [{"role": "user", "content": "go on"}],
        "stream": True,
    }
    answer = gateway.post("/v1/chat/completions", body)
    said = re.findall(rb'"content":"(.*?)"', answer.content)
    assert b"".join(said) == b"half"
    assert b'"error":' in answer.content
    assert b"[DONE]" not in answer.content


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"3°C in {city}"


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_library_goes_on_too(sim: Simulation, streamed: bool) -> None:
    sim.script("google", f"library-{streamed}", GOES[:3])
    google = replace(CATALOGUE["google"], base_url=sim.base_url("google"))
    model = f"google/library-{streamed}"
    async with Client(providers=[google], keys={"google": "k"}) as client:
        if streamed:
            events = [event async for event in client.stream(model, "날씨?", tools=[get_weather])]
            response = fold(events)
        else:
            response = await client.generate(model, "날씨?", tools=[get_weather])
    assert (response.text, response.finish_reason) == ("first, second, third", "tool_calls")
