"""Sockets that listen, and which of their addresses only this machine can reach."""

from __future__ import annotations

import ipaddress
import socket

from polycall.errors import RequestError

_BACKLOG = 2048


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


def is_loopback(host: str) -> bool:
    """Whether the address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
