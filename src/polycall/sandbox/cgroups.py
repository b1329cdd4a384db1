"""Control groups, where this process may make them: a second bound on memory and tasks.

Version 2 needs a delegated group with the controllers `memory` and `pids`; version 1 a writable
hierarchy per controller.  Neither is needed for the jail to hold: a program is one process, whose
address space and threads are bounded by rlimits.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_PREFIX = "polycall-"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Group:
    """The groups of one jail; `close` removes them once the jail is dead."""

    folders: tuple[Path, ...]

    @property
    def task_files(self) -> list[str]:
        return [str(folder / "cgroup.procs") for folder in self.folders]

    def close(self) -> bool:
        """Whether the groups are gone; the kernel refuses while a process is on its way out."""
        for folder in self.folders:
            with contextlib.suppress(OSError):
                folder.rmdir()
        return not any(folder.exists() for folder in self.folders)

    def memory_kills(self) -> int:
        """The number of processes that the kernel killed in this group for want of memory."""
        for folder in self.folders:
            for name in ("memory.events", "memory.oom_control"):
                with contextlib.suppress(OSError, ValueError):
                    for line in (folder / name).read_text("ascii").splitlines():
                        key, _, value = line.partition(" ")
                        if key == "oom_kill":
                            return int(value)
        return 0


NO_GROUP = Group(())


@dataclass(frozen=True)
class Cgroups:
    """The resources that can be limited here, found by trying."""

    memory: Path | None
    pids: Path | None
    unified: bool
    reasons: tuple[str, ...] = field(default=())

    def describe(self) -> str:
        kinds = [name for name in ("memory", "pids") if getattr(self, name) is not None]
        if not kinds:
            return "none writable" + (f" ({'; '.join(self.reasons)})" if self.reasons else "")
        return f"{' and '.join(kinds)} (version {2 if self.unified else 1})"

    def make(self, *, memory_bytes: int, tasks: int) -> Group:
        """The groups of a new jail."""
        name = f"{_PREFIX}{os.getpid()}-{next(_numbers)}"
        folders: list[Path] = []
        for parent in dict.fromkeys(path for path in (self.memory, self.pids) if path is not None):
            folder = parent / name
            folder.mkdir()
            folders.append(folder)
            if parent == self.memory:
                limit = "memory.max" if self.unified else "memory.limit_in_bytes"
                (folder / limit).write_text(str(memory_bytes), "ascii")
            if parent == self.pids:
                (folder / "pids.max").write_text(str(tasks), "ascii")
        return Group(tuple(folders))


def probe() -> Cgroups:
    """Tries what is writable, and removes the groups of processes that are dead."""
    if (_ROOT / "cgroup.controllers").exists():
        return _probe_unified()
    reasons: list[str] = []
    found: dict[str, Path | None] = {}
    for controller in ("memory", "pids"):
        base = _ROOT / controller
        usable = (base / "cgroup.procs").exists() and _can_make(base, reasons)
        found[controller] = base if usable else None
    return Cgroups(found["memory"], found["pids"], unified=False, reasons=tuple(reasons))


def _probe_unified() -> Cgroups:
    reasons: list[str] = []
    base = _ROOT / _own_unified().lstrip("/")
    if not _can_make(base, reasons):
        return Cgroups(None, None, unified=True, reasons=tuple(reasons))
    enabled = (base / "cgroup.subtree_control").read_text("ascii").split()
    missing = [name for name in ("memory", "pids") if name not in enabled]
    if missing:
        reasons.append(f"{base} does not delegate {' and '.join(missing)}")
    return Cgroups(
        base if "memory" in enabled else None,
        base if "pids" in enabled else None,
        unified=True,
        reasons=tuple(reasons),
    )


def _own_unified() -> str:
    for line in Path("/proc/self/cgroup").read_text("utf-8").splitlines():
        if line.startswith("0::"):
            return line[3:]
    return "/"


def _can_make(base: Path, reasons: list[str]) -> bool:
    _remove_stale(base)
    trial = base / f"{_PREFIX}{os.getpid()}-probe"
    try:
        trial.mkdir()
        trial.rmdir()
    except OSError as error:
        reasons.append(f"{base}: {os.strerror(error.errno or errno.EIO)}")
        return False
    return os.access(base / "cgroup.procs", os.W_OK)


def _remove_stale(base: Path) -> None:
    """A host that was killed leaves its groups behind; the next one ends and removes them."""
    folders: Sequence[Path] = ()
    with contextlib.suppress(OSError):
        folders = list(base.glob(f"{_PREFIX}*"))
    for folder in folders:
        owner = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdecimal() and not Path(f"/proc/{owner}").exists():
            with contextlib.suppress(OSError, ValueError):
                for pid in (folder / "cgroup.procs").read_text("ascii").split():
                    os.kill(int(pid), signal.SIGKILL)
                folder.rmdir()
