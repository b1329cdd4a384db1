"""Files that hold what people said, did and know: for their owner's eyes alone.

Whatever keeps runs, memories, sessions, answers, rows or keys in a file makes it here first.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from pathlib import Path

_MODE = 0o600
# Of what SQLite puts alongside a database; new ones get the mode of the database itself.
_BESIDE = ("-wal", "-shm", "-journal")
# No other thread has locks on a file that this one has just made, and closes.
_making = threading.Lock()


def open_private(path: str | os.PathLike[str], flags: int) -> int:
    """A descriptor of the file, made where it is missing; `flags` are those of `os.open`.

    It has mode 0600 whatever the process's umask; of one that is there and ours, rights of others
    are taken.  A file of another owner keeps its mode, as only the owner may change it.  Raises
    `OSError` where it cannot be made.  Not for databases of SQLite: see `make_private_database`.
    """
    descriptor = os.open(path, flags | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), _MODE)
    try:
        _tighten(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def write_private(path: str | os.PathLike[str], data: bytes, flags: int = os.O_TRUNC) -> None:
    """Write a whole file as `open_private` makes it; with `os.O_EXCL` it must not be there."""
    with os.fdopen(open_private(path, os.O_WRONLY | flags), "wb") as file:
        file.write(data)


def make_private_database(path: str | os.PathLike[str]) -> None:
    """Make a SQLite database private, with the files that SQLite keeps alongside it.

    None that is there is opened: a process that closes any descriptor of a file loses all of its
    locks on it, those of its other connections too, and another process could then write in the
    middle of their transactions (sqlite.org, "How To Corrupt An SQLite Database File", 2.2).
    """
    with _making:
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, _MODE))
        except FileExistsError:
            if not os.path.exists(path):  # a link to what is not there yet
                os.close(open_private(path, os.O_RDWR))
    for end in ("", *_BESIDE):
        name = f"{os.fspath(path)}{end}"
        # They come and go with the connections of other processes.
        with contextlib.suppress(FileNotFoundError):
            if (mode := _mode_to_set(os.stat(name))) is not None:
                os.chmod(name, mode)


def is_private(path: str | os.PathLike[str]) -> bool:
    """Whether nobody but the owner may read or write it."""
    return not Path(path).stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)


def _tighten(descriptor: int) -> None:
    if (mode := _mode_to_set(os.fstat(descriptor))) is not None:
        os.fchmod(descriptor, mode)


def _mode_to_set(status: os.stat_result) -> int | None:
    """The mode without rights of others; `None` where it has none, or is not ours to change."""
    is_ours = not hasattr(os, "geteuid") or status.st_uid == os.geteuid()
    mode = stat.S_IMODE(status.st_mode)
    private = mode & ~(stat.S_IRWXG | stat.S_IRWXO)
    return private if is_ours and stat.S_ISREG(status.st_mode) and private != mode else None
