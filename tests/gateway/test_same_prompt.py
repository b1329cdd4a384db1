"""What a provider is sent does not depend on how the client wants its answer, nor on the order of
keys: prompt caches are keyed by bytes."""

from __future__ import annotations

from typing import Any

import pytest

from polycall.sim import Simulation, Turn
from tests.gateway.drivers import DRIVERS
from tests.gateway.harness import KEY, UPSTREAMS, Gateway

_STREAMING = ("stream", "stream_options")


def sent(sim: Simulation, vendor: str, model: str) -> list[Any]:
    """The bodies for a model, without what asks for a stream, in the order of their keys."""
    found = [r for r in sim.requests if r.vendor == vendor and model in f"{r.path} {r.body}"]
    return [[(k, v) for k, v in r.body.items() if k not in _STREAMING] for r in found]


@pytest.mark.parametrize("upstream", UPSTREAMS)
@pytest.mark.parametrize("client", DRIVERS)
def test_h17_streamed_and_whole_prompts_are_the_same(
    sim: Simulation, gateway: Gateway, client: str, upstream: str
) -> None:
    vendor, model = UPSTREAMS[upstream][0], f"same-{client}-{upstream}"
    sim.script(vendor, model, [Turn(text="one"), Turn(text="two")])
    for streamed in (False, True):
        driver = DRIVERS[client](gateway.url, KEY, f"{upstream}/{model}", streamed=streamed)
        try:
            driver.ask("날씨?")
        finally:
            driver.close()
    whole, streamed_body = sent(sim, vendor, model)
    assert repr(whole) == repr(streamed_body)
