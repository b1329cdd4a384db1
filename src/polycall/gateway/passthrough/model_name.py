"""The model's name in an answer that is passed on: the one that was asked for, as in every other.

A request that is passed on has the model's name changed, and so has its answer: what a client reads
there it can ask for again, and the header says what answered.  Nothing is parsed: a text's quotes
are escaped, so the mark of the field stands in no text.
"""

from __future__ import annotations

import re

_VALUE = re.compile(rb'\s*:\s*("(?:[^"\\]|\\.)+")')


def named_as_asked(body: bytes, mark: bytes, asked: bytes) -> bytes:
    """A whole answer with `asked`, which is JSON, where its first `mark` names the model."""
    found = _found(body, mark)
    if found is None:
        return body
    _, start, end = found
    view = memoryview(body)  # a long answer is copied once
    return b"".join((view[:start], asked, view[end:]))


class NamedStream:
    """The same for the whole frames of a stream, each of which may name the model."""

    def __init__(self, mark: bytes, asked: bytes) -> None:
        self._mark = mark
        self._asked = asked
        self._names: dict[bytes, bytes] = {}  # as the provider names it, and as we write that

    def feed(self, frames: bytes) -> bytes:
        """The frames to pass on."""
        if not self._names:
            found = _found(frames, self._mark)  # some begin with an empty name
            if found is None:
                return frames
            at, start, end = found
            written = self._mark + b":"
            self._names[frames[at:end]] = frames[at:start] + self._asked
            self._names[written + frames[start:end]] = written + self._asked
        for told, asked in self._names.items():
            frames = asked.join(frames.split(told))  # faster than `replace`
        return frames


def _found(data: bytes, mark: bytes) -> tuple[int, int, int] | None:
    """Where the first name's mark stands, and where the name begins and ends."""
    at = data.find(mark)
    while at >= 0:
        value = _VALUE.match(data, at + len(mark))
        if value is not None:
            return at, value.start(1), value.end()
        at = data.find(mark, at + len(mark))
    return None
