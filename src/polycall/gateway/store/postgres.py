"""Postgres, for gateways on several machines.  Needs the extra `polycall[postgres]`.

Imported only where the configuration names it.  Nothing here waits without a bound: a database
that does not answer is a `StoreError` after seconds.
"""

from __future__ import annotations

import asyncio
import functools
from typing import Any, TypeVar

import psycopg
import psycopg_pool

from polycall._support import jsontext
from polycall.errors import RequestError, StoreError
from polycall.gateway.store.base import Operation, Query, Rows, insert_of
from polycall.gateway.store.schema import migrate

T = TypeVar("T")

_CONNECT_S = 5
_CHECKOUT_S = 2.0
_CONNECTIONS_MAX = 8
# Two gateways that start at once must not migrate at once.
_LOCK_ID = 7_265_002
_WORDS = {
    "blob": "BYTEA",
    "real": "DOUBLE PRECISION",
    "int": "BIGINT",
    "money": "NUMERIC",
    "without_rowid": "",
    "audit_unchanged": "CREATE RULE audit_unchanged AS ON UPDATE TO audit DO INSTEAD NOTHING",
    "audit_undeleted": "CREATE RULE audit_undeleted AS ON DELETE TO audit DO INSTEAD NOTHING",
}
# What SQLite is taught, in Postgres' own words.
_FUNCTIONS = {
    "exact_sum(": "sum(",
    "utc_hour(created)": (
        "to_char(to_timestamp(created) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:00')"
    ),
    "CAST(created / ? AS INTEGER)": "CAST(floor(created / ?) AS BIGINT)",
    "utc_day(created)": "to_char(to_timestamp(created) AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
}
_OPTIONS: dict[str, Any] = {
    "autocommit": True,
    "connect_timeout": _CONNECT_S,
    "application_name": "polycall",
    # A machine that vanished answers nothing, not even with an error.
    "tcp_user_timeout": 8000,
}


class PostgresEngine:
    """An engine on a small pool of connections, opened with the first operation."""

    def __init__(self, url: str, deadline_s: float) -> None:
        """Bring the database's tables to this version, however long that takes.

        `deadline_s` is the most that an operation may take afterwards.
        """
        self._url = url
        self._deadline_s = deadline_s
        self.run_now(_migrate_locked())
        self._pool: psycopg_pool.AsyncConnectionPool[psycopg.AsyncConnection[Any]] | None = None

    async def read(self, operation: Operation[T]) -> T:
        """The same as `write`: an operation sees one state of the database."""
        return await self.write(operation)

    async def read_aside(self, operation: Operation[T]) -> T:
        """The same as `write`: nothing else waits for it."""
        return await self.write(operation)

    def reader(self) -> PostgresReader:
        """The same database, to be read in another process."""
        return PostgresReader(self._url)

    async def write(self, operation: Operation[T]) -> T:
        """Run it in a transaction on a connection of the pool."""
        if self._pool is None:
            milliseconds = int(self._deadline_s * 1000)
            bounds = f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds}"
            self._pool = psycopg_pool.AsyncConnectionPool(
                self._url,
                kwargs={**_OPTIONS, "options": bounds},
                min_size=1,
                max_size=_CONNECTIONS_MAX,
                timeout=_CHECKOUT_S,
                # Then the next who asks tries anew: left to itself, the pool waits twice as long
                # each time, and would notice a database that is back only after minutes.
                reconnect_timeout=_CHECKOUT_S,
                check=psycopg_pool.AsyncConnectionPool.check_connection,
                open=False,
            )
            await self._pool.open()
        asked = _times_cancelled()
        try:
            async with (
                asyncio.timeout(self._deadline_s),
                self._pool.connection() as connection,
            ):
                # The pool waits by `asyncio.wait_for`, which forgets in Python 3.11 that its task
                # was cancelled while what it waited for came (python/cpython#86296).
                if _times_cancelled() > asked:
                    raise asyncio.CancelledError
                async with connection.transaction():
                    return await _run(connection, operation)
        except (psycopg.Error, psycopg_pool.PoolTimeout, TimeoutError) as error:
            raise _failure(error) from None

    def run_now(self, operation: Operation[T]) -> T:
        """Run it on a connection of its own, waiting for it."""
        try:
            with (
                psycopg.connect(self._url, **_OPTIONS) as connection,
                connection.transaction(),
            ):
                return _run_now(connection, operation)
        except psycopg.Error as error:
            raise RequestError(f"the store cannot be opened: {_words(error)}") from None

    async def close(self) -> None:
        """Close all connections."""
        if self._pool is not None:
            await self._pool.close(timeout=_CONNECT_S)


class PostgresReader:
    """Reads the database of an engine, and cannot change it.  Opened with the first operation."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: psycopg.Connection[Any] | None = None

    @property
    def address(self) -> tuple[str, str]:
        """The address for another process."""
        return "postgres", self._url

    def run(self, operation: Operation[T]) -> T:
        """Run it here, and wait for it; after a failure the next one connects anew."""
        try:
            if self._connection is None:
                bounds = "-c default_transaction_read_only=on"
                self._connection = psycopg.connect(self._url, **_OPTIONS, options=bounds)
            with self._connection.transaction():
                return _run_now(self._connection, operation)
        except psycopg.Error as error:
            if self._connection is not None and self._connection.closed:
                self._connection = None
            raise _failure(error) from None

    def interrupt(self) -> None:
        """End the operation that runs now, from another thread."""
        connection = self._connection
        if connection is not None:
            connection.cancel()


def _times_cancelled() -> int:
    task = asyncio.current_task()
    return task.cancelling() if task is not None else 0


def _migrate_locked() -> Operation[None]:
    yield Query("SELECT pg_advisory_xact_lock(?)", (_LOCK_ID,))
    yield from migrate(_WORDS)


async def _run(connection: psycopg.AsyncConnection[Any], operation: Operation[T]) -> T:
    async with connection.cursor() as cursor:
        try:
            query = next(operation)
            while True:
                if query.is_many:
                    await _insert_all(cursor, query)
                    query = operation.send([])
                    continue
                await cursor.execute(_own(query.sql), query.values)
                rows = [] if cursor.description is None else await cursor.fetchall()
                query = operation.send(rows)
        except StopIteration as end:
            return end.value


async def _insert_all(cursor: psycopg.AsyncCursor[Any], query: Query) -> None:
    sql, names = _from_json(query.sql)
    if any(isinstance(value, bytes) for row in query.values for value in row):  # JSON has none
        await cursor.executemany(_own(query.sql), query.values)
        return
    rows = [dict(zip(names, row, strict=True)) for row in query.values]
    await cursor.execute(sql, (jsontext.encode(rows),))


@functools.cache
def _from_json(sql: str) -> tuple[Any, list[str]]:
    """The statement that inserts all rows of a JSON text, in half the time; its columns' names."""
    insert = insert_of(sql)
    table, names = insert.table, insert.names
    rows = f"SELECT {names} FROM json_populate_recordset(NULL::{table}, %s)"  # noqa: S608 - constant names
    return f"INSERT INTO {table} ({names}) {rows}{insert.tail}", names.split(", ")


def _run_now(connection: psycopg.Connection[Any], operation: Operation[T]) -> T:
    try:
        query = next(operation)
        while True:
            query = operation.send(_fetch(connection, query))
    except StopIteration as end:
        return end.value


def _fetch(connection: psycopg.Connection[Any], query: Query) -> Rows:
    cursor = connection.execute(_own(query.sql), query.values)
    return [] if cursor.description is None else cursor.fetchall()


@functools.cache
def _own(sql: str) -> Any:
    """The statement with this driver's marks."""
    for word, own in _FUNCTIONS.items():
        sql = sql.replace(word, own)
    return sql.replace("%", "%%").replace("?", "%s")


def _words(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _failure(error: BaseException) -> StoreError:
    return StoreError(f"the store does not answer: {_words(error)}")
