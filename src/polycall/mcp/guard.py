"""Which hosts a server's sign-in may lead to.

A server says where its tokens are had, and the library asks there.  So a server of the open
internet could have requests sent to machines that only we can reach.  The guard stands at the
socket: what it looked at is what is dialled, whatever a name leads to a moment later.

Whether the server itself is one of the open internet is looked at once in a process, and it is
dialled on that side alone: a name that answers otherwise later gains nothing.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Iterable
from functools import cache
from typing import Any
from urllib.request import getproxies

import httpcore2
import httpx2

from polycall._support.addresses import is_never_dialled, is_public
from polycall.errors import ToolServerError

logger = logging.getLogger("polycall.mcp")

_NEXT_AFTER_S = 3.0  # so long an address is tried where there is another
_inside: dict[str, bool] = {}  # of servers' hosts, as they were found first
_told: set[str] = set()  # of which it was said that no proxy is asked


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Dials hosts where they are public, or `own` is not.

    What describes the machine itself (link-local addresses, metadata of clouds) is never dialled
    but where `own` is the address itself.
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
        found = await _allowed(self._own, host, port)
        failure: Exception = httpcore2.ConnectError(f"{host} has no address")
        for address in found:
            is_last = address == found[-1]
            within_s = timeout if is_last else min(timeout or _NEXT_AFTER_S, _NEXT_AFTER_S)
            try:
                return await self._inner.connect_tcp(
                    address, port, within_s, local_address, socket_options
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


async def check_page(server_url: str, page: str) -> None:
    """Raise where the server at `server_url` would have a person's browser open a page inside."""
    place = httpx2.URL(page)
    host = place.raw_host.decode("ascii")
    try:
        await _allowed(
            _host_of(server_url), host, place.port or (443 if place.scheme == "https" else 80)
        )
    except httpcore2.ConnectError as error:
        raise ToolServerError(str(error)) from None


async def _allowed(own: str, host: str, port: int) -> list[str]:
    """The addresses of a host, as far as the server at `own` may lead there."""
    found = await _addresses(host, port)
    is_inside = await _is_inside(own, port)
    if host == own:
        if found == [host]:  # the operator's own word
            return found
        same = [each for each in found if is_public(each) != is_inside]
        same = [each for each in same if not is_never_dialled(each)]
        if same:
            return same
        side = "inside" if is_inside else "on the open internet"
        raise httpcore2.ConnectError(
            f"{host} was {side} when it was reached first, and leads to {found[0]} now; that "
            "is not followed before a restart"
        )
    for address in found:
        if is_never_dialled(address) or not (is_inside or is_public(address)):
            raise httpcore2.ConnectError(
                f"{own} leads its sign-in to {host} ({address}), which is not of the open "
                "internet; that is not followed"
            )
    return found


async def _is_inside(own: str, port: int) -> bool:
    if own not in _inside:
        found = await _addresses(own, port)
        _inside.setdefault(own, not any(map(is_public, found)))
    return _inside[own]


def guarded(url: str) -> httpx2.AsyncHTTPTransport:
    """Dials the server at `url` and what its sign-in may lead to, and nothing else.

    A client that has a transport asks no proxy of the environment: one would look up names by
    itself, and dial whatever they lead to.
    """
    host = _host_of(url)
    proxies = getproxies().keys() & {"http", "https", "all"}
    if proxies and host not in _told:
        _told.add(host)
        logger.warning(
            "%s is signed in to: it is reached directly, and not by the proxy of %s_PROXY",
            host,
            min(proxies).upper(),
        )
    transport = httpx2.AsyncHTTPTransport(verify=_certificates())
    pool: Any = transport._pool  # pyright: ignore[reportPrivateUsage]
    inner: httpcore2.AsyncNetworkBackend = pool._network_backend
    pool._network_backend = GuardedBackend(inner, host)
    return transport


@cache
def _certificates() -> ssl.SSLContext:
    return httpx2.create_ssl_context()  # which takes some 20 ms


def _host_of(url: str) -> str:
    return httpx2.URL(url).raw_host.decode("ascii")


async def _addresses(host: str, port: int) -> list[str]:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpcore2.ConnectError(f"{host} cannot be found: {error}") from None
    return list(dict.fromkeys(str(each[4][0]) for each in found))
