"""Reasoning state survives three tool steps for every client and upstream, and every restart.

The simulated vendors refuse history without the state that they gave, altered or in the wrong
place; a conversation that ends well has carried all of it.
"""

from __future__ import annotations

import itertools

import pytest

from polycall.sim import Call, Simulation, Turn
from tests.gateway.drivers import DRIVERS, Result
from tests.gateway.harness import KEY, UPSTREAMS, Gateway

_numbers = itertools.count()

FINAL = "done"
TURNS = [
    Turn(
        reasoning="서울부터 본다.", text="먼저 서울.", calls=[Call("get_weather", {"city": "서울"})]
    ),
    Turn(
        reasoning="then two at once",
        calls=[Call("get_weather", {"city": "도쿄"}), Call("now", {})],
    ),
    Turn(reasoning="", calls=[Call("get_weather", {"city": 'a < b & "c" \u2028'})]),
    Turn(reasoning="enough", text=FINAL),
]
# Chat has no reasoning to carry at OpenAI, and a compatible server wants none back.
THINKERS = ["up-responses", "up-anthropic", "up-gemini", "up-deepseek"]


@pytest.mark.parametrize("mode", ["whole", "streamed"])
@pytest.mark.parametrize("upstream", THINKERS)
@pytest.mark.parametrize("client", DRIVERS)
def test_three_steps(
    sim: Simulation, gateway: Gateway, client: str, upstream: str, mode: str
) -> None:
    model = f"thinker-{next(_numbers)}"
    vendor = UPSTREAMS[upstream][0]
    sim.script(vendor, model, TURNS)
    driver = DRIVERS[client](gateway.url, KEY, f"{upstream}/{model}", streamed=mode == "streamed")
    try:
        step = driver.ask("weather?")
        while step.calls:
            step = driver.give([Result(call, "ok") for call in step.calls])
        assert step.text == FINAL
        assert sim.remaining(vendor, model) == 0
    finally:
        driver.close()
