"""The database of agents for memories, passages, written tools and sessions: SQLite or Postgres."""

from __future__ import annotations

import importlib
import os
import sqlite3
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from polycall._support.private_files import make_private_database
from polycall._support.write_ahead import write_ahead
from polycall.errors import RequestError

_WAIT_S = 30.0  # for another process that writes


class SqliteConnection:
    """A connection to SQLite that threads share.

    A forked child has one of its own: what it inherits belongs to its parent.
    """

    def __init__(self, path: str | Path, schema: str, what: str) -> None:
        self._opening = (path, schema, what)
        self._lock = threading.Lock()
        self._connection = _opened(path, schema, what)
        self._pid = os.getpid()
        self._of_parents: list[sqlite3.Connection] = []

    def __reduce__(self) -> Any:
        """Elsewhere it is the same file, opened anew."""
        return SqliteConnection, self._opening

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """Every row that a statement gives."""
        with self._lock:
            return self._current().execute(sql, values).fetchall()

    @contextmanager
    def changing(self) -> Generator[sqlite3.Connection]:
        """The connection in a transaction of its own."""
        with self._lock:
            connection = self._current()
            connection.execute("begin immediate")
            try:
                yield connection
            except BaseException:
                connection.execute("rollback")
                raise
            connection.execute("commit")

    def close(self) -> None:
        """Close it."""
        with self._lock:
            if self._pid == os.getpid():
                self._connection.close()

    def __del__(self) -> None:
        # Python 3.13 and later warn of one that nobody closed; a parent's is left to it.  One that
        # could not be opened has no process yet.
        if getattr(self, "_pid", None) == os.getpid():
            self._connection.close()

    def _current(self) -> sqlite3.Connection:
        """The connection of this process."""
        if self._pid != os.getpid() and str(self._opening[0]) != ":memory:":
            # Neither used nor closed here: either would disturb the parent's.
            self._of_parents.append(self._connection)
            self._connection, self._pid = _opened(*self._opening), os.getpid()
        return self._connection


def open_database(path: str | Path, schema: str, what: str) -> SqliteConnection:
    """The database at `path`, with its tables; `":memory:"` is in memory.

    Raises `RequestError` that says `what` cannot be kept there.
    """
    return SqliteConnection(path, schema, what)


def _opened(path: str | Path, schema: str, what: str) -> sqlite3.Connection:
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
        self._pid = os.getpid()
        self._connection = self._connected()
        self._of_parents: list[Any] = []

    def __reduce__(self) -> Any:
        """Elsewhere it is the same database, connected to anew."""
        return PostgresConnection, (self._url, self._what)

    @contextmanager
    def changing(self) -> Generator[Any]:
        """The connection in a transaction of its own; `RequestError` where it is out of reach."""
        with self._lock:
            if self._pid != os.getpid():
                # A forked child: what it inherits belongs to its parent.
                self._of_parents.append(self._connection)
                self._connection, self._pid = self._connected(), os.getpid()
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
            if self._pid == os.getpid():
                self._connection.close()

    def _connected(self) -> Any:
        try:
            return self._psycopg.connect(self._url, autocommit=True)
        except self._psycopg.Error as error:
            raise RequestError(f"{self._what} cannot be reached: {error}") from None
