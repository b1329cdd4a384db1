"""Watches a stream that is passed through: its usage, its end, its errors.

Decoding every event would cost more than passing them on.  Only the frames that tell of a
beginning, of usage, of an end or of an error are decoded, by the dialect's own decoder; the texts
between them are left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec

from polycall._support.json_weight import LONG_BYTES
from polycall._support.piece_buffer import PieceBuffer
from polycall.errors import PolycallError
from polycall.gateway.passthrough.call_counter import CallCounter, in_events
from polycall.gateway.passthrough.made_resources import MadeResources
from polycall.ir import Event, ResponseEnd, ResponseStart, Usage
from polycall.translation.sse import EVENT_BYTES_MAX, too_large
from polycall.translation.wire import Decoder, Dialect

_NO_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')
USAGE = re.compile(rb'"usage"\s*:\s*\{')
_fields_decoder: msgspec.json.Decoder[dict[str, msgspec.Raw]] = msgspec.json.Decoder(
    dict[str, msgspec.Raw]
)
_BREAKS = (b"\n\n", b"\r\n\r\n")
_COLON = ord(":")


class Observer:
    """Takes the bytes of a stream and gives those to pass on: all, or all but the usage."""

    def __init__(
        self,
        dialect: Dialect,
        *,
        hides_usage: bool,
        is_sse: bool,
        passes_whole: bool = False,
        event_bytes_max: int = EVENT_BYTES_MAX,
    ) -> None:
        self._dialect = dialect
        self._decoder: Decoder = dialect.StreamDecoder()
        self._decoder.event_bytes_max = self._event_bytes_max = event_bytes_max
        self._marks = dialect.FACTS.stream_marks
        self._counter = CallCounter(dialect)
        self.made = MadeResources(dialect)
        self._hides_usage = hides_usage
        self._passes_whole = hides_usage or passes_whole  # frames continue when they are whole
        self.is_sse = is_sse
        self._break: bytes = b""
        self._rest = PieceBuffer()  # of a frame that is not whole
        self._tail: bytes = b""  # the end of it
        self._latest: bytes = b""  # the latest whole frames
        self.usage = Usage()
        self.frames = 0
        self.calls = 0
        self.began = False  # a frame that says something has come
        self.ended = False
        self.is_broken = False  # by an error that the client has not heard of

    @property
    def error(self) -> PolycallError | None:
        """The error that the stream tells of, if it does."""
        return self._decoder.error

    @property
    def held_bytes(self) -> int:
        """The length of the event that has begun: it is read when it ends."""
        return self._rest.size if self.is_sse else self._decoder.held_bytes

    @property
    def at_boundary(self) -> bool:
        """Whether a heartbeat may stand between what was passed on and what comes."""
        return self.is_sse and (self._passes_whole or not self._rest.size)

    def feed(self, chunk: bytes) -> bytes:
        """The bytes to pass on now."""
        if not self.is_sse:
            events = self._decoder.feed(chunk)
            self.began = self.began or any(not isinstance(each, ResponseStart) for each in events)
            self.calls += in_events(events)
            self._take(events)
            return chunk
        if self._rest.size > LONG_BYTES and 0 < (end := self._end_in(chunk)) < len(chunk):
            # A long frame by itself: it has no second copy while it is read.
            return self._passed(chunk[:end]) + self._passed(chunk[end:])
        return self._passed(chunk)

    def _end_in(self, chunk: bytes) -> int:
        """The end of the frame that has begun; 0 or less where it continues."""
        near = self._tail + chunk
        gap = self._break or _first_break(near)
        place = near.find(gap) if gap else -1
        return 0 if place < 0 else place + len(gap) - len(self._tail)

    def _passed(self, chunk: bytes) -> bytes:
        data = self._whole_frames(chunk)
        if not data:
            return b"" if self._passes_whole else chunk
        cut = data.rfind(self._break) + len(self._break)
        if cut < len(data):
            self._keep(data[cut:])
            data = data[:cut]
        self.frames += data.count(self._break)
        passed = self._look_at(data)
        return passed if self._passes_whole else chunk

    def _look_at(self, whole: bytes) -> bytes:
        """Watch whole frames; gives what is passed of them."""
        self._latest = whole if len(whole) <= LONG_BYTES else b""
        self.calls += self._counter.in_frames(whole, self._break)
        for start, end in frames_with(self.made.marks, whole, self._break):
            self.made.in_frame(whole[start:end])
        passed: list[bytes] = []
        place = 0
        for start, end in self._frames_to_read(whole):
            frame = whole[start : end + len(self._break)]
            events = self._decoder.feed(frame)
            self._take(events)
            # Some servers begin an answer, and then say that they failed.
            self.began = self.began or any(not isinstance(each, ResponseStart) for each in events)
            if self._hides_usage and b'"usage"' in frame:
                left = without_usage(frame[: end - start])
                passed += (whole[place:start], left, self._break if left else b"")
                place = end + len(self._break)
        return b"".join((*passed, whole[place:])) if passed else whole

    def _frames_to_read(self, whole: bytes) -> Iterator[tuple[int, int]]:
        """The frames that the decoder has to see: all until the answer has begun."""
        place, gap = 0, len(self._break)
        while not self.began and place < len(whole):
            end = whole.find(self._break, place)
            # Else it is a comment, such as a provider's own heartbeat.
            if end > place and (whole[place] != _COLON or whole.find(b"\n", place, end) >= 0):
                yield place, end
            place = end + gap
        if place < len(whole):
            yield from frames_with(self._marks, whole, self._break, place)

    def _whole_frames(self, chunk: bytes) -> bytes:
        """All that was not looked at yet, where that is a frame or more; else nothing.

        What ends a frame is only looked for in what is new: a frame may come in many pieces.
        """
        near = self._tail + chunk
        if self._break:
            is_whole = self._break in near
        else:
            self._break = _first_break(near)
            is_whole = bool(self._break)
        if not is_whole:
            self._keep(chunk)
            return b""
        self._tail = b""
        return self._rest.take(chunk) if self._rest.size else chunk

    def _keep(self, piece: bytes) -> None:
        if piece:
            self._rest.add(piece)
            self._tail = (self._tail + piece[-3:])[-3:]
            if self._rest.size > self._event_bytes_max:
                raise too_large("an event", self._event_bytes_max)

    def break_off(self) -> None:
        """Nothing more comes; of a stream without an end, the usage is what it reported so far."""
        if self.ended:
            return
        # Some servers count in each frame, and those of text were left alone.
        latest: Decoder = self._dialect.StreamDecoder()
        latest.event_bytes_max = self._event_bytes_max
        latest.feed(self._latest[self._latest.rfind(self._break, 0, -1) + 1 :])
        reported = self._decoder.usage
        self.usage = (
            latest.usage if latest.usage.output_tokens > reported.output_tokens else reported
        )

    def close(self) -> bytes:
        """The bytes left to pass on; raises an error for a wrong end of the stream."""
        rest = self._rest.take()
        if rest and self.is_sse:
            self._take(self._decoder.feed(rest))
        self._take(self._decoder.close())
        if self._hides_usage:
            return without_usage(rest)
        return rest if self._passes_whole else b""

    def _take(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, ResponseEnd):
                self.usage = event.usage
                self.ended = True
            elif isinstance(event, ResponseStart):
                self.usage = event.usage


def frames_with(
    marks: Iterable[bytes], whole: bytes, gap: bytes, place: int = 0
) -> list[tuple[int, int]]:
    """The frames that have one of the marks, in order; `gap` ends each frame."""
    found: set[tuple[int, int]] = set()
    for mark in marks:
        at = whole.find(mark, place)
        while at >= 0:
            end = whole.find(gap, at)
            before = whole.rfind(gap, place, at)
            found.add((place if before < 0 else before + len(gap), end))
            at = whole.find(mark, end)
    return sorted(found)


def without_usage(frame: bytes) -> bytes:
    """The frame as a client gets it that asked for no usage; nothing where it says that alone.

    Some servers count on the chunk that finishes, whose choices are the client's.
    """
    if _NO_CHOICES.search(frame):
        return b"" if b'"usage"' in frame else frame
    lines = frame.split(b"\n")
    for place, line in enumerate(lines):
        if line.startswith(b"data:") and USAGE.search(line):
            try:
                fields = _fields_decoder.decode(line[len(b"data:") :])
            except msgspec.DecodeError:
                continue  # the decoder says what is wrong with it
            if fields.pop("usage", None) is not None:
                lines[place] = b"data: " + msgspec.json.encode(fields)
    return b"\n".join(lines)


def _first_break(data: bytes) -> bytes:
    """The bytes that end a frame here, by the first that has ended; empty where none has."""
    found = [(place, each) for each in _BREAKS if (place := data.find(each)) >= 0]
    return min(found)[1] if found else b""
