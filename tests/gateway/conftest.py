"""One simulation and one gateway for the tests that change neither."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from polycall.sim import Simulation
from tests.gateway.harness import KEY, OTHER_KEY, Gateway, leaked, running, sim_config
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
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("npm and node are not installed")
    config: Any = request.config
    folder: Path = config.cache.mkdir("claude-code")
    command = folder / "node_modules" / ".bin" / "claude"
    if not command.exists():
        (folder / "package.json").write_text('{"private": true}')
        installed = subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund", "--silent", CLAUDE_CODE],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if installed.returncode != 0:
            pytest.skip(f"npm cannot install Claude Code: {installed.stderr[-300:]}")
    return command
