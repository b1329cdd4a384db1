"""Administrators, their links and sessions; teams of keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from polycall.errors import RequestError
from polycall.gateway.store.base import AdminRow, Operation, Query, TeamRow
from polycall.gateway.store.struct_table import ADMINS, TEAMS

_OTHER_NAME = "choose another name"
# Every change of a team is one of its keys, for the gateways that look.
_CHANGED = Query("UPDATE revisions SET number = number + 1 WHERE name = 'keys'")


def create_admin(row: AdminRow) -> Operation[None]:
    """Keep a new administrator; `RequestError` where the name is taken."""
    yield from ADMINS.insert(row, _OTHER_NAME)


admins, find_admin = ADMINS.all, ADMINS.find


def admin_by_key(digest: bytes) -> Operation[AdminRow | None]:
    """The administrator with this key."""
    rows = yield Query(
        f"SELECT {ADMINS.columns()} FROM admins WHERE digest = ? AND revoked IS NULL",  # noqa: S608 - constant names
        (digest,),
    )
    return ADMINS.read(rows[0]) if rows else None


def revoke_admin(name: str, now: float) -> Operation[AdminRow]:
    """End an administrator, with all sessions; the last owner stays."""
    row = yield from find_admin(name)
    if row.revoked is not None:
        return row
    others = [
        each
        for each in (yield from admins())
        if each.role == "owner" and each.revoked is None and each.id != row.id
    ]
    if row.role == "owner" and not others:
        raise RequestError(f"{row.name!r} is the last owner; make another one first")
    yield Query("UPDATE admins SET revoked = ? WHERE id = ?", (now, row.id))
    yield Query("DELETE FROM admin_tokens WHERE admin_id = ?", (row.id,))
    return replace(row, revoked=now)


def set_admin_key(name: str, digest: bytes, prefix: str) -> Operation[AdminRow]:
    """Give an administrator a key, in the place of an older one."""
    row = yield from find_admin(name)
    if row.revoked is not None:
        raise RequestError(f"the administrator {row.name!r} is revoked; make a new one")
    yield Query("UPDATE admins SET digest = ?, prefix = ? WHERE id = ?", (digest, prefix, row.id))
    return replace(row, digest=digest, prefix=prefix)


# Links and sessions


def add_token(
    digest: bytes, admin_id: str, kind: str, now: float, expires: float
) -> Operation[None]:
    """Keep a link or a session; those that are over are removed."""
    yield Query("DELETE FROM admin_tokens WHERE expires < ?", (now,))
    yield Query(
        "INSERT INTO admin_tokens (digest, admin_id, kind, created, expires) "
        "VALUES (?, ?, ?, ?, ?)",
        (digest, admin_id, kind, now, expires),
    )


def take_link(
    link: bytes, session: bytes, now: float, expires: float
) -> Operation[AdminRow | None]:
    """Turn a link into a session: once, however many try; `None` where it is none."""
    rows = yield Query(
        "DELETE FROM admin_tokens WHERE digest = ? AND kind = 'link' AND expires >= ? "
        "RETURNING admin_id",
        (link, now),
    )
    if not rows:
        return None
    found = yield Query(
        f"SELECT {ADMINS.columns()} FROM admins WHERE id = ? AND revoked IS NULL",  # noqa: S608 - constant names
        (rows[0][0],),
    )
    if not found:
        return None
    yield from add_token(session, rows[0][0], "session", now, expires)
    return ADMINS.read(found[0])


def take_in(person: AdminRow, session: bytes, now: float, expires: float) -> Operation[bool]:
    """Open a session for a person whom a provider knows, in the role that it gives now.

    False for one who was revoked here.  A name that another has gets a mark: it is no claim to
    what that one may do.
    """
    found = {row.id: row for row in (yield from admins())}
    known = found.get(person.id)
    if known is not None and known.revoked is not None:
        return False
    if known is None:
        if person.name in {row.name for row in found.values()}:
            person = replace(person, name=f"{person.name[:60]} ({person.id[-8:]})")
        yield from create_admin(person)
    elif known.role != person.role:
        yield Query("UPDATE admins SET role = ? WHERE id = ?", (person.role, person.id))
    yield from add_token(session, person.id, "session", now, expires)
    return True


def admin_by_session(digest: bytes, now: float) -> Operation[AdminRow | None]:
    """The administrator with this session."""
    rows = yield Query(
        f"SELECT {ADMINS.columns('admins.')} FROM admin_tokens "  # noqa: S608 - constant names
        "JOIN admins ON admins.id = admin_tokens.admin_id "
        "WHERE admin_tokens.digest = ? AND admin_tokens.kind = 'session' "
        "AND admin_tokens.expires >= ? AND admins.revoked IS NULL",
        (digest, now),
    )
    return ADMINS.read(rows[0]) if rows else None


def end_session(digest: bytes) -> Operation[None]:
    """Sign out."""
    yield Query("DELETE FROM admin_tokens WHERE digest = ?", (digest,))


# Teams


def create_team(row: TeamRow) -> Operation[None]:
    """Keep a new team; `RequestError` where the name is taken."""
    yield from TEAMS.insert(row, _OTHER_NAME)
    yield _CHANGED


teams, find_team = TEAMS.all, TEAMS.find


def change_team(name: str, changes: Mapping[str, Any]) -> Operation[TeamRow]:
    """Set fields of a team; gives it as it is then."""
    row = yield from TEAMS.find(name)
    changed = yield from TEAMS.change(row, changes)
    yield _CHANGED
    return changed
