"""Who is asking.  Keys are compared by their digests, and never kept, logged or sent back."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from urllib.parse import parse_qsl

from msgspec import Struct

from polycall.config import ClientKey
from polycall.errors import AuthenticationError, RateLimitError

_REFUSAL = (
    "give it as 'Authorization: Bearer', 'x-api-key', 'x-goog-api-key' or '?key=', as your SDK does"
)


class Owner(Struct, frozen=True):
    """A client.  `id` is a digest of its key: what it carries is bound to it."""

    id: str
    name: str
    models: tuple[str, ...] = ()
    requests_per_minute: int | None = None

    def may_use(self, model: str) -> bool:
        """Whether the key is for this model."""
        return not self.models or any(fnmatchcase(model, pattern) for pattern in self.models)


ANYBODY = Owner(id="anybody", name="anybody")


class Keys:
    """The clients' keys.  Without any, everybody is let in (the server then stays on loopback)."""

    def __init__(
        self, keys: Sequence[ClientKey], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._owners = {_digest(key.key): _owner(key) for key in keys}
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}  # tokens left, and when

    def owner(self, headers: Mapping[bytes, bytes], query: bytes) -> Owner:
        """The client behind a request; `AuthenticationError` where its key is not known."""
        if not self._owners:
            return ANYBODY
        key = _key_of(headers, query)
        if not key:
            raise AuthenticationError(f"no key was given; {_REFUSAL}", code="invalid_api_key")
        owner = self._owners.get(_digest_bytes(key))
        if owner is None:
            raise AuthenticationError(
                "the key is not known to this gateway; ask its operator for one",
                code="invalid_api_key",
            )
        if owner.requests_per_minute is not None:
            self._take(owner, owner.requests_per_minute)
        return owner

    def _take(self, owner: Owner, per_minute: int) -> None:
        now = self._clock()
        left, since = self._buckets.get(owner.id, (float(per_minute), now))
        left = min(float(per_minute), left + (now - since) * per_minute / 60)
        if left < 1:
            self._buckets[owner.id] = (left, now)
            raise RateLimitError(
                f"the key {owner.name!r} may make {per_minute} requests a minute; wait",
                retry_after_s=(1 - left) * 60 / per_minute,
                code="rate_limit_exceeded",
            )
        self._buckets[owner.id] = (left - 1, now)


def _key_of(headers: Mapping[bytes, bytes], query: bytes) -> bytes:
    bearer = headers.get(b"authorization", b"")
    if bearer[:7].lower() == b"bearer " and (key := bearer[7:].strip()):
        return key
    for name in (b"x-api-key", b"x-goog-api-key", b"api-key"):
        if key := headers.get(name):
            return key.strip()
    if b"key=" in query:
        for name, value in parse_qsl(query.decode("latin-1")):
            if name == "key":
                return value.encode("latin-1", "replace")
    return b""


def _owner(key: ClientKey) -> Owner:
    return Owner(
        id=hashlib.sha256(b"owner\0" + key.key.encode()).hexdigest()[:24],
        name=key.name,
        models=key.models,
        requests_per_minute=key.requests_per_minute,
    )


def _digest(key: str) -> bytes:
    return _digest_bytes(key.encode())


def _digest_bytes(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
