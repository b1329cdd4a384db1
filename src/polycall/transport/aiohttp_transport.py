"""The transport of the library: aiohttp behind the seam.

It has TLS, proxies, pooling and decompression, and is kept by many hands.  The gateway has one of
its own (`http1.py`) for its hot path, and this one behind proxies.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from polycall._support.blocking import PerLoop
from polycall.errors import (
    ProtocolError,
    UpstreamConnectionError,
    UpstreamError,
    UpstreamTimeoutError,
)
from polycall.transport.base import Deadlines, HTTPRequest, HTTPResponse
from polycall.transport.proxies import Proxies

_WRITE_BYTES_MAX = 256 * 1024
_ESCAPED = re.compile(r"[!-~]+")


class _AiohttpResponse:
    def __init__(self, response: aiohttp.ClientResponse, host: str) -> None:
        self._response = response
        self._host = host
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._response.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _as_upstream_error(error, self._host) from error

    async def read(self, *, size_bytes_max: int) -> bytes:
        pieces: list[bytes] = []
        size = 0
        async for chunk in self.chunks():
            size += len(chunk)
            if size > size_bytes_max:
                raise ProtocolError(f"the answer is larger than {size_bytes_max} bytes")
            pieces.append(chunk)
        return b"".join(pieces)

    async def close(self) -> None:
        if self._response.content.at_eof():
            self._response.release()
        else:
            # Cutting the connection is what tells the provider to stop generating.
            self._response.close()


class AiohttpTransport:
    """The default transport.  One pool for each event loop that uses it, made on first use.

    A pool is closed with its loop where `asyncio.run` ends that, and by `close` everywhere.
    """

    def __init__(self, *, connections_max: int = 512, trust_environment: bool = True) -> None:
        self._connections_max = connections_max
        self._trust_environment = trust_environment
        self._sessions = PerLoop(self._make_session, aiohttp.ClientSession.close)
        self._proxies: Proxies | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # Connections stay where they are.
        return _transport, (self._connections_max, self._trust_environment)

    async def open(self, request: HTTPRequest, deadlines: Deadlines) -> HTTPResponse:
        """Send and wait for the headers; redirects are answers, not followed."""
        session = await self._sessions.get()
        parts = urlsplit(request.url)
        host = parts.hostname or "the provider"
        # Bytes are written in one go, which would hold the event loop where they are many.
        is_large = len(request.body) > _WRITE_BYTES_MAX
        try:
            response = await session.request(
                request.method,
                _address(request.url),
                data=_data(request, is_large=is_large),
                allow_redirects=False,
                **self._way(parts.scheme, host, _headers(request)),
                timeout=aiohttp.ClientTimeout(
                    total=deadlines.total_s,
                    sock_connect=deadlines.connect_s,
                    sock_read=deadlines.read_s,
                ),
            )
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise _as_upstream_error(error, host) from error
        return _AiohttpResponse(response, host)

    async def close(self) -> None:
        """Close all connections."""
        await self._sessions.close()

    def _make_session(self) -> aiohttp.ClientSession:
        # Not `trust_env`: a user of ~/.netrc would stand beside the provider's key, which aiohttp
        # refuses, and each request would wait for two threads that read files.
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections_max),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    def _way(self, scheme: str, host: str, headers: dict[str, str]) -> dict[str, Any]:
        """The headers, and the proxy of the environment where there is one."""
        if not self._trust_environment:
            return {"headers": headers}
        if self._proxies is None:
            self._proxies = Proxies()
        address = self._proxies.of(scheme, host)
        if not address:
            return {"headers": headers}
        proxy = URL(address)
        if proxy.user is None:
            return {"headers": headers, "proxy": proxy}
        user = base64.b64encode(f"{proxy.user}:{proxy.password or ''}".encode()).decode()
        name = {"Proxy-Authorization": f"Basic {user}"}
        proxy = proxy.with_user(None)
        # Within TLS the proxy reads the request for the connection alone.
        if scheme == "https":
            return {"headers": headers, "proxy": proxy, "proxy_headers": name}
        return {"headers": {**headers, **name}, "proxy": proxy}


def _address(url: str) -> Any:
    """The address as it is, since a signature may cover it; aiohttp would unescape `%3A`."""
    return URL(url, encoded=True) if _ESCAPED.fullmatch(url) else url


def _data(request: HTTPRequest, *, is_large: bool) -> Any:
    if request.stream is not None:
        return aiter(request.stream)
    return io.BytesIO(request.body) if is_large else request.body or None


def _headers(request: HTTPRequest) -> dict[str, str]:
    length = None if request.stream is None else request.stream.length
    if length is None:
        return request.headers
    return {**request.headers, "content-length": str(length)}


def _transport(connections_max: int, trust_environment: bool) -> AiohttpTransport:
    return AiohttpTransport(connections_max=connections_max, trust_environment=trust_environment)


def _as_upstream_error(error: Exception, host: str) -> UpstreamError:
    # aiohttp's own messages can hold the URL, and with it a key in the query.
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return UpstreamTimeoutError(f"no connection to {host} within the deadline")
    if isinstance(error, TimeoutError):
        return _sent(UpstreamTimeoutError(f"{host} was silent past the deadline"))
    if isinstance(error, aiohttp.InvalidURL):
        return UpstreamConnectionError("the provider's address is not a URL", should_retry=False)
    if isinstance(error, aiohttp.ClientConnectorError):
        return UpstreamConnectionError(f"cannot connect to {host}: {error.os_error}")
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return _sent(UpstreamConnectionError(f"{host} closed the connection without an answer"))
    if isinstance(error, aiohttp.ClientPayloadError):
        return _sent(UpstreamConnectionError(f"{host} broke off in the middle of its answer"))
    return UpstreamConnectionError(f"{host}: {type(error).__name__}")


def _sent(error: UpstreamError) -> UpstreamError:
    error.was_sent = True
    return error
