"""Clients' keys in the store: made, listed, limited, rotated, revoked.

Every change raises the revision that running gateways look at.
"""

from __future__ import annotations

from polycall.errors import RequestError
from polycall.gateway.store.base import KeyRecord, KeyRow, KeySecret, Operation, Query
from polycall.gateway.store.struct_table import KEYS, TEAMS

_SECRET_COLUMNS = ", ".join(KeySecret.__struct_fields__)
_ALL_KEYS = (
    f"SELECT {KEYS.columns('keys.')}, "  # noqa: S608 - constant names
    f"{', '.join(f'key_secrets.{name}' for name in KeySecret.__struct_fields__)} "
    "FROM keys JOIN key_secrets ON key_secrets.key_id = keys.id "
    "ORDER BY keys.name, key_secrets.created DESC"
)
_CHANGED = Query("UPDATE revisions SET number = number + 1 WHERE name = 'keys'")


def create_key(row: KeyRow, secret: KeySecret) -> Operation[None]:
    """Keep a new key; `RequestError` where the name is taken."""
    advice = "its name stands in the ledger: choose another, or rotate that one"
    yield from KEYS.insert(row, advice)
    yield _insert_secret(secret)
    yield _CHANGED


def all_keys() -> Operation[tuple[int, list[KeyRecord]]]:
    """The revision, and every key ever made, by name."""
    rows = yield Query("SELECT number FROM revisions WHERE name = 'keys'")
    revision = rows[0][0]
    records: dict[str, KeyRecord] = {}
    teams = {team.id: team for team in (yield from TEAMS.all())}
    # One statement: between two of them another process may make a key.
    for row in (yield Query(_ALL_KEYS)):
        if row[0] not in records:
            key = KEYS.read(row[: len(KEYS.fields)])
            records[row[0]] = KeyRecord(key, [], teams.get(key.team_id))
        record = records[row[0]]
        digest, *rest = row[len(KEYS.fields) :]
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
    # Only these: another's change of the rest, its end above all, must stay.
    yield from KEYS.change(record.row, changes)
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
