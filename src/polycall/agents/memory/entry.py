"""Entries of the memory, and the protocol of stores that keep them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from polycall.errors import ToolError


class Entry(Struct, frozen=True, omit_defaults=True):
    """One thing that is remembered.

    `scope` says whose it is, such as `user:min`.  Times are seconds since the epoch; `expires` is
    `None` for what is kept.
    """

    id: str
    scope: str
    text: str
    created: float
    updated: float
    expires: float | None = None

    def is_alive(self, now: float) -> bool:
        """Whether it has not expired."""
        return self.expires is None or self.expires > now


class MemoryFullError(ToolError):
    """A scope holds as many entries as it may; something must be forgotten first."""


class MemoryStore(Protocol):
    """Keeps entries.  Every method is one transaction, for threads and processes side by side.

    What has expired at `now` is never returned, whether it was removed yet or not.
    """

    def add(self, entries: Sequence[Entry], *, entries_max: int, now: float) -> None:
        """Keep them all, or raise `MemoryFullError` where a scope would hold too many."""
        ...

    def update(
        self, scopes: Sequence[str], entry_id: str, text: str, expires: float | None, now: float
    ) -> Entry | None:
        """Another text and expiry for an entry; `None` where there is no such one."""
        ...

    def remove(self, scopes: Sequence[str], entry_id: str, now: float) -> bool:
        """Forget an entry; false where there is no such one."""
        ...

    def search(self, scopes: Sequence[str], query: str, limit: int, now: float) -> list[Entry]:
        """The entries that fit best, best first."""
        ...

    def recent(self, scopes: Sequence[str], limit: int, now: float) -> list[Entry]:
        """The entries that changed last, newest first."""
        ...

    def purge(self, now: float) -> int:
        """Remove what has expired; how many that were."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


def full(scope: str, entries_max: int) -> MemoryFullError:
    """The error for a scope without room."""
    kind = scope.partition(":")[0]
    return MemoryFullError(
        f"the memory of this {kind} is full ({entries_max} entries); forget or update something"
    )
