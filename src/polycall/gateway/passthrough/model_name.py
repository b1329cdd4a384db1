"""The model's name in an answer that is passed on: the one that was asked for, as in every other.

A request that is passed on has the model's name changed, and so has its answer: what a client reads
there it can ask for again, and the header says what answered.  Nothing is parsed: a text's quotes
are escaped, so the mark of the field stands in no text.  Deeper objects, such as a tool's arguments
on some wires or the client's own metadata, may have a field of that name and are theirs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_VALUE = re.compile(rb'\s*:\s*("(?:[^"\\]|\\.)+")')
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]')
_NESTED = {b"{": 1, b"[": 1, b"}": -1, b"]": -1}
_HEAD_BYTES_MAX = 256 * 1024  # a name that stands later stays as it is
_BEFORE_BYTES = 16


def named_as_asked(body: bytes, mark: bytes, asked: bytes) -> bytes:
    """A whole answer with `asked`, which is JSON, where its own `mark` names the model."""
    found = next(_names(body, mark, _HEAD_BYTES_MAX, depth_max=1), None)
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
        names = _names(frames, self._mark, len(frames), depth_max=2)
        if not self._known:
            first = next(names, None)
            if first is None:
                return frames
            self._learn(frames, *first)
            names = _names(frames, self._mark, len(frames), depth_max=2)
        pieces = frames.split(self._known)  # and joined: faster than `replace`
        if len(pieces) - 1 == frames.count(self._mark):
            return self._written.join(pieces)
        made: list[bytes] = []
        done = 0
        for at, start, end in names:
            made += (frames[done:start], self._asked)
            done = end
            self._learn(frames, at, start, end)
        return b"".join((*made, frames[done:]))

    def _learn(self, frames: bytes, at: int, start: int, end: int) -> None:
        before = frames[max(at - _BEFORE_BYTES, 0) : start]
        self._known, self._written = before + frames[start:end], before + self._asked


def _names(
    data: bytes, mark: bytes, bytes_max: int, depth_max: int
) -> Iterator[tuple[int, int, int]]:
    """Where a name's mark stands, and where the name begins and ends."""
    looked = depth = 0
    at = data.find(mark, 0, bytes_max)
    while at >= 0:
        depth += sum(_NESTED.get(each, 0) for each in _TOKEN.findall(data, looked, at))
        value = _VALUE.match(data, at + len(mark))
        if value is not None and depth <= depth_max:
            yield at, value.start(1), value.end()
        looked = at
        at = data.find(mark, at + len(mark), bytes_max)
