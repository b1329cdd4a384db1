"""A collector, and the simulated providers with a client for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from polycall import Client
from polycall.sim import Simulation

from ..agents.support import client_of
from ..collector import Collector, collecting


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


@pytest.fixture(scope="session")
def simulation() -> Iterator[Simulation]:
    with Simulation() as running:
        yield running


@pytest.fixture
async def client(simulation: Simulation) -> AsyncIterator[Client]:
    async with client_of(simulation) as made:
        yield made
