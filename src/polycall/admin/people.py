"""Administrators: keys, one-time links, sessions, and the refusal of forged requests.

A link is shown on the command line and works once, for ten minutes; it opens a session, whose
secret is new and known to the browser alone.  The store keeps digests.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from http.cookies import CookieError, SimpleCookie

from polycall.config.admin import AdminSettings
from polycall.errors import (
    AuthenticationError,
    InvalidRequestError,
    PermissionDeniedError,
    RateLimitError,
)
from polycall.gateway.accounts.keys import Strangers, digest_of
from polycall.gateway.http.request import GatewayRequest
from polycall.gateway.store import Actor, AdminRow, Store
from polycall.gateway.store import admin_operations as operations
from polycall.gateway.store.audit_operations import record

ROLES = ("reader", "operator", "owner")
LINK_S = 600.0
KEY_HEAD = "sk-pca-"
CSRF_HEADER = b"x-polycall-csrf"
_SAFE = ("GET", "HEAD")
# Wrong keys, sessions and links from one address: as many at once, then one in ten seconds.
_TRIES_MAX = 20
_TRIES_PER_S = 0.1


class People:
    """Tells administrators from others.  One for the process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._strangers = Strangers(_TRIES_MAX, _TRIES_PER_S)

    async def are_set(self, settings: AdminSettings) -> bool:
        """Whether there is an administrator, or a way to become one."""
        if settings.openid is not None:
            return True
        found = await self._store.look_up(operations.admins())
        return any(row.revoked is None for row in found)

    async def known(
        self, gateway_request: GatewayRequest, settings: AdminSettings
    ) -> tuple[AdminRow, Actor]:
        """The administrator behind a request.

        Raises `AuthenticationError` where nobody is, and `PermissionDeniedError` where a page of
        another site may have sent it.
        """
        bearer = gateway_request.headers.get(b"authorization", b"")
        address = gateway_request.address
        if bearer[:7].lower() == b"bearer ":
            found = await self._store.look_up(
                operations.admin_by_key(digest_of(bearer[7:].strip()))
            )
            if found is None:
                raise self._unknown(address, "the key is not an administrator's")
            return found, Actor(found.name, found.role, "key", address)
        session = session_of(gateway_request, settings)
        if not session:
            raise AuthenticationError(
                "sign in: 'polycall console' prints a link; or send an administrator's key as "
                "'Authorization: Bearer'",
                code="not_signed_in",
            )
        found = await self._store.look_up(
            operations.admin_by_session(digest_of(session), time.time())
        )
        if found is None:
            raise self._unknown(address, "the session is over; 'polycall console' prints a link")
        self._check_forged(gateway_request, session, settings)
        return found, Actor(found.name, found.role, "session", address)

    def count_failure(self, address: str) -> None:
        """Count a sign-in that failed; `RateLimitError` where there were too many."""
        wait_s = self._strangers.wait_s(address)
        if wait_s:
            raise RateLimitError(
                "too many wrong keys, sessions or links came from your address; wait",
                retry_after_s=wait_s,
                should_retry=False,
            )

    def _unknown(self, address: str, words: str) -> AuthenticationError:
        self.count_failure(address)
        return AuthenticationError(words, code="not_signed_in")

    def _check_forged(
        self, gateway_request: GatewayRequest, session: bytes, settings: AdminSettings
    ) -> None:
        headers = gateway_request.headers
        if headers.get(b"sec-fetch-site", b"same-origin") not in (b"same-origin", b"none"):
            raise PermissionDeniedError("another site sent this request")
        check_origin(gateway_request, settings)
        if gateway_request.method in _SAFE:
            return
        given = headers.get(CSRF_HEADER, b"")
        if not hmac.compare_digest(given, self.csrf(session).encode()):
            raise PermissionDeniedError(
                f"the header {CSRF_HEADER.decode()} is missing or wrong; GET /admin/v1/me has it"
            )

    def csrf(self, session: bytes) -> str:
        """The token that the page sends with each change; bound to the session."""
        key = hmac.new(self._store.secret, b"console csrf", hashlib.sha256).digest()
        return hmac.new(key, digest_of(session), hashlib.sha256).hexdigest()

    async def sign_in(
        self, gateway_request: GatewayRequest, link: str, settings: AdminSettings
    ) -> tuple[AdminRow, bytes]:
        """Turn a link into a session, once."""
        check_origin(gateway_request, settings)
        if gateway_request.headers.get(b"sec-fetch-site", b"same-origin") != b"same-origin":
            raise PermissionDeniedError("another site sent this request")
        session = secrets.token_urlsafe(32).encode()
        now = time.time()
        found = await self._store.change(
            operations.take_link(
                digest_of(link.encode()), digest_of(session), now, now + settings.session_s
            )
        )
        if found is None:
            raise self._unknown(
                gateway_request.address,
                "the link was used, has expired or was never made; "
                "'polycall console' prints a new one",
            )
        actor = Actor(found.name, found.role, "link", gateway_request.address)
        await self._store.change(record(actor, "sign_in", found.name, {}, now=now))
        return found, session

    async def sign_in_person(
        self, gateway_request: GatewayRequest, person: AdminRow, settings: AdminSettings
    ) -> bytes | None:
        """Open a session for whom a provider knows; `None` for one who was revoked here."""
        session = secrets.token_urlsafe(32).encode()
        now = time.time()
        ends = now + settings.session_s
        operation = operations.take_in(person, digest_of(session), now, ends)
        actor = Actor(person.name, person.role, "openid", gateway_request.address)
        found = await self._store.act(
            operation, actor, "sign_in", person.name, {"id": person.id, "role": person.role}
        )
        return session if found else None

    async def sign_out(
        self, gateway_request: GatewayRequest, settings: AdminSettings, by: Actor
    ) -> None:
        """End the session."""
        session = session_of(gateway_request, settings)
        operation = operations.end_session(digest_of(session))
        await self._store.act(operation, by, "sign_out", by.name, {})


def check_role(admin: AdminRow, role: str) -> None:
    """Raise where the administrator may not do what takes `role`."""
    if ROLES.index(admin.role) < ROLES.index(role):
        raise PermissionDeniedError(
            f"this takes the role {role!r}, and {admin.name!r} has {admin.role!r}"
        )


def checked_role(role: str) -> str:
    """A role; `InvalidRequestError` where it is none."""
    if role not in ROLES:
        raise InvalidRequestError(f"role is one of {', '.join(ROLES)}, not {role!r:.100}")
    return role


def cookie_name(settings: AdminSettings) -> str:
    """The session's; with the prefix, browsers bind it to this host and to HTTPS."""
    return "__Host-polycall-console" if settings.has_secure_cookies else "polycall-console"


def cookie(settings: AdminSettings, session: bytes) -> bytes:
    """The header's value; an empty session removes the cookie."""
    age_s = int(settings.session_s) if session else 0
    secure = "; Secure" if settings.has_secure_cookies else ""
    return (
        f"{cookie_name(settings)}={session.decode()}; Path=/; HttpOnly; SameSite=Strict; "
        f"Max-Age={age_s}{secure}"
    ).encode()


def session_of(gateway_request: GatewayRequest, settings: AdminSettings) -> bytes:
    """The session's secret that a request brings; empty where it brings none."""
    return cookie_value(gateway_request, cookie_name(settings))


def cookie_value(gateway_request: GatewayRequest, name: str) -> bytes:
    """The value of a cookie; empty where the request brings none."""
    try:
        found = SimpleCookie(gateway_request.headers.get(b"cookie", b"").decode("latin-1"))
    except CookieError:
        return b""
    morsel = found.get(name)
    return b"" if morsel is None else morsel.value.encode("latin-1", "replace")


def check_origin(gateway_request: GatewayRequest, settings: AdminSettings) -> None:
    """Raise where a browser says that a page of another address sent the request."""
    origin = gateway_request.headers.get(b"origin")
    if origin is None:
        return
    host = gateway_request.headers.get(b"host", b"").lower()
    # Not from headers such as X-Forwarded-Host: anyone who reaches the gateway can write them.
    own = (b"http://" + host, b"https://" + host, settings.origin.encode() or None)
    if origin.lower() not in own:
        said = origin[:100].decode("latin-1")
        raise PermissionDeniedError(f"the request comes from {said!r}, not from this page")


def new_admin_key() -> tuple[str, bytes, str]:
    """An administrator's key to show once, its digest, and what may be shown again."""
    key = KEY_HEAD + secrets.token_urlsafe(32)
    return key, digest_of(key.encode()), key[: len(KEY_HEAD) + 4]


async def make_admin(store: Store, name: str, role: str, by: Actor) -> AdminRow:
    """A new administrator, without a key."""
    row = AdminRow(f"adm_{secrets.token_hex(8)}", name, role, created=time.time())
    operation = operations.create_admin(row)
    await store.act(operation, by, "admin.create", name, {"role": role})
    return row


async def make_link(store: Store, admin: AdminRow, by: Actor) -> str:
    """A link's secret: for one sign-in, within ten minutes."""
    link = secrets.token_urlsafe(32)
    now = time.time()
    operation = operations.add_token(digest_of(link.encode()), admin.id, "link", now, now + LINK_S)
    await store.act(operation, by, "admin.link", admin.name, {})
    return link
