"""Every official SDK runs the tool cycle against every upstream, whole and streamed."""

from __future__ import annotations

import itertools

import pytest

from polycall.sim import Call, Simulation, Turn
from tests.gateway.drivers import DRIVERS, Result, Step
from tests.gateway.harness import KEY, UPSTREAMS, Gateway

_numbers = itertools.count()

SEOUL = Call("get_weather", {"city": "서울"})
TOKYO = Call("get_weather", {"city": "도쿄"})
NOW = Call("now", {})

# What the model says in each turn, and whether the first question has an image.
CASES: dict[str, list[list[Call]]] = {
    "single": [[SEOUL], []],
    "three parallel": [[SEOUL, TOKYO, NOW], []],
    "same name twice": [[SEOUL, SEOUL], []],
    "no arguments": [[NOW], []],
    "error result": [[SEOUL], []],
    "image": [[SEOUL], []],
    "three steps": [[SEOUL], [TOKYO], [NOW], []],
}
FINAL = "서울은 맑음, 3°C 입니다."


def turns_of(case: str) -> list[Turn]:
    return [Turn(calls=calls) if calls else Turn(text=FINAL) for calls in CASES[case]]


def seen(step: Step) -> list[tuple[str, object]]:
    return [(call.name, call.arguments) for call in step.calls]


PAIRS = list(itertools.product(DRIVERS, UPSTREAMS))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("client", "upstream"), PAIRS)
def test_i11_cycle(
    sim: Simulation, gateway: Gateway, client: str, upstream: str, case: str
) -> None:
    for streamed in (False, True):
        run_cycle(sim, gateway, (client, upstream, case), streamed=streamed)


def run_cycle(
    sim: Simulation, gateway: Gateway, cell: tuple[str, str, str], *, streamed: bool
) -> None:
    client, upstream, case = cell
    vendor, model = UPSTREAMS[upstream][0], f"scripted-{next(_numbers)}"
    sim.script(vendor, model, turns_of(case))
    driver = DRIVERS[client](gateway.url, KEY, f"{upstream}/{model}", streamed=streamed)
    try:
        step = driver.ask("서울과 도쿄 날씨?", image=case == "image")
        for calls in CASES[case][:-1]:
            assert seen(step) == [(call.name, call.arguments) for call in calls]
            ids = [call.id for call in step.calls]
            assert len(set(ids)) == len(ids)
            is_error = case == "error result"
            step = driver.give([Result(call, "3°C", is_error) for call in step.calls])
        assert (step.text, step.calls) == (FINAL, [])
        assert sim.remaining(vendor, model) == 0
    finally:
        driver.close()
