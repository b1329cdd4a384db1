"""Rows that the database did not take, in files alongside the configuration, until it does.

A process writes files of its own and holds a lock on them; a process that finds one without a lock
takes it over, since its process is gone.  Rows are written down once, however often they are tried.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from polycall._support.private_files import open_private
from polycall.gateway.store.base import LedgerRow

try:
    import fcntl
except ImportError:  # not on Windows, where nobody takes over another's files
    fcntl = None

logger = logging.getLogger("polycall.store")

# What lies in a folder of others' must be a file of rows, and no link to another.
_APPEND = os.O_WRONLY | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(LedgerRow)


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
        """What is in it; a line that was cut off by a crash is left out."""
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
