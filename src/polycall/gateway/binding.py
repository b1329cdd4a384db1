"""Where the gateway may listen, and with how many processes."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
from pathlib import Path

from polycall.config import Config
from polycall.errors import RequestError
from polycall.gateway.store import open_store
from polycall.gateway.store.sqlite import path_of

_BACKLOG = 2048


def check_binding(config: Config, host: str) -> None:
    """Refuse to serve the network without clients' keys."""
    if not config.keys and not _is_loopback(host) and not _has_stored_keys(config):
        raise RequestError(
            f"refusing to listen on {host!r} without any [[keys]]: everybody could spend your "
            "providers' money; add a key ('polycall keys create NAME'), or listen on 127.0.0.1"
        )


def _has_stored_keys(config: Config) -> bool:
    url = config.store.url
    if url.startswith("sqlite:") and not Path(path_of(url, config.folder)).exists():
        return False
    store = open_store(url, config.folder, spool=config.store.spool)
    try:
        return bool(store.keys_now()[1])
    finally:
        asyncio.run(store.close())


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


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; `RequestError` where the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        bound = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise RequestError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    # asyncio's own loop sets this only on sockets that name their protocol, as this does not.
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # At once, and for good: processes that share the socket share this too, and one that starts
    # would otherwise have the others wait in `accept` for a moment.
    bound.setblocking(False)
    return bound


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
