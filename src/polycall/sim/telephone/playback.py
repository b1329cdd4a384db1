"""The sound for a simulated caller: end to end, with marks that come back, and `clear`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from polycall.sim.telephone.frames import FRAME_MS

_BYTES_PER_MS = 8


@dataclass
class _Piece:
    start_s: float
    data: bytes


class Playback:
    """A telephone's loudspeaker, with the buffer that Twilio has in front of it."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._pieces: list[_Piece] = []
        self._marks: deque[tuple[float, str]] = deque()
        self._end_s = 0.0
        self._before_ms = 0.0  # heard before the piece that plays on now began
        self._began_s = 0.0
        self.gaps_ms: list[float] = []
        self.odd_sizes = 0

    def add(self, data: bytes) -> None:
        """Sound that is played after what waits."""
        now_s = self._now_s()
        if now_s >= self._end_s:
            if self._end_s:
                self.gaps_ms.append((now_s - self._end_s) * 1000)
            self._before_ms += (self._end_s - self._began_s) * 1000
            self._began_s = self._end_s = now_s
        if len(data) % (_BYTES_PER_MS * FRAME_MS):
            self.odd_sizes += 1
        self._pieces.append(_Piece(self._end_s, data))
        self._end_s += len(data) / _BYTES_PER_MS / 1000

    def heard_ms(self) -> float:
        """The milliseconds heard since the last `clear`, or the beginning."""
        return self._before_ms + (min(self._now_s(), self._end_s) - self._began_s) * 1000

    @property
    def is_playing(self) -> bool:
        """Whether something is heard now."""
        return self._now_s() < self._end_s

    def mark(self, name: str) -> None:
        """A mark behind what waits."""
        self._marks.append((max(self._end_s, self._now_s()), name))

    def next_mark_s(self) -> float | None:
        """When the next mark is due."""
        return self._marks[0][0] if self._marks else None

    def due_marks(self) -> list[str]:
        """The marks whose sound was played."""
        due: list[str] = []
        while self._marks and self._marks[0][0] <= self._now_s() + 1e-9:
            due.append(self._marks.popleft()[1])
        return due

    def clear(self) -> tuple[float, list[str]]:
        """Forget what is not played; what was heard since the last time, and all pending marks."""
        heard_ms, now_s = self.heard_ms(), self._now_s()
        marks = [name for _, name in self._marks]
        self._marks.clear()
        kept: list[_Piece] = []
        for piece in self._pieces:
            size = int((now_s - piece.start_s) * 1000 * _BYTES_PER_MS)
            if size > 0:
                kept.append(_Piece(piece.start_s, piece.data[:size]))
        self._pieces = kept
        self._end_s = min(self._end_s, now_s)
        self._began_s, self._before_ms = self._end_s, 0.0
        return heard_ms, marks

    def recording(self, began_s: float) -> bytes:
        """The sound heard since a moment, with silence in its gaps, as μ-law."""
        made = bytearray()
        for piece in self._pieces:
            place = int((piece.start_s - began_s) * 1000 * _BYTES_PER_MS)
            if place > len(made):
                made += b"\xff" * (place - len(made))
            made += piece.data
        return bytes(made)
