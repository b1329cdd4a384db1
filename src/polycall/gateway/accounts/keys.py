"""Identifies callers.  Keys are compared by their digests, and never kept, logged or sent back.

All keys are held in memory, from the configuration and from the store, so that telling a key costs
no query and strangers cost the database nothing.  Keys of the store are read again when they have
changed.
"""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import math
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fnmatch import fnmatchcase
from urllib.parse import parse_qsl, urlsplit

from msgspec import Struct
from msgspec.structs import force_setattr, replace

from polycall._support.listening import is_loopback
from polycall.config import ClientKey
from polycall.errors import AuthenticationError, PermissionDeniedError, RateLimitError
from polycall.gateway.store import TEAM_ID_HEAD, KeyRecord, KeyRow, Store, TeamRow

logger = logging.getLogger("polycall.keys")

_REFUSAL = (
    "give it as 'Authorization: Bearer', 'x-api-key', 'x-goog-api-key' or '?key=', as your SDK does"
)
# Scanners for leaked secrets, and our own log filter, know the form.
_HEAD = "sk-pc-"
# AWS's SDKs send a key over plain HTTP only as the id of the access key that they sign with.  It is
# the whole secret here: the signature over it proves nothing more.
_AWS = b"AWS4-HMAC-SHA256 "
_ACCESS_KEY = re.compile(rb"Credential=([^/,\s]+)/")
_SHOWN_LENGTH = len(_HEAD) + 4
# Keys that are not known: as many at once, and as many a second, from one address.
_TRIES_MAX = 100
_TRIES_PER_S = 2.0
_ADDRESSES_MAX = 10_000


class Owner(Struct, frozen=True):
    """A client.  What it carries is bound to `id`, which outlives a rotation of its key."""

    id: str
    name: str
    models: tuple[str, ...] = ()
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    budget_usd: Decimal | None = None
    budget_per: str = "month"
    expires: float = math.inf
    mcp: tuple[str, ...] | None = None
    mcp_default: tuple[str, ...] = ()
    team: Owner | None = None  # whose limits hold as well
    is_metered: bool = False  # what its requests use has to be counted
    is_counted: bool = False  # its requests have to be counted

    def __post_init__(self) -> None:
        team = self.team
        is_metered = self.tokens_per_minute is not None or self.budget_usd is not None
        is_counted = self.requests_per_minute is not None
        force_setattr(self, "is_metered", is_metered or (team is not None and team.is_metered))
        force_setattr(self, "is_counted", is_counted or (team is not None and team.is_counted))

    def may_call(self, tool: str) -> bool:
        """Whether the key is for this MCP tool, by its full name: `github_create_issue`."""
        return self.mcp is None or any(fnmatchcase(tool, pattern) for pattern in self.mcp)

    def may_use(self, model: str) -> bool:
        """Whether the key is for this model."""
        is_own = not self.models or any(fnmatchcase(model, pattern) for pattern in self.models)
        return is_own and (self.team is None or self.team.may_use(model))

    @property
    def label(self) -> str:
        """The key's name in errors."""
        return f"the {'team' if self.id.startswith(TEAM_ID_HEAD) else 'key'} {self.name!r}"


ANYBODY = Owner(id="anybody", name="anybody")


class Strangers:
    """Counts each address's tries with unknown keys; bounded in addresses."""

    def __init__(self, tries_max: int = _TRIES_MAX, per_s: float = _TRIES_PER_S) -> None:
        """Allow so many tries at once, and so many a second, from one address."""
        self._most = float(tries_max)
        self._per_s = per_s
        self._tries: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, address: str) -> float:
        """Count one try; how long the address should wait, 0 where it need not."""
        now = time.monotonic()
        address = _network_of(address)
        left, at = self._tries.pop(address, (self._most, now))
        left = min(self._most, left + (now - at) * self._per_s)
        self._tries[address] = (max(0.0, left - 1), now)
        if len(self._tries) > _ADDRESSES_MAX:
            self._tries.popitem(last=False)
        return 0.0 if left >= 1 else (1 - left) / self._per_s


class Keys:
    """The clients' keys.  Where none was ever made, everybody is let in (on loopback only).

    Whether that is so is decided at the start.  The first key ends it, and nothing brings it back:
    neither a store that comes back empty nor a configuration without keys.
    """

    def __init__(self, store: Store, *, may_be_open: bool = True) -> None:
        self._store = store
        self._may_be_open = may_be_open
        self._strangers = Strangers()
        self._own: dict[bytes, Owner] = {}
        self._owners: dict[bytes, Owner] = {}
        self._revision, self._records = store.keys_now()
        self.is_open = False

    def configure(self, keys: Sequence[ClientKey]) -> None:
        """Take these keys of the configuration, in the place of earlier ones."""
        self._own = {digest_of(key.key.encode()): _configured(key) for key in keys}
        self._take_in()

    def owner(self, headers: Mapping[bytes, bytes], query: bytes, address: str = "") -> Owner:
        """The client behind a request; `AuthenticationError` where its key is not known.

        An `address` that tries too many of those is told to wait (`RateLimitError`); a good key is
        taken from there all the same.  Where nobody needs a key, pages of other sites are refused.
        """
        if self.is_open:
            _check_page(headers)
            return ANYBODY
        try:
            return self._known(headers, query)
        except AuthenticationError:
            wait_s = self._strangers.wait_s(address)
            if wait_s:
                raise RateLimitError(
                    "too many requests without a key that is known came from your address; wait",
                    retry_after_s=float(math.ceil(wait_s)),
                    should_retry=False,
                ) from None
            raise

    def _known(self, headers: Mapping[bytes, bytes], query: bytes) -> Owner:
        key = _key_of(headers, query)
        if not key:
            raise AuthenticationError(f"no key was given; {_REFUSAL}", code="invalid_api_key")
        owner = self._owners.get(digest_of(key))
        if owner is None:
            raise AuthenticationError(
                "the key is not known to this gateway; ask its operator for one",
                code="invalid_api_key",
            )
        if owner.expires < time.time():
            raise AuthenticationError(
                f"the key {owner.name!r} has expired; ask the gateway's operator for a new one",
                code="invalid_api_key",
            )
        return owner

    def of_id(self, owner_id: str) -> Owner | None:
        """The client of this id, while its key is good."""
        if self.is_open:
            return ANYBODY if owner_id == ANYBODY.id else None
        now = time.time()
        owners = self._owners.values()
        return next((each for each in owners if each.id == owner_id and each.expires >= now), None)

    async def refresh(self, revision: int) -> None:
        """Read the store's keys again where their revision says that they have changed."""
        if revision != self._revision:
            self._revision, self._records = await self._store.keys()
            self._take_in()

    def _take_in(self) -> None:
        owners = dict(self._own)
        for record in self._records:
            has_ended = record.team is not None and record.team.ended is not None
            if record.row.revoked is None and not has_ended:
                for secret in record.secrets:
                    ends = min(record.row.expires or math.inf, secret.expires or math.inf)
                    owners.setdefault(secret.digest, _stored(record, ends))
        self._owners = owners
        # A revoked key is none, but it does not open the door.
        is_empty = not owners and not self._records
        if is_empty and not self._may_be_open:
            logger.error("there is no key any more: every request is refused until there is one")
        self.is_open = self._may_be_open = is_empty and self._may_be_open


def new_key() -> tuple[str, bytes, str]:
    """A key to show once, with its digest and the prefix that may be shown again."""
    key = _HEAD + secrets.token_urlsafe(32)
    return key, digest_of(key.encode()), key[:_SHOWN_LENGTH]


def digest_of(key: bytes) -> bytes:
    """The digest that is kept of a key.

    A key has 256 random bits: no dictionary attack to slow down.
    """
    return hashlib.sha256(key).digest()


def _check_page(headers: Mapping[bytes, bytes]) -> None:
    """Refuse pages of other sites: browsers let them connect to this machine.

    A page says where it is from, and reaches this machine by its own name where it can make that
    lead here.
    """
    origin = headers.get(b"origin", b"").decode("latin-1")
    host = headers.get(b"host", b"").decode("latin-1")
    if origin and not _is_here(origin):
        refused = origin
    elif host and not (_is_here(f"//{host}") or _is_unregistered(host)):
        refused = host
    else:
        return
    raise PermissionDeniedError(
        f"the gateway has no keys, and answers this machine alone, not {refused[:100]!r}; create "
        "a key (polycall keys create)"
    )


def _is_here(place: str) -> bool:
    try:
        name = urlsplit(place).hostname or ""
    except ValueError:
        return False
    return is_loopback(name) or name.endswith(".localhost")


def _is_unregistered(host: str) -> bool:
    """Whether nobody can have registered the name: `gateway`, `host.docker.internal`."""
    name = host.partition(":")[0]
    return name.endswith(".internal") or (name.isascii() and name.isalpha())


def _network_of(address: str) -> str:
    """The network of one stranger: an address, or for IPv6 the network, in which addresses are
    free.
    """
    if ":" not in address:
        return address
    try:
        found = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Address(int(found) >> 64 << 64))


def _key_of(headers: Mapping[bytes, bytes], query: bytes) -> bytes:
    bearer = headers.get(b"authorization", b"")
    if bearer[:7].lower() == b"bearer " and (key := bearer[7:].strip()):
        return key
    if bearer.startswith(_AWS) and (found := _ACCESS_KEY.search(bearer)):
        return found[1]
    for name in (b"x-api-key", b"x-goog-api-key", b"api-key"):
        if key := headers.get(name):
            return key.strip()
    if b"key=" in query:
        for name, value in parse_qsl(query.decode("latin-1")):
            if name == "key":
                return value.encode("latin-1", "replace")
    return b""


def _configured(key: ClientKey) -> Owner:
    return Owner(
        id=hashlib.sha256(b"owner\0" + key.key.encode()).hexdigest()[:24],
        name=key.name,
        models=key.models,
        requests_per_minute=key.requests_per_minute,
        tokens_per_minute=key.tokens_per_minute,
        budget_usd=key.budget_usd,
        budget_per=key.budget_per,
        expires=math.inf if key.expires is None else key.expires,
        mcp=key.mcp,
        mcp_default=key.mcp_default,
    )


def _stored(record: KeyRecord, ends: float) -> Owner:
    row = record.row
    team = None if record.team is None else _limited(record.team, math.inf)
    return replace(_limited(row, ends), mcp=row.mcp, mcp_default=row.mcp_default, team=team)


def _limited(row: KeyRow | TeamRow, ends: float) -> Owner:
    return Owner(
        id=row.id,
        name=row.name,
        models=row.models,
        requests_per_minute=row.requests_per_minute,
        tokens_per_minute=row.tokens_per_minute,
        budget_usd=row.budget_usd,
        budget_per=row.budget_per,
        expires=ends,
    )
