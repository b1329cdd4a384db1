"""Which hosts a server's sign-in may lead to.

A server says where its tokens are had, and the library asks there.  So a server of the open
internet could have requests sent to machines that only we can reach.  The guard stands at the
socket: what it looked at is what is dialled, whatever a name leads to a moment later.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from typing import Any

import httpcore2
import httpx2

from polycall._support.addresses import is_never_dialled, is_public


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Dials `own` as it stands; other hosts where they are public, or `own` is not either.

    What describes the machine itself (link-local addresses, metadata of clouds) is never dialled
    but as `own`.
    """

    def __init__(self, inner: httpcore2.AsyncNetworkBackend, own: str) -> None:
        self._inner = inner
        self._own = own

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's own name for it
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        found = [host] if host == self._own else await self._allowed(host, port)
        failure: Exception = httpcore2.ConnectError(f"{host} has no address")
        for address in found:
            try:
                return await self._inner.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self, *_: Any, **__: Any
    ) -> httpcore2.AsyncNetworkStream:  # pragma: no cover - no address of ours is one
        raise httpcore2.ConnectError("no sockets of this machine")

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)

    async def _allowed(self, host: str, port: int) -> list[str]:
        found = await _addresses(host, port)
        is_inside = not any(map(is_public, await _addresses(self._own, port)))
        for address in found:
            if is_never_dialled(address) or not (is_inside or is_public(address)):
                raise httpcore2.ConnectError(
                    f"{self._own} leads its sign-in to {host} ({address}), which is not of the "
                    "open internet; that is not followed"
                )
        return found


def guard(http: httpx2.AsyncClient, url: str) -> None:
    """Let the client of the server at `url` dial what its sign-in may lead to, and nothing else."""
    transport: Any = http._transport  # pyright: ignore[reportPrivateUsage]
    pool: Any = transport._pool
    inner: httpcore2.AsyncNetworkBackend = pool._network_backend
    pool._network_backend = GuardedBackend(inner, httpx2.URL(url).host)


async def _addresses(host: str, port: int) -> list[str]:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpcore2.ConnectError(f"{host} cannot be found: {error}") from None
    return list(dict.fromkeys(str(each[4][0]) for each in found))
