"""How often a validator may look at a value: references can double that with each level.

A schema of a kilobyte can keep a validator at work for years, and no validator can be stopped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

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

LOOKS_MAX = 20_000_000  # of one check; a million take 30 ms at most
_COUNTS_MAX = 50_000
_PLACES_MAX = 10_000  # of one value; to look at so many takes tens of milliseconds
_RINGS_MAX = 4
# Keywords whose schemas look at the value itself; those of others look at what is in it.
_HERE = (
    *("allOf/", "anyOf/", "oneOf/", "dependencies/", "dependentSchemas/"),
    *("if", "then", "else", "not"),
)
_DEFINITIONS = tuple(f"{key}/" for key in DEFINITION_KEYS)


def ways_of(schema: JSON) -> Ways | None:
    """Of a schema with references; others are looked through once."""
    return Ways(schema) if '"$' in jsontext.encode(schema) else None


class Ways:
    """Of one schema."""

    def __init__(self, schema: JSON) -> None:
        self._root = schema
        self._references = References(schema)
        self._counts: dict[tuple[int, int], int] = {}
        self._open: set[tuple[int, int]] = set()
        self._rings: Counter[int] = Counter()  # by depth

    def are_few(self, value: Any) -> bool:
        """Whether the value can be checked in bounded time."""
        depth, size = _measured(value)
        if depth > NESTING_MAX:
            return False
        try:
            # As if each value in it were as deep as the deepest; else by what is where.
            if size * self._count(self._root, depth) <= LOOKS_MAX:
                return True
            return _Looks(self._references).at(self._root, value) <= LOOKS_MAX
        except (SchemaError, RecursionError):
            return False

    def _count(self, node: JSON, depth: int) -> int:
        """How many schemas look at a value, and at what is in it, by different ways."""
        key = (id(node), depth)
        if key in self._open:  # a ring: validators look once more, and by each of several rings
            self._rings[depth] += 1
            return 1 if self._rings[depth] <= _RINGS_MAX else LOOKS_MAX + 1
        if key in self._counts:
            return self._counts[key]
        if len(self._counts) >= _COUNTS_MAX:
            return LOOKS_MAX + 1
        self._open.add(key)
        count = 1
        for reference in (node.get(each) for each in REFERENCE_KEYS):
            if isinstance(reference, str):
                count += self._count(self._references.target(reference), depth)
        for pointer, child in children(node):
            is_here = pointer.startswith(_HERE)
            if pointer.startswith(_DEFINITIONS) or (not is_here and depth == 0):
                continue
            count += self._count(child, depth if is_here else depth - 1)
            if count > LOOKS_MAX:
                break
        self._open.discard(key)
        self._counts[key] = count
        return count


class _Looks:
    """How often the schemas of one look at a value and at what is in it, place by place."""

    def __init__(self, references: References) -> None:
        self._references = references
        self._counts: dict[tuple[int, int], int] = {}
        self._open: set[tuple[int, int]] = set()
        self._rings: Counter[int] = Counter()  # by value

    def at(self, node: JSON, value: Any) -> int:
        """As many as that; over `LOOKS_MAX` where it was not counted to the end."""
        key = (id(node), id(value))
        if key in self._open:
            self._rings[id(value)] += 1
            return 1 if self._rings[id(value)] <= _RINGS_MAX else LOOKS_MAX + 1
        if key in self._counts:
            return self._counts[key]
        if len(self._counts) >= _PLACES_MAX:
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

    def _looked_at(self, node: JSON, value: Any) -> Iterator[tuple[JSON, Any]]:
        for reference in (node.get(each) for each in REFERENCE_KEYS):
            if isinstance(reference, str):
                yield self._references.target(reference), value
        table = as_object(value)
        for pointer, child in children(node):
            keyword, _, name = pointer.partition("/")
            if pointer.startswith(_HERE):
                yield child, value
            elif keyword == "properties":
                name = unescape_pointer(name)
                if table is not None and name in table:
                    yield child, table[name]
            elif not pointer.startswith(_DEFINITIONS):
                for inner in table.values() if table is not None else as_array(value) or ():
                    yield child, inner


def _measured(value: Any) -> tuple[int, int]:
    """How deep a value is, and how many values are in it."""
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
