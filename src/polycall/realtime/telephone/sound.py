"""Sound in both directions, in the time that a telephone needs it.  No IO.

The caller's comes without gaps, and not faster than time.  What goes to the caller comes in whole
20 ms, a mark behind each piece, `clear` before all that is left unsaid.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from polycall.realtime.played import MarkedPlayed
from polycall.realtime.telephone import twilio
from polycall.voices.audio import PCMU

_PIECE_BYTES = 160
# Ten minutes of sound.  A socket that takes nothing while a voice continues is given up.
QUEUE_BYTES_MAX = 8 * 2**20
# The way there and back before it was measured; no measure counts for more than the other.
_LAG_MS = 50.0
_LAG_MS_MAX = 1000.0
_MEASURES = 8


class SlowReaderError(Exception):
    """The other side takes too little of what is sent."""


class Outbound(MarkedPlayed):
    """Playback of one call, and the frames that wait to be sent."""

    def __init__(self, stream_id: str, now_s: Callable[[], float]) -> None:
        super().__init__(now_s)
        self._stream_id = stream_id
        self._frames: deque[str] = deque()
        self._size_bytes = 0
        self._rest = bytearray()  # less than 20 ms
        self._unsent_ms = 0.0  # added, and not yet among the frames
        self._cleared = 0  # clears whose event has not come yet
        self.has_frames = asyncio.Event()
        self.lag_ms = _LAG_MS
        self._measures: deque[float] = deque(maxlen=_MEASURES)
        self._probe = ""  # a mark in front of all sound: it comes back at once
        self._probes = 0
        self._probed_s = 0.0

    def add(self, item_id: str, ms: float) -> None:
        super().add(item_id, ms)
        self._unsent_ms += ms

    def clear(self) -> None:
        super().clear()
        self._cleared += 1
        self._unsent_ms = 0.0
        self._rest.clear()
        self._frames.clear()
        self._size_bytes = 0
        self._push(twilio.clear_frame(self._stream_id))

    def interrupted(self) -> None:
        """The event of a clear has come: sound after it is to be played again."""
        self._cleared -= 1

    def sound(self, data: bytes) -> None:
        """Sound of the voice; `SlowReaderError` where too much waits."""
        if self._cleared:
            return
        self._rest += data
        whole = len(self._rest) // _PIECE_BYTES * _PIECE_BYTES
        if whole:
            piece = bytes(self._rest[:whole])
            del self._rest[:whole]
            self._send(piece, PCMU.ms(whole))

    @property
    def has_rest(self) -> bool:
        """Whether less than 20 ms wait for more."""
        return bool(self._rest)

    def flush(self) -> None:
        """Send the rest, filled with silence: nothing follows it soon."""
        if self._rest:
            ms = PCMU.ms(len(self._rest))
            piece = bytes(self._rest).ljust(_PIECE_BYTES, b"\xff")
            self._rest.clear()
            self._send(piece, ms)

    def reached(self, name: str) -> bool:
        if name == self._probe and name:
            self._probe = ""
            self._measures.append(min((self._now_s() - self._probed_s) * 1000, _LAG_MS_MAX))
            self.lag_ms = sum(self._measures) / len(self._measures)
            return False
        return super().reached(name)

    def next_frame(self) -> str | None:
        """The frame to send now."""
        if not self._frames:
            self.has_frames.clear()
            return None
        frame = self._frames.popleft()
        self._size_bytes -= len(frame)
        return frame

    def _send(self, piece: bytes, ms: float) -> None:
        if not self._marks:
            # Nothing is being played: how long a mark takes can be seen.
            self._probes += 1
            self._probe, self._probed_s = f"probe:{self._probes}", self._now_s()
            self._push(twilio.mark_frame(self._stream_id, self._probe))
        self._push(twilio.media_frame(self._stream_id, piece))
        self._unsent_ms = max(self._unsent_ms - ms, 0.0)
        self._push(twilio.mark_frame(self._stream_id, self.mark(self._unsent_ms)))

    def _push(self, frame: str) -> None:
        if self._size_bytes + len(frame) > QUEUE_BYTES_MAX:
            raise SlowReaderError
        self._frames.append(frame)
        self._size_bytes += len(frame)
        self.has_frames.set()


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
    """The records of one call, and the sound still owed to the voice."""

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
        """The sound for the voice of one piece, with silence for what is missing before it.

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
