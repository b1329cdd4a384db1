"""What the workers of one gateway know of each other: memory that they share.

Each worker has a seat and publishes there, several times a second, what it has counted; whoever
is asked for metrics reads all seats.  The worker that takes a dead one's seat goes on from its
counts.  The memory is anonymous and inherited by `fork`: no file, nothing to clean up.
"""

from __future__ import annotations

import asyncio
import mmap
import struct
import zlib
from collections.abc import Callable, Iterator

from polycall.gateway.metrics import Counts, Snapshot, pack, unpack

PUBLISH_S = 0.25

# Of a seat: whether somebody serves there, how often it was taken again, which half is the latest.
_HEAD = struct.Struct("<BxxxIQ")
_HALF = struct.Struct("<II")  # length and checksum
_HALF_BYTES = 1024 * 1024
_SEAT_BYTES = _HEAD.size + 2 * _HALF_BYTES
_TRIES = 20


class Board:
    """The seats.  Made by the supervisor before it forks."""

    def __init__(self, seats: int) -> None:
        self.seats = seats
        # Pages that nobody has written to take no memory.
        self._memory = mmap.mmap(-1, seats * _SEAT_BYTES)

    # The supervisor's side

    def start(self, seat: int, *, is_restart: bool) -> None:
        """A worker is about to take this seat."""
        _, restarts, sequence = self._head(seat)
        self._set_head(seat, 0, restarts + is_restart, sequence)

    def end(self, seat: int) -> None:
        """The worker of this seat is dead."""
        self.start(seat, is_restart=False)

    # A worker's side

    def serve(self, seat: int) -> None:
        """The worker of this seat has begun to serve."""
        _, restarts, sequence = self._head(seat)
        self._set_head(seat, 1, restarts, sequence)

    def publish(self, seat: int, data: bytes) -> None:
        """Put `data` on the seat.  One that dies while writing leaves what was there before."""
        if len(data) > _HALF_BYTES - _HALF.size:
            raise ValueError(f"{len(data)} bytes are too many for a seat")
        serves, restarts, sequence = self._head(seat)
        start = self._half(seat, sequence + 1)
        _HALF.pack_into(self._memory, start, len(data), zlib.crc32(data))
        self._memory[start + _HALF.size : start + _HALF.size + len(data)] = data
        self._set_head(seat, serves, restarts, sequence + 1)

    # Anybody's

    def data(self, seat: int) -> bytes:
        """What was last put on a seat; empty where nothing was."""
        for _ in range(_TRIES):
            sequence = self._head(seat)[2]
            if sequence == 0:
                return b""
            start = self._half(seat, sequence)
            length, checksum = _HALF.unpack_from(self._memory, start)
            data = self._memory[start + _HALF.size : start + _HALF.size + length]
            # Its owner may have written twice meanwhile.
            if len(data) == length and zlib.crc32(data) == checksum:
                return data
        return b""

    def serves(self, seat: int) -> bool:
        """Whether a worker serves on this seat."""
        return bool(self._head(seat)[0])

    def serving(self) -> int:
        """How many serve."""
        return sum(map(self.serves, range(self.seats)))

    def restarts(self) -> int:
        """How often a worker was started for a dead one."""
        return sum(self._head(seat)[1] for seat in range(self.seats))

    def _head(self, seat: int) -> tuple[int, int, int]:
        return _HEAD.unpack_from(self._memory, seat * _SEAT_BYTES)

    def _set_head(self, seat: int, serves: int, restarts: int, sequence: int) -> None:
        _HEAD.pack_into(self._memory, seat * _SEAT_BYTES, serves, restarts, sequence)

    def _half(self, seat: int, sequence: int) -> int:
        return seat * _SEAT_BYTES + _HEAD.size + sequence % 2 * _HALF_BYTES


class Seat:
    """One worker's place on the board."""

    def __init__(self, board: Board, number: int) -> None:
        self.board = board
        self.number = number
        self._snapshot: Callable[[], Snapshot] = lambda: Snapshot(Counts())
        self._timer: asyncio.TimerHandle | None = None

    def counts(self) -> Counts:
        """What was counted on this seat so far."""
        data = self.board.data(self.number)
        return unpack(data).counts if data else Counts()

    def serve(self, snapshot: Callable[[], Snapshot]) -> None:
        """From now on somebody serves here; `snapshot` is published until `close`."""
        self._snapshot = snapshot
        self._publish()
        self.board.serve(self.number)

    def everybody(self) -> Iterator[Snapshot]:
        """This worker now, and the others a moment ago; of dead ones what they had counted."""
        yield self._snapshot()
        for number in range(self.board.seats):
            data = b"" if number == self.number else self.board.data(number)
            if data:
                snapshot = unpack(data)
                yield snapshot if self.board.serves(number) else Snapshot(snapshot.counts)

    def close(self) -> None:
        """Publish for the last time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self.board.publish(self.number, pack(self._snapshot()))

    def _publish(self) -> None:
        self.board.publish(self.number, pack(self._snapshot()))
        self._timer = asyncio.get_running_loop().call_later(PUBLISH_S, self._publish)
