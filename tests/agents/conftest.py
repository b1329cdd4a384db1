"""Fixtures for agents: the simulated providers and a client for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from polycall import Client
from polycall.sim import Simulation

from ..servers import postgres
from .support import client_of


@pytest.fixture(scope="session")
def simulation() -> Iterator[Simulation]:
    with Simulation() as running:
        yield running


@pytest.fixture
async def client(simulation: Simulation) -> AsyncIterator[Client]:
    async with client_of(simulation) as made:
        yield made


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with postgres() as server:
        yield server.database()
