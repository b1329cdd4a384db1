"""The beginnings of conversations that this process has read: by their bytes, and bounded.

A beginning is found where a body's messages begin with the very bytes of an earlier request of the
same key.  Only what follows is read; snapshots of what was made of the beginning come with it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from threading import Lock
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from polycall._support import jsontext
from polycall._support.json_weight import is_dense, width_of
from polycall.translation.conversation import (
    Beginning,
    Conversation,
    end_of_beginning,
    note_steady,
)

# With all that is made of the messages; how much that is was measured, and a test compares.
KEPT_BYTES_MAX = 32 * 1024 * 1024
OWNER_BYTES_MAX = 16 * 1024 * 1024
_TEXT_BYTES_MAX = 4 * 1024 * 1024
_FIELD_BYTES, _RENDERED_FIELD_BYTES = 360, 130  # of a field as it is read, and for each target
_WEIGHED_AGAIN = 4  # of the latest: requests add to what was kept of them
_BYTES_MIN = 8 * 1024
# A client that has only added so often is steady; after it has not been, it is so again later.
STEADY_STEPS, _UNSTEADY_STEPS = 3, 64
_STEPS_KEPT_MAX = 4096
_SPACE = b" \t\r\n"
_BETWEEN = b" \t\r\n,"
_BRACKET = ord("[")


_Group: TypeAlias = tuple[str, str]  # owner and dialect


class _Beginning(Struct, frozen=True, eq=False):
    text: bytes  # of the array, up to the end of the last message
    items: Conversation[Any]
    texts_bytes: int  # of its texts, once they are read
    fields: int
    rest: tuple[int, int] = (0, 0)  # size and hash of what followed it in the latest request

    def held_bytes(self) -> int:
        """About what it takes, with all that was made of it so far."""
        made = list(self.items.known.values())  # other threads may add to it
        targets = sum(type(each) is Beginning for each in made)
        rendered = len(self.text) + self.fields * _RENDERED_FIELD_BYTES
        read = self.texts_bytes + self.fields * _FIELD_BYTES
        return len(self.text) + read + targets * rendered


class KnownConversations:
    """The memory of one process."""

    def __init__(self, *, bytes_min: int = _BYTES_MIN) -> None:
        """Shorter messages are read anew, which costs less than to look them up."""
        self.bytes_min = bytes_min
        # By numbers: to hash a long text takes longer than to compare it.
        self._kept: OrderedDict[tuple[_Group, int], _Beginning] = OrderedDict()
        self._number = 0
        self._held: dict[tuple[_Group, int], int] = {}
        self._sizes: dict[str, int] = {}  # of each owner
        self._latest: deque[tuple[_Group, int]] = deque(maxlen=_WEIGHED_AGAIN)
        self._steps: dict[_Group, int] = {}  # that only added, one after the other
        self._lock = Lock()  # large bodies are read in threads

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size_bytes(self) -> int:
        """About what all that is kept takes."""
        return sum(self._sizes.values())

    def read(self, owner: str, dialect: str, raw: msgspec.Raw | bytes) -> Any:
        """The value that `raw` is, a conversation where it is long enough; raises `ValueError`."""
        view = memoryview(raw)
        if not self.bytes_min <= len(view) <= _TEXT_BYTES_MAX or view[0] != _BRACKET:
            return jsontext.decode(view)  # no second copy of what is not remembered
        text = bytes(view[: _before_space(view, _before_space(view, len(view)) - 1)])
        group = (owner, dialect)
        found = self._longest(group, text)
        if found is None:
            rest = text[1:]
            items = Conversation[Any](jsontext.decode(view), {})
        else:
            rest = text[len(found.text) :].lstrip(_SPACE)[1:]
            new: list[Any] = jsontext.decode(b"[%b]" % rest) if rest else []
            items = Conversation[Any]([*found.items, *new], dict(found.items.known))
        note_steady(items.known, is_steady=self._adds_only(group, found, text))
        count = end_of_beginning(items)
        if found is None or count > len(found.items):
            size = _size_without(rest, text, len(items) - count)
            if size >= self.bytes_min and not is_dense(rest):
                known = Conversation[Any](items[:count], items.known)
                self._keep(group, _grown(found, text, size, known), found)
        else:
            # With what is found out on the way to another target.
            known = Conversation[Any](found.items, items.known)
            rest_of = _rest_of(text, len(found.text))
            self._keep(group, replace(found, items=known, rest=rest_of), found)
        return items

    def _adds_only(self, group: _Group, found: _Beginning | None, text: bytes) -> bool:
        """Whether this client sends what it has said again as it was; notes that it did, or not."""
        steps = self._steps.get(group, 0)
        if found is not None:
            size = len(found.text)
            is_same = _rest_of(text, size, found.rest[0]) == found.rest
            steps = steps + 1 if is_same else min(steps, 0)
        elif steps >= STEADY_STEPS and any(_is_nearly(each.text, text) for each in self._of(group)):
            steps = -_UNSTEADY_STEPS  # all was read again for it
        if len(self._steps) >= _STEPS_KEPT_MAX:
            self._steps.clear()
        self._steps[group] = steps
        return steps >= STEADY_STEPS

    def _longest(self, group: _Group, text: bytes) -> _Beginning | None:
        best: _Beginning | None = None
        for each in self._of(group):
            size = len(each.text)
            if (best is None or size > len(best.text)) and text.startswith(each.text):
                rest = text[size:].lstrip(_SPACE)
                if not rest or rest.startswith(b","):
                    best = each
        return best

    def _of(self, group: _Group) -> list[_Beginning]:
        with self._lock:
            return [each for (owner, _), each in self._kept.items() if owner == group]

    def _keep(self, group: _Group, new: _Beginning, found: _Beginning | None) -> None:
        with self._lock:
            replaced = (new.text, new.text if found is None else found.text)
            for key in [key for key, each in self._kept.items() if each.text in replaced]:
                if key[0] == group:
                    self._drop(key)
            self._number += 1
            self._kept[group, self._number] = new
            self._latest.append((group, self._number))
            for key in self._latest:
                if key in self._kept:
                    self._weigh(key, self._kept[key].held_bytes())
            owner = group[0]  # whatever the dialect
            while self._sizes.get(owner, 0) > OWNER_BYTES_MAX:
                self._drop(next(key for key in self._kept if key[0][0] == owner))
            while sum(self._sizes.values()) > KEPT_BYTES_MAX:
                self._drop(next(iter(self._kept)))

    def _weigh(self, key: tuple[_Group, int], held: int) -> None:
        owner = key[0][0]
        self._sizes[owner] = self._sizes.get(owner, 0) + held - self._held.get(key, 0)
        self._held[key] = held

    def _drop(self, key: tuple[_Group, int]) -> None:
        self._weigh(key, 0)
        del self._kept[key], self._held[key]
        if not self._sizes[key[0][0]]:
            del self._sizes[key[0][0]]


def _rest_of(text: bytes, start: int, size: int | None = None) -> tuple[int, int]:
    """Size and hash of what follows in a text, or of so much of that."""
    rest = text[start:] if size is None else text[start : start + size]
    return len(rest), hash(rest)


def _is_nearly(before: bytes, text: bytes) -> bool:
    """Whether a text is an earlier one but for something near its end."""
    return text.startswith(memoryview(before)[: len(before) * 7 // 8])


def _grown(
    before: _Beginning | None, whole: bytes, size: int, items: Conversation[Any]
) -> _Beginning:
    """The beginning with the first bytes of this text, of which the one before is the start."""
    text = whole[:size]
    done, texts_bytes, fields = 0, 0, 0
    if before is not None:
        done, texts_bytes, fields = len(before.text), before.texts_bytes, before.fields
    new = text[done:] if done else text
    texts_bytes += width_of(new) * len(new)
    return _Beginning(text, items, texts_bytes, fields + new.count(b'":'), _rest_of(whole, size))


def _before_space(view: memoryview, end: int) -> int:
    while view[end - 1] in _SPACE:
        end -= 1
    return end


def _size_without(rest: bytes, text: bytes, count: int) -> int:
    """The size of a list's text without its last `count` items, which end in `rest`; 0: unknown."""
    try:
        items = _items_decoder.decode(b"[%b]" % rest)
    except msgspec.DecodeError:
        return 0  # text that only a slower reader takes
    size = len(text)
    for item in reversed(items[-count:] if count else []):
        size -= len(memoryview(item))
        while text[size - 1] in _BETWEEN:
            size -= 1
    return size


_items_decoder: msgspec.json.Decoder[list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw])
