"""HTTP to a provider: pooled connections, deadlines, bounded bodies, hints on when to retry.

The seam is one method, `Transport.open`.  Nothing here knows a dialect: bytes go out, a status,
headers and bytes come back, and failures below HTTP become `UpstreamTimeoutError` or
`UpstreamConnectionError`.
"""

from __future__ import annotations

import email.utils
import math
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from typing import Any, Protocol, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from polycall.errors import (
    UpstreamError,
)


class Deadlines(Struct, frozen=True):
    """The times to wait, in seconds.

    `read_s` bounds the silence between two reads (a model may think for minutes before its first
    token), `total_s` everything from the first attempt to the last byte.
    """

    connect_s: float = 10.0
    read_s: float = 300.0
    total_s: float = 900.0


class Credential(Protocol):
    """Signs requests, for a provider whose key is no fixed text: tokens that expire, signatures."""

    async def headers(self, request: HTTPRequest) -> dict[str, str]:
        """The headers that authenticate this request now."""
        ...

    def refused(self, sent: HTTPRequest, http: HTTPResponse) -> bool:
        """Learn from a refusal of what was `sent`; true where it may go well once more."""
        ...


class RequestStream(Protocol):
    """A request's body that arrives in pieces; it can be read once.  `length` is its bytes."""

    length: int | None

    def __aiter__(self) -> AsyncIterator[bytes]: ...


class HTTPRequest(Struct, frozen=True):
    """A request to send, with a body or without.

    `credential` adds headers at the moment of sending (`send`).  `stream` is sent instead of
    `body`, piece by piece as it comes; such a request is never sent twice.
    """

    url: str
    headers: dict[str, str]
    body: bytes = b""
    method: str = "POST"
    credential: Credential | None = None
    stream: RequestStream | None = None


class HTTPResponse(Protocol):
    """An answer whose body may still be arriving.  Its opener closes it."""

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


def taken_whole(http: HTTPResponse, size_bytes_max: int) -> bytes | None:
    """The body of an answer that came at once, which needs no `close`; `None`: it is to be read."""
    own: Callable[[int], bytes | None] | None = getattr(http, "take_whole", None)
    return None if own is None else own(size_bytes_max)


Take: TypeAlias = Callable[[bytes], Awaitable[None] | None]
# Does work that takes long for so many bytes, away from the loop.
Run: TypeAlias = Callable[[int, Callable[[], Any]], Awaitable[Any]]


async def push_to(http: HTTPResponse, take: Take) -> None:
    """Call `take` with each piece of the body, as soon as it is there, until the end.

    What `take` returns is awaited before the next piece.  `take` may be called outside of the
    caller's task, where nothing is awaited; what it raises is raised here.
    """
    # Few transports hand out the pieces themselves.
    own: Callable[[Take], Awaitable[None]] | None = getattr(http, "push_to", None)
    if own is not None:
        await own(take)
        return
    async for chunk in http.chunks():
        rest = take(chunk)
        if rest is not None:
            await rest


class Transport(Protocol):
    """The seam.  Tests and other HTTP libraries come in here."""

    async def open(self, request: HTTPRequest, deadlines: Deadlines) -> HTTPResponse:
        """Send, and wait for the status line and headers."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


def default_transport() -> Transport:
    """The library's own, loaded with the first client: agents are imported in half the time."""
    from polycall.transport.aiohttp_transport import AiohttpTransport  # noqa: PLC0415 - 12 MB

    return AiohttpTransport()


_REFUSALS = frozenset({400, 401, 403})


def send(
    transport: Transport, request: HTTPRequest, deadlines: Deadlines
) -> Coroutine[Any, Any, HTTPResponse]:
    """`Transport.open`, with the headers of the request's credential.

    A refusal that another token or another clock may mend is tried once more.
    """
    if request.credential is None:
        return transport.open(request, deadlines)
    return _send_signed(transport, request, request.credential, deadlines)


async def _send_signed(
    transport: Transport, request: HTTPRequest, credential: Credential, deadlines: Deadlines
) -> HTTPResponse:
    sent = await _signed(request, credential)
    http = await transport.open(sent, deadlines)
    if http.status not in _REFUSALS or request.stream is not None:
        return http
    if not credential.refused(sent, http):
        return http
    await http.close()
    return await transport.open(await _signed(request, credential), deadlines)


async def _signed(request: HTTPRequest, credential: Credential) -> HTTPRequest:
    own = await credential.headers(request)
    return replace(request, headers={**request.headers, **own}, credential=None)


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
