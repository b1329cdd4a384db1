"""Started as a process of its own just before bubblewrap, to put down what this one may hold.

    python -I -S launch.py CONFIG

Joins the control groups, keeps the addresses of the process the same from run to run, and where
it is root: makes the mounts reachable in a mount namespace of its own, then becomes an
unprivileged user for good.  bubblewrap started as root would leave the program as real root
outside its namespace, and the limit on processes would not hold.

Imports nothing of polycall and is never imported by it.
"""

from __future__ import annotations

import ctypes
import json
import os
import stat
import sys
from typing import Any

_CLONE_NEWNS = 0x00020000
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18
_ADDR_NO_RANDOMIZE = 0x0040000
_STAGE = "/tmp"  # noqa: S108  # covered by a private tmpfs before it is used


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _stage(libc: ctypes.CDLL, sources: list[str]) -> list[str]:
    """Mounts each source where an unprivileged user can reach it; gives the new paths."""
    try:
        _check(libc.unshare(_CLONE_NEWNS), "a mount namespace")
    except PermissionError:
        # Root without the rights of root, as in a container: what others may read must do.
        return sources
    _check(libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None), "private mounts")
    # Opened in the new namespace, since mounts of another cannot be bound, and before the tmpfs
    # covers what may lie under it.
    descriptors = [os.open(source, os.O_PATH) for source in sources]
    _check(libc.mount(b"tmpfs", _STAGE.encode(), b"tmpfs", 0, b"mode=755,size=1m"), "a tmpfs")
    staged: list[str] = []
    for number, descriptor in enumerate(descriptors):
        path = f"{_STAGE}/{number}"
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            os.mkdir(path, 0o755)
        else:
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
        source = f"/proc/self/fd/{descriptor}".encode()
        _check(libc.mount(source, path.encode(), None, _MS_BIND | _MS_REC, None), f"bind {path}")
        os.close(descriptor)
        staged.append(path)
    return staged


def main() -> None:
    config: dict[str, Any] = json.loads(sys.argv[1])
    libc = ctypes.CDLL(None, use_errno=True)
    for tasks in config["cgroups"]:
        with open(tasks, "w", encoding="ascii") as file:
            file.write("0")
    sources: list[str] = [config["bwrap"], *config["sources"]]
    if config["libraries"]:
        sources.append(config["libraries"])
    if config["user"] is not None:
        os.umask(0o022)
        sources = _stage(libc, sources)
        os.setgroups([])
        os.setresgid(config["user"], config["user"], config["user"])
        os.setresuid(config["user"], config["user"], config["user"])
    libc.personality(_ADDR_NO_RANDOMIZE)
    # "@3" in the arguments stands for the third source, wherever it now is.
    arguments = [
        sources[int(argument[1:])] if argument.startswith("@") else argument
        for argument in config["arguments"]
    ]
    os.chdir("/")
    # bubblewrap clears its environment for the program.
    environment = {"LD_LIBRARY_PATH": sources[-1]} if config["libraries"] else {}
    os.execve(sources[0], ["bwrap", *arguments], environment)  # noqa: S606


try:
    main()
except OSError as _error:
    sys.exit(f"launch: {_error}")
