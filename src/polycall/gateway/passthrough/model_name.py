"""The model's name in an answer that is passed on: the one that was asked for, as in every other.

A request that is passed on has the model's name changed, and so has its answer: what a client reads
there it can ask for again, and the header says what answered.  Nothing is parsed: a text's quotes
are escaped, so the mark of the field stands in no text.  Deeper objects, such as a tool's arguments
on some wires or the client's own metadata, may have a field of that name and are theirs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from polycall._support.json_weight import LONG_BYTES

# A name that is longer, with the space before it, is none, and is not looked at further.
_VALUE_BYTES_MAX = 1024
_VALUE = re.compile(rb'\s*+:\s*+("(?:[^"\\]++|\\.)++")')
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?+|[\[\]{}]', re.DOTALL)
_NESTED = {b"{": 1, b"[": 1, b"}": -1, b"]": -1}
_HEAD_BYTES_MAX = 256 * 1024  # of an answer, or of a frame: a name that stands later stays
_BEFORE_BYTES = 16


def named_as_asked(body: bytes, mark: bytes, asked: bytes) -> bytes:
    """A whole answer with `asked`, which is JSON, where its own `mark` names the model."""
    at = body.find(mark, 0, _HEAD_BYTES_MAX)
    if at < 0:
        return body
    # The usual answer names it among its first fields.
    is_first = body.count(b"{", 0, at) == 1 and body.find(b"[", 0, at) < 0
    is_first = is_first and body[at - 1 : at] != b"\\"
    after = at + len(mark)
    value = _VALUE.match(body, after, after + _VALUE_BYTES_MAX) if is_first else None
    if value is not None:
        start, end = value.start(1), value.end()
    else:
        found = next(_names(body, mark, 0, _HEAD_BYTES_MAX, depth_max=1), None)
        if found is None:
            return body
        _, start, end = found
    view = memoryview(body)  # a long answer is copied once
    return b"".join((view[:start], asked, view[end:]))


class NamedStream:
    """The same for the whole frames of a stream, each of which may name the model.

    There the answer may be a field of the frame.  What stood around the first name is known: frames
    in which each `mark` stands so need no second look.
    """

    def __init__(self, mark: bytes, asked: bytes) -> None:
        self._mark = mark
        self._asked = asked
        self._known = self._written = b""  # a name with what stands before it, and as we write it

    def feed(self, frames: bytes) -> bytes:
        """The frames to pass on."""
        if not self._known:
            first = next(self._names(frames), None)
            if first is None:
                return frames
            self._learn(frames, *first)
        if len(frames) <= LONG_BYTES:
            pieces = frames.split(self._known)  # and joined: faster than `replace`
            if len(pieces) - 1 == frames.count(self._mark):
                return self._written.join(pieces)
        made: list[bytes | memoryview] = []
        done = 0
        view = memoryview(frames)
        for at, start, end in self._names(frames):
            made += (view[done:start], self._asked)
            done = end
            self._learn(frames, at, start, end)
        return b"".join((*made, view[done:])) if made else frames

    def _names(self, frames: bytes) -> Iterator[tuple[int, int, int]]:
        gap = b"\r\n\r\n" if frames.endswith(b"\r\n") else b"\n\n"
        begin = 0
        while begin < len(frames):
            end = frames.find(gap, begin)
            end = len(frames) if end < 0 else end + len(gap)
            yield from _names(frames, self._mark, begin, end, depth_max=2)
            begin = end

    def _learn(self, frames: bytes, at: int, start: int, end: int) -> None:
        before = frames[max(at - _BEFORE_BYTES, 0) : start]
        self._known, self._written = before + frames[start:end], before + self._asked


def _names(
    data: bytes, mark: bytes, begin: int, end: int, depth_max: int
) -> Iterator[tuple[int, int, int]]:
    """The places of a name's mark, and of the name's beginning and end."""
    looked, depth = begin, 0
    end = min(end, begin + _HEAD_BYTES_MAX)
    at = data.find(mark, begin, end)
    while at >= 0:
        depth += sum(_NESTED.get(each, 0) for each in _TOKEN.findall(data, looked, at))
        looked = at + len(mark)
        # After a backslash it is a text's end, which only looks like a field.
        if depth <= depth_max and data[at - 1 : at] != b"\\":
            value = _VALUE.match(data, looked, looked + _VALUE_BYTES_MAX)
            if value is not None:
                yield at, value.start(1), value.end()
        at = data.find(mark, looked, end)
