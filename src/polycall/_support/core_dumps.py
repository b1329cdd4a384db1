"""No image of this process's memory on a disk: keys and what people said are in it."""

from __future__ import annotations

import contextlib
import ctypes
import sys

_PR_SET_DUMPABLE = 4


def forbid() -> None:
    """Forbid core dumps of this process and of those that it forks, for good.

    The limit alone does not do where the system pipes dumps to a program, so on Linux the process
    is not dumpable either; nobody but root can attach a debugger to it then.
    """
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource  # noqa: PLC0415 - not on every system

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
