"""Media by URL, fetched for providers that need the bytes; guarded, since clients choose the URL.

Only http and https; every hop of a redirect is checked anew.  The guard stands at the socket: it is
asked for each address in the moment in which it is dialled, so that no spelling of a host, no
resolver and no redirect leads around it.  Count, size, type and time are bounded for each request,
and how many are fetched at once for each client as well as for all.
"""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urljoin, urlsplit
from weakref import WeakValueDictionary

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from msgspec.structs import replace

from polycall._support.addresses import is_never_dialled, is_public
from polycall.errors import MalformedRequestError
from polycall.gateway.media.request_media import media_to_fetch, wanted_media, with_data
from polycall.ir import Media, Request

HOPS_MAX = 5
FETCH_S = 20.0  # for all media of a request
MEDIA_MAX = 50  # of one request
_AT_ONCE = 16
_AT_ONCE_BY_ONE = 4
_TYPES = ("image/", "audio/", "video/", "text/", "application/pdf", "application/json")
_HEADERS = {"accept": "*/*", "accept-encoding": "identity"}


class BlockedAddressError(Exception):
    """An address that the guard does not allow.

    No `OSError`: the HTTP library would hide it in one of its own.
    """


class Fetcher:
    """Fetches media.  One for the process; close it.

    `size_bytes_max` bounds one of them, `sum_bytes_max` all of a request, each as often as it is
    used there.
    """

    def __init__(
        self, *, size_bytes_max: int, allows_private: bool, sum_bytes_max: int = 0
    ) -> None:
        self._size_bytes_max = size_bytes_max
        self._sum_bytes_max = sum_bytes_max or size_bytes_max
        self._allows_private = allows_private
        self._session: aiohttp.ClientSession | None = None
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._gates: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def with_bytes(self, request: Request, dialect: str, owner: str = "") -> Request:
        """The request with data instead of URLs, where the target dialect needs that.

        `owner` is the client, whose requests share a few of the places to fetch.  Raises
        `MalformedRequestError` where one cannot be had or they are too much.
        """
        uses = media_to_fetch(request, dialect)
        if not uses:
            return request
        if len(uses) > MEDIA_MAX:
            raise MalformedRequestError(
                f"{len(uses)} media are given by URL, and at most {MEDIA_MAX} are fetched for a "
                "request; send fewer, or their data"
            )
        by_url = wanted_media(request, dialect)
        count = {url: sum(part.url == url for part in uses) for url in by_url}
        fetching = _Fetching(self._sum_bytes_max, count)
        own = self._gates.setdefault(owner, asyncio.Semaphore(_AT_ONCE_BY_ONE))
        try:
            async with asyncio.timeout(FETCH_S), asyncio.TaskGroup() as group:
                tasks = {
                    url: group.create_task(self._fetch(part, own, fetching))
                    for url, part in by_url.items()
                }
        except ExceptionGroup as failures:
            # The first failure has ended the others: nobody wants them any more.
            raise failures.exceptions[0] from None
        except TimeoutError:
            raise MalformedRequestError(
                f"the media of the request did not come within {FETCH_S:g} s; send their data "
                "instead"
            ) from None
        return with_data(request, {url: task.result() for url, task in tasks.items()})

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def _fetch(self, part: Media, own: asyncio.Semaphore, fetching: _Fetching) -> Media:
        try:
            async with own, self._gate:
                data, media_type = await self._get(part.url, fetching)
        except BlockedAddressError:
            raise _refusal(part, "its address is not a public one") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _refusal(part, f"it could not be fetched ({type(error).__name__})") from None
        encoded = base64.b64encode(data).decode("ascii")
        return replace(part, url="", data=encoded, media_type=media_type or part.media_type)

    async def _get(self, client_request: str, fetching: _Fetching) -> tuple[bytes, str]:
        url = client_request
        for _ in range(HOPS_MAX):
            async with self._open(url) as response:
                location = response.headers.get("location")
                if response.status in (301, 302, 303, 307, 308) and location:
                    url = urljoin(url, location)
                    continue
                if response.status != 200:
                    raise ValueError(f"status {response.status}")
                media_type = response.content_type
                if not media_type.startswith(_TYPES):
                    raise ValueError(f"type {media_type}")
                if response.headers.get("content-encoding", "identity").lower() != "identity":
                    raise ValueError("compressed, though that was not asked for")
                return await self._read(response, client_request, fetching), media_type
        raise ValueError("too many redirects")

    @asynccontextmanager
    async def _open(self, url: str) -> AsyncGenerator[aiohttp.ClientResponse]:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("not an http address")
        async with self._get_session().get(
            url, allow_redirects=False, headers=_HEADERS
        ) as response:
            yield response

    async def _read(self, response: aiohttp.ClientResponse, url: str, fetching: _Fetching) -> bytes:
        data = bytearray()
        async for chunk in response.content.iter_any():
            data += chunk
            fetching.add(url, len(chunk))
            if len(data) > self._size_bytes_max:
                raise ValueError(f"more than {self._size_bytes_max} bytes")
        return bytes(data)

    def _dial(self, address: Any) -> socket.socket:
        """A socket for an address that is dialled next; raises where it may not be."""
        family, kind, protocol, _, where = address
        host = str(where[0])
        if is_never_dialled(host) or not (self._allows_private or is_public(host)):
            raise BlockedAddressError
        return socket.socket(family, kind, protocol)

    def _get_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    resolver=_Resolver(), use_dns_cache=False, socket_factory=self._dial
                ),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,  # a proxy would resolve names behind the guard's back
            )
        return self._session


class _Fetching:
    """The media of one request, by their size so far."""

    def __init__(self, bytes_max: int, uses: dict[str, int]) -> None:
        self._bytes_max = bytes_max
        self._uses = uses
        self._bytes = 0

    def add(self, url: str, size: int) -> None:
        """Count more of what is at `url`."""
        self._bytes += size * self._uses[url]
        if self._bytes > self._bytes_max:
            raise MalformedRequestError(
                f"the media that the request gives by URL are more than {self._bytes_max} bytes; "
                "send fewer"
            )


class _Resolver(AbstractResolver):
    """The system's resolver, which tells numbers from names as the system does."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST,
            )
            for kind, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        """Nothing is open."""


def _refusal(part: Media, reason: str) -> MalformedRequestError:
    host: Any = urlsplit(part.url).hostname or "the address"
    return MalformedRequestError(
        f"the {part.kind} at {host} cannot be used: {reason}; send its data instead"
    )
