"""`polycall mcp list|pin|login --config FILE`: the servers of a gateway's configuration."""

from __future__ import annotations

import webbrowser
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from polycall.config import Config, load_config
from polycall.errors import PolycallError, RequestError

if TYPE_CHECKING:
    from polycall.gateway.store import Store
    from polycall.mcp import SeenServer

T = TypeVar("T")


def look_at(path: Path, names: list[str], *, pin: bool) -> list[SeenServer]:
    """The servers' tools beside the gateway's pins; with `pin`, they are taken as they are."""
    config = load_config(path)
    chosen = names or list(config.mcp)
    for name in chosen:
        _check_known(config, name)

    async def work(store: Store) -> list[SeenServer]:
        return [await _seen(config, store, name, pin=pin) for name in chosen]

    return _with_store(config, work)


def login(path: Path, name: str, port: int, show: Callable[[str], None]) -> int:
    """Sign in to a server; its tokens are kept in the gateway's store, encrypted."""
    config = load_config(path)
    _check_known(config, name)
    settings = config.mcp[name]
    if settings.oauth is None:
        raise RequestError(f"[mcp.{name}] has no oauth; write [mcp.{name}.oauth]")

    async def work(store: Store) -> int:
        from polycall.gateway.mcp.pins import StoreTokens  # noqa: PLC0415 - `--help` needs none of it
        from polycall.mcp import HttpServer, OAuth, authorize_here, look  # noqa: PLC0415
        from polycall.mcp.pins import MemoryPins  # noqa: PLC0415

        assert settings.oauth is not None

        def shown(page: str) -> None:
            show(page)
            webbrowser.open(page)

        redirect_url = f"http://127.0.0.1:{port}/callback"
        oauth = OAuth(
            tokens=StoreTokens(store, name),
            authorize=authorize_here(shown, redirect_url),
            redirect_url=redirect_url,
            scopes=tuple(settings.oauth.scopes),
            client_id=settings.oauth.client_id,
            client_secret=settings.oauth.client_secret,
            client_metadata_url=settings.oauth.client_metadata_url,
            grant=settings.oauth.grant,
        )
        server = HttpServer(
            name, url=settings.url, headers=settings.headers, oauth=oauth, connect_s=330.0
        )
        (seen,) = await look([server], MemoryPins(), pin=False)
        if seen.error:
            raise RequestError(seen.error)
        print(f"{name}: signed in; {len(seen.tools)} tools")
        return 0

    return _with_store(config, work)


def _with_store(config: Config, work: Callable[[Store], Awaitable[T]]) -> T:
    from polycall.cli.stored import run_with_store  # noqa: PLC0415 - `--help` needs none of it

    return run_with_store(config.store, config.folder, work, secret=config.store.secret)


async def _seen(config: Config, store: Store, name: str, *, pin: bool) -> SeenServer:
    from polycall.gateway.mcp.hub import Hub  # noqa: PLC0415 - `--help` needs none of it
    from polycall.mcp import SeenServer  # noqa: PLC0415
    from polycall.mcp.looking import known_pins, pins_of, seen_of  # noqa: PLC0415
    from polycall.transport.http1 import HTTP1Transport  # noqa: PLC0415

    transport = HTTP1Transport()
    hub = Hub(store, config.folder, transport)
    try:
        await hub.pins.fetch(name)
        known = known_pins(hub.pins, name)
        found = await hub.definitions(name, config.mcp[name])
        if pin:
            for what, pins in pins_of(found).items():
                await hub.pins.take(name, what, pins)
        return seen_of(name, known, found)
    except PolycallError as error:
        return SeenServer(name, error=str(error))
    finally:
        await transport.close()


def _check_known(config: Config, name: str) -> None:
    if name not in config.mcp:
        known = ", ".join(config.mcp) or "none"
        raise RequestError(f"the configuration has no [mcp.{name}]; there are: {known}")
