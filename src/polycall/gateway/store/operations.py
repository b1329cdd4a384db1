"""The store's operations: queries that any engine runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from polycall.errors import MalformedRequestError
from polycall.gateway.store.base import LedgerRow, Operation, Query, StatePlace, StateRow

_FIELDS = LedgerRow.__struct_fields__
_COLUMNS = ", ".join(_FIELDS)
_INSERT_ROW = (
    f"INSERT INTO ledger ({_COLUMNS}) VALUES ({', '.join('?' * len(_FIELDS))}) "  # noqa: S608 - constant names
    "ON CONFLICT (id) DO NOTHING"
)
_ADD_STATE = (
    "INSERT INTO states (id, owner, created, value) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (owner, id) DO NOTHING"
)
_SAVE_STATE = _ADD_STATE.replace(
    "NOTHING", "UPDATE SET created = excluded.created, value = excluded.value"
)
_MARKS_MAX = 500
AGELESS = 1e12  # as the time of a value that no age removes
END: StatePlace = (AGELESS, "", "")
LOADED_BYTES_MAX = 32 * 1024 * 1024  # of kept values, at once


def secret(name: str, fresh: bytes) -> Operation[bytes]:
    """The secret of this name; `fresh` becomes it where there is none."""
    yield Query(
        "INSERT INTO secrets (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING",
        (name, fresh),
    )
    rows = yield Query("SELECT value FROM secrets WHERE name = ?", (name,))
    return bytes(rows[0][0])


def ping() -> Operation[None]:
    """Whether the tables are there."""
    yield Query("SELECT number FROM schema_version")


def touch() -> Operation[None]:
    """A write that changes nothing: it fails on a full disk and on a standby, as others do."""
    yield Query("UPDATE revisions SET number = number WHERE name = 'keys'")


# Carried state


def save_states(owner: str, values: Mapping[str, bytes], now: float) -> Operation[None]:
    """Keep values, in the place of older ones."""
    rows = [(state_id, owner, now, value) for state_id, value in values.items()]
    yield Query(_SAVE_STATE, rows, is_many=True)


def add_states(owner: str, values: Mapping[str, bytes], created: float) -> Operation[None]:
    """Keep values where there are none of their names."""
    rows = [(state_id, owner, created, value) for state_id, value in values.items()]
    yield Query(_ADD_STATE, rows, is_many=True)


def replace_state(owner: str, state_id: str, old: bytes, new: bytes, now: float) -> Operation[bool]:
    """Put `new` in the place of `old`; false where something else is there by now."""
    rows = yield Query(
        "UPDATE states SET created = ?, value = ? WHERE owner = ? AND id = ? AND value = ? "
        "RETURNING id",
        (now, new, owner, state_id, old),
    )
    return bool(rows)


def load_states(
    owner: str, state_ids: Sequence[str], bytes_max: int = LOADED_BYTES_MAX
) -> Operation[dict[str, bytes]]:
    """The values that are there, of this owner only.

    Raises `MalformedRequestError` before it loads several that are larger together.
    """
    found: dict[str, bytes] = {}
    size = 0
    for start in range(0, len(state_ids), _MARKS_MAX):
        some = state_ids[start : start + _MARKS_MAX]
        marks = ", ".join("?" * len(some))
        if len(state_ids) > 1:
            sizes = yield Query(
                f"SELECT LENGTH(value) FROM states WHERE owner = ? AND id IN ({marks})",  # noqa: S608
                (owner, *some),
            )
            size += sum(each for (each,) in sizes)
            if size > bytes_max:
                raise MalformedRequestError(
                    f"what is kept and asked for here is larger than {bytes_max} bytes; ask for "
                    "fewer items, or begin a new conversation with a summary of this one"
                )
        rows = yield Query(
            f"SELECT id, value FROM states WHERE owner = ? AND id IN ({marks})",  # noqa: S608
            (owner, *some),
        )
        found.update((state_id, bytes(value)) for state_id, value in rows)
    return found


# What is kept until somebody changes it


def keep(owner: str, name: str, value: bytes, now: float) -> Operation[None]:
    """Keep a value, in the place of an older one."""
    yield Query(
        "INSERT INTO kept (owner, name, changed, value) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (owner, name) DO UPDATE SET changed = excluded.changed, "
        "value = excluded.value",
        (owner, name, now, value),
    )


def keep_new(owner: str, name: str, value: bytes, now: float) -> Operation[bool]:
    """Keep a value where there is none; false where there is one."""
    rows = yield Query(
        "INSERT INTO kept (owner, name, changed, value) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (owner, name) DO NOTHING RETURNING name",
        (owner, name, now, value),
    )
    return bool(rows)


def states_page(
    prefix: str, number: int, since: float, before: StatePlace
) -> Operation[list[StateRow]]:
    """The newest values from that time on whose ids begin so, and that come before that place."""
    rows = yield Query(
        "SELECT owner, id, created, value FROM states WHERE id >= ? AND id < ? "
        "AND created >= ? AND (created, owner, id) < (?, ?, ?) "
        "ORDER BY created DESC, owner DESC, id DESC LIMIT ?",
        (prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1), since, *before, number),
    )
    return [(owner, name, created, bytes(value)) for owner, name, created, value in rows]


def owner_states(owner: str, prefix: str, number: int) -> Operation[dict[str, bytes]]:
    """Values of one owner whose ids begin so, in the order of their ids."""
    rows = yield Query(
        "SELECT id, value FROM states WHERE owner = ? AND id >= ? AND id < ? ORDER BY id LIMIT ?",
        (owner, prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1), number),
    )
    return {name: bytes(value) for name, value in rows}


def drop_state(owner: str, state_id: str) -> Operation[bool]:
    """Remove a value; false where it is not there."""
    rows = yield Query(
        "DELETE FROM states WHERE owner = ? AND id = ? RETURNING id", (owner, state_id)
    )
    return bool(rows)


def kept(owner: str, name: str) -> Operation[bytes | None]:
    """The value of this name, if there is one."""
    rows = yield Query("SELECT value FROM kept WHERE owner = ? AND name = ?", (owner, name))
    return bytes(rows[0][0]) if rows else None


def drop_kept(owner: str, name: str) -> Operation[None]:
    """Keep it no longer."""
    yield Query("DELETE FROM kept WHERE owner = ? AND name = ?", (owner, name))


def delete_states(owner: str, state_ids: Sequence[str]) -> Operation[int]:
    """Remove values of this owner; gives how many were there."""
    removed = 0
    for start in range(0, len(state_ids), _MARKS_MAX):
        some = state_ids[start : start + _MARKS_MAX]
        marks = ", ".join("?" * len(some))
        rows = yield Query(
            f"DELETE FROM states WHERE owner = ? AND id IN ({marks}) RETURNING id",  # noqa: S608
            (owner, *some),
        )
        removed += len(rows)
    return removed


def purge_states(before: float, number: int) -> Operation[int]:
    """Remove some of the states that are older; gives how many."""
    rows = yield Query(
        "DELETE FROM states WHERE (owner, id) IN "
        "(SELECT owner, id FROM states WHERE created < ? LIMIT ?) RETURNING id",
        (before, number),
    )
    return len(rows)


# The ledger


def add_rows(rows: Sequence[tuple[object, ...]]) -> Operation[None]:
    """Write rows down; those that are there already stay as they are."""
    yield Query(_INSERT_ROW, rows, is_many=True)


def ledger_rows(limit: int) -> Operation[list[LedgerRow]]:
    """The latest rows, newest first."""
    rows = yield Query(f"SELECT {_COLUMNS} FROM ledger ORDER BY created DESC LIMIT ?", (limit,))  # noqa: S608
    return [LedgerRow(*row) for row in rows]


def purge_rows(before: float, number: int) -> Operation[int]:
    """Remove some of the rows that are older; gives how many."""
    rows = yield Query(
        "DELETE FROM ledger WHERE id IN (SELECT id FROM ledger WHERE created < ? LIMIT ?) "
        "RETURNING id",
        (before, number),
    )
    return len(rows)
