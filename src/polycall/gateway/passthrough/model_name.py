"""The model's name in an answer that is passed on: the one that was asked for, as in every other.

A request that is passed on has the model's name changed, and so has its answer: what a client reads
there it can ask for again, and the header says what answered.  Nothing is parsed: a text's quotes
are escaped, so the mark of the field stands in no text.  Deeper objects, such as a tool's arguments
on some wires, may have a field of that name and are theirs.
"""

from __future__ import annotations

import re

_VALUE = re.compile(rb'\s*:\s*("(?:[^"\\]|\\.)+")')
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]')
_HEAD_BYTES_MAX = 256 * 1024  # a name that stands later stays as it is
_NESTED = {b"{": 1, b"[": 1, b"}": -1, b"]": -1}


def named_as_asked(body: bytes, mark: bytes, asked: bytes) -> bytes:
    """A whole answer with `asked`, which is JSON, where its own `mark` names the model."""
    found = _found(body, mark, depth_max=1)
    if found is None:
        return body
    _, start, end = found
    view = memoryview(body)  # a long answer is copied once
    return b"".join((view[:start], asked, view[end:]))


class NamedStream:
    """The same for the whole frames of a stream, each of which may name the model.

    There the answer may be a field of the frame.
    """

    def __init__(self, mark: bytes, asked: bytes) -> None:
        self._mark = mark
        self._asked = asked
        self._names: dict[bytes, bytes] = {}  # as the provider names it, and as we write that

    def feed(self, frames: bytes) -> bytes:
        """The frames to pass on."""
        if not self._names:
            found = _found(frames, self._mark, depth_max=2)  # some begin with an empty name
            if found is None:
                return frames
            at, start, end = found
            written = self._mark + b":"
            self._names[frames[at:end]] = frames[at:start] + self._asked
            self._names[written + frames[start:end]] = written + self._asked
        for told, asked in self._names.items():
            frames = asked.join(frames.split(told))  # faster than `replace`
        return frames


def _found(data: bytes, mark: bytes, depth_max: int) -> tuple[int, int, int] | None:
    """Where the first name's mark stands, and where the name begins and ends."""
    looked = depth = 0
    at = data.find(mark, 0, _HEAD_BYTES_MAX)
    while at >= 0:
        depth += sum(_NESTED.get(each, 0) for each in _TOKEN.findall(data, looked, at))
        value = _VALUE.match(data, at + len(mark))
        if value is not None and depth <= depth_max:
            return at, value.start(1), value.end()
        looked = at
        at = data.find(mark, at + len(mark), _HEAD_BYTES_MAX)
    return None
