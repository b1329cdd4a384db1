"""Administrators, their links and sessions; teams of keys."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import cast

from msgspec.structs import asdict, astuple, replace

from polycall.errors import RequestError
from polycall.gateway.store.base import AdminRow, Operation, Query, TeamRow

_ADMIN = AdminRow.__struct_fields__
_ADMIN_COLUMNS = ", ".join(_ADMIN)
_TEAM = TeamRow.__struct_fields__
_TEAM_COLUMNS = ", ".join(_TEAM)
# Every change of a team is one of its keys, for the gateways that look.
_CHANGED = Query("UPDATE revisions SET number = number + 1 WHERE name = 'keys'")


def create_admin(row: AdminRow) -> Operation[None]:
    """Keep a new administrator; `RequestError` where the name is taken."""
    marks = ", ".join("?" * len(_ADMIN))
    rows = yield Query(
        f"INSERT INTO admins ({_ADMIN_COLUMNS}) VALUES ({marks}) "  # noqa: S608 - constant names
        "ON CONFLICT (name) DO NOTHING RETURNING id",
        astuple(row),
    )
    if not rows:
        raise RequestError(
            f"there is, or was, an administrator called {row.name!r}; choose another name"
        )


def admins() -> Operation[list[AdminRow]]:
    """All that ever were, by name."""
    rows = yield Query(f"SELECT {_ADMIN_COLUMNS} FROM admins ORDER BY name")  # noqa: S608 - constant names
    return [_admin(row) for row in rows]


def find_admin(name: str) -> Operation[AdminRow]:
    """The administrator of this name or id; `RequestError` where there is none."""
    found = yield from admins()
    for row in found:
        if name in (row.name, row.id):
            return row
    known = ", ".join(row.name for row in found) or "none yet"
    raise RequestError(f"no administrator is called {name!r}; there are: {known}")


def admin_by_key(digest: bytes) -> Operation[AdminRow | None]:
    """Whose key it is."""
    rows = yield Query(
        f"SELECT {_ADMIN_COLUMNS} FROM admins WHERE digest = ? AND revoked IS NULL",  # noqa: S608 - constant names
        (digest,),
    )
    return _admin(rows[0]) if rows else None


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
    """Turn a link into a session: once, whoever else tries; `None` where it is none."""
    rows = yield Query(
        "DELETE FROM admin_tokens WHERE digest = ? AND kind = 'link' AND expires >= ? "
        "RETURNING admin_id",
        (link, now),
    )
    if not rows:
        return None
    found = yield Query(
        f"SELECT {_ADMIN_COLUMNS} FROM admins WHERE id = ? AND revoked IS NULL",  # noqa: S608 - constant names
        (rows[0][0],),
    )
    if not found:
        return None
    yield from add_token(session, rows[0][0], "session", now, expires)
    return _admin(found[0])


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
    """Whose session it is."""
    columns = ", ".join(f"admins.{name}" for name in _ADMIN)
    rows = yield Query(
        f"SELECT {columns} FROM admin_tokens JOIN admins ON admins.id = admin_tokens.admin_id "  # noqa: S608 - constant names
        "WHERE admin_tokens.digest = ? AND admin_tokens.kind = 'session' "
        "AND admin_tokens.expires >= ? AND admins.revoked IS NULL",
        (digest, now),
    )
    return _admin(rows[0]) if rows else None


def end_session(digest: bytes) -> Operation[None]:
    """Sign out."""
    yield Query("DELETE FROM admin_tokens WHERE digest = ?", (digest,))


def _admin(values: tuple[object, ...]) -> AdminRow:
    fields = dict(zip(_ADMIN, values, strict=True))
    if fields["digest"] is not None:
        fields["digest"] = bytes(cast("bytes", fields["digest"]))
    return AdminRow(**fields)  # pyright: ignore[reportArgumentType] - as the columns are typed


# Teams


def create_team(row: TeamRow) -> Operation[None]:
    """Keep a new team; `RequestError` where the name is taken."""
    marks = ", ".join("?" * len(_TEAM))
    rows = yield Query(
        f"INSERT INTO teams ({_TEAM_COLUMNS}) VALUES ({marks}) "  # noqa: S608 - constant names
        "ON CONFLICT (name) DO NOTHING RETURNING id",
        _team_values(row),
    )
    if not rows:
        raise RequestError(f"there is, or was, a team called {row.name!r}; choose another name")
    yield _CHANGED


def teams() -> Operation[list[TeamRow]]:
    """All teams that ever were, by name."""
    rows = yield Query(f"SELECT {_TEAM_COLUMNS} FROM teams ORDER BY name")  # noqa: S608 - constant names
    return [_team(row) for row in rows]


def find_team(name: str) -> Operation[TeamRow]:
    """The team of this name or id; `RequestError` where there is none."""
    found = yield from teams()
    for row in found:
        if name in (row.name, row.id):
            return row
    known = ", ".join(row.name for row in found) or "none yet"
    raise RequestError(f"no team is called {name!r}; there are: {known}")


def change_team(name: str, changes: dict[str, object]) -> Operation[TeamRow]:
    """Set fields of a team; gives it as it is then."""
    row = yield from find_team(name)
    changed = replace(row, **changes)
    values = dict(zip(_TEAM, _team_values(changed), strict=True))
    places = ", ".join(f"{field} = ?" for field in changes)
    yield Query(
        f"UPDATE teams SET {places} WHERE id = ?",  # noqa: S608 - constant names
        (*(values[field] for field in changes), row.id),
    )
    yield _CHANGED
    return changed


def _team_values(row: TeamRow) -> tuple[object, ...]:
    values = asdict(row)
    values["models"] = json.dumps(row.models, ensure_ascii=False)
    values["budget_usd"] = None if row.budget_usd is None else f"{row.budget_usd:f}"
    return tuple(values.values())


def _team(values: tuple[object, ...]) -> TeamRow:
    fields = dict(zip(_TEAM, values, strict=True))
    fields["models"] = tuple(json.loads(str(fields["models"])))
    if fields["budget_usd"] is not None:
        fields["budget_usd"] = Decimal(str(fields["budget_usd"]))
    return TeamRow(**fields)  # pyright: ignore[reportArgumentType] - as the columns are typed
