"""The workers' knowledge of each other: memory that they share.

Each worker has a seat and publishes there, several times a second, what it has counted; the worker
that is asked for metrics reads all seats.  The worker that takes a dead one's seat continues from
its counts.  The memory is anonymous and inherited by `fork`: no file, nothing to clean up.
"""

from __future__ import annotations

import asyncio
import mmap
import struct
import zlib
from collections.abc import Callable, Iterator

from polycall.gateway.observability.metrics import ModelCounters, Snapshot, pack, unpack

PUBLISH_S = 0.25

# Of a seat: whether somebody serves there, how often it was taken again, which half is the latest.
_HEAD = struct.Struct("<BxxxIQ")
_HALF = struct.Struct("<II")  # length and checksum
_HALF_BYTES = 1024 * 1024
_SEAT_BYTES = _HEAD.size + 2 * _HALF_BYTES
_TRIES = 20


class SharedMetrics:
    """The seats.  Made by the supervisor before it forks."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        # Pages that nobody has written to take no memory.
        self._memory = mmap.mmap(-1, slots * _SEAT_BYTES)

    # The supervisor's side

    def start(self, slot: int, *, is_restart: bool) -> None:
        """A worker is about to take this seat."""
        _, restarts, sequence = self._head(slot)
        self._set_head(slot, 0, restarts + is_restart, sequence)

    def end(self, slot: int) -> None:
        """The worker of this seat is dead."""
        self.start(slot, is_restart=False)

    # A worker's side

    def serve(self, slot: int) -> None:
        """The worker of this seat has begun to serve."""
        _, restarts, sequence = self._head(slot)
        self._set_head(slot, 1, restarts, sequence)

    def publish(self, slot: int, data: bytes) -> None:
        """Put `data` on the seat.  One that dies while writing leaves what was there before."""
        if len(data) > _HALF_BYTES - _HALF.size:
            raise ValueError(f"{len(data)} bytes are too many for a seat")
        serves, restarts, sequence = self._head(slot)
        start = self._half(slot, sequence + 1)
        _HALF.pack_into(self._memory, start, len(data), zlib.crc32(data))
        self._memory[start + _HALF.size : start + _HALF.size + len(data)] = data
        self._set_head(slot, serves, restarts, sequence + 1)

    # Anybody's

    def data(self, slot: int) -> bytes:
        """The data last put on a seat; empty where there is none."""
        for _ in range(_TRIES):
            sequence = self._head(slot)[2]
            if sequence == 0:
                return b""
            start = self._half(slot, sequence)
            length, checksum = _HALF.unpack_from(self._memory, start)
            data = self._memory[start + _HALF.size : start + _HALF.size + length]
            # Its owner may have written twice meanwhile.
            if len(data) == length and zlib.crc32(data) == checksum:
                return data
        return b""

    def serves(self, slot: int) -> bool:
        """Whether a worker serves on this seat."""
        return bool(self._head(slot)[0])

    def serving(self) -> int:
        """The number of workers that serve."""
        return sum(map(self.serves, range(self.slots)))

    def restarts(self) -> int:
        """The number of workers that were started for dead ones."""
        return sum(self._head(slot)[1] for slot in range(self.slots))

    def _head(self, slot: int) -> tuple[int, int, int]:
        return _HEAD.unpack_from(self._memory, slot * _SEAT_BYTES)

    def _set_head(self, slot: int, serves: int, restarts: int, sequence: int) -> None:
        _HEAD.pack_into(self._memory, slot * _SEAT_BYTES, serves, restarts, sequence)

    def _half(self, slot: int, sequence: int) -> int:
        return slot * _SEAT_BYTES + _HEAD.size + sequence % 2 * _HALF_BYTES


class WorkerSlot:
    """One worker's place on the board."""

    def __init__(self, shared_metrics: SharedMetrics, number: int) -> None:
        self.shared_metrics = shared_metrics
        self.number = number
        self._snapshot: Callable[[], Snapshot] = lambda: Snapshot(ModelCounters())
        self._timer: asyncio.TimerHandle | None = None

    def counts(self) -> ModelCounters:
        """The counts on this seat so far."""
        data = self.shared_metrics.data(self.number)
        return unpack(data).counts if data else ModelCounters()

    def serve(self, snapshot: Callable[[], Snapshot]) -> None:
        """From now on somebody serves here; `snapshot` is published until `close`."""
        self._snapshot = snapshot
        self._publish()
        self.shared_metrics.serve(self.number)

    def everybody(self) -> Iterator[Snapshot]:
        """This worker now, and the others a moment ago; of dead ones what they had counted."""
        yield self._snapshot()
        for number in range(self.shared_metrics.slots):
            data = b"" if number == self.number else self.shared_metrics.data(number)
            if data:
                snapshot = unpack(data)
                yield snapshot if self.shared_metrics.serves(number) else Snapshot(snapshot.counts)

    def close(self) -> None:
        """Publish for the last time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self.shared_metrics.publish(self.number, pack(self._snapshot()))

    def _publish(self) -> None:
        self.shared_metrics.publish(self.number, pack(self._snapshot()))
        if self.shared_metrics.slots > 1:  # else nobody reads it
            self._timer = asyncio.get_running_loop().call_later(PUBLISH_S, self._publish)
