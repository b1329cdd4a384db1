"""Packages that the operator allows: wheels and folders, read-only inside."""

from __future__ import annotations

import contextlib
import os
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from .errors import SandboxError

_UNPACKED_BYTES = 2_000_000_000


@contextlib.contextmanager
def readable_folder(path: str | os.PathLike[str]) -> Iterator[str]:
    """A folder to put on `sys.path`: the one given, or a wheel's contents in a temporary one."""
    source = Path(path).absolute()
    if source.is_dir():
        yield str(source)
    elif source.suffix == ".whl" and source.is_file():
        with tempfile.TemporaryDirectory(prefix="polycall-package-") as folder:
            _unpack(source, Path(folder))
            yield folder
    else:
        raise SandboxError(f"{str(source)!r} is neither a folder nor a wheel")


def _unpack(wheel: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        size = sum(item.file_size for item in archive.infolist())
        if size > _UNPACKED_BYTES:
            raise SandboxError(f"{wheel.name} unpacks to {size} bytes; {_UNPACKED_BYTES} at most")
        for item in archive.infolist():
            target = (folder / item.filename).resolve()
            if not target.is_relative_to(folder.resolve()):
                raise SandboxError(f"{wheel.name} holds a file outside itself: {item.filename!r}")
        archive.extractall(folder)
    for path in [folder, *folder.rglob("*")]:
        # The program is an unprivileged user, who must be able to read what root unpacked.
        path.chmod(0o755 if path.is_dir() else 0o644)
