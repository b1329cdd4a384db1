"""Writes the ledger behind the requests: in batches, through outages, each row once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from polycall.errors import StoreError
from polycall.gateway.store.base import LedgerRow
from polycall.gateway.store.spool import Spool

logger = logging.getLogger("polycall.store")

FLUSH_S = 0.25
# A database that takes longer may be on its way out: what waits for it goes to a file too, and
# so does at once what comes meanwhile.
_PATIENCE_S = 0.5
_BATCH = 500
_STUCK_MAX = 20_000

Write = Callable[[Sequence[LedgerRow]], Awaitable[None]]


class RowWriter:
    """Takes rows and writes them four times a second.  `close` when no more will come."""

    def __init__(self, write: Write, spool: Spool) -> None:
        """`write` writes rows down, and leaves those that are there as they are."""
        self._write = write
        self._spool = spool
        self._rows: list[LedgerRow] = []
        self._stuck: list[LedgerRow] = []  # that neither the database nor the spool took
        self._timer: asyncio.TimerHandle | None = None
        self._flushing: set[asyncio.Task[None]] = set()
        self._late = 0  # writes that take too long

    def add(self, row: LedgerRow) -> None:
        """Write a row soon."""
        self._rows.append(row)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_S, self._flush)

    async def recover(self, write: Write) -> None:
        """Write what waits here, or was spooled by this process or by dead ones."""
        while self._stuck:
            batch = self._stuck[:_BATCH]
            await write(batch)
            del self._stuck[: len(batch)]  # more may have come meanwhile
        for spooled in self._spool.take():
            try:
                rows = spooled.rows()
                for start in range(0, len(rows), _BATCH):
                    await write(rows[start : start + _BATCH])
            except (StoreError, OSError, asyncio.CancelledError):
                spooled.put_back()
                raise
            spooled.remove()
            if rows:
                logger.info("%d rows that were spooled are in the ledger", len(rows))

    async def close(self) -> None:
        """Write everything, or leave it in the spool."""
        if self._timer is not None:
            self._timer.cancel()
        self._rows, self._stuck = [*self._stuck, *self._rows], []
        self._flush()
        while self._flushing:
            await asyncio.wait(self._flushing)
        if self._stuck:
            logger.error("%d rows of the ledger are lost", len(self._stuck))

    def _flush(self) -> None:
        self._timer = None
        rows, self._rows = self._rows, []
        if rows:
            task = asyncio.ensure_future(self._write_or_spool(rows))
            self._flushing.add(task)
            task.add_done_callback(self._flushing.discard)

    async def _write_or_spool(self, rows: list[LedgerRow]) -> None:
        writing = asyncio.ensure_future(self._write(rows))
        await asyncio.wait({writing}, timeout=0 if self._late else _PATIENCE_S)
        is_late = not writing.done()
        if is_late:
            self._keep(rows, "the store is slow")
        self._late += is_late
        try:
            await writing
        except StoreError as error:
            if not is_late:
                self._keep(rows, str(error))
        finally:
            self._late -= is_late

    def _keep(self, rows: list[LedgerRow], why: str) -> None:
        try:
            self._spool.add(rows)
        except OSError as error:
            kept = rows[: _STUCK_MAX - len(self._stuck)]
            self._stuck += kept
            logger.error(  # noqa: TRY400 - there is no more to say
                "%d rows of the ledger wait in memory and %d are lost: %s, and they cannot be "
                "spooled: %s",
                len(kept),
                len(rows) - len(kept),
                why,
                error,
            )
        else:
            logger.warning("%d rows of the ledger wait in the spool: %s", len(rows), why)
