"""One simulation and one gateway for the tests that change neither."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from polycall.sim import Simulation
from tests.gateway.harness import KEY, OTHER_KEY, Gateway, leaked, running, sim_config
from tests.gateway.upstream import BadUpstream, bad_upstream
from tests.packages import from_npm
from tests.sandbox.support import usable
from tests.servers import Postgres, Redis, postgres, redis


def pytest_sessionfinish() -> None:
    for process in running:
        process.kill()


CLAUDE_CODE = "@anthropic-ai/claude-code@2.1"


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


@pytest.fixture(scope="module")
def own(sim: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway for the tests of one module alone."""
    served = Gateway(tmp_path_factory.mktemp("own"), sim_config(sim)).start()
    yield served
    assert served.stop() == 0, served.log


@pytest.fixture(scope="module")
def upstream() -> Iterator[BadUpstream]:
    with bad_upstream() as server:
        yield server


@pytest.fixture(scope="session")
def runs_programs() -> None:
    """Skips where this machine cannot run programs."""
    asyncio.run(usable("jail"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """One cluster for all tests; each takes a database of its own."""
    with postgres() as server:
        yield server
        server.query("CHECKPOINT")
        for path in server.data.rglob("*"):
            if path.is_file():
                assert leaked([KEY, OTHER_KEY], path.read_bytes()) == [], path


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    with redis() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    server: Postgres = request.getfixturevalue("postgres_server")
    return server.database()


@pytest.fixture(scope="session")
def claude(request: pytest.FixtureRequest) -> Path:
    """Claude Code's command, installed into pytest's cache on first use."""
    folder = from_npm(request, "claude-code", CLAUDE_CODE, has=".bin/claude")
    return folder / "node_modules" / ".bin" / "claude"
