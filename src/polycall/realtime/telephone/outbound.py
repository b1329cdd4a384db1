"""What goes to the caller: sound in whole 20 ms, a mark behind each piece, `clear` before all.

A mark in front of the first piece comes back at once and measures the way there and back, which is
what a caller goes on hearing while we stop the voice.

The machine of a talk says what it adds to playback, and clears it, at once; the sound itself comes
with the talk's events, later.  What was cleared meanwhile is never sent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from polycall.realtime.played import MarkedPlayed
from polycall.realtime.telephone import twilio
from polycall.voices.audio import PCMU

_PIECE_BYTES = 160
# Ten minutes of sound.  A socket that takes nothing while a voice goes on is given up.
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
