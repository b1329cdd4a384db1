"""The number of times that a validator may look at a value: references can double it per level.

A schema of a kilobyte can keep a validator at work for years, and no validator can be stopped.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

from polycall._support import jsontext
from polycall.errors import SchemaError
from polycall.ir import JSON
from polycall.schema.refs import References
from polycall.schema.walk import (
    DEFINITION_KEYS,
    NESTING_MAX,
    REFERENCE_KEYS,
    as_array,
    as_object,
    children,
    unescape_pointer,
)

T = TypeVar("T")

LOOKS_MAX = 20_000_000  # of one check; a million take 30 ms at most
_COUNTS_MAX = 50_000
_PLACES_MAX = 20_000  # of one value, by different schemas; so many take 50 ms
_RINGS_MAX = 4
# Keywords whose schemas look at the value itself; those of others look at what is in it.
_HERE = (
    *("allOf/", "anyOf/", "oneOf/", "dependencies/", "dependentSchemas/"),
    *("if", "then", "else", "not"),
)
_DEFINITIONS = tuple(f"{key}/" for key in DEFINITION_KEYS)


def ways_of(schema: JSON) -> Ways | None:
    """The ways of a schema with references; others are looked through once."""
    text = jsontext.encode(schema)
    return Ways(schema) if any(f'"{key}"' in text for key in REFERENCE_KEYS) else None


class Ways:
    """The ways of one schema."""

    def __init__(self, schema: JSON) -> None:
        self._root = schema
        self._references = References(schema)
        self._counts: dict[tuple[int, int], int] = {}

    def are_few(self, value: Any) -> bool:
        """Whether the value can be checked in bounded time."""
        depth, size = _measured(value)
        if depth > NESTING_MAX:
            return False
        if len(self._counts) > _COUNTS_MAX // 2:
            self._counts = {}
        try:
            # As if each value in it were as deep as the deepest; else by what is where.
            if size * _ByDepth(self._references, self._counts).at(self._root, depth) <= LOOKS_MAX:
                return True
            return _ByPlace(self._references).at(self._root, value) <= LOOKS_MAX
        except (SchemaError, RecursionError):
            return False


class _Looks(ABC, Generic[T]):
    """The number of schemas that look at a value and its parts, in one check."""

    counts_max: int

    def __init__(self, references: References, counts: dict[tuple[int, int], int]) -> None:
        self._references = references
        self._counts = counts
        self._open: set[tuple[int, int]] = set()
        self._rings: Counter[int] = Counter()  # by place

    def at(self, node: JSON, value: T) -> int:
        """The count of looks; over `LOOKS_MAX` where it was not counted to the end."""
        place = self.place(value)
        key = (id(node), place)
        if key in self._open:  # a ring: validators look once more, and by each of several rings
            self._rings[place] += 1
            return 1 if self._rings[place] <= _RINGS_MAX else LOOKS_MAX + 1
        if key in self._counts:
            return self._counts[key]
        if len(self._counts) >= self.counts_max:
            return LOOKS_MAX + 1
        self._open.add(key)
        count = 1
        for child, inner in self._looked_at(node, value):
            count += self.at(child, inner)
            if count > LOOKS_MAX:
                break
        self._open.discard(key)
        self._counts[key] = count
        return count

    def _looked_at(self, node: JSON, value: T) -> Iterator[tuple[JSON, T]]:
        for reference in (node.get(each) for each in REFERENCE_KEYS):
            if isinstance(reference, str):
                yield self._references.target(reference), value
        for pointer, child in children(node):
            if pointer.startswith(_HERE):
                yield child, value
            elif not pointer.startswith(_DEFINITIONS):
                for inner in self.inside(value, pointer):
                    yield child, inner

    @abstractmethod
    def place(self, value: T) -> int:
        """Which values are counted alike."""

    @abstractmethod
    def inside(self, value: T, pointer: str) -> Iterable[T]:
        """The parts of the value that the schema at the pointer may look at."""


class _ByDepth(_Looks[int]):
    """The count for any value of a depth; the counts are the schema's own, and kept."""

    counts_max = _COUNTS_MAX

    def place(self, value: int) -> int:
        return value

    def inside(self, value: int, pointer: str) -> Iterable[int]:
        return (value - 1,) if value else ()


class _ByPlace(_Looks[Any]):
    """The count for one value."""

    counts_max = _PLACES_MAX

    def __init__(self, references: References) -> None:
        super().__init__(references, {})

    def place(self, value: Any) -> int:
        return 0 if as_object(value) is None and as_array(value) is None else id(value)

    def inside(self, value: Any, pointer: str) -> Iterable[Any]:
        table = as_object(value)
        keyword, _, name = pointer.partition("/")
        if keyword == "properties":
            name = unescape_pointer(name)
            return () if table is None or name not in table else (table[name],)
        return table.values() if table is not None else as_array(value) or ()


def _measured(value: Any) -> tuple[int, int]:
    """The depth of a value, and the number of values in it."""
    depth, size = 0, 1
    level = [value]
    while level and depth <= NESTING_MAX:
        inner: list[Any] = []
        for each in level:
            table = as_object(each)
            inner += table.values() if table is not None else as_array(each) or ()
        size += len(inner)
        depth += bool(inner)
        level = inner
    return depth, size
