"""The strict subsets of OpenAI and Anthropic.

A schema is adapted where an answer that fits the adapted one, its added nulls removed, means
the same under the caller's own.  Bounds that a subset does not know move into the description;
the code that validates the arguments still applies them.  If there is no such schema, none is made.
"""

from __future__ import annotations

import re
from typing import Any

from msgspec import Struct

from polycall.errors import SchemaError
from polycall.ir import JSON
from polycall.schema.memo import remembered
from polycall.schema.merge import combine
from polycall.schema.nulls import accepts_null
from polycall.schema.refs import References, recursive_references
from polycall.schema.walk import (
    ANNOTATIONS,
    DEFINITION_KEYS,
    array_at,
    as_array,
    as_object,
    as_schema,
    checked,
    children,
    escape_pointer,
    implied_types,
    names_at,
    object_at,
    reference_of,
    types_at,
    without,
)
from polycall.schema.words import kept


class _Profile(Struct, frozen=True):
    """The keywords that one vendor's strict mode knows."""

    keywords: frozenset[str]
    formats: frozenset[str]
    all_required: bool
    recursive: bool
    all_of: bool
    bounds_of_items: frozenset[int] | None  # the values that minItems may have; None: any
    essential: frozenset[str]  # keywords without which the schema would mean something else


_COMMON_KEYWORDS = frozenset(
    {
        "$defs",
        "$ref",
        "additionalProperties",
        "anyOf",
        "const",
        "definitions",
        "description",
        "enum",
        "format",
        "items",
        "minItems",
        "properties",
        "required",
        "title",
        "type",
    }
)
_COMMON_FORMATS = frozenset(
    {
        "date",
        "date-time",
        "duration",
        "email",
        "hostname",
        "ipv4",
        "ipv6",
        "time",
        "uuid",
    }
)
_COMMON_ESSENTIAL = frozenset(
    {
        "additionalItems",
        "dependencies",
        "dependentRequired",
        "dependentSchemas",
        "else",
        "if",
        "patternProperties",
        "prefixItems",
        "then",
    }
)

_OPENAI = _Profile(
    keywords=_COMMON_KEYWORDS
    | {
        "exclusiveMaximum",
        "exclusiveMinimum",
        "maxItems",
        "maximum",
        "minimum",
        "multipleOf",
        "pattern",
    },
    formats=_COMMON_FORMATS,
    all_required=True,
    recursive=True,
    all_of=False,
    bounds_of_items=None,
    essential=_COMMON_ESSENTIAL | {"not"},
)
_ANTHROPIC = _Profile(
    keywords=_COMMON_KEYWORDS | {"allOf"},
    formats=_COMMON_FORMATS | {"uri"},
    all_required=False,
    recursive=False,
    all_of=True,
    bounds_of_items=frozenset({0, 1}),
    essential=_COMMON_ESSENTIAL,
)

_PROPERTIES_MAX = 5_000
_LEVELS_MAX = 10
_ENUM_VALUES_MAX = 1_000
_NAMES_LENGTH_MAX = 120_000

# References within references, and references at all, that are written out.
_TRAIL_MAX = 16
_INLINED_MAX = 500

_LOOKAROUND = re.compile(r"\(\?<?[=!]")
_PLAIN_REFERENCE = re.compile(r"#(/(\$defs|definitions)/[^/]+)?")


@remembered
def openai_strict(schema: JSON) -> JSON | None:
    """The schema as OpenAI's strict mode takes it; `None` where that cannot be.

    Optional properties become required and nullable; `strip_nulls` removes the nulls again.
    A schema that is strict already comes back equal.
    """
    adapted = _adapt(schema, _OPENAI)
    return adapted if adapted is not None and _within_limits(adapted) else None


@remembered
def anthropic_strict(schema: JSON) -> JSON | None:
    """The schema as Anthropic's strict mode takes it; `None` where that cannot be."""
    return _adapt(schema, _ANTHROPIC)


class _UnadaptableError(Exception):
    """The subset has no schema of this meaning."""


def _adapt(schema: JSON, profile: _Profile) -> JSON | None:
    try:
        root = checked(schema)
        if not profile.recursive and recursive_references(root):
            return None
        return _Adapter(root, profile).run()
    except (_UnadaptableError, SchemaError):
        return None


class _Adapter:
    def __init__(self, root: JSON, profile: _Profile) -> None:
        self._profile = profile
        self._references = References(root)
        self._definitions = {key: root[key] for key in DEFINITION_KEYS if key in root}
        self._root = without(root, *DEFINITION_KEYS)
        self._inlined = 0

    def run(self) -> JSON:
        root = self._root
        if reference_of(root) is not None:
            root = without(self._references.resolved(root), *DEFINITION_KEYS)
        root = self._flat(root)
        if "anyOf" in root or "allOf" in root or implied_types(root) not in ([], ["object"]):
            raise _UnadaptableError
        adapted = self._object({"properties": {}, **root, "type": "object"}, ("#",), is_root=True)
        for key in self._definitions:
            adapted[key] = {
                name: self._schema(as_schema(node), (f"#/{key}/{escape_pointer(name)}",))
                for name, node in object_at(self._definitions, key).items()
            }
        return adapted

    def _schema(self, node: JSON, trail: tuple[str, ...]) -> JSON:
        """One schema, adapted.  `trail` names what it stands in."""
        reference = node.get("$ref")
        if isinstance(reference, str):
            return self._reference(node, reference, trail)
        if reference_of(node) is not None:
            raise _UnadaptableError
        node = self._flat(node)
        if reference_of(node) is not None:
            return self._schema(node, trail)
        if "anyOf" in node:
            return self._union(node, trail)
        if "allOf" in node:
            copy = self._plain(node)
            copy["allOf"] = [
                self._schema(as_schema(part), trail) for part in array_at(node, "allOf")
            ]
            return copy
        types = implied_types(node)
        if not types:
            raise _UnadaptableError
        if not types_at(node):
            node = {"type": types[0] if len(types) == 1 else types, **without(node, "type")}
        if "object" in types:
            node = self._object(node, trail)
        else:
            node = self._plain(without(node, "properties", "required", "additionalProperties"))
        if "array" in types:
            return {**node, "items": self._schema(_items(node), trail)}
        return without(node, "items")

    def _reference(self, node: JSON, reference: str, trail: tuple[str, ...]) -> JSON:
        target = self._references.target(reference)
        siblings = without(node, "$ref")
        is_plain = _PLAIN_REFERENCE.fullmatch(reference) is not None
        if not siblings and is_plain:
            return dict(node)
        if reference not in trail and len(trail) < _TRAIL_MAX and self._inlined < _INLINED_MAX:
            self._inlined += 1
            whole = combine(without(target, *DEFINITION_KEYS), siblings)
            if whole is None:
                raise _UnadaptableError
            return self._schema(whole, (*trail, reference))
        # Inlining would not end here, or not soon; a union of one carries the remarks as well.
        if not is_plain or any(key not in ANNOTATIONS for key in siblings):
            raise _UnadaptableError
        return {**self._plain(siblings), "anyOf": [{"$ref": reference}]}

    def _flat(self, node: JSON) -> JSON:
        """Without `oneOf`, and without an `allOf` of one."""
        parts = as_array(node.get("allOf"))
        if parts is not None and len(parts) == 1:
            whole = combine(as_schema(parts[0]), without(node, "allOf"))
            if whole is None:
                raise _UnadaptableError
            return self._flat(whole) if reference_of(whole) is None else whole
        if parts is not None and not self._profile.all_of:
            raise _UnadaptableError
        if "oneOf" in node:
            if "anyOf" in node:
                raise _UnadaptableError
            node = {("anyOf" if key == "oneOf" else key): node[key] for key in node}
        return node

    def _union(self, node: JSON, trail: tuple[str, ...]) -> JSON:
        branches = [as_schema(branch) for branch in array_at(node, "anyOf")]
        constraints = [key for key in node if key in _COMMON_KEYWORDS - {"description", "title"}]
        if not branches or set(constraints) - {"anyOf", "type", *DEFINITION_KEYS}:
            raise _UnadaptableError
        if "type" in node and set(implied_types({"anyOf": branches})) != set(types_at(node)):
            raise _UnadaptableError
        copy = self._plain(without(node, "type"))
        copy["anyOf"] = [self._schema(branch, trail) for branch in branches]
        return copy

    def _object(self, node: JSON, trail: tuple[str, ...], *, is_root: bool = False) -> JSON:
        properties = object_at(node, "properties")
        required = names_at(node, "required")
        is_closed = node.get("additionalProperties") is False
        if not is_closed and ("additionalProperties" in node or not (properties or is_root)):
            raise _UnadaptableError
        if any(name not in properties for name in required):
            raise _UnadaptableError
        copy = self._plain(node)
        copy["properties"] = {
            name: self._property(as_schema(child), name in required, trail)
            for name, child in properties.items()
        }
        if self._profile.all_required and len(set(required)) < len(properties):
            copy["required"] = list(properties)
        elif self._profile.all_required or "required" in node:
            copy["required"] = required
        copy["additionalProperties"] = False
        return copy

    def _property(self, node: JSON, required: bool, trail: tuple[str, ...]) -> JSON:
        if required or not self._profile.all_required or accepts_null(node, self._references):
            return self._schema(node, trail)
        reference = node.get("$ref")
        if isinstance(reference, str) and _PLAIN_REFERENCE.fullmatch(reference):
            remarks = without(node, "$ref")
            if all(key in ANNOTATIONS for key in remarks):
                self._references.target(reference)
                return {**self._plain(remarks), "anyOf": [{"$ref": reference}, {"type": "null"}]}
        return _nullable(self._schema(node, trail))

    def _plain(self, node: JSON) -> JSON:
        """A shallow copy with the keywords of the subset; the others are in the description."""
        profile = self._profile
        lost = {key for key in node if key not in profile.keywords or key == "$ref"}
        if lost & profile.essential:
            raise _UnadaptableError
        if "format" in node and node["format"] not in tuple(profile.formats):
            lost.add("format")
        if "pattern" in node and _LOOKAROUND.search(str(node["pattern"])):
            lost.add("pattern")
        allowed = profile.bounds_of_items
        if allowed is not None and "minItems" in node and node["minItems"] not in tuple(allowed):
            lost.add("minItems")
        return kept(node, profile.keywords, *lost)


def _items(node: JSON) -> JSON:
    items = as_object(node.get("items"))
    if items is None:
        raise _UnadaptableError
    return items


def _nullable(node: JSON) -> JSON:
    """The adapted schema or null."""
    types = types_at(node)
    if "anyOf" in node:
        return {**node, "anyOf": [*array_at(node, "anyOf"), {"type": "null"}]}
    if types and "const" not in node and "object" not in types and "array" not in types:
        copy = {**node, "type": [*types, "null"]} if "null" not in types else dict(node)
        if "enum" in node:
            copy["enum"] = [*array_at(node, "enum"), None]
        return copy
    remarks = {key: node[key] for key in ("title", "description") if key in node}
    return {**remarks, "anyOf": [without(node, *remarks), {"type": "null"}]}


def _within_limits(schema: JSON) -> bool:
    """Whether OpenAI takes a schema of this size."""
    properties = enum_values = names_length = 0
    nodes: list[JSON] = [schema]
    while nodes:
        node = nodes.pop()
        names = object_at(node, "properties")
        properties += len(names)
        values: list[Any] = array_at(node, "enum")
        enum_values += len(values)
        texts = [*names, *values, node.get("const"), *object_at(node, "$defs")]
        names_length += sum(len(text) for text in texts if isinstance(text, str))
        nodes.extend(child for _, child in children(node))
    return (
        properties <= _PROPERTIES_MAX
        and enum_values <= _ENUM_VALUES_MAX
        and names_length <= _NAMES_LENGTH_MAX
        and _object_levels(schema) <= _LEVELS_MAX
    )


def _object_levels(node: JSON) -> int:
    """The number of objects within each other, as written."""
    deepest = 0
    open_nodes: list[tuple[JSON, int]] = [(node, 0)]
    while open_nodes:
        current, level = open_nodes.pop()
        level += "properties" in current
        deepest = max(deepest, level)
        open_nodes.extend(
            (child, 0 if step.startswith(DEFINITION_KEYS) else level)
            for step, child in children(current)
        )
    return deepest
