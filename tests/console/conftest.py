"""One gateway with an administrator of each role, and one browser, for the tests here."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest

from polycall.admin.people import make_admin, new_admin_key
from polycall.cli import main
from polycall.cli.console import link_of, new_link
from polycall.cli.keys import command_actor
from polycall.config import load_config
from polycall.gateway.store import Store, open_store
from polycall.gateway.store.admin_operations import set_admin_key
from polycall.sim import Simulation
from tests.console.browser import Browser, browser
from tests.gateway.conftest import postgres_server
from tests.gateway.harness import Answer, Gateway, sim_config

__all__ = ["postgres_server"]

ROLES = ("reader", "operator", "owner")
Command = Callable[..., Any]
T = TypeVar("T")


class CommandFailedError(Exception):
    """What a command printed that ended with another status than 0."""


class Served(NamedTuple):
    """A gateway, its administrators' keys, and `polycall` beside it."""

    gateway: Gateway
    keys: dict[str, str]
    command: Command

    def ask(self, method: str, path: str, body: Any = None, role: str | None = "owner") -> Answer:
        """One request to `/admin/v1` with a role's key."""
        key = None if role is None else self.keys[role]
        return self.gateway.request(method, f"/admin/v1{path}", body, key=key)

    def link(self) -> str:
        """A link that opens the console, once."""
        _, secret = on_store(self.gateway, new_link)
        return link_of(self.gateway.url, secret)


def command_for(gateway: Gateway) -> Command:
    """Runs `polycall WORDS` on the gateway's store; gives what it printed as JSON."""

    def run(*words: str) -> Any:
        printed, said = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
            status = main([*words, "--config", str(gateway.path)])
        if status != 0:
            raise CommandFailedError(printed.getvalue() + said.getvalue())
        return json.loads(printed.getvalue())

    return run


def on_store(gateway: Gateway, work: Callable[[Store], Awaitable[T]]) -> T:
    """Do what a command does, without the half second that a command takes to start."""
    config = load_config(gateway.path)

    async def run() -> T:
        store = open_store(config.store.url, config.folder, secret=config.store.secret)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


async def first_owner(store: Store) -> str:
    """The key of an administrator who may do everything."""
    by = command_actor()
    row = await make_admin(store, "the owner", "owner", by)
    key, digest, prefix = new_admin_key()
    operation = set_admin_key(row.id, digest, prefix)
    await store.act(operation, by, "admin.key", row.name, {"prefix": prefix})
    return key


def serve(folder: Path, config: str) -> Served:
    """A gateway with administrators."""
    gateway = Gateway(folder, config).start()
    # The first one makes the API appear; it makes the others.
    keys = {"owner": on_store(gateway, first_owner)}
    served = Served(gateway, keys, command_for(gateway))
    for role in ROLES[:2]:
        fields = {"name": f"the {role}", "role": role, "key": True}
        keys[role] = served.ask("POST", "/admins", fields).json()["key"]
    return served


@pytest.fixture(scope="session")
def console_sim() -> Iterator[Simulation]:
    with Simulation(seed=5) as simulation:
        yield simulation


@pytest.fixture(scope="module")
def served(console_sim: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("console")
    more = f'[admin]\nruns = "sqlite:///{folder / "runs.db"}"\n'
    for name, price in (("up-chat", 2), ("up-anthropic", 3)):
        prices = f'"sim-1" = {{ input = {price}, output = {price * 5} }}'
        more += f"[providers.{name}.prices]\n{prices}\n"
    config = sim_config(console_sim, more)
    made = serve(folder, config)
    yield made
    assert made.gateway.stop() == 0, made.gateway.log
    assert "Traceback" not in made.gateway.log


@pytest.fixture(scope="module")
def page() -> Iterator[Browser]:
    with browser() as made:
        yield made
