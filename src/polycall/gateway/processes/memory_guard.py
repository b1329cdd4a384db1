"""Sheds load before the machine does: past a bound of memory, requests are asked to come again.

The kernel ends a process that takes too much, with all that is in flight; a refusal costs one
request.  What is measured is the memory that the process holds, a few times a second at most.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from polycall.errors import OverloadedError

logger = logging.getLogger("polycall.memory")

_LOOK_S = 0.1
_FREE_S = 5.0
_SHARE = 0.85  # of what the machine or the container has
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of glibc's mallopt
_APART_BYTES = 1024 * 1024
_SPARE_BYTES = 8 * 1024 * 1024
_CONTAINER = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


class MemoryGuard:
    """Says whether there is room for another request.

    `bytes_max` is the bound of this process; 0 is for the usual one, which is a share of what the
    container or the machine has, divided by the workers.
    """

    def __init__(
        self,
        bytes_max: int,
        *,
        workers: int = 1,
        resident: Callable[[], int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`resident` gives the bytes that the process holds."""
        self.bytes_max = bytes_max or int(_available_bytes() * _SHARE / workers)
        self._resident = resident or resident_bytes
        self._clock = clock
        self._look_at = self._free_at = float("-inf")
        self.is_full = False

    def check(self) -> None:
        """Raise `OverloadedError` where there is no room."""
        now = self._clock()
        if now >= self._look_at:
            self._look_at = now + _LOOK_S
            self._look(now)
        if self.is_full:
            raise OverloadedError(
                "the gateway is out of memory for now; try again", retry_after_s=1.0
            )

    def _look(self, now: float) -> None:
        was_full = self.is_full
        self.is_full = self.bytes_max > 0 and self._resident() > self.bytes_max
        if self.is_full and now >= self._free_at:
            # What was let go of may not have been given back to the system.
            self._free_at = now + _FREE_S
            _give_back()
            self.is_full = self._resident() > self.bytes_max
        if self.is_full and not was_full:
            logger.warning("more than %d bytes are in use: requests are refused", self.bytes_max)


def resident_bytes() -> int:
    """The memory that the process holds; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


def _available_bytes() -> int:
    """The memory of the container, or else of the machine; 0 where it is unknown."""
    try:
        least = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return 0
    for path in _CONTAINER:
        try:
            least = min(least, int(path.read_text()))
        except (OSError, ValueError):  # no container, or "max"
            continue
    return least


def give_large_back() -> None:
    """Have what a large body took go back to the system as soon as it is let go of.

    glibc learns from the first such body to keep the memory of the next ones.
    """
    libc = _libc()
    if libc is not None:
        libc.mallopt(_MMAP_THRESHOLD, _APART_BYTES)
        libc.mallopt(_TRIM_THRESHOLD, _SPARE_BYTES)


def _give_back() -> None:
    gc.collect()
    libc = _libc()
    if libc is not None:
        libc.malloc_trim(0)


def _libc() -> ctypes.CDLL | None:
    """glibc; `None` where another library does its work."""
    try:
        libc = ctypes.CDLL(None)
    except (OSError, TypeError):
        return None
    return libc if hasattr(libc, "malloc_trim") else None
