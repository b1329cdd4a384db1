"""Where agents keep things, memories, passages, written tools and sessions: SQLite or Postgres."""

from __future__ import annotations

import importlib
import sqlite3
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from polycall._support.private_files import make_private_database
from polycall._support.write_ahead import write_ahead
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
            make_private_database(path)
        database = sqlite3.connect(
            path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False
        )
        try:
            write_ahead(database, wait_s=_WAIT_S)
            database.execute("pragma synchronous = normal")
            database.executescript(schema)
        except BaseException:
            database.close()
            raise
    except (OSError, sqlite3.Error) as error:
        reason = error.strerror or error if isinstance(error, OSError) else error
        raise RequestError(f"{what} cannot be kept in {str(path)!r}: {reason}") from None
    return database


class PostgresConnection:
    """One connection to Postgres that threads share; one that broke is made anew."""

    def __init__(self, url: str, what: str) -> None:
        try:
            self._psycopg: Any = importlib.import_module("psycopg")
        except ModuleNotFoundError:
            raise RequestError(
                f"{what} in Postgres needs psycopg; install 'polycall[postgres]'"
            ) from None
        self._url = url
        self._what = what
        self._lock = threading.Lock()
        self._connection = self._connected()

    @contextmanager
    def changing(self) -> Generator[Any]:
        """The connection in a transaction of its own; `RequestError` where it is out of reach."""
        with self._lock:
            try:
                self._connection.execute("select 1")
            except self._psycopg.OperationalError:
                # The server was started anew, perhaps, and nothing was asked of it yet.
                self._connection.close()
                self._connection = self._connected()
            try:
                with self._connection.transaction():
                    yield self._connection
            except self._psycopg.OperationalError as error:
                raise RequestError(f"{self._what} cannot be reached: {error}") from None

    def close(self) -> None:
        """Close it."""
        with self._lock:
            self._connection.close()

    def _connected(self) -> Any:
        try:
            return self._psycopg.connect(self._url, autocommit=True)
        except self._psycopg.Error as error:
            raise RequestError(f"{self._what} cannot be reached: {error}") from None
