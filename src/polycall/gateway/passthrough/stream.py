"""Watches a stream that is passed through: its usage, its end, its errors.

Decoding every event would cost more than passing them on.  Only the frames that tell of a
beginning, of usage, of an end or of an error are decoded, by the dialect's own decoder; the texts
between them are left alone.
"""

from __future__ import annotations

import re

import msgspec

from polycall.errors import PolycallError, ProtocolError
from polycall.gateway.passthrough.call_counter import CallCounter, in_events
from polycall.ir import Event, ResponseEnd, ResponseStart, Usage
from polycall.translation.sse import EVENT_BYTES_MAX
from polycall.translation.wire import Decoder, Dialect

# Marks of the frames that a decoder has to see; inside of a JSON string the quotes would be
# escaped, so text cannot contain them.
_MARKS: dict[str, tuple[bytes, ...]] = {
    "openai-chat": (
        b'"finish_reason":"',
        b'"finish_reason": "',
        b'"usage":{',
        b'"usage": {',
        b'"error"',
        b'"native_finish_reason"',
        b"data: [DONE]",
    ),
    "openai-responses": (
        b"response.created",
        b"response.completed",
        b"response.incomplete",
        b"response.failed",
        b"response.cancelled",
        b'"error"',
    ),
    "anthropic": (b"message_start", b"message_delta", b"message_stop", b'"error"'),
    "bedrock-converse": (b'"stopReason"', b'"usage"', b'"message"', b"Exception"),
    "gemini-interactions": (
        b'"interaction.created"',
        b'"interaction.completed"',
        b'"interaction.cancelled"',
        b'"error"',
    ),
    "ollama-chat": (b'"done":true', b'"done": true', b'"error"'),
    "gemini": (b'"finishReason"', b'"error"', b'"promptFeedback"'),
}
_NO_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')
_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_fields_decoder: msgspec.json.Decoder[dict[str, msgspec.Raw]] = msgspec.json.Decoder(
    dict[str, msgspec.Raw]
)
_BREAKS = (b"\n\n", b"\r\n\r\n")


class Observer:
    """Takes the bytes of a stream and gives those to pass on: all, or all but the usage."""

    def __init__(self, dialect: Dialect, *, hides_usage: bool, is_sse: bool) -> None:
        self._dialect = dialect
        self._decoder: Decoder = dialect.StreamDecoder()
        self._marks = _MARKS[dialect.NAME]
        self._counter = CallCounter(dialect.NAME)
        self._hides_usage = hides_usage
        self._is_sse = is_sse
        self._break: bytes = b""
        self._rest: list[bytes] = []  # of a frame that is not whole
        self._rest_bytes = 0
        self._tail: bytes = b""  # the end of it
        self._last: bytes = b""  # the latest whole frame
        self.usage = Usage()
        self.frames = 0
        self.calls = 0
        self.began = False  # a frame that says something has come
        self.ended = False

    @property
    def error(self) -> PolycallError | None:
        """The error that the stream tells of, if it does."""
        return self._decoder.error

    @property
    def at_boundary(self) -> bool:
        """Whether a heartbeat may stand between what was passed on and what comes."""
        return self._is_sse and (self._hides_usage or not self._rest)

    def feed(self, chunk: bytes) -> bytes:
        """The bytes to pass on now."""
        if not self._is_sse:
            self.began = True
            events = self._decoder.feed(chunk)
            self.calls += in_events(events)
            self._take(events)
            return chunk
        data = self._whole_frames(chunk)
        if not data:
            return b"" if self._hides_usage else chunk
        frames = data.split(self._break)
        self._keep(frames.pop())
        if frames:
            self._last = frames[-1]
        self.frames += len(frames)
        hidden = False
        mark = self._counter.mark
        for position, frame in enumerate(frames):
            if not frame or (frame[:1] == b":" and b"\n" not in frame):
                continue  # a comment, such as a provider's own heartbeat
            if mark in frame:
                self.calls += self._counter.in_frame(frame)
            if self.began:
                for each in self._marks:
                    if each in frame:
                        break
                else:
                    continue
            events = self._decoder.feed(frame + self._break)
            self._take(events)
            # Some servers begin an answer, and then say that they failed.
            self.began = self.began or any(not isinstance(each, ResponseStart) for each in events)
            if self._hides_usage and b'"usage"' in frame:
                frames[position] = _without_usage(frame)
                hidden = hidden or not frames[position]
        if not self._hides_usage:
            return chunk
        if hidden:
            frames = [frame for frame in frames if frame]
        return b"".join([frame + self._break for frame in frames])

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
        data = b"".join((*self._rest, chunk))
        self._rest.clear()
        self._rest_bytes, self._tail = 0, b""
        return data

    def _keep(self, piece: bytes) -> None:
        if piece:
            self._rest.append(piece)
            self._rest_bytes += len(piece)
            self._tail = (self._tail + piece[-3:])[-3:]
            if self._rest_bytes > EVENT_BYTES_MAX:
                raise ProtocolError(f"an event is larger than {EVENT_BYTES_MAX} bytes")

    def break_off(self) -> None:
        """Nothing more comes; of a stream without an end, the usage is what it told so far."""
        if self.ended:
            return
        # Some servers count in each frame, and those of text were left alone.
        latest = self._dialect.StreamDecoder()
        latest.feed(self._last + self._break)
        reported = self._decoder.usage
        self.usage = (
            latest.usage if latest.usage.output_tokens > reported.output_tokens else reported
        )

    def close(self) -> bytes:
        """What is left to pass on; raises what is wrong with the end of the stream."""
        rest = b"".join(self._rest)
        self._rest.clear()
        if rest and self._is_sse:
            self._take(self._decoder.feed(rest))
        self._take(self._decoder.close())
        return _without_usage(rest) if self._hides_usage else b""

    def _take(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, ResponseEnd):
                self.usage = event.usage
                self.ended = True
            elif isinstance(event, ResponseStart):
                self.usage = event.usage


def _without_usage(frame: bytes) -> bytes:
    """The frame as a client gets it that asked for no usage; nothing where it says that alone.

    Some servers count on the chunk that finishes, whose choices are the client's.
    """
    if _NO_CHOICES.search(frame):
        return b"" if b'"usage"' in frame else frame
    lines = frame.split(b"\n")
    for place, line in enumerate(lines):
        if line.startswith(b"data:") and _USAGE.search(line):
            try:
                fields = _fields_decoder.decode(line[len(b"data:") :])
            except msgspec.DecodeError:
                continue  # the decoder says what is wrong with it
            if fields.pop("usage", None) is not None:
                lines[place] = b"data: " + msgspec.json.encode(fields)
    return b"\n".join(lines)


def _first_break(data: bytes) -> bytes:
    """What ends a frame here, by the first that has ended; empty where none has."""
    found = [(place, each) for each in _BREAKS if (place := data.find(each)) >= 0]
    return min(found)[1] if found else b""
