"""Files that hold what people said, did and know: for their owner's eyes alone.

Whatever keeps runs, memories, sessions, answers, rows or keys in a file makes it here first.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

_MODE = 0o600
# Of what SQLite puts alongside a database; new ones get the mode of the database itself.
_BESIDE = ("-wal", "-shm", "-journal")


def make_private(path: str | os.PathLike[str]) -> None:
    """Make the file where it is missing, with mode 0600; take rights of others from one of ours.

    The mode does not depend on the process's umask.  A file of another owner keeps its mode, as
    only the owner may change it.  Raises `OSError` where it cannot be made.
    """
    os.close(open_private(path, os.O_RDWR))


def open_private(path: str | os.PathLike[str], flags: int) -> int:
    """A descriptor of the file as `make_private` leaves it; `flags` are those of `os.open`."""
    descriptor = os.open(path, flags | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), _MODE)
    try:
        _tighten(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def make_private_database(path: str | os.PathLike[str]) -> None:
    """`make_private` for a database of SQLite, and for the files that it keeps alongside it."""
    make_private(path)
    for end in _BESIDE:
        # They come and go with the connections of other processes.
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(f"{os.fspath(path)}{end}", os.O_RDONLY)
            try:
                _tighten(descriptor)
            finally:
                os.close(descriptor)


def is_private(path: str | os.PathLike[str]) -> bool:
    """Whether nobody but the owner may read or write it."""
    return not Path(path).stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)


def _tighten(descriptor: int) -> None:
    status = os.fstat(descriptor)
    is_ours = not hasattr(os, "geteuid") or status.st_uid == os.geteuid()
    if is_ours and stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) != _MODE:
        os.fchmod(descriptor, stat.S_IMODE(status.st_mode) & ~(stat.S_IRWXG | stat.S_IRWXO))
