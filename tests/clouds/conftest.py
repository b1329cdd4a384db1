"""One gateway for the module's tests, in front of the simulated vendors."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from polycall.sim import Simulation
from tests.gateway.harness import Gateway, sim_config


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulation]:
    with Simulation() as simulation:
        yield simulation


@pytest.fixture(scope="module")
def gateway(sim: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    aliases = (
        '[models."claude-x"]\nroute = ["up-anthropic/sim-1"]\n'
        '[models."gpt-x"]\nroute = ["up-chat/sim-1"]\n'
        '[models."gemini-x"]\nroute = ["up-gemini/sim-1"]\n'
    )
    served = Gateway(tmp_path_factory.mktemp("clouds"), sim_config(sim, aliases)).start()
    yield served
    served.stop()
