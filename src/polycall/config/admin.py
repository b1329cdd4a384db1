"""`[admin]`: who may look at and change the gateway, and from where."""

from __future__ import annotations

from typing import Any, Literal, cast
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from polycall._support.listening import is_loopback
from polycall.config.reader import Reader

CONTENT_BYTES_MAX = 1024 * 1024
RoleName = Literal["reader", "operator", "owner"]


class OpenIDSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """`[admin.openid]`: people sign in at a provider of OpenID Connect.

    `roles` maps values of the claim `role_claim` to roles; the highest counts, and who has none of
    them stays out.  `name_claim` is what the audit log calls a person.
    """

    issuer: str
    client_id: str
    client_secret: str = ""
    roles: dict[str, RoleName] = {}
    role_claim: str = "groups"
    name_claim: str = "email"
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    label: str = "OpenID"  # of the button


class ContentSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """`[admin.content]`: an owner may switch on that requests and answers are kept for a time.

    Without the section that cannot be done.  It is on for `on_s` at most, and what was kept is
    removed after `keep_s`.
    """

    role: RoleName = "owner"  # the least that may see it
    on_s: float = 3600.0
    keep_s: float = 24 * 3600.0
    bytes_max: int = 64 * 1024  # of each request, and of each answer


class AdminSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """`[admin]`: the administration API and the console page.

    Both are there once an administrator was made (`polycall admins create`, `polycall console`), or
    with `openid`.  Without `remote` only this machine reaches them, directly and by a name of
    loopback.  With it, `hosts` are the names under which browsers ask.  `url` is the address that
    browsers have, where a proxy in front does not pass their own `Host` on.  `secure` says whether
    sessions need HTTPS.
    """

    enabled: bool = True
    remote: bool = False
    hosts: list[str] = []
    url: str = ""  # https://HOST or https://HOST:PORT
    secure: bool | None = None  # else as `remote`
    session_s: float = 12 * 3600.0
    runs: str = ""  # the database of durable runs: sqlite:///FILE or postgresql://...
    openid: OpenIDSettings | None = None
    content: ContentSettings | None = None

    @property
    def origin(self) -> str:
        """`url` as browsers write it in `Origin`; empty where there is none."""
        return self.url.rstrip("/").lower()

    @property
    def names(self) -> list[str]:
        """The hosts that browsers may ask by, besides those of loopback."""
        return [*self.hosts, *filter(None, [urlsplit(self.url).hostname])]

    @property
    def has_secure_cookies(self) -> bool:
        """Whether a session's cookie is sent by HTTPS alone."""
        return self.remote if self.secure is None else self.secure


def read_admin(reader: Reader, tables: dict[str, Any]) -> AdminSettings:
    """The section as it is written; mistakes are noted."""
    path = ("admin",)
    plain: Any = tables.get("admin", {})
    openid = content = None
    if isinstance(plain, dict):
        plain = dict(cast("dict[str, Any]", plain))
        if "openid" in plain:
            openid = _read_openid(reader, plain.pop("openid"))
        if "content" in plain:
            content = _read_content(reader, plain.pop("content"))
    settings = reader.table(AdminSettings, plain, path) or AdminSettings()
    reader.check_numbers(settings, path)
    if settings.url and not _is_origin(settings.url):
        reader.note((*path, "url"), "is an address such as https://llm.example.com, without a path")
    if settings.remote and not (settings.hosts or settings.url):
        reader.note((*path, "hosts"), "names no host; with remote = true say how browsers ask")
    runs = reader.value(settings.runs, (*path, "runs")) if settings.runs else ""
    if runs and not runs.startswith(("sqlite:", "postgresql://", "postgres://")):
        reader.note((*path, "runs"), "is no database of runs; write sqlite:///runs.db")
    return replace(settings, runs=runs, openid=openid, content=content)


def _read_content(reader: Reader, value: Any) -> ContentSettings | None:
    path = ("admin", "content")
    settings = reader.table(ContentSettings, value, path)
    if settings is not None:
        reader.check_numbers(settings, path)
        if settings.bytes_max > CONTENT_BYTES_MAX:
            reader.note((*path, "bytes_max"), f"must be at most {CONTENT_BYTES_MAX}")
    return settings


def _read_openid(reader: Reader, value: Any) -> OpenIDSettings | None:
    path = ("admin", "openid")
    settings = reader.table(OpenIDSettings, value, path)
    if settings is None:
        return None
    if not is_safe_address(settings.issuer):
        reader.note((*path, "issuer"), "is no address that begins with https://")
    if not settings.roles and not reader.has_noted((*path, "roles")):
        reader.note(
            (*path, "roles"), 'names no role; write roles = { "ops" = "operator" }, by the claim'
        )
    if "openid" not in settings.scopes:
        reader.note((*path, "scopes"), "lacks 'openid'")
    secret = settings.client_secret
    if secret:
        secret = reader.secret(secret, (*path, "client_secret"))
    return replace(settings, client_secret=secret)


def _is_origin(url: str) -> bool:
    """Whether it says how and where to connect, and nothing more."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # which may be no number
    except ValueError:
        return False
    is_bare = not (parts.query or parts.fragment or "@" in parts.netloc)
    is_known = parts.scheme in ("http", "https") and bool(parts.hostname)
    return is_known and is_bare and parts.path in ("", "/") and url.isascii()


def is_safe_address(url: str) -> bool:
    """Whether what is sent there can be read by its owner alone: by TLS, or on this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    return bool(host) and (
        parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
    )
