"""Corrections in the store: what refusals taught, for all workers and replicas.

Every change raises the revision that running gateways look at.  Values are JSON, which
their readers check.
"""

from __future__ import annotations

from collections.abc import Mapping

from polycall.gateway.store.base import Operation, Query

ROWS_MAX = 512
_CHANGED = Query("UPDATE revisions SET number = number + 1 WHERE name = 'corrections'")


def save_corrections(values: Mapping[str, bytes], now: float) -> Operation[None]:
    """Keep values by their keys, in the place of older ones; the oldest go beyond a bound."""
    rows = [(key, now, value) for key, value in values.items()]
    yield Query(
        "INSERT INTO corrections (id, created, value) VALUES (?, ?, ?) ON CONFLICT (id) "
        "DO UPDATE SET created = excluded.created, value = excluded.value",
        rows,
        is_many=True,
    )
    yield Query(
        "DELETE FROM corrections WHERE id NOT IN "
        "(SELECT id FROM corrections ORDER BY created DESC LIMIT ?)",
        (ROWS_MAX,),
    )
    yield _CHANGED


def load_corrections() -> Operation[list[bytes]]:
    """All of them, the oldest first."""
    rows = yield Query("SELECT value FROM corrections ORDER BY created DESC LIMIT ?", (ROWS_MAX,))
    return [bytes(row[0]) for row in reversed(rows)]


def forget_corrections(keys: list[str]) -> Operation[None]:
    """Remove these."""
    for key in keys:
        yield Query("DELETE FROM corrections WHERE id = ?", (key,))
    yield _CHANGED


def revisions() -> Operation[dict[str, int]]:
    """Numbers that every change of what they name raises."""
    rows = yield Query("SELECT name, number FROM revisions")
    return dict(rows)
