"""The store: what must outlive the process.  SQLite, one file, shared by replicas on a machine.

Reads happen where they are asked for (a few microseconds from the page cache); writes happen on
one thread, in batches, so that no request waits for another's commit longer than it must.  A
write that was awaited is committed: killing the process loses nothing of it.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import secrets
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import astuple

logger = logging.getLogger("polycall.store")

STATE_DAYS = 30
_CACHE_BYTES_MAX = 4 * 1024 * 1024
_BUSY_S = 10.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS states (
    id TEXT NOT NULL, owner TEXT NOT NULL, created REAL NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (owner, id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS states_created ON states (created);
CREATE TABLE IF NOT EXISTS ledger (
    id TEXT PRIMARY KEY, created REAL NOT NULL, key TEXT NOT NULL, client TEXT NOT NULL,
    asked TEXT NOT NULL, provider TEXT NOT NULL, model TEXT NOT NULL, streamed INTEGER NOT NULL,
    status INTEGER NOT NULL, outcome TEXT NOT NULL, attempts INTEGER NOT NULL,
    input_tokens INTEGER, output_tokens INTEGER, cached_tokens INTEGER,
    cache_write_tokens INTEGER, reasoning_tokens INTEGER, is_estimate INTEGER NOT NULL,
    cost_usd TEXT,
    duration_ms REAL NOT NULL, first_ms REAL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS ledger_created ON ledger (created);
"""
_INSERT_STATE = "INSERT OR REPLACE INTO states (id, owner, created, value) VALUES (?, ?, ?, ?)"


class LedgerRow(Struct, frozen=True, array_like=True):
    """One request, as it is written down.  Tokens are `None` where the provider said nothing."""

    id: str
    created: float
    key: str
    client: str
    asked: str
    provider: str
    model: str
    streamed: int
    status: int
    outcome: str  # ok, error, cancelled, truncated
    attempts: int
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    is_estimate: int  # the tokens were counted here, since the provider did not get to say
    cost_usd: str | None
    duration_ms: float
    first_ms: float | None


_FIELDS = LedgerRow.__struct_fields__
_INSERT_LEDGER = (
    f"INSERT OR REPLACE INTO ledger ({', '.join(_FIELDS)}) "  # noqa: S608 - constant names
    f"VALUES ({', '.join('?' * len(_FIELDS))})"
)

_Write: TypeAlias = tuple[str, Sequence[tuple[object, ...]], "asyncio.Future[None] | None"]


class Store:
    """Carried state, the ledger and the server's secret.  Made and closed by the server."""

    def __init__(self, url: str, folder: Path) -> None:
        """`url` is `sqlite:///FILE` (relative to `folder`) or `sqlite://` for memory only."""
        name = url.removeprefix("sqlite:").removeprefix("//").removeprefix("/")
        self._path = str(folder / name) if name else ":memory:"
        if url.startswith("sqlite:////"):
            self._path = "/" + name
        self._connection = self._connect()
        with self._connection:
            self._connection.executescript(_SCHEMA)
        self.secret = self._load_secret()
        self._cache = _Cache()
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._rows: list[tuple[object, ...]] = []
        self._flush_handle: asyncio.TimerHandle | None = None
        self._thread = threading.Thread(target=self._write_all, name="polycall-store", daemon=True)
        self._thread.start()

    # Carried state

    async def save_state(self, owner: str, state_id: str, value: bytes) -> None:
        """Keep `value`; it is committed when this returns."""
        self._cache.put((owner, state_id), value)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        row = (state_id, owner, time.time(), value)
        self._loop = loop
        self._queue.put((_INSERT_STATE, [row], done))
        await done

    def load_states(self, owner: str, state_ids: Sequence[str]) -> dict[str, bytes]:
        """The values that are there, of this owner only."""
        found: dict[str, bytes] = {}
        missing: list[str] = []
        for state_id in state_ids:
            value = self._cache.get((owner, state_id))
            if value is None:
                missing.append(state_id)
            else:
                found[state_id] = value
        for start in range(0, len(missing), 500):
            some = missing[start : start + 500]
            marks = ", ".join("?" * len(some))
            query = f"SELECT id, value FROM states WHERE owner = ? AND id IN ({marks})"  # noqa: S608
            for state_id, value in self._connection.execute(query, (owner, *some)):
                found[state_id] = value
                self._cache.put((owner, state_id), value)
        return found

    # The ledger

    def add_row(self, row: LedgerRow) -> None:
        """Write a row down soon; `close` waits for all of them."""
        self._rows.append(astuple(row))
        if self._flush_handle is None:
            self._flush_handle = asyncio.get_running_loop().call_later(0.25, self._flush_rows)

    def _flush_rows(self) -> None:
        self._flush_handle = None
        if self._rows:
            rows, self._rows = self._rows, []
            self._queue.put((_INSERT_LEDGER, rows, None))

    def ledger_rows(self, limit: int = 100) -> list[LedgerRow]:
        """The latest rows, newest first."""
        query = f"SELECT {', '.join(_FIELDS)} FROM ledger ORDER BY created DESC LIMIT ?"  # noqa: S608
        return [LedgerRow(*row) for row in self._connection.execute(query, (limit,))]

    # Life

    def is_writable(self) -> bool:
        """Whether the store answers."""
        try:
            self._connection.execute("SELECT 1 FROM secrets LIMIT 1").fetchone()
        except sqlite3.Error:
            return False
        return self._thread.is_alive()

    def close(self) -> None:
        """Write what is waiting, and stop."""
        if self._flush_handle is not None:
            self._flush_handle.cancel()
        self._flush_rows()
        self._queue.put(None)
        self._thread.join()
        self._connection.close()

    def _connect(self) -> sqlite3.Connection:
        # One connection for reads on the loop's thread and one for writes on the writer's; in
        # memory there is only one, so it is shared under SQLite's own lock.
        connection = sqlite3.connect(
            self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    def _load_secret(self) -> bytes:
        self._connection.execute(
            "INSERT OR IGNORE INTO secrets (name, value) VALUES ('carrier', ?)",
            (secrets.token_bytes(32),),
        )
        row = self._connection.execute(
            "SELECT value FROM secrets WHERE name = 'carrier'"
        ).fetchone()
        return bytes(row[0])

    # The writer's thread

    def _write_all(self) -> None:
        connection = self._connection if self._path == ":memory:" else self._connect()
        self._purge(connection)
        while True:
            batch = [self._queue.get()]
            while not self._queue.empty():
                batch.append(self._queue.get())
            writes = [write for write in batch if write is not None]
            if writes:
                self._write_batch(connection, writes)
            if len(writes) < len(batch):
                break
        if connection is not self._connection:
            connection.close()

    def _write_batch(self, connection: sqlite3.Connection, writes: list[_Write]) -> None:
        failure: sqlite3.Error | None = None
        try:
            connection.execute("BEGIN IMMEDIATE")
            for statement, rows, _ in writes:
                connection.executemany(statement, rows)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            failure = error
            logger.error("the store did not take a write: %s", error)  # noqa: TRY400
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        waiting = [done for _, _, done in writes if done is not None]
        if waiting and self._loop is not None:
            self._loop.call_soon_threadsafe(_settle, waiting, failure)

    def _purge(self, connection: sqlite3.Connection) -> None:
        before = time.time() - STATE_DAYS * 86_400
        try:
            connection.execute("DELETE FROM states WHERE created < ?", (before,))
        except sqlite3.Error as error:
            logger.warning("old carried state was not removed: %s", error)


def _settle(waiting: list[asyncio.Future[None]], failure: sqlite3.Error | None) -> None:
    for done in waiting:
        if done.done():
            continue
        if failure is None:
            done.set_result(None)
        else:
            done.set_exception(failure)


class _Cache:
    """The states used last, bounded by their size."""

    def __init__(self) -> None:
        self._values: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._size_bytes = 0

    def get(self, key: tuple[str, str]) -> bytes | None:
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: tuple[str, str], value: bytes) -> None:
        old = self._values.pop(key, b"")
        self._values[key] = value
        self._size_bytes += len(value) - len(old)
        while self._size_bytes > _CACHE_BYTES_MAX:
            _, dropped = self._values.popitem(last=False)
            self._size_bytes -= len(dropped)
