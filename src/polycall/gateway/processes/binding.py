"""The addresses where the gateway may listen, and its number of processes."""

from __future__ import annotations

import asyncio
import os
from importlib.util import find_spec
from pathlib import Path

from polycall._support.listening import is_loopback
from polycall.config import Config
from polycall.errors import RequestError
from polycall.gateway.store import open_store
from polycall.gateway.store.sqlite import path_of


def check_binding(config: Config, host: str) -> None:
    """Refuse to serve the network without clients' keys."""
    if not config.keys and not is_loopback(host) and not has_stored_keys(config):
        raise RequestError(
            f"refusing to listen on {host!r} without any [[keys]]: everybody could spend your "
            "providers' money; add a key ('polycall keys create NAME'), or listen on 127.0.0.1"
        )


def has_stored_keys(config: Config) -> bool:
    """Whether a key was ever made in the store; a file that is not there has none."""
    url = config.store.url
    if url.startswith("sqlite:") and not Path(path_of(url, config.folder)).exists():
        return False
    store = open_store(url, config.folder, spool=config.store.spool)
    try:
        return bool(store.keys_now()[1])
    finally:
        asyncio.run(store.close())


def check_extras(config: Config) -> None:
    """Raise `RequestError` where the configuration needs what is not installed."""
    if config.mcp and find_spec("mcp") is None:
        raise RequestError("[mcp] needs the protocol's library; install 'polycall[mcp]'")


def check_workers(config: Config) -> None:
    """Refuse several processes where they cannot be, or could not share what they keep."""
    if config.server.workers == 1:
        return
    if not hasattr(os, "fork"):
        raise RequestError("several workers take a system that can fork; start one")
    if config.store.url in ("sqlite:", "sqlite://", "sqlite:///"):
        raise RequestError(
            f"{config.server.workers} workers cannot share a store in memory; "
            "give [store] a file or a database"
        )
