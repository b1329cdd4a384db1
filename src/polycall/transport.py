"""HTTP to a provider: pooled connections, deadlines, bounded bodies, hints on when to retry.

The seam is one method, `Transport.open`.  Nothing here knows a dialect: bytes go out, a status,
headers and bytes come back, and failures below HTTP become `UpstreamTimeoutError` or
`UpstreamConnectionError`.
"""

from __future__ import annotations

import email.utils
import io
import math
import random
import time
from collections.abc import AsyncIterator, Mapping
from typing import Protocol
from urllib.parse import urlsplit

import aiohttp
from msgspec import Struct

from polycall.errors import (
    ProtocolError,
    UpstreamConnectionError,
    UpstreamError,
    UpstreamTimeoutError,
)

_WRITE_BYTES_MAX = 256 * 1024


class Deadlines(Struct, frozen=True):
    """How long to wait, in seconds.

    `read_s` bounds the silence between two reads (a model may think for minutes before its first
    token), `total_s` everything from the first attempt to the last byte.
    """

    connect_s: float = 10.0
    read_s: float = 300.0
    total_s: float = 900.0


class HTTPRequest(Struct, frozen=True):
    """What to send; always a POST with a JSON body, or a GET without one."""

    url: str
    headers: dict[str, str]
    body: bytes = b""
    method: str = "POST"


class HTTPResponse(Protocol):
    """An answer whose body may still be arriving.  Whoever opened it closes it."""

    status: int
    headers: Mapping[str, str]

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives, decompressed."""
        ...

    async def read(self, *, size_bytes_max: int) -> bytes:
        """The whole body; `ProtocolError` where it is larger than allowed."""
        ...

    async def close(self) -> None:
        """Give the connection back, or cut it where the body has not ended."""
        ...


class Transport(Protocol):
    """The seam.  Tests and other HTTP libraries come in here."""

    async def open(self, request: HTTPRequest, deadlines: Deadlines) -> HTTPResponse:
        """Send, and wait for the status line and headers."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


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
    """The default transport.  One pool, made on first use, in the event loop that uses it."""

    def __init__(self, *, connections_max: int = 512, trust_environment: bool = True) -> None:
        self._connections_max = connections_max
        self._trust_environment = trust_environment
        self._session: aiohttp.ClientSession | None = None

    async def open(self, request: HTTPRequest, deadlines: Deadlines) -> HTTPResponse:
        """Send and wait for the headers; redirects are answers, not followed."""
        session = self._session or self._make_session()
        host = urlsplit(request.url).hostname or "the provider"
        # Bytes are written in one go, which would hold the event loop where they are many.
        is_large = len(request.body) > _WRITE_BYTES_MAX
        try:
            response = await session.request(
                request.method,
                request.url,
                data=io.BytesIO(request.body) if is_large else request.body or None,
                headers=request.headers,
                allow_redirects=False,
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
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _make_session(self) -> aiohttp.ClientSession:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections_max),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=self._trust_environment,
        )
        return self._session


def _as_upstream_error(error: Exception, host: str) -> UpstreamError:
    # aiohttp's own messages can hold the URL, and with it a key in the query.
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return UpstreamTimeoutError(f"no connection to {host} within the deadline")
    if isinstance(error, TimeoutError):
        return UpstreamTimeoutError(f"{host} was silent past the deadline")
    if isinstance(error, aiohttp.InvalidURL):
        return UpstreamConnectionError("the provider's address is not a URL", should_retry=False)
    if isinstance(error, aiohttp.ClientConnectorError):
        return UpstreamConnectionError(f"cannot connect to {host}: {error.os_error}")
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return UpstreamConnectionError(f"{host} closed the connection without an answer")
    if isinstance(error, aiohttp.ClientPayloadError):
        return UpstreamConnectionError(f"{host} broke off in the middle of its answer")
    return UpstreamConnectionError(f"{host}: {type(error).__name__}")


class Retry(Struct, frozen=True):
    """When to send again: `attempts` in all, waits of `base_s`, doubled up to `wait_s_max`.

    A provider's own `retry-after` counts instead, unless it is longer than `hint_s_max`: then
    the error is raised with the hint in it, since waiting that long is the caller's decision.
    """

    attempts: int = 3
    base_s: float = 0.5
    wait_s_max: float = 8.0
    hint_s_max: float = 60.0

    def wait_s(self, error: UpstreamError, attempt: int) -> float | None:
        """Seconds until attempt number `attempt` (the first retry is 1); `None`: give up."""
        if not error.should_retry or attempt >= self.attempts:
            return None
        if error.retry_after_s is not None:
            return error.retry_after_s if error.retry_after_s <= self.hint_s_max else None
        longest = min(self.base_s * 2 ** (attempt - 1), self.wait_s_max)
        # Jitter keeps many clients from coming back at the same moment.
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - not a secret


def add_retry_hints(error: UpstreamError, headers: Mapping[str, str]) -> None:
    """Fill in what the headers say: `retry-after-ms`, `retry-after`, `x-should-retry`, ids."""
    after_s = retry_after_s(headers)
    if after_s is not None:
        error.retry_after_s = after_s
    verdict = headers.get("x-should-retry")
    if verdict in ("true", "false"):
        error.should_retry = verdict == "true"
    if not error.request_id:
        error.request_id = headers.get("request-id") or headers.get("x-request-id") or ""


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `retry-after` (seconds or an HTTP date)."""
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = headers.get(name)
        if text is None:
            continue
        try:
            seconds = float(text) * unit_s
        except ValueError:
            try:
                seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
            except ValueError:
                continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    return None
