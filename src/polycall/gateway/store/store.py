"""The store as the gateway sees it, whatever database is behind it.

A write that was awaited is committed: killing the process loses nothing of it.  Rows of the ledger
are written behind the requests, in batches four times a second.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import astuple

from polycall.errors import RequestError, StoreError
from polycall.gateway.store import operations
from polycall.gateway.store.base import Engine, LedgerRow
from polycall.gateway.store.sqlite import SQLiteEngine, path_of

logger = logging.getLogger("polycall.store")

STATE_DAYS = 30
FLUSH_S = 0.25
_CACHE_BYTES_MAX = 4 * 1024 * 1024


def open_store(url: str, folder: Path) -> Store:
    """The store behind `sqlite:///FILE` (relative to `folder`), `sqlite://` or `postgresql://...`.

    Brings its tables to this version, and waits for that; raises `RequestError` where it cannot be
    opened.
    """
    if url.startswith("sqlite:"):
        return Store(SQLiteEngine(path_of(url, folder)))
    try:
        from polycall.gateway.store.postgres import PostgresEngine  # noqa: PLC0415 - an extra
    except ImportError:
        raise RequestError(
            "a store in Postgres needs psycopg; install 'polycall[postgres]'"
        ) from None
    return Store(PostgresEngine(url))


class Store:
    """Carried state, the ledger and the server's secret.  Made and closed by the server."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.secret = engine.run_now(operations.secret("carrier", secrets.token_bytes(32)))
        self._cache = _Cache()
        self._rows: list[tuple[object, ...]] = []
        self._flush_handle: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Task[None] | None = None

    # Carried state

    async def save_state(self, owner: str, state_id: str, value: bytes) -> None:
        """Keep `value`; it is committed when this returns."""
        self._cache.put((owner, state_id), value)
        await self._engine.write(operations.save_state(owner, state_id, value, time.time()))

    async def load_states(self, owner: str, state_ids: Sequence[str]) -> dict[str, bytes]:
        """The values that are there, of this owner only."""
        found: dict[str, bytes] = {}
        missing: list[str] = []
        for state_id in state_ids:
            value = self._cache.get((owner, state_id))
            if value is None:
                missing.append(state_id)
            else:
                found[state_id] = value
        if missing:
            loaded = await self._engine.read(operations.load_states(owner, missing))
            for state_id, value in loaded.items():
                self._cache.put((owner, state_id), value)
            found.update(loaded)
        return found

    async def take_state(self, owner: str, state_id: str) -> bytes | None:
        """Remove a value and give it: of several that ask, on any replica, one gets it.

        A state is either loaded or taken, never both: other processes may remember what they
        loaded.
        """
        self._cache.pop((owner, state_id))
        return await self._engine.write(operations.take_state(owner, state_id))

    # The ledger

    def add_row(self, row: LedgerRow) -> None:
        """Write a row down soon; `close` waits for all of them."""
        self._rows.append(astuple(row))
        if self._flush_handle is None:
            self._flush_handle = asyncio.get_running_loop().call_later(FLUSH_S, self._start_flush)

    async def ledger_rows(self, limit: int = 100) -> list[LedgerRow]:
        """The latest rows, newest first."""
        return await self._engine.read(operations.ledger_rows(limit))

    def _start_flush(self) -> None:
        self._flush_handle = None
        self._flushing = asyncio.ensure_future(self._flush())

    async def _flush(self) -> None:
        rows, self._rows = self._rows, []
        if not rows:
            return
        try:
            await self._engine.write(operations.add_rows(rows))
        except StoreError as error:
            logger.error("%d rows of the ledger were not written: %s", len(rows), error)  # noqa: TRY400

    # Life

    async def is_writable(self) -> bool:
        """Whether the store answers."""
        try:
            await self._engine.read(operations.ping())
        except StoreError:
            return False
        return True

    async def close(self) -> None:
        """Write what is waiting, and stop."""
        if self._flush_handle is not None:
            self._flush_handle.cancel()
        if self._flushing is not None:
            await self._flushing
        await self._flush()
        await self._engine.close()


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
        self.pop(key)
        self._values[key] = value
        self._size_bytes += len(value)
        while self._size_bytes > _CACHE_BYTES_MAX:
            _, dropped = self._values.popitem(last=False)
            self._size_bytes -= len(dropped)

    def pop(self, key: tuple[str, str]) -> None:
        self._size_bytes -= len(self._values.pop(key, b""))
