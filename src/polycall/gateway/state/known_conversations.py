"""The beginnings of conversations that this process has read: by their bytes, and bounded.

A beginning is found where a body's messages begin with the very bytes of an earlier request of the
same key.  Only what follows is read; snapshots of what was made of the beginning come with it.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from polycall._support import jsontext
from polycall._support.json_weight import is_dense
from polycall.translation.conversation import Conversation, end_of_beginning

# Of messages' text: what is made of it takes several times as much, for each of few targets.
KEPT_BYTES_MAX = 8 * 1024 * 1024
OWNER_BYTES_MAX = 4 * 1024 * 1024
_BYTES_MIN = 8 * 1024
_SPACE = b" \t\r\n"
_BETWEEN = b" \t\r\n,"
_BRACKET = ord("[")


_Group: TypeAlias = tuple[str, str]  # owner and dialect


class _Beginning(Struct, frozen=True, eq=False):
    text: bytes  # of the array, up to the end of the last message
    items: Conversation[Any]


class KnownConversations:
    """The memory of one process."""

    def __init__(self, *, bytes_min: int = _BYTES_MIN) -> None:
        """Shorter messages are read anew, which costs less than to look them up."""
        self.bytes_min = bytes_min
        # By numbers: to hash a long text takes longer than to compare it.
        self._kept: OrderedDict[tuple[_Group, int], _Beginning] = OrderedDict()
        self._number = 0
        self._sizes: dict[str, int] = {}  # of each owner
        self._lock = Lock()  # large bodies are read in threads

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size_bytes(self) -> int:
        """The text that is kept."""
        return sum(self._sizes.values())

    def read(self, owner: str, dialect: str, raw: msgspec.Raw | bytes) -> Any:
        """The value that `raw` is, a conversation where it is long enough; raises `ValueError`."""
        view = memoryview(raw)
        if not self.bytes_min <= len(view) <= OWNER_BYTES_MAX or view[0] != _BRACKET:
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
        count = end_of_beginning(items)
        if found is None or count > len(found.items):
            size = _size_without(rest, text, len(items) - count)
            if size >= self.bytes_min and not is_dense(rest):
                known = Conversation[Any](items[:count], items.known)
                self._keep(group, _Beginning(text[:size], known), found)
        else:
            # With what is found out on the way to another target.
            known = Conversation[Any](found.items, items.known)
            self._keep(group, _Beginning(found.text, known), found)
        return items

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
            size = len(new.text)
            self._number += 1
            self._kept[group, self._number] = new
            owner = group[0]  # whatever the dialect
            self._sizes[owner] = self._sizes.get(owner, 0) + size
            while self._sizes[owner] > OWNER_BYTES_MAX:
                self._drop(next(key for key in self._kept if key[0][0] == owner))
            while sum(self._sizes.values()) > KEPT_BYTES_MAX:
                self._drop(next(iter(self._kept)))

    def _drop(self, key: tuple[_Group, int]) -> None:
        owner = key[0][0]
        left = self._sizes[owner] - len(self._kept.pop(key).text)
        if left:
            self._sizes[owner] = left
        else:
            del self._sizes[owner]


def _before_space(view: memoryview, end: int) -> int:
    while view[end - 1] in _SPACE:
        end -= 1
    return end


def _size_without(rest: bytes, text: bytes, count: int) -> int:
    """How much of an array's text is left without its last `count` items, of which `rest` is the
    end; 0 where they cannot be told apart."""
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
