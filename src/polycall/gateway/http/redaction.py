"""Providers' keys, taken out of all that providers say.

Some repeat the key that they refuse, and nothing says where: in a body, an event, a header.  So the
transport itself is wrapped: what any part of the gateway reads of a provider has gone through here,
and what the key is, the request says that carried it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import Self
from urllib.parse import parse_qsl

from polycall._support.memo import Memo
from polycall._support.redactor import SECRET_LENGTH_MIN, Redactor
from polycall.transport.base import (
    Deadlines,
    HTTPRequest,
    HTTPResponse,
    Take,
    Transport,
    push_to,
    taken_whole,
)
from polycall.transport.proxies import proxy_secrets

_CARRIERS = ("authorization", "key", "token", "secret", "cookie", "password", "credential")
_PUBLIC_PARAMETERS = frozenset({"alt", "api-version"})


class RedactingTransport:
    """A transport whose answers are without the keys of their requests."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        # A proxy may repeat what it was sent, just as a provider may.
        given = [secret.encode() for secret in proxy_secrets()]
        self._of_proxies = tuple(each for each in given if len(each) >= SECRET_LENGTH_MIN)

    async def open(self, request: HTTPRequest, deadlines: Deadlines) -> HTTPResponse:
        """Send and wait for the headers."""
        http = await self._inner.open(request, deadlines)
        secrets = (*secrets_of(request), *self._of_proxies)
        return _RedactedResponse(http, Redactor(secrets)) if secrets else http

    async def close(self) -> None:
        """Close all connections."""
        await self._inner.close()


class _RedactedResponse:
    """An answer without secrets.  No generators: it may be left before its end."""

    def __init__(self, http: HTTPResponse, redactor: Redactor) -> None:
        self._http = http
        self._redactor = redactor
        self._chunks: AsyncIterator[bytes] | None = None
        self.status = http.status
        self.headers: Mapping[str, str] = http.headers
        # Seldom is there one: all of them are looked through at once.
        said = "\n".join(http.headers.values())
        if redactor.text(said) is not said:
            self.headers = {name: redactor.text(value) for name, value in http.headers.items()}

    def chunks(self) -> AsyncIterator[bytes]:
        self._chunks = self._http.chunks()
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        assert self._chunks is not None
        while True:
            try:
                piece = await anext(self._chunks)
            except StopAsyncIteration:
                if rest := self._redactor.close():
                    return rest
                raise
            if data := self._redactor.feed(piece):
                return data

    async def push_to(self, take: Take) -> None:
        feed = self._redactor.feed

        def take_clean(piece: bytes) -> Awaitable[None] | None:
            data = feed(piece)
            return take(data) if data else None

        await push_to(self._http, take_clean)
        if rest := self._redactor.close():
            left = take(rest)
            if left is not None:
                await left

    def take_whole(self, size_bytes_max: int) -> bytes | None:
        data = taken_whole(self._http, size_bytes_max)
        return None if data is None else self._redactor.whole(data)

    async def read(self, *, size_bytes_max: int) -> bytes:
        return self._redactor.whole(await self._http.read(size_bytes_max=size_bytes_max))

    async def close(self) -> None:
        await self._http.close()


def secrets_of(request: HTTPRequest) -> tuple[bytes, ...]:
    """The secrets of a request that its provider must not give to others."""
    return _known_secrets[request.url.partition("?")[2], tuple(request.headers.items())]


def _secrets_in(sent: tuple[str, tuple[tuple[str, str], ...]]) -> tuple[bytes, ...]:
    """The secrets in a query and in headers."""
    query, headers = sent
    found: list[str] = []
    for name, value in headers:
        lower = name.lower()
        if any(word in lower for word in _CARRIERS):
            found.append(value)
            found.extend(value.split()[1:])  # behind `Bearer` and its like
    found.extend(
        value for name, value in parse_qsl(query) if name.lower() not in _PUBLIC_PARAMETERS
    )
    return tuple(value.encode() for value in found if len(value) >= SECRET_LENGTH_MIN)


_known_secrets = Memo(_secrets_in)
