"""Writes the ledger behind the requests: in batches, through outages, each row once.

A batch is small: while another thread or the database writes it, requests may wait for the core
that they share with it.

Rows that the database did not take lie in files alongside the configuration, until it does.  A
process writes files of its own and holds a lock on them; a process that finds one without a lock
takes it over, since its process is gone.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec

from polycall._support.private_files import open_private
from polycall.errors import StoreError
from polycall.gateway.store.base import LedgerRow

try:
    import fcntl
except ImportError:  # not on Windows, where nobody takes over another's files
    fcntl = None

logger = logging.getLogger("polycall.store")

FLUSH_S = 0.25
_ROWS = 64  # that are written before then
# A database that takes longer may be on its way out: what waits for it goes to a file too, and
# so does at once what comes meanwhile.
_PATIENCE_S = 0.5
_BATCH = 500
_STUCK_MAX = 20_000
# What lies in a folder of others' must be a file of rows, and no link to another.
_APPEND = os.O_WRONLY | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(LedgerRow)

Write = Callable[[Sequence[LedgerRow]], Awaitable[None]]


class RowWriter:
    """Takes rows and writes them, four times a second at least.  `close` when no more will come."""

    def __init__(self, write: Write, spool: Spool) -> None:
        """`write` writes rows down, and leaves those that are there as they are."""
        self._write = write
        self._spool = spool
        self._rows: list[LedgerRow] = []
        self._stuck: list[LedgerRow] = []  # that neither the database nor the spool took
        self._timer: asyncio.TimerHandle | None = None
        self._flushing: set[asyncio.Task[None]] = set()
        self._late = 0  # writes that take too long
        self._is_kept = False  # the latest batch, by the spool: what comes is tried seldom

    def add(self, row: LedgerRow) -> None:
        """Write a row soon."""
        rows = self._rows
        rows.append(row)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_S, self._flush_timed)
        if len(rows) >= _ROWS and not (self._flushing or self._is_kept):
            self._flush()

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

    def _flush_timed(self) -> None:
        self._timer = None
        self._flush()

    def _flush(self) -> None:
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
        self._is_kept = is_late
        try:
            await writing
        except StoreError as error:
            self._is_kept = True
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


class Spool:
    """The files of one process, for one store."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        if not os.access(folder, os.W_OK):
            logger.warning(
                "rows of the ledger cannot wait in %s while the store is unreachable; set "
                "store.spool to a folder that can be written",
                folder,
            )
        # Another store's rows may lie in the same folder.
        self._head = f"polycall-spool-{hashlib.sha256(url.encode()).hexdigest()[:8]}-"
        self._number = 0
        self._file: io.FileIO | None = None
        self._path = Path()

    def add(self, rows: Sequence[LedgerRow]) -> None:
        """Keep rows; they survive the death of the process.  Raises `OSError`."""
        if self._file is None:
            self._number += 1
            self._path = self._folder / f"{self._head}{os.getpid()}-{self._number}.jsonl"
            self._file = io.FileIO(open_private(self._path, _APPEND), "ab")
            _lock(self._file)
        self._append(self._file, b"".join(_encoder.encode(row) + b"\n" for row in rows))

    def _append(self, file: io.FileIO, data: bytes) -> None:
        """All of it, or none: what comes later must not follow upon half a row."""
        size = file.seek(0, io.SEEK_END)
        try:
            left = memoryview(data)
            while left:
                left = left[file.write(left) :]
        except OSError:
            file.truncate(size)
            raise

    def take(self) -> list[Spooled]:
        """The files of this process and of dead ones; each is removed when its rows are kept."""
        found: list[Spooled] = []
        if self._file is not None:
            found.append(Spooled(self._path, self._file))
            self._file = None
        if fcntl is not None:
            own = {spooled.path for spooled in found}
            for path in sorted(self._folder.glob(f"{self._head}*.jsonl")):
                if path not in own:
                    file = _open_of_the_dead(path)
                    if file is not None:
                        found.append(Spooled(path, file))
        return found


class Spooled:
    """One file of rows, held until `remove` or `put_back`."""

    def __init__(self, path: Path, file: io.FileIO) -> None:
        self.path = path
        self._file = file

    def rows(self) -> list[LedgerRow]:
        """The rows in the file; a line that was cut off by a crash is left out."""
        found: list[LedgerRow] = []
        for line in self.path.read_bytes().splitlines():
            try:
                found.append(_decoder.decode(line))
            except msgspec.DecodeError:
                logger.warning("%s: a row was cut off", self.path.name)
        return found

    def remove(self) -> None:
        """The rows are in the database."""
        self.path.unlink(missing_ok=True)
        self._file.close()

    def put_back(self) -> None:
        """Leave the file for later."""
        self._file.close()


def _open_of_the_dead(path: Path) -> io.FileIO | None:
    """The file, unless a living process holds it, or it cannot be read."""
    try:
        file = io.FileIO(open_private(path, _APPEND), "ab")
    except OSError:
        return None
    try:
        _lock(file)
    except OSError:
        file.close()
        return None
    return file


def _lock(file: io.FileIO) -> None:
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
