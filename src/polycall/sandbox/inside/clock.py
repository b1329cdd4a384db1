"""Time, randomness and ids that come out the same when a run is replayed.

Inside, time moves only at the moments the journal knows: when the host passes the turn, when the
program sleeps, and by a microsecond at every reading.  The kernel's clock is never shown.  What
draws on the system's randomness draws on a stream seeded by the session instead.
"""

from __future__ import annotations

import ctypes
import datetime
import gc
import os
import random
import time
import uuid
from collections.abc import Callable
from typing import Any, cast

real_monotonic = time.monotonic
_real_sleep = time.sleep

_TICK_S = 1e-6


class Clock:
    """Seconds since the session began, as the journal tells them."""

    def __init__(self) -> None:
        self.began = 0.0
        self.now = 0.0
        self.replaying = False

    def read(self) -> float:
        self.now += _TICK_S
        return self.now

    def wall(self) -> float:
        return self.began + self.read()

    def advance_to(self, now: float) -> None:
        self.now = max(self.now, now)

    def sleep(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError("sleep length must be non-negative")
        if not self.replaying:
            _real_sleep(seconds)
        self.now += seconds


class _Entropy:
    """The bytes that stand for the system's randomness."""

    def __init__(self) -> None:
        self._stream = random.Random(0)  # noqa: S311  # meant to be reproducible

    def seed(self, seed: int) -> None:
        self._stream = random.Random(f"entropy:{seed}")  # noqa: S311

    def read(self, size: int) -> bytes:
        return self._stream.randbytes(size)


def _set_on_type(kind: type, name: str, value: object) -> None:
    """Sets an attribute of a built-in type, which `setattr` refuses.

    `datetime.now` reads the kernel's clock in C.  A subclass would change what `type(x)` is, so
    the method itself is exchanged, in this process alone.
    """
    namespace = cast(dict[str, object], gc.get_referents(kind.__dict__)[0])
    namespace[name] = value
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(kind))


class Determinism:
    """Owns the clock and the entropy of the process; installed once, before any program runs."""

    def __init__(self) -> None:
        self.clock = Clock()
        self._entropy = _Entropy()

    def begin(self, *, began: float, seed: int) -> None:
        """Starts the session's time and randomness."""
        self.clock.began = began
        self._entropy.seed(seed)
        random.seed(seed)

    def install(self) -> None:
        self._install_time()
        self._install_datetime()
        self._install_entropy()

    def _install_time(self) -> None:
        clock = self.clock

        def in_ns(read: Callable[[], float]) -> Callable[[], int]:
            return lambda: round(read() * 1e9)

        def by_id(clock_id: int) -> float:
            return clock.wall() if clock_id == time.CLOCK_REALTIME else clock.read()

        def by_id_in_ns(clock_id: int) -> int:
            return round(by_id(clock_id) * 1e9)

        replacements: dict[str, Callable[..., Any]] = {
            "time": clock.wall,
            "time_ns": in_ns(clock.wall),
            "sleep": clock.sleep,
            "clock_gettime": by_id,
            "clock_gettime_ns": by_id_in_ns,
        }
        for name in ("monotonic", "perf_counter", "process_time", "thread_time"):
            replacements[name] = clock.read
            replacements[f"{name}_ns"] = in_ns(clock.read)
        for name in ("localtime", "gmtime", "ctime"):
            replacements[name] = _with_default_seconds(getattr(time, name), clock)
        replacements |= _formatting(replacements["localtime"])
        for name, replacement in replacements.items():
            setattr(time, name, replacement)

    def _install_datetime(self) -> None:
        clock = self.clock

        def now(kind: Any, tz: datetime.tzinfo | None = None) -> Any:
            return kind.fromtimestamp(clock.wall(), tz)

        def utcnow(kind: Any) -> Any:
            return kind.fromtimestamp(clock.wall(), datetime.UTC).replace(tzinfo=None)

        def today(kind: Any) -> Any:
            return kind.fromtimestamp(clock.wall())

        _set_on_type(datetime.datetime, "now", classmethod(now))
        _set_on_type(datetime.datetime, "utcnow", classmethod(utcnow))
        _set_on_type(datetime.datetime, "today", classmethod(today))
        _set_on_type(datetime.date, "today", classmethod(today))

    def _install_entropy(self) -> None:
        read = self._entropy.read

        def getrandom(size: int, flags: int = 0) -> bytes:
            return read(size)

        os.urandom = read
        random.__dict__["_urandom"] = read
        os.__dict__["getrandom"] = getrandom
        seed_generator = random.Random.seed

        def seed(generator: random.Random, a: Any = None, version: int = 2) -> None:
            if a is None:
                a = int.from_bytes(read(32), "big")
            seed_generator(generator, a, version)

        setattr(random.Random, "seed", seed)  # noqa: B010  # another name for its first parameter
        # uuid1 would read the kernel's clock and the machine's address in C.
        uuid.__dict__["_generate_time_safe"] = None
        uuid.__dict__["_UuidCreate"] = None
        uuid.__dict__["_node"] = 0x0200_0000_0001


def _formatting(now: Callable[[], time.struct_time]) -> dict[str, Callable[..., str]]:
    """`asctime` and `strftime`, which take the time of the call where they are given none."""
    real_asctime, real_strftime = time.asctime, time.strftime

    def asctime(when: time.struct_time | None = None) -> str:
        return real_asctime(now() if when is None else when)

    def strftime(form: str, when: time.struct_time | None = None) -> str:
        return real_strftime(form, now() if when is None else when)

    return {"asctime": asctime, "strftime": strftime}


def _with_default_seconds(function: Callable[..., Any], clock: Clock) -> Callable[..., Any]:
    def wrapper(seconds: float | None = None) -> Any:
        return function(clock.wall() if seconds is None else seconds)

    return wrapper
