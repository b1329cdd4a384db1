"""Packages that the operator allows: wheels and folders, read-only inside."""

from __future__ import annotations

import contextlib
import os
import tempfile
import zipfile
from collections.abc import Generator, Iterable
from pathlib import Path

from .errors import SandboxError
from .layout import PACKAGES, Mount

_UNPACKED_BYTES = 2_000_000_000


@contextlib.contextmanager
def mounted(paths: Iterable[str | os.PathLike[str]]) -> Generator[tuple[list[Mount], list[str]]]:
    """The mounts for some packages, and the folders inside to put on `sys.path`.

    A path is a wheel, a folder of packages such as site-packages, or one package (a folder with an
    `__init__.py`, a module's file, a `NAME.libs` folder alongside a package).
    """
    mounts: list[Mount] = []
    search: list[str] = []
    with contextlib.ExitStack() as unpacked:
        for number, path in enumerate(paths):
            source = Path(path).absolute()
            if _is_one_package(source):
                target = f"{PACKAGES}/single/{source.name}"
            elif source.is_dir():
                target = f"{PACKAGES}/{number}"
            elif source.suffix == ".whl" and source.is_file():
                folder = tempfile.TemporaryDirectory(prefix="polycall-package-")
                _unpack(source, Path(unpacked.enter_context(folder)))
                source = Path(folder.name)
                target = f"{PACKAGES}/{number}"
            else:
                raise SandboxError(f"{str(source)!r} is not a wheel, a folder or a module")
            mounts.append(Mount(str(source), target))
            entry = f"{PACKAGES}/single" if "/single/" in target else target
            if entry not in search:
                search.append(entry)
        yield mounts, search


def _is_one_package(source: Path) -> bool:
    if source.is_dir():
        return source.suffix == ".libs" or (source / "__init__.py").exists()
    return source.suffix in {".py", ".so"} and source.is_file()


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
