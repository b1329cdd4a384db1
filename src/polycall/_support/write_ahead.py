"""SQLite's write-ahead log, for a file that several processes may open at once."""

from __future__ import annotations

import sqlite3
import time


def write_ahead(connection: sqlite3.Connection, *, wait_s: float) -> None:
    """Switch to the write-ahead log, and wait for others who do.

    Of several that open a new file at once, SQLite lets those that come second fail, and does not
    wait as it does for anything else.  Raises `sqlite3.OperationalError` after `wait_s` seconds.
    """
    ends_at = time.monotonic() + wait_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not is_busy or time.monotonic() > ends_at:
                raise
            time.sleep(0.01)
        else:
            return
