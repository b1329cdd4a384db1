"""A SQLite file of what agents keep: memories, passages, written tools, sessions."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from polycall.errors import RequestError

_WAIT_S = 30.0  # for another process that writes


def open_database(path: str | Path, schema: str, what: str) -> sqlite3.Connection:
    """The database at `path`, with its tables; `":memory:"` is in memory.

    Threads may share it under a lock of their own.  Raises `RequestError` that says `what` cannot
    be kept there.
    """
    try:
        if str(path) != ":memory:":
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(
            path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False
        )
        try:
            database.execute("pragma journal_mode = wal")
            database.execute("pragma synchronous = normal")
            database.executescript(schema)
        except BaseException:
            database.close()
            raise
    except (OSError, sqlite3.Error) as error:
        raise RequestError(f"{what} cannot be kept in {str(path)!r}: {error}") from None
    return database
