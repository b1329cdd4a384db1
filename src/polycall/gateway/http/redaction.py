"""Providers' keys, taken out of all that providers say.

Some repeat the key that they refuse, and nothing says where: in a body, an event, a header.  So the
transport itself is wrapped: what any part of the gateway reads of a provider has gone through here,
and what the key is, the request says that carried it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping
from typing import Self
from urllib.parse import parse_qsl, quote

from polycall._support.memo import Memo
from polycall.transport.base import (
    Deadlines,
    HTTPRequest,
    HTTPResponse,
    Take,
    Transport,
    push_to,
    taken_whole,
)

REDACTED = b"[redacted]"
# A shorter one is not a key, and would tear holes into ordinary words.
SECRET_LENGTH_MIN = 8
_CARRIERS = ("authorization", "key", "token", "secret", "cookie", "password", "credential")
_PUBLIC_PARAMETERS = frozenset({"alt", "api-version"})


class Redactor:
    """Bytes in, the same without the secrets out, however they are cut.

    What may be the beginning of a secret waits for the next piece, and comes with `close`.
    """

    __slots__ = ("_held", "_letters", "_secrets")

    def __init__(self, secrets: Iterable[bytes]) -> None:
        self._secrets, self._letters = _patterns[tuple(secrets)]
        self._held = b""

    def feed(self, piece: bytes) -> bytes:
        """What is known to hold no secret; it may be nothing."""
        data = self._held + piece if self._held else piece
        data = self.whole(data)
        if not data or data[-1] not in self._letters:
            self._held = b""
            return data
        keep = max((_overlap(data, secret) for secret in self._secrets), default=0)
        if not keep:
            self._held = b""
            return data
        self._held = data[-keep:]
        return data[:-keep]

    def close(self) -> bytes:
        """The rest."""
        held, self._held = self._held, b""
        return held

    def whole(self, data: bytes) -> bytes:
        """All of something, without the secrets."""
        for secret in self._secrets:
            if data.find(secret) >= 0:
                data = data.replace(secret, REDACTED)
        return data

    def text(self, value: str) -> str:
        """All of a text, without the secrets."""
        data = value.encode("utf-8", "surrogateescape")
        clean = self.whole(data)
        return value if clean is data else clean.decode("utf-8", "surrogateescape")


class RedactingTransport:
    """A transport whose answers are without the keys of their requests."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner

    async def open(self, request: HTTPRequest, deadlines: Deadlines) -> HTTPResponse:
        """Send and wait for the headers."""
        http = await self._inner.open(request, deadlines)
        secrets = secrets_of(request)
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
    """What of a request its provider must not give to others."""
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


def _pattern(secrets: tuple[bytes, ...]) -> tuple[tuple[bytes, ...], frozenset[int]]:
    """What to look for, the longest first since one may be a part of another, and its bytes."""
    found = {form for secret in secrets for form in _forms(secret)}
    return tuple(sorted(found, key=len, reverse=True)), frozenset(b"".join(found))


_known_secrets, _patterns = Memo(_secrets_in), Memo(_pattern)


def _forms(secret: bytes) -> tuple[bytes, ...]:
    """A secret as it is written in JSON and in addresses, too."""
    text = secret.decode("utf-8", "replace")
    return (secret, secret.replace(b"/", b"\\/"), quote(text, safe="").encode())


def _overlap(data: bytes, secret: bytes) -> int:
    """How many bytes at the end of the data are the beginning of the secret."""
    tail = data[1 - len(secret) :]
    first = secret[:1]
    place = tail.find(first)
    while place >= 0:
        if secret.startswith(tail[place:]):
            return len(tail) - place
        place = tail.find(first, place + 1)
    return 0
