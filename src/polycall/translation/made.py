"""Things that a vendor keeps for whom it answered, as its answers name them: items, containers,
files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct

T = TypeVar("T")
NONE = Raw(b"")


class MadeFacts(Struct, frozen=True, kw_only=True):
    """The places where a wire names such things.

    Only places that the vendor itself fills: what an answer repeats of its request, or tells of a
    tool, is made of others' words.
    """

    # What a whole answer has, and an event of a stream, that may name one.
    body_mark: bytes
    event_marks: tuple[bytes, ...]
    # The ids in either, and whether each is an item, which is gone with an answer that is not
    # stored.  Raises `msgspec.DecodeError` where it is not JSON.
    ids_in: Callable[[bytes], Iterable[tuple[Any, bool]]]


def each_of(values: Iterable[Raw], kind: type[T]) -> Iterator[T]:
    """Those that are of this kind: what a vendor says in another form hides nothing beside it."""
    for value in values:
        try:
            yield msgspec.json.decode(value, type=kind)
        except msgspec.DecodeError:
            continue
