"""One simulation and one gateway for the tests that change neither."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from polycall.sim import Simulation
from tests.gateway.harness import Gateway, sim_config


@pytest.fixture(scope="session")
def sim() -> Iterator[Simulation]:
    with Simulation(seed=11) as simulation:
        yield simulation


@pytest.fixture(scope="session")
def gateway(sim: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    served = Gateway(tmp_path_factory.mktemp("gateway"), sim_config(sim)).start()
    yield served
    status = served.stop()
    assert status == 0, served.log


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
