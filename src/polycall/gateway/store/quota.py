"""The quota of each key: where one has too much, its own oldest values are dropped.

Nobody else's do, whatever one key keeps.  Adding up what a key has takes a while, so it is done
once a process has written a part of the bound for it, and for all keys now and then.
"""

from __future__ import annotations

from polycall.gateway.store.base import Operation, Query

MAKERS = "makers"  # the owner of what says which key made what: of all keys, and has no bound
_ROW_BYTES = 200  # that a value takes besides its own
_LOOKS = 16  # at a key, until it has written as much as it may keep


class Written:
    """The bytes that this process has written for each key since it last looked."""

    def __init__(self) -> None:
        self._bytes: dict[str, int] = {}

    def note(self, owner: str, size: int) -> None:
        """A value was written."""
        self._bytes[owner] = self._bytes.get(owner, 0) + size + _ROW_BYTES

    def due(self, bytes_max: int) -> list[str]:
        """The keys to look at now."""
        owners = [owner for owner, size in self._bytes.items() if size * _LOOKS > bytes_max]
        for owner in owners:
            del self._bytes[owner]
        return owners


def kept_bytes(owner: str) -> Operation[int]:
    """The bytes that are kept for a key."""
    rows = yield Query(
        "SELECT COALESCE(SUM(LENGTH(value) + ?), 0) FROM states WHERE owner = ?",
        (_ROW_BYTES, owner),
    )
    return int(rows[0][0])


def owners_above(bytes_max: int) -> Operation[list[str]]:
    """The keys for which more is kept."""
    rows = yield Query(
        "SELECT owner FROM states WHERE owner <> ? GROUP BY owner "
        "HAVING SUM(LENGTH(value) + ?) > ?",
        (MAKERS, _ROW_BYTES, bytes_max),
    )
    return [owner for (owner,) in rows]


def oldest_states(owner: str, number: int) -> Operation[list[tuple[str, int]]]:
    """The oldest values of a key, and what each takes."""
    rows = yield Query(
        "SELECT id, LENGTH(value) + ? FROM states WHERE owner = ? ORDER BY created, id LIMIT ?",
        (_ROW_BYTES, owner, number),
    )
    return [(state_id, int(size)) for state_id, size in rows]
