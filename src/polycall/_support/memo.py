"""A function of one value, with what it gave before: a hit is a look-up in a dict, no call."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Memo(dict[K, V]):
    """`memo[value]` is what `make` makes of it; forgets all where it would be larger than `most`.

    For values that come again and again, few of which are ever new.
    """

    __slots__ = ("_make", "_most")

    def __init__(self, make: Callable[[K], V], most: int = 1024) -> None:
        super().__init__()
        self._make = make
        self._most = most

    def __missing__(self, value: K) -> V:
        made = self._make(value)
        if len(self) >= self._most:
            self.clear()
        self[value] = made
        return made
