"""The caller's sound as a voice needs it: without gaps, and not faster than time.  No IO.

A telephone network loses packets, and Twilio sends nothing in their place.  A voice that gets
nothing hears no silence, and its caller's turn never ends: what is missing is filled.
"""

from __future__ import annotations

from collections.abc import Callable

from polycall.voices.audio import PCMU

PADDING_MS_MAX = 10_000.0
# A stall within speech is taken for its end after so long, and so much silence says it.
STALL_S = 0.75
STALL_SILENCE_MS = 1000.0
# A stream that gives nothing for so long is dead.
SILENT_S = 30.0
# What waited in a network comes at once; more than that ahead of time is no telephone.
_AHEAD_MS_MAX = 2000.0
_FLOOD_MS_MAX = 10_000.0
_TOLERANCE_MS = 10.0
# Frames of all kinds and digits: so many at once, and so many more each second.  Twilio sends 50
# frames of sound a second; a `clear` gives back a mark for each piece of a long answer.
_FRAMES = (2000, 200.0)
_DIGITS = (50, 10.0)


class FloodError(Exception):
    """Sound, frames or digits come much faster than from a telephone."""


class Inbound:
    """What came of one call, and what is still owed to the voice."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._began_s = self._came_s = now_s()
        self._next_ms: float | None = None  # where the next piece should begin
        self._chunk = 0
        self._given_ms = 0.0
        self._injected_ms = 0.0
        self._is_loud = False
        self._frames = self._digits = 0
        self.padded_ms = 0.0
        self.dropped_ms = 0.0

    def frame(self) -> None:
        """Count a frame of any kind; `FloodError` where there are too many."""
        self._frames += 1
        self._bound(self._frames, _FRAMES)

    def digit(self) -> None:
        """Count a digit; `FloodError` where nobody types so fast."""
        self._digits += 1
        self._bound(self._digits, _DIGITS)

    def _bound(self, count: int, bound: tuple[int, float]) -> None:
        if count > bound[0] + bound[1] * (self._now_s() - self._began_s):
            raise FloodError

    def media(self, data: bytes, timestamp_ms: float, chunk: int) -> bytes:
        """What the voice is to hear of a piece, with silence for what is missing before it.

        A piece that came before is left out.  Raises `FloodError` where too much came too fast.
        """
        if chunk and chunk <= self._chunk:
            return b""
        self._chunk = max(self._chunk, chunk)
        now_s, ms = self._now_s(), PCMU.ms(len(data))
        expected_ms = timestamp_ms if self._next_ms is None else self._next_ms
        gap_ms = min(timestamp_ms - expected_ms - self._injected_ms, PADDING_MS_MAX)
        self._next_ms = max(timestamp_ms, expected_ms) + ms
        self._injected_ms = 0.0
        self._came_s = now_s
        self._is_loud = PCMU.is_loud(data)
        room_ms = (now_s - self._began_s) * 1000 + _AHEAD_MS_MAX - self._given_ms
        if ms > room_ms:
            self.dropped_ms += ms
            if self.dropped_ms > _FLOOD_MS_MAX:
                raise FloodError
            return b""
        padding_ms = min(gap_ms, room_ms - ms)
        if padding_ms > _TOLERANCE_MS:
            self.padded_ms += padding_ms
            data = PCMU.silence(padding_ms) + data
        self._given_ms += PCMU.ms(len(data))
        return data

    def stalled(self) -> bytes:
        """The silence that ends a turn whose sound has stopped to come; once a stall."""
        if not self._is_loud or self._now_s() - self._came_s < STALL_S:
            return b""
        self._is_loud = False
        self._injected_ms = STALL_SILENCE_MS
        self.padded_ms += STALL_SILENCE_MS
        self._given_ms += STALL_SILENCE_MS
        return PCMU.silence(STALL_SILENCE_MS)

    @property
    def is_dead(self) -> bool:
        """Whether nothing has come for too long."""
        return self._now_s() - self._came_s >= SILENT_S
