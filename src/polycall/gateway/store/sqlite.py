"""SQLite: one file, shared by the processes of a machine.

Reads happen where they are asked for (a few microseconds from the page cache); writes happen on
one thread, in batches, so that no request waits for another's commit longer than it must.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from polycall._support.memo import Memo
from polycall._support.private_files import make_private_database
from polycall._support.write_ahead import write_ahead
from polycall.errors import RequestError, StoreError
from polycall.gateway.store.base import Operation, Query, Rows, SlowQueryError, insert_of
from polycall.gateway.store.schema import migrate

T = TypeVar("T")

_BUSY_S = 10.0
_GONE = StoreError("the store's file was removed or replaced; put it back, or start again")
_WORDS = {
    "blob": "BLOB",
    "real": "REAL",
    "int": "INTEGER",
    "money": "TEXT",
    "without_rowid": "WITHOUT ROWID",
    "audit_unchanged": "CREATE TRIGGER audit_unchanged BEFORE UPDATE ON audit "
    "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END",
    "audit_undeleted": "CREATE TRIGGER audit_undeleted BEFORE DELETE ON audit "
    "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END",
}


# A long look at all rows ends here, and nobody's answer waits for it.
_ASIDE_S = 10.0
_ASIDE_STEPS = 10_000  # of SQLite's machine between two looks at the clock
_AT_ONCE = (64, 32, 16, 8, 4, 2, 1)  # rows of one statement: few forms of it are prepared


class _Job(NamedTuple):
    operation: Operation[Any]
    done: asyncio.Future[Any]


class SQLiteEngine:
    """An engine on one file, or in memory for one process.  `close` stops its thread."""

    def __init__(self, path: str) -> None:
        """Open `path`, and bring its tables to this version."""
        self._path = path
        _make_private(path)
        connection: sqlite3.Connection | None = None
        try:
            connection = self._connection = self._connect()
            self.run_now(migrate(_WORDS))
            self._file = self._identity()
            # Opened here, where a failure can be told: on the thread nobody would hear of it, and
            # all who wait for a write would wait for ever.
            self._writer = self._connection if path == ":memory:" else self._connect()
        except sqlite3.Error as error:
            if connection is not None:
                connection.close()
            hint = ""
            if path != ":memory:" and not os.access(Path(path).parent, os.W_OK):
                hint = "; its folder cannot be written: name another in store.url"
            raise RequestError(f"the store {path!r} cannot be opened: {error}{hint}") from None
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False
        self._aside: sqlite3.Connection | None = None
        self._aside_lock = threading.Lock()
        self._thread = threading.Thread(target=self._write_all, name="polycall-store", daemon=True)
        self._thread.start()

    async def read(self, operation: Operation[T]) -> T:
        """Run it here: readers do not wait for writers."""
        try:
            return _run(self._connection, operation)
        except sqlite3.Error as error:
            raise _failure(error) from None

    async def read_aside(self, operation: Operation[T]) -> T:
        """Run it on another thread, on a connection of its own, within ten seconds."""
        if self._path == ":memory:":
            return await self.read(operation)
        return await asyncio.to_thread(self._read_aside, operation)

    def _read_aside(self, operation: Operation[T]) -> T:
        with self._aside_lock:
            ends_at = time.monotonic() + _ASIDE_S
            try:
                if self._aside is None:
                    self._aside = self._connect()
                    self._aside.execute("PRAGMA query_only = ON")
                self._aside.set_progress_handler(lambda: time.monotonic() > ends_at, _ASIDE_STEPS)
                return _run(self._aside, operation)
            except sqlite3.OperationalError as error:
                if time.monotonic() > ends_at:
                    raise SlowQueryError from None
                raise _failure(error) from None
            except sqlite3.Error as error:
                raise _failure(error) from None

    def reader(self) -> SQLiteReader | None:
        """The same file, to be read in another process; memory is this process's alone."""
        return None if self._path == ":memory:" else SQLiteReader(os.path.abspath(self._path))

    async def write(self, operation: Operation[T]) -> T:
        """Run it on the writer's thread."""
        if self._is_closed:
            raise StoreError("the store is closed")
        loop = self._loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._queue.put(_Job(operation, done))
        return await done

    def run_now(self, operation: Operation[T]) -> T:
        """Run it in a transaction of its own, under the lock of all processes."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            result = _run(self._connection, operation)
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
        return result

    async def close(self) -> None:
        """Write what is waiting, and close the file."""
        self._is_closed = True
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        with self._aside_lock:
            if self._aside is not None:
                self._aside.close()
        self._connection.close()

    def _connect(self) -> sqlite3.Connection:
        # One connection for reads on the loop's thread and one for writes on the writer's; in
        # memory there is only one, so it is shared under SQLite's own lock.
        connection = sqlite3.connect(
            self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
        )
        write_ahead(connection, wait_s=_BUSY_S)
        connection.execute("PRAGMA synchronous = NORMAL")
        return _taught(connection)

    def _identity(self) -> tuple[int, int] | None:
        """Which file it is; `None` where there is none."""
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    # The writer's thread

    def _write_all(self) -> None:
        is_open = True
        while is_open:
            batch = [self._queue.get()]
            while not self._queue.empty():
                batch.append(self._queue.get())
            jobs = [job for job in batch if job is not None]
            is_open = len(jobs) == len(batch)
            if jobs:
                # SQLite would continue writing to a file that nobody can open again.
                is_gone = self._identity() != self._file
                results = [_GONE] * len(jobs) if is_gone else _write_batch(self._writer, jobs)
                if self._loop is not None:
                    with contextlib.suppress(RuntimeError):  # a closed loop: nobody waits there
                        self._loop.call_soon_threadsafe(_settle, jobs, results)
        if self._writer is not self._connection:
            self._writer.close()


class SQLiteReader:
    """Reads the file of an engine, and cannot change it.  Opened with the first operation."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    @property
    def address(self) -> tuple[str, str]:
        """The address for another process."""
        return "sqlite", self._path

    def run(self, operation: Operation[T]) -> T:
        """Run it here, and wait for it."""
        try:
            if self._connection is None:
                self._connection = _taught(
                    sqlite3.connect(
                        f"{Path(self._path).as_uri()}?mode=ro",
                        uri=True,
                        timeout=_BUSY_S,
                        isolation_level=None,
                        check_same_thread=False,  # `interrupt` comes from another
                    )
                )
            return _run(self._connection, operation)
        except sqlite3.Error as error:
            raise _failure(error) from None

    def interrupt(self) -> None:
        """End the operation that runs now, from another thread."""
        if self._connection is not None:
            self._connection.interrupt()


def _taught(connection: sqlite3.Connection) -> sqlite3.Connection:
    connection.create_aggregate("exact_sum", 1, _ExactSum)
    connection.create_function("utc_day", 1, _utc_day, deterministic=True)
    connection.create_function("utc_hour", 1, _utc_hour, deterministic=True)
    return connection


def _make_private(path: str) -> None:
    """It is its owner's alone: in it is the secret that carried state is sealed with."""
    with contextlib.suppress(OSError):  # it is there, or cannot be made: opening it says why
        if path != ":memory:":
            make_private_database(path)


def _write_batch(connection: sqlite3.Connection, jobs: list[_Job]) -> list[Any]:
    """Results in one transaction; a job that fails takes none of the others with it."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        if len(jobs) == 1:
            results = [_run(connection, jobs[0].operation)]
        else:
            results = [_in_savepoint(connection, job.operation) for job in jobs]
        connection.execute("COMMIT")
    except Exception as error:  # noqa: BLE001 - the callers get it; the thread has to live on
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        return [_told(error)] * len(jobs)
    return results


def _in_savepoint(connection: sqlite3.Connection, operation: Operation[Any]) -> Any:
    connection.execute("SAVEPOINT job")
    try:
        result = _run(connection, operation)
    except Exception as error:  # noqa: BLE001 - the caller gets it; the thread has to live on
        connection.execute("ROLLBACK TO job")
        result = _told(error)
    connection.execute("RELEASE job")
    return result


def _run(connection: sqlite3.Connection, operation: Operation[T]) -> T:
    try:
        query = next(operation)
        while True:
            query = operation.send(_execute(connection, query))
    except StopIteration as end:
        return end.value


def _execute(connection: sqlite3.Connection, query: Query) -> Rows:
    if query.is_many:
        for sql, values in _inserts_of(query):
            connection.execute(sql, values)
        return []
    return connection.execute(query.sql, query.values).fetchall()


def _inserts_of(query: Query) -> Iterator[tuple[str, list[Any]]]:
    """The statements of a query for many rows, each for as many of them as one can have.

    A row in a statement of its own takes half as long again, and has the writer's thread ask for
    the interpreter three times.
    """
    place = 0
    for count in _AT_ONCE:
        while len(query.values) - place >= count:
            rows = query.values[place : place + count]
            yield _inserts[query.sql, count], list(chain.from_iterable(rows))
            place += count


def _insert(asked: tuple[str, int]) -> str:
    """A statement that inserts one row, for so many of them."""
    sql, count = asked
    insert = insert_of(sql)
    return f"{insert.head}{', '.join([insert.marks] * count)}{insert.tail}"


_inserts = Memo(_insert)


def _settle(jobs: list[_Job], results: list[Any]) -> None:
    for (_, done), result in zip(jobs, results, strict=True):
        if done.done():
            continue
        if isinstance(result, Exception):
            done.set_exception(result)
        else:
            done.set_result(result)


def _told(error: Exception) -> Exception:
    return _failure(error) if isinstance(error, sqlite3.Error) else error


def _failure(error: sqlite3.Error) -> StoreError:
    return StoreError(f"the store does not answer: {error}")


class _ExactSum:
    """Sums amounts of money, which are kept as text, without rounding."""

    def __init__(self) -> None:
        self._total = Decimal(0)

    def step(self, value: Any) -> None:
        if value is not None:
            self._total += Decimal(value)

    def finalize(self) -> Any:
        return f"{self._total:f}"


def _utc_day(created: float) -> str:
    return f"{datetime.fromtimestamp(created, UTC):%Y-%m-%d}"


def _utc_hour(created: float) -> str:
    return f"{datetime.fromtimestamp(created, UTC):%Y-%m-%d %H}:00"


def path_of(url: str, folder: Path) -> str:
    """The file that `sqlite:///FILE` names, relative to `folder`; `sqlite://` is memory only."""
    if url.startswith("sqlite:////"):
        return "/" + url.removeprefix("sqlite:////")
    name = url.removeprefix("sqlite:").removeprefix("//").removeprefix("/")
    return str(folder / name) if name else ":memory:"
