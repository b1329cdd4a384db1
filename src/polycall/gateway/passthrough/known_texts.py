"""The texts that the bodies of one key have in common: an agent sends nearly the same one again.

A body is compared with the texts of earlier ones, byte by byte, where the names of their fields
stand.  What is known of a text is known wherever it comes: that it is UTF-8 and JSON without
needless escapes, which marks stand in it, up to where its messages are plain.  So only the rest of
a body is read, with a short stand-in for each known text.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Callable, Mapping
from itertools import pairwise

import msgspec
from msgspec import Struct

from polycall.gateway.passthrough.control_fields import has_needless_escape
from polycall.gateway.passthrough.slow_reading import decode_fields
from polycall.gateway.passthrough.tool_texts import ToolText, tool_text

KEPT_BYTES_MAX = 8 * 1024 * 1024
OWNER_BYTES_MAX = 2 * 1024 * 1024
_OWNER_TEXTS_MAX = 64
_BYTES_MIN = 2 * 1024  # what is shorter is read in the time that it takes to look it up
_ITEMS_MAX = 8 * 1024
_ITEM_BYTES = 3 * 8  # where an item ends, and two nulls in it
_TAIL = 8  # items at the end that clients write otherwise when they send them again
_LISTS = frozenset({"messages", "input", "contents"})
_VALUES = frozenset({"tools", "system", "instructions", "systemInstruction", "system_instruction"})
_NAMES = _LISTS | _VALUES
_SPACE = b" \t\r\n"
_BETWEEN = b" \t\r\n,"
_BRACKET = ord("[")
_STAND_IN = b'"@polycall-known-'
_items_decoder: msgspec.json.Decoder[list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw])


class KnownText:
    """A value, of a list up to the end of its last item, and what was found out about it.

    All of that is about the text alone.  `ends` are where a list's items end; another value is one
    item.
    """

    __slots__ = (
        *("_found", "_sought", "_tools"),
        *("ends", "held_bytes", "name", "nulls", "odd_bytes", "plain_count", "text"),
    )

    def __init__(
        self, name: str, text: bytes, ends: array[int], before: KnownText | None, count: int
    ) -> None:
        """`before` has the first `count` items as well."""
        self.name = name
        self.text = text
        self.ends = ends
        self.held_bytes = len(text) + _ITEM_BYTES * len(ends)
        # Messages at the beginning that are plain, where nulls stand in them, and a size from which
        # on they are not (0 where nobody knows of one): see `plain_messages`.
        self.plain_count = self.odd_bytes = 0
        self.nulls = array("Q")
        # What was looked for: where it stands first, or -1 - size where it is not in so many bytes.
        self._sought: dict[bytes, int] = {}
        self._found: dict[Callable[[bytes], tuple[str, ...]], int] = {}
        self._tools: ToolText | None = None
        if before is not None and count:
            size = before.ends[count - 1]
            self.plain_count = min(before.plain_count, count)
            self.nulls.extend(place for place in before.nulls if place < size)
            if 0 < before.odd_bytes <= size:
                self.odd_bytes = before.odd_bytes
            for mark, place in before._sought.items():
                is_here = 0 <= place <= size - len(mark)
                self._sought[mark] = place if is_here else -1 - min(size, _done(place, size))
            self._found = {find: min(done, size) for find, done in before._found.items()}

    @property
    def is_list(self) -> bool:
        """Whether another list may begin with it."""
        return self.name in _LISTS

    def tools(self) -> ToolText:
        """The known facts about it as a list of tools."""
        if self._tools is None:
            self._tools = tool_text(self.text)
        return self._tools

    def shared(self, body: bytes, start: int, beyond: int) -> int:
        """The number of its items in the body at `start`; 0 where not more than `beyond`."""
        view, ends = memoryview(self.text), self.ends
        if body.startswith(view[: ends[-1]], start):
            return len(ends)
        if beyond >= len(ends) - 1 or not body.startswith(view[: ends[beyond]], start):
            return 0
        low, high = beyond + 1, len(ends)
        while low < high - 1:
            middle, done = (low + high) // 2, ends[low - 1]
            if body.startswith(view[done : ends[middle - 1]], start + done):
                low = middle
            else:
                high = middle
        return low

    def has(self, mark: bytes, size: int) -> bool:
        """Whether a mark stands in its first bytes."""
        place = self._sought.get(mark, -1)
        if place < 0 and (done := -1 - place) < len(self.text):
            found = self.text.find(mark, max(0, done - len(mark)))
            place = self._sought[mark] = found if found >= 0 else -1 - len(self.text)
        return 0 <= place <= size - len(mark)

    def found_by(self, find: Callable[[bytes], tuple[str, ...]], size: int) -> tuple[str, ...]:
        """The findings of `find` in its first bytes; asked once where there are none."""
        done = self._found.get(find, 0)
        if done >= size:
            return ()
        items = self.text[done or 1 : size].lstrip(_BETWEEN) if self.is_list else self.text
        found = find(b"[%b]" % items)
        if not found:
            self._found[find] = size
        return found


def _done(place: int, size: int) -> int:
    """In how many bytes a mark is not, of which `_sought` says `place`."""
    return size if place >= 0 else -1 - place


class TextPart(Struct, frozen=True, eq=False):
    """A known text in a body: the first `count` of its items, which are `size` bytes."""

    text: KnownText
    count: int
    size: int
    start: int = 0

    def whole(self, rest: bytes) -> bytes:
        """The value's text, which has `rest` after it; no copy where it is all known."""
        text = self.text.text
        if len(text) == self.size + len(rest) and text.endswith(rest):
            return text
        return b"".join((memoryview(text)[: self.size], rest))


class BodyTexts(Struct, frozen=True, eq=False):
    """The known parts of a body, by the fields' names, and what is left of it.

    For marks without brackets, commas and spaces: none of them stands across a part's ends.
    """

    parts: dict[str, TextPart]
    rest: bytes

    def has(self, mark: bytes) -> bool:
        """Whether the mark stands in the body."""
        if self.rest.find(mark) >= 0:
            return True
        # `any` needs a generator, which takes longer than one or two parts.
        for part in self.parts.values():  # noqa: SIM110
            if part.text.has(mark, part.size):
                return True
        return False


class ReadBody(Struct, frozen=True, eq=False):
    """A body that has known texts: its fields, and the same with stand-ins, of which it is read."""

    fields: dict[str, msgspec.Raw]
    short: bytes
    short_fields: dict[str, msgspec.Raw]
    parts: dict[str, TextPart]
    texts: dict[str, bytes]  # of the fields that have parts


class _OwnerTexts:
    """The latest texts of one key, the newest last."""

    __slots__ = ("names", "size_bytes", "texts")

    def __init__(self) -> None:
        self.texts: list[KnownText] = []
        self.names: list[str] = []  # in the order in which the latest body had them
        self.size_bytes = 0

    def parts_in(self, body: bytes) -> list[TextPart]:
        """The known texts in a body, in the order in which they stand there."""
        found: list[TextPart] = []
        done = 0
        for name in self.names:
            key = b'"%b"' % name.encode()
            place = body.find(key, done)
            if place < 0 and done:
                place = body.find(key, 0, done)
            part = None if place < 0 else self._longest(name, body, place + len(key))
            if part is not None:
                found.append(part)
                done = max(done, part.start + part.size)
        found.sort(key=_start_of)
        for part, later in pairwise(found):
            if later.start < part.start + part.size:
                return []  # one stands in another: only a whole look tells which is a field
        return found

    def _longest(self, name: str, body: bytes, place: int) -> TextPart | None:
        while place < len(body) and body[place] in b" \t\r\n:":
            place += 1
        best: KnownText | None = None
        count = 0
        for text in reversed(self.texts):
            if text.name == name and (shared := text.shared(body, place, count)) > count:
                best, count = text, shared
                if count == len(text.ends):
                    break  # the latest that is here whole
        return None if best is None else TextPart(best, count, best.ends[count - 1], place)

    def keep(self, name: str, whole: bytes, before: TextPart | None) -> TextPart | None:
        """Keep the text of a field, of which `before` was known."""
        view, size = memoryview(whole), len(whole)
        if name in _VALUES:
            ends = array("Q", [size])
        else:
            if view[0] != _BRACKET:
                return None
            size = _before_space(view, size - 1)
            ends = _ends(view, size, before)
            if not ends or len(ends) > _ITEMS_MAX:
                return None
        old, count = (None, 0) if before is None else (before.text, before.count)
        if before is not None and before.size == size:
            self.texts.remove(before.text)
            self.texts.append(before.text)
            return before
        text = KnownText(name, whole, ends, old, count)
        if old is not None and len(old.ends) - count <= _TAIL:
            self.drop(old)  # the next step takes its place
        self.texts.append(text)
        self.size_bytes += text.held_bytes
        return TextPart(text, len(ends), size)

    def drop(self, text: KnownText) -> None:
        """Forget a text."""
        self.texts.remove(text)
        self.size_bytes -= text.held_bytes


class KnownTexts:
    """The memory of one process; long bodies, which are read in threads, have no part in it."""

    def __init__(self, *, bytes_min: int = _BYTES_MIN) -> None:
        """Shorter texts are read anew."""
        self.bytes_min = bytes_min
        self.size_bytes = 0  # of the texts that are kept
        self._owners: OrderedDict[str, _OwnerTexts] = OrderedDict()

    def read(self, owner: str, body: bytes) -> ReadBody | None:
        """The fields of a body with known texts; `None` where it has to be read whole.

        It may be none that is taken: what is wrong with it is not said here.
        """
        own = self._owners.get(owner)
        parts = [] if own is None else own.parts_in(body)
        if not parts:
            return None
        view = memoryview(body)
        pieces: list[bytes | memoryview] = []
        done = 0
        for number, part in enumerate(parts):
            pieces += (view[done : part.start], _stand_in(part, number))
            done = part.start + part.size
        pieces.append(view[done:])
        short = b"".join(pieces)
        if short.count(_STAND_IN) != len(parts) or has_needless_escape(short):
            return None
        try:
            if not short.isascii():
                short.decode()
            short_fields = decode_fields(short)
        except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
            return None
        fields, texts = short_fields.copy(), dict[str, bytes]()
        for number, part in enumerate(parts):
            raw = short_fields.get(part.text.name)
            stand_in = _stand_in(part, number)
            said = b"" if raw is None else bytes(raw)
            # It stands nowhere else: so it is this field that the known text is in.
            if not said.startswith(stand_in):
                return None
            text = texts[part.text.name] = part.whole(said[len(stand_in) :])
            fields[part.text.name] = msgspec.Raw(text)
        named = {part.text.name: part for part in parts}
        return ReadBody(fields, short, short_fields, named, texts)

    def keep(
        self, owner: str, fields: Mapping[str, msgspec.Raw], read: ReadBody | None
    ) -> BodyTexts | None:
        """Keep the texts of a body that was read; gives what is known of it from now on."""
        own = self._owners.get(owner) or _OwnerTexts()
        before_bytes = own.size_bytes
        parts: dict[str, TextPart] = {}
        for name, raw in fields.items():
            if name in _NAMES and self.bytes_min <= len(raw) <= OWNER_BYTES_MAX // 2:
                before = None if read is None else read.parts.get(name)
                text = bytes(raw) if read is None or before is None else read.texts[name]
                if (part := own.keep(name, text, before)) is not None:
                    parts[name] = part
        if not parts:
            return None
        own.names = list(parts)
        while own.size_bytes > OWNER_BYTES_MAX or len(own.texts) > _OWNER_TEXTS_MAX:
            own.drop(own.texts[0])
        self._owners[owner] = own
        self._owners.move_to_end(owner)
        self.size_bytes += own.size_bytes - before_bytes
        while self.size_bytes > KEPT_BYTES_MAX:
            self._drop_oldest()
        rest = b",".join(
            b'"%b":%b' % (name.encode("utf-8", "surrogatepass"), b"" if name in parts else raw)
            for name, raw in fields.items()
        )
        return BodyTexts(parts, rest)

    def found_in(
        self, owner: str, body: bytes, find: Callable[[bytes], tuple[str, ...]]
    ) -> tuple[str, ...]:
        """The findings of `find` in a body that was written here.

        Known texts are not searched again.
        """
        read = self.read(owner, body)
        try:
            fields = decode_fields(body) if read is None else read.fields
            known = self.keep(owner, fields, read)
            parts = {} if known is None else known.parts
            rest = {name: raw for name, raw in fields.items() if name not in parts}
            found = find(msgspec.json.encode(rest) if parts else body)
        except (msgspec.DecodeError, UnicodeEncodeError):  # half of a character in it
            return find(body)
        for part in parts.values():
            found += part.text.found_by(find, part.size)
        return found

    def _drop_oldest(self) -> None:
        """Drop the oldest texts of the key that has not asked for the longest time."""
        name, own = next(iter(self._owners.items()))
        self.size_bytes -= own.texts[0].held_bytes
        own.drop(own.texts[0])
        if not own.texts:
            del self._owners[name]


def _stand_in(part: TextPart, number: int) -> bytes:
    return b'%b%b%d"' % (b"[" if part.text.is_list else b"", _STAND_IN, number)


def _start_of(part: TextPart) -> int:
    return part.start


def _before_space(view: memoryview, end: int) -> int:
    while view[end - 1] in _SPACE:
        end -= 1
    return end


def _ends(view: memoryview, size: int, before: TextPart | None) -> array[int]:
    """The ends of the items of a list; none where only a slower reader accepts it."""
    if before is not None and before.size == size:
        return before.text.ends[: before.count]
    ends = array("Q") if before is None else before.text.ends[: before.count]
    place = ends[-1] if ends else 1
    rest = bytes(view[place:size])
    new = rest.lstrip(_BETWEEN)
    place += len(rest) - len(new)
    try:
        items = _items_decoder.decode(b"[%b]" % new)
    except msgspec.DecodeError:
        return array("Q")
    for item in items:
        while view[place] in _BETWEEN:
            place += 1
        place += len(item)
        ends.append(place)
    return ends
