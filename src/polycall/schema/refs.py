"""References inside a JSON Schema: finding what they name, and writing it in their place."""

from __future__ import annotations

import time
from collections import deque
from typing import Any
from urllib.parse import unquote

from msgspec import Struct

from polycall._support import jsontext
from polycall.errors import SchemaError
from polycall.ir import JSON
from polycall.schema.merge import combined
from polycall.schema.walk import (
    DEFINITION_KEYS,
    NESTING_MAX,
    REFERENCE_KEYS,
    as_array,
    as_object,
    as_schema,
    checked,
    children,
    implied_types,
    nesting,
    rebuild,
    reference_of,
    unescape_pointer,
    without,
)


class References:
    """The references of one document.  Nothing outside of it is ever fetched."""

    def __init__(self, root: JSON) -> None:
        self.root = root
        self._names: dict[str, JSON] | None = None

    def target(self, reference: str) -> JSON:
        """The schema that a reference names; `SchemaError` if absent."""
        document, _, fragment = reference.partition("#")
        start = self.root
        if document and document != str(self.root.get("$id")).rstrip("#"):
            named = self._named().get(document)
            if named is None:
                raise SchemaError(
                    f"{reference!r} is outside of this schema and is not fetched; "
                    "put the definition into '$defs'",
                    path=reference,
                )
            start = named
        if not fragment:
            return start
        if not fragment.startswith("/"):
            named = self._named().get(f"#{unquote(fragment)}")
            if named is None:
                raise self._dangling(reference, f"no schema has the anchor {fragment!r}")
            return named
        return self._follow(start, reference, fragment)

    def resolved(self, node: JSON) -> JSON:
        """The schema itself, or what its chain of references ends in, siblings on top."""
        seen: set[str] = set()
        while (reference := reference_of(node)) is not None:
            if reference in seen:
                raise self._dangling(reference, "it refers to itself and to nothing else")
            seen.add(reference)
            node = combined(self.target(reference), without(node, *REFERENCE_KEYS))
        return node

    def _follow(self, start: JSON, reference: str, pointer: str) -> JSON:
        value: Any = start
        for step in pointer.split("/")[1:]:
            key = unescape_pointer(step)
            mapping, items = as_object(value), as_array(value)
            if mapping is not None and key in mapping:
                value = mapping[key]
            elif items is not None and key.isdecimal() and int(key) < len(items):
                value = items[int(key)]
            else:
                raise self._dangling(reference, f"there is no {key!r} on its way")
        if not isinstance(value, dict | bool):
            raise self._dangling(reference, "what stands there is not a schema")
        return as_schema(value)

    def _named(self) -> dict[str, JSON]:
        """Schemas by `$id`, and by anchor after a `#`."""
        if self._names is None:
            self._names = {}
            nodes = [self.root]
            while nodes:
                node = nodes.pop()
                nodes.extend(child for _, child in children(node))
                for key, prefix in (("$id", ""), ("$anchor", "#"), ("$dynamicAnchor", "#")):
                    name = node.get(key)
                    if isinstance(name, str):
                        self._names.setdefault(prefix + name, node)
        return self._names

    @staticmethod
    def _dangling(reference: str, reason: str) -> SchemaError:
        return SchemaError(f"{reference!r} names nothing: {reason}", path=reference)


class _Hole(Struct):
    """A reference that still stands as a stub under `key` of `parent`."""

    parent: Any
    key: Any
    node: JSON
    trail: tuple[str, ...]
    level: int
    stub_size: int


class _Measure(Struct):
    """The size that a reference's target adds, with its own references as stubs."""

    size: int
    levels: int


def inline_refs(schema: JSON, *, size_bytes_max: int = 1_000_000, deadline_s: float = 2.0) -> JSON:
    """The schema with every reference replaced by what it names, and without definitions.

    Keywords alongside a reference are kept on top.  Where a schema contains itself, and where the
    result would pass `size_bytes_max` or the work `deadline_s`, a stub of the right type says
    what stood there.  Outer references are replaced before inner ones, so that what is cut is
    the innermost.  Raises `SchemaError` for a reference that names nothing in this schema.
    """
    return _Inliner(checked(schema), size_bytes_max, deadline_s).run()


class _Inliner:
    def __init__(self, root: JSON, size_bytes_max: int, deadline_s: float) -> None:
        self._references = References(root)
        self._root = without(root, *DEFINITION_KEYS)
        self._size_bytes_max = size_bytes_max
        self._deadline = time.monotonic() + deadline_s
        self._size = 0
        self._measures: dict[str, _Measure] = {}
        self._holes: deque[_Hole] = deque()

    def run(self) -> JSON:
        top: dict[str, JSON] = {}
        self._place(self._root, top, "", (), 1)
        self._size = _size(top[""])
        while self._holes:
            self._fill(self._holes.popleft())
        return top[""]

    def _place(self, node: JSON, parent: Any, key: Any, trail: tuple[str, ...], level: int) -> None:
        """Put a copy of the schema into its parent, stubs in place of references."""
        reference = reference_of(node)
        if reference is not None:
            stub = self._stub(node, reference, recursive=reference in trail)
            parent[key] = stub
            if reference not in trail:
                self._holes.append(_Hole(parent, key, node, trail, level, _size(stub)))
            return
        copy = rebuild(without(node, *DEFINITION_KEYS, "$anchor", "$dynamicAnchor"), dict)
        parent[key] = copy
        for step, child in list(children(copy)):
            inner_parent, inner_key = _locate(copy, step)
            self._place(child, inner_parent, inner_key, trail, level + 1 + step.count("/"))

    def _fill(self, hole: _Hole) -> None:
        """Replace a stub by its target, if there is room for that."""
        reference = reference_of(hole.node)
        assert reference is not None
        if not self._has_room(hole, self._measure(reference)):
            return
        stub = hole.parent[hole.key]
        waiting = len(self._holes)
        node = combined(self._target(reference), without(hole.node, *REFERENCE_KEYS))
        self._place(node, hole.parent, hole.key, (*hole.trail, reference), hole.level)
        size = _size(hole.parent[hole.key])
        if self._size + size - hole.stub_size > self._size_bytes_max:
            while len(self._holes) > waiting:
                self._holes.pop()
            hole.parent[hole.key] = stub
        else:
            self._size += size - hole.stub_size

    def _has_room(self, hole: _Hole, measure: _Measure) -> bool:
        return (
            self._size + measure.size - hole.stub_size <= self._size_bytes_max
            and hole.level + measure.levels < NESTING_MAX
            and time.monotonic() < self._deadline
        )

    def _measure(self, reference: str) -> _Measure:
        measure = self._measures.get(reference)
        if measure is None:
            target = self._target(reference)
            waiting = len(self._holes)
            scratch: dict[str, JSON] = {}
            self._place(target, scratch, "", (), 1)
            while len(self._holes) > waiting:
                self._holes.pop()
            measure = _Measure(_size(scratch[""]), nesting(target))
            self._measures[reference] = measure
        return measure

    def _target(self, reference: str) -> JSON:
        target = self._references.target(reference)
        return self._root if target is self._references.root else target

    def _stub(self, node: JSON, reference: str, *, recursive: bool) -> JSON:
        target = self._references.target(reference)
        types = implied_types(target) or ["object"]
        name = reference.rsplit("/", 1)[-1] if "/" in reference else reference
        what = "Recursive: the same shape as" if recursive else "Shortened: the shape of"
        said = node.get("description", target.get("description"))
        remark = f"{what} {unquote(name)!r}."
        return {
            **without(node, *REFERENCE_KEYS, *DEFINITION_KEYS),
            "type": types[0] if len(types) == 1 else types,
            "description": f"{said} {remark}" if isinstance(said, str) and said else remark,
        }


def _locate(node: JSON, step: str) -> tuple[Any, Any]:
    """The container and key of a schema that `children` named."""
    key, _, inner = step.partition("/")
    if not inner:
        return node, key
    container = node[key]
    if isinstance(container, list):
        return as_array(container), int(inner)
    return container, unescape_pointer(inner)


def _size(value: Any) -> int:
    return len(jsontext.encode_bytes(value))


def recursive_references(root: JSON) -> frozenset[str]:
    """The references, reachable from the root, whose targets come to contain themselves."""
    references = References(root)
    inside: dict[str, set[str]] = {}
    waiting = set(references_in(without(root, *DEFINITION_KEYS)))
    while waiting:
        reference = waiting.pop()
        if reference not in inside:
            target = references.target(reference)
            if target is root:
                target = without(root, *DEFINITION_KEYS)
            inside[reference] = set(references_in(target))
            waiting |= inside[reference]
    return frozenset(name for name in inside if name in _reachable(name, inside))


def is_recursive(root: JSON) -> bool:
    """Whether the schema contains itself anywhere."""
    return bool(recursive_references(root))


def references_in(node: JSON) -> list[str]:
    """Every reference written in a schema, as often as it is there, definitions included."""
    found: list[str] = []
    nodes = [node]
    while nodes:
        current = nodes.pop()
        reference = reference_of(current)
        if reference is not None:
            found.append(reference)
        nodes.extend(child for _, child in children(current))
    return found


def _reachable(start: str, inside: dict[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    waiting = set(inside[start])
    while waiting:
        reference = waiting.pop()
        if reference not in reached:
            reached.add(reference)
            waiting |= inside[reference]
    return reached
