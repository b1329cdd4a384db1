"""`[admin]`: who may look at and change the gateway, and from where."""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from polycall.config.reader import Reader


class AdminSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """`[admin]`: the administration API and the console page.

    Both are there once an administrator was made (`polycall admins create`, `polycall console`).
    Without `remote` only this machine reaches them, directly and by a name of loopback.  With it,
    `hosts` are the names under which browsers ask.  `secure` says whether sessions need HTTPS.
    """

    enabled: bool = True
    remote: bool = False
    hosts: list[str] = []
    secure: bool | None = None  # else as `remote`
    session_s: float = 12 * 3600.0
    runs: str = ""  # the database of durable runs: sqlite:///FILE or postgresql://...

    @property
    def has_secure_cookies(self) -> bool:
        """Whether a session's cookie is sent by HTTPS alone."""
        return self.remote if self.secure is None else self.secure


def read_admin(reader: Reader, tables: dict[str, Any]) -> AdminSettings:
    """The section as it is written; mistakes are noted."""
    path = ("admin",)
    settings = reader.table(AdminSettings, tables.get("admin", {}), path) or AdminSettings()
    reader.check_numbers(settings, path)
    if settings.remote and not settings.hosts:
        reader.note((*path, "hosts"), "names no host; with remote = true say how browsers ask")
    runs = reader.value(settings.runs, (*path, "runs")) if settings.runs else ""
    if runs and not runs.startswith(("sqlite:", "postgresql://", "postgres://")):
        reader.note((*path, "runs"), "is no database of runs; write sqlite:///runs.db")
    return replace(settings, runs=runs)
