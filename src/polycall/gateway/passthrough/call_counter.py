"""Counts the tool calls of an answer, for the ledger, without decoding what only passes through.

Quotes inside of a JSON string are escaped, so an answer's text cannot look like one of these.
"""

from __future__ import annotations

from collections.abc import Iterable

from polycall.ir import Event, Part, PartStart, ToolCall
from polycall.translation.wire import Dialect


class CallCounter:
    """Counts the calls in answers of one dialect."""

    __slots__ = ("mark", "word", "words")

    def __init__(self, dialect: Dialect) -> None:
        facts = dialect.FACTS
        self.word, self.words = facts.call_mark, facts.call_pattern
        self.mark = facts.counted_frames or self.word  # what a frame worth counting has

    def in_frames(self, whole: bytes, gap: bytes) -> int:
        """The calls that begin in whole frames of a stream, which `gap` ends."""
        if self.mark not in whole:
            return 0
        count = place = 0
        at = whole.find(self.mark)
        while at >= 0:
            start = whole.rfind(gap, place, at)
            end = whole.find(gap, at)
            place = len(whole) if end < 0 else end
            for _ in self.words.finditer(whole, max(start, 0), place):
                count += 1
            at = whole.find(self.mark, place)
        return count

    def in_body(self, body: bytes) -> int:
        """The calls of a whole answer."""
        return len(self.words.findall(body)) if self.word in body else 0


def in_parts(parts: Iterable[Part]) -> int:
    """The calls of a message."""
    return sum(isinstance(part, ToolCall) for part in parts)


def in_events(events: Iterable[Event]) -> int:
    """The calls that begin in these events."""
    count = 0
    for event in events:
        if isinstance(event, PartStart) and isinstance(event.part, ToolCall):
            count += 1
    return count
