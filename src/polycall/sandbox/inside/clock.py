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
        self._stream = random.Random(0)

    def seed(self, seed: int) -> None:
        self._stream = random.Random(f"entropy:{seed}")

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
        replacements: dict[str, Callable[..., Any]] = {
            "time": clock.wall,
            "monotonic": clock.read,
            "perf_counter": clock.read,
            "process_time": clock.read,
            "thread_time": clock.read,
            "sleep": clock.sleep,
            "time_ns": lambda: round(clock.wall() * 1e9),
            "clock_gettime": lambda clock_id: _by_id(clock, clock_id),
            "clock_gettime_ns": lambda clock_id: round(_by_id(clock, clock_id) * 1e9),
        }
        for name in ("monotonic_ns", "perf_counter_ns", "process_time_ns", "thread_time_ns"):
            replacements[name] = lambda: round(clock.read() * 1e9)
        for name in ("localtime", "gmtime", "ctime"):
            replacements[name] = _with_default_seconds(getattr(time, name), clock)
        asctime, strftime, localtime = time.asctime, time.strftime, replacements["localtime"]
        replacements["asctime"] = lambda *when: asctime(*(when or (localtime(),)))
        replacements["strftime"] = lambda form, *when: strftime(form, *(when or (localtime(),)))
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
        os.urandom = read
        random.__dict__["_urandom"] = read
        os.__dict__["getrandom"] = lambda size, flags=0: read(size)
        seed_generator = random.Random.seed

        def seed(generator: random.Random, a: Any = None, version: int = 2) -> None:
            if a is None:
                a = int.from_bytes(read(32), "big")
            seed_generator(generator, a, version)

        random.Random.seed = seed
        # uuid1 would read the kernel's clock and the machine's address in C.
        uuid.__dict__["_generate_time_safe"] = None
        uuid.__dict__["_UuidCreate"] = None
        uuid.__dict__["_node"] = 0x0200_0000_0001


def _by_id(clock: Clock, clock_id: int) -> float:
    return clock.wall() if clock_id == time.CLOCK_REALTIME else clock.read()


def _with_default_seconds(function: Callable[..., Any], clock: Clock) -> Callable[..., Any]:
    def wrapper(seconds: float | None = None) -> Any:
        return function(clock.wall() if seconds is None else seconds)

    return wrapper
