"""Media by URL, fetched for providers that need the bytes; guarded, since clients choose the URL.

Only http and https; every hop of a redirect is checked anew; names are resolved here and the
connection goes to the very addresses that were checked, none of which may be private.  Size,
type and time are bounded.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urljoin, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from msgspec.structs import replace

from polycall.errors import MalformedRequestError
from polycall.gateway.media.request_media import wanted_media, with_data
from polycall.ir import Media, Request

HOPS_MAX = 5
FETCH_S = 20.0
_AT_ONCE = 8
_TYPES = ("image/", "audio/", "video/", "text/", "application/pdf", "application/json")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class BlockedAddressError(Exception):
    """An address that the guard does not allow.

    No `OSError`: the HTTP library would hide it in one of its own.
    """


class Fetcher:
    """Fetches media.  One for the process; close it."""

    def __init__(self, *, size_bytes_max: int, allows_private: bool) -> None:
        self._size_bytes_max = size_bytes_max
        self._allows_private = allows_private
        self._session: aiohttp.ClientSession | None = None
        self._gate = asyncio.Semaphore(_AT_ONCE)

    async def with_bytes(self, request: Request, dialect: str) -> Request:
        """The request with data instead of URLs, where the target dialect needs that."""
        wanted = wanted_media(request, dialect)
        if not wanted:
            return request
        found = await asyncio.gather(*(self._fetch(part) for part in wanted.values()))
        return with_data(request, dict(zip(wanted, found, strict=True)))

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def _fetch(self, part: Media) -> Media:
        try:
            async with self._gate, asyncio.timeout(FETCH_S):
                data, media_type = await self._get(part.url)
        except BlockedAddressError:
            raise _refusal(part, "its address is not a public one") from None
        except TimeoutError:
            raise _refusal(part, f"it did not come within {FETCH_S:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _refusal(part, f"it could not be fetched ({type(error).__name__})") from None
        encoded = base64.b64encode(data).decode("ascii")
        return replace(part, url="", data=encoded, media_type=media_type or part.media_type)

    async def _get(self, url: str) -> tuple[bytes, str]:
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
                return await self._read(response), media_type
        raise ValueError("too many redirects")

    @asynccontextmanager
    async def _open(self, url: str) -> AsyncGenerator[aiohttp.ClientResponse]:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("not an http address")
        # A literal address is not resolved, so it is checked here.
        if _is_literal(parts.hostname) and not self._allows(parts.hostname):
            raise BlockedAddressError
        async with self._get_session().get(
            url, allow_redirects=False, headers={"accept": "*/*"}
        ) as response:
            yield response

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        data = bytearray()
        async for chunk in response.content.iter_any():
            data += chunk
            if len(data) > self._size_bytes_max:
                raise ValueError(f"more than {self._size_bytes_max} bytes")
        return bytes(data)

    def _allows(self, address: str) -> bool:
        return self._allows_private or is_public(address)

    def _get_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            resolver = _GuardedResolver(allows_private=self._allows_private)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,  # a proxy would resolve names behind the guard's back
            )
        return self._session


class _GuardedResolver(AbstractResolver):
    """Gives the connector checked addresses only; it connects to these and resolves no more."""

    def __init__(self, *, allows_private: bool) -> None:
        self._allows_private = allows_private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        results: list[ResolveResult] = []
        for kind, _, protocol, _, address in found:
            if not self._allows_private and not is_public(str(address[0])):
                raise BlockedAddressError
            results.append(
                ResolveResult(
                    hostname=host,
                    host=str(address[0]),
                    port=port,
                    family=kind,
                    proto=protocol,
                    flags=socket.AI_NUMERICHOST,
                )
            )
        return results

    async def close(self) -> None:
        """Nothing is open."""


def is_public(address: str) -> bool:
    """Whether the address is one of the open internet, seen through IPv6's disguises."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if found.teredo is not None:
            return False
        if inner is not None:
            found = inner
    return found.is_global and not found.is_multicast and not found.is_reserved


def _is_literal(host: str) -> bool:
    # The connector hands such text to the socket without asking the resolver; forms that only C
    # libraries know ("0x7f.1", "2130706433") go to the resolver, and its answer is checked.
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _refusal(part: Media, reason: str) -> MalformedRequestError:
    host: Any = urlsplit(part.url).hostname or "the address"
    return MalformedRequestError(
        f"the {part.kind} at {host} cannot be used: {reason}; send its data instead"
    )
