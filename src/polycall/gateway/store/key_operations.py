"""Clients' keys in the store: made, listed, limited, rotated, revoked.

Every change raises the revision that running gateways look at.
"""

from __future__ import annotations

import json
from decimal import Decimal

from msgspec.structs import asdict, replace

from polycall.errors import RequestError
from polycall.gateway.store import admin_operations
from polycall.gateway.store.base import KeyRecord, KeyRow, KeySecret, Operation, Query

_FIELDS = KeyRow.__struct_fields__
_COLUMNS = ", ".join(_FIELDS)
_SECRET_COLUMNS = ", ".join(KeySecret.__struct_fields__)
_ALL_KEYS = (
    f"SELECT {', '.join(f'keys.{name}' for name in _FIELDS)}, "  # noqa: S608 - constant names
    f"{', '.join(f'key_secrets.{name}' for name in KeySecret.__struct_fields__)} "
    "FROM keys JOIN key_secrets ON key_secrets.key_id = keys.id "
    "ORDER BY keys.name, key_secrets.created DESC"
)
_LISTS = ("models", "mcp", "mcp_default")
_CHANGED = Query("UPDATE revisions SET number = number + 1 WHERE name = 'keys'")


def create_key(row: KeyRow, secret: KeySecret) -> Operation[None]:
    """Keep a new key; `RequestError` where the name is taken."""
    marks = ", ".join("?" * len(_FIELDS))
    rows = yield Query(
        f"INSERT INTO keys ({_COLUMNS}) VALUES ({marks}) "  # noqa: S608 - constant names
        "ON CONFLICT (name) DO NOTHING RETURNING id",
        _values(row),
    )
    if not rows:
        raise RequestError(
            f"there is, or was, a key called {row.name!r}; its name stands in the ledger: "
            "choose another, or rotate that one"
        )
    yield _insert_secret(secret)
    yield _CHANGED


def all_keys() -> Operation[tuple[int, list[KeyRecord]]]:
    """The revision, and every key ever made, by name."""
    rows = yield Query("SELECT number FROM revisions WHERE name = 'keys'")
    revision = rows[0][0]
    records: dict[str, KeyRecord] = {}
    teams = {team.id: team for team in (yield from admin_operations.teams())}
    # One statement: between two of them another process may make a key.
    for row in (yield Query(_ALL_KEYS)):
        if row[0] not in records:
            key = _read(row[: len(_FIELDS)])
            records[row[0]] = KeyRecord(key, [], teams.get(key.team_id))
        record = records[row[0]]
        digest, *rest = row[len(_FIELDS) :]
        record.secrets.append(KeySecret(bytes(digest), *rest))
    return revision, list(records.values())


def find_key(name: str) -> Operation[KeyRecord]:
    """The key of this name or id; `RequestError` where there is none."""
    _, records = yield from all_keys()
    for record in records:
        if name in (record.row.name, record.row.id):
            return record
    known = ", ".join(record.row.name for record in records) or "none yet"
    raise RequestError(f"no key is called {name!r}; there are: {known}")


def change_key(name: str, changes: dict[str, object]) -> Operation[KeyRecord]:
    """Set fields of a key; gives it as it is then."""
    record = yield from find_key(name)
    changed = replace(record.row, **changes)
    # Only these: another's change of the rest, its end above all, must stay.
    places = ", ".join(f"{field} = ?" for field in changes)
    values = dict(zip(_FIELDS, _values(changed), strict=True))
    yield Query(
        f"UPDATE keys SET {places} WHERE id = ?",  # noqa: S608 - constant names
        (*(values[field] for field in changes), record.row.id),
    )
    yield _CHANGED
    return (yield from find_key(record.row.id))


def rotate_key(
    name: str, digest: bytes, prefix: str, now: float, until: float
) -> Operation[KeyRecord]:
    """Give a key a new secret; the older ones end at `until`, if not before."""
    record = yield from find_key(name)
    if record.row.revoked is not None:
        raise RequestError(f"the key {record.row.name!r} is revoked; make a new one")
    yield Query(
        "UPDATE key_secrets SET expires = ? WHERE key_id = ? AND (expires IS NULL OR expires > ?)",
        (until, record.row.id, until),
    )
    yield _insert_secret(KeySecret(digest, record.row.id, prefix, now))
    yield _CHANGED
    return (yield from find_key(record.row.id))


def revoke_key(name: str, now: float) -> Operation[KeyRecord]:
    """End a key for good.  Its row stays: the ledger names it."""
    record = yield from find_key(name)
    if record.row.revoked is not None:
        return record
    return (yield from change_key(record.row.id, {"revoked": now}))


def _insert_secret(secret: KeySecret) -> Query:
    return Query(
        f"INSERT INTO key_secrets ({_SECRET_COLUMNS}) VALUES (?, ?, ?, ?, ?)",  # noqa: S608
        (secret.digest, secret.key_id, secret.prefix, secret.created, secret.expires),
    )


def _values(row: KeyRow) -> tuple[object, ...]:
    values = asdict(row)
    for name in _LISTS:
        values[name] = json.dumps(values[name], ensure_ascii=False)
    values["budget_usd"] = None if row.budget_usd is None else f"{row.budget_usd:f}"
    return tuple(values.values())


def _read(values: tuple[object, ...]) -> KeyRow:
    fields = dict(zip(_FIELDS, values, strict=True))
    for name in _LISTS:
        found = json.loads(str(fields[name]))
        fields[name] = None if found is None else tuple(found)
    if fields["budget_usd"] is not None:
        fields["budget_usd"] = Decimal(str(fields["budget_usd"]))
    return KeyRow(**fields)  # pyright: ignore[reportArgumentType] - as the columns are typed
