"""The memory that JSON takes once it is read: values by number, texts by their widest character."""

from __future__ import annotations

import re
from collections.abc import Iterator

LONG_BYTES = 512 * 1024  # what is shorter is not looked over
OBJECTS_MAX = 100_000  # lists and objects of JSON, a message being a few
VALUES_MAX = 500_000
# Beside so many bytes fewer: what many objects take comes on top of what their texts take.
_FREE_BYTES, _BYTES_FOR_OBJECT, _OBJECTS_BESIDE = 2 * 1024 * 1024, 200, 10_000
# What texts take beyond their bytes: one emoji has each character of its text take four.  While a
# long one is read it has that room for each byte, and for a time what it had before as well.
WIDE_BYTES_MAX = 16 * 1024 * 1024
# A text with an escape is held twice while it is read, beside the bytes that it is read of.  Some
# clients escape each slash of a picture: this is for answers.
ESCAPED_BYTES_MAX = 12 * 1024 * 1024
_SLICE_BYTES = 128 * 1024
# A text; what has whole texts only; the rest of a text, and the quote that ends it.
_INSIDE = rb'(?:[^"\\]++|\\.)*+'
_TEXT = re.compile(rb'"' + _INSIDE + rb'"', re.DOTALL)
_WHOLE = re.compile(rb'(?:[^"]++|"' + _INSIDE + rb'")*+', re.DOTALL)
_REST = re.compile(_INSIDE + rb'("?)', re.DOTALL)
_FOUR, _FOUR_ESCAPED = re.compile(rb"[\xf0-\xff]"), re.compile(rb"\\u[dD][89abAB]")
_TWO, _TWO_ESCAPED = re.compile(rb"[\xc4-\xff]"), re.compile(rb"\\u(?!00)")
_LONG_TEXT_BYTES = 1024 * 1024
_WHILE_READ = {1: 0.0, 2: 1.5, 4: 3.0}  # of a long text's bytes, by its width
_FOLLOWING = bytes(range(0x80, 0xC0))  # of a character of several bytes, all but the first


_LINE_END = re.compile(rb"\r\n?|\n")
_DATA = b"data:"
_TOO_MANY = "it has more than {} lists and objects or {} values"

_WIDE = (
    f"its long texts would take {WIDE_BYTES_MAX} bytes more to read than it has: "
    "one emoji makes each character of its text take four"
)
_ESCAPED = (
    f"a text of it has more than {ESCAPED_BYTES_MAX} bytes and an escape in it, for which it would "
    "be held twice"
)

_CONTAINER_BYTES, _VALUE_BYTES = 150, 60  # that each takes, about
_TIMES_MAX = 10


def is_dense(data: bytes) -> bool:
    """Whether JSON has so many small values that it takes many times its room once it is read."""
    return _is_heavy(data, len(data)) and _is_heavy(_TEXT.sub(b"", data), len(data))


def _is_heavy(data: bytes, size: int) -> bool:
    containers = data.count(b"{") + data.count(b"[")
    return containers * _CONTAINER_BYTES + data.count(b",") * _VALUE_BYTES > _TIMES_MAX * size


def outline(data: bytes, text_bytes_max: int) -> bytes:
    """JSON with `""` for its longer texts.

    Made a slice at a time: one search of all of it would hold the interpreter, in any thread.
    """
    made: list[bytes] = []
    place = 0
    while place < len(data):
        found = _WHOLE.match(data, place, place + _SLICE_BYTES)
        end = place if found is None else found.end()
        made.append(
            _TEXT.sub(
                lambda text: text[0] if len(text[0]) <= text_bytes_max else b'""', data[place:end]
            )
        )
        place = end
        if data[place : place + 1] == b'"':  # of a text that continues behind the slice
            end = _end_of_text(data, place + 1)
            made.append(data[place:end] if end - place <= text_bytes_max else b'""')
            place = end
    return b"".join(made)


def _end_of_text(data: bytes, place: int) -> int:
    """The end of a text that began before `place`; the end of the data, where it has none."""
    quote = data.find(b'"', place)
    if quote >= 0 and data.find(b"\\", place, quote) < 0:  # the usual text, and the fast way
        return quote + 1
    while place < len(data):
        found = _REST.match(data, place, place + _SLICE_BYTES)
        if found is not None and found[1]:
            return found.end()
        # An escape that continues in the next slice is taken whole.
        place = place + 2 if found is None or found.end() == place else found.end()
    return len(data)


class HeavyJSONError(ValueError):
    """JSON that would take too much memory."""


class JSONWeight:
    """Counts the values of JSON that is about to be read, over all that belongs to one message.

    A list takes sixty bytes of memory and two of a body: how much is read is bounded by number as
    well as by size.  Text is looked over where there might be too many.
    """

    def __init__(
        self,
        values_max: int = VALUES_MAX,
        objects_max: int = OBJECTS_MAX,
        short_bytes: int = LONG_BYTES,
        escaped_bytes_max: int | None = None,
    ) -> None:
        """Skip data of no more than `short_bytes`; the last is for a text with an escape."""
        self._escaped_bytes_max = escaped_bytes_max
        self._values_max, self._objects_max = values_max, objects_max
        self._short_bytes = short_bytes
        self._bytes = 0
        self._containers = 0
        self._values = 0
        self._wide = 0

    def steps(self, data: bytes | memoryview) -> Iterator[None]:
        """Count what is in it, a step at a time; raises `HeavyJSONError` where that is too much."""
        self._bytes += len(data)
        if self._bytes <= self._short_bytes:
            return
        for problem in self._widen(data):
            if problem:
                raise HeavyJSONError(problem)
            yield
        counts = self._containers, self._values
        for is_few in self._count_letters(data):
            if not is_few:
                break
            yield
        else:
            return
        self._containers, self._values = counts
        for is_few in self._count_outside_texts(bytes(data)):
            if not is_few:
                raise HeavyJSONError(_TOO_MANY.format(self._objects_max, self._values_max))
            yield

    def _count_letters(self, data: bytes | memoryview) -> Iterator[bool]:
        """Count wherever they stand; says after each step whether that is few."""
        for start in range(0, len(data), _SLICE_BYTES):
            yield self._count(bytes(data[start : start + _SLICE_BYTES]))

    def _count_outside_texts(self, data: bytes) -> Iterator[bool]:
        place, is_text = 0, False
        while place < len(data):
            pattern = _REST if is_text else _WHOLE
            found = pattern.match(data, place, place + _SLICE_BYTES)
            end = place if found is None else found.end()
            if is_text:
                is_text = found is None or not found[1]
                place = end if end > place else len(data)
                yield True
            else:
                yield self._count(_TEXT.sub(b"", data[place:end]))
                is_text = data[end : end + 1] == b'"'
                place = end + is_text

    def _widen(self, data: bytes | memoryview) -> Iterator[str]:
        """Count what texts take beyond their bytes; says after each step whether it is too much."""
        if 3 * self._bytes <= WIDE_BYTES_MAX:
            return
        width, is_escaped = 1, False
        for start in range(0, len(data), _SLICE_BYTES):
            piece = bytes(data[max(0, start - 6) : start + _SLICE_BYTES])
            width, is_escaped = max(width, width_of(piece)), is_escaped or b"\\" in piece
            if width == 4:
                break
            yield ""
        escaped_max = self._escaped_bytes_max or len(data)
        if width == 1 and not (is_escaped and len(data) > escaped_max):
            return
        data = bytes(data)
        place, is_text, text = 0, False, _Text()
        while place < len(data):
            end_of_slice = place + _SLICE_BYTES
            while place < min(end_of_slice, len(data)):
                if not is_text:
                    place = data.find(b'"', place, end_of_slice)
                    is_text, text = place >= 0, _Text()
                    place = place + 1 if is_text else end_of_slice
                    continue
                found = _REST.match(data, place, end_of_slice)
                end = place if found is None else found.end()
                if found is None or end == place:  # an escape that continues in the next slice
                    end, found = min(place + 2, len(data)), None
                text.add(data[place:end])
                place = end
                if found is not None and found[1]:
                    self._wide += text.beyond
                    is_text = False
                    if text.is_escaped and text.size - 1 > escaped_max:
                        yield _ESCAPED
            yield "" if self._wide + text.beyond * is_text <= WIDE_BYTES_MAX else _WIDE

    def _count(self, piece: bytes) -> bool:
        # Finding that there is none is much faster than counting none.
        for mark in (b"[", b"{"):
            if mark in piece:
                self._containers += piece.count(mark)
        if b"," in piece:
            self._values += piece.count(b",")
        return self._containers <= self._objects_max and self._values <= self._values_max


def check_weight(data: bytes | memoryview, values_max: int = VALUES_MAX) -> None:
    """Raise `HeavyJSONError` for one text of JSON that would take too much memory."""
    if len(data) > LONG_BYTES:
        objects_max = objects_beside(len(data))
        weight = JSONWeight(values_max, objects_max, escaped_bytes_max=ESCAPED_BYTES_MAX)
        for _ in weight.steps(data):
            pass


def objects_beside(size_bytes: int) -> int:
    """The lists and objects that one text of this size may have."""
    taken = max(0, size_bytes - _FREE_BYTES) // _BYTES_FOR_OBJECT
    return max(OBJECTS_MAX - taken, _OBJECTS_BESIDE)


class PieceWeight:
    """Counts the values of JSON as its bytes come; of a stream of events, the data of each one."""

    def __init__(
        self,
        *,
        of_events: bool = False,
        objects_max: int | None = None,
        values_max: int | None = None,
    ) -> None:
        self._of_events = of_events
        self._objects_max = objects_max or OBJECTS_MAX
        self._values_max = values_max or VALUES_MAX
        self._is_text = False
        self._held = b""  # the beginning of an escape
        self._containers = self._values = 0
        self._begun = b""  # what a line begins with, as far as the name of the data's field
        self._is_after_return = False

    def feed(self, piece: bytes) -> None:
        """Raise `HeavyJSONError` where there are too many."""
        if not self._of_events:
            self._count(piece)
            return
        if self._is_after_return and piece.startswith(b"\n"):
            piece = piece[1:]
        self._is_after_return = piece.endswith(b"\r")
        place = 0
        for found in _LINE_END.finditer(piece):
            self._take(piece[place : found.start()])
            self._end_line()
            place = found.end()
        self._take(piece[place:])

    def _take(self, data: bytes) -> None:
        """More of a line: what is not the data of an event is no JSON, whatever is in it."""
        missing = len(_DATA) - len(self._begun)
        self._begun += data[:missing]
        if self._begun == _DATA:
            self._count(data[missing:])

    def _end_line(self) -> None:
        if not self._begun:  # an event's end
            self._is_text, self._held, self._containers, self._values = False, b"", 0, 0
        elif self._begun == _DATA:
            self._count(b"\n")
        self._begun = b""

    def _count(self, data: bytes) -> None:
        data, self._held = self._held + data, b""
        place = 0
        while place < len(data):
            if self._is_text:
                found = _REST.match(data, place)
                if found is None or not found[1]:  # its end comes with a later piece
                    self._held = b"\\" if found is not None and found.end() < len(data) else b""
                    return
                place, self._is_text = found.end(), False
                continue
            found = _WHOLE.match(data, place)  # texts that are whole, and what is between them
            end = place if found is None else found.end()
            between = _TEXT.sub(b"", data[place:end])
            self._containers += between.count(b"[") + between.count(b"{")
            self._values += between.count(b",")
            if self._containers > self._objects_max or self._values > self._values_max:
                raise HeavyJSONError(_TOO_MANY.format(self._objects_max, self._values_max))
            self._is_text, place = end < len(data), end + 1


class _Text:
    """The size of one text, counted piece by piece; a piece ends with a whole escape."""

    __slots__ = ("_characters", "_width", "is_escaped", "size")

    def __init__(self) -> None:
        self.size = self._characters = 0
        self._width = 1
        self.is_escaped = False

    def add(self, piece: bytes) -> None:
        self.size += len(piece)
        if b"\\" in piece:
            self.is_escaped = True
            piece = piece.replace(b"\\\\", b"_")  # what is left begins an escape
            self._characters -= 5 * piece.count(b"\\u")
        self._characters += (
            len(piece) if piece.isascii() else len(piece.translate(None, _FOLLOWING))
        )
        if self._width < 4:
            self._width = max(self._width, width_of(piece))

    @property
    def beyond(self) -> int:
        after = max(0, self._width * self._characters - self.size)
        if self.size < _LONG_TEXT_BYTES:
            return after
        return max(after, int(_WHILE_READ[self._width] * self.size))


def width_of(piece: bytes) -> int:
    """The bytes that one character of a text with this piece takes, at most."""
    is_escaped = b"\\u" in piece
    if piece.isascii():
        if not is_escaped:
            return 1
    elif _FOUR.search(piece):
        return 4
    if is_escaped and _FOUR_ESCAPED.search(piece):
        return 4
    return 2 if _TWO.search(piece) or (is_escaped and _TWO_ESCAPED.search(piece)) else 1
