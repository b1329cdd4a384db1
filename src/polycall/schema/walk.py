"""The places in a JSON Schema that hold schemas.

Everything walks by position: a property may be named `title`, `$ref` or `enum`, and what stands
in `enum`, `const`, `default` and `examples` is data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

from polycall.errors import SchemaError
from polycall.ir import JSON

# Levels of JSON, not of schemas: every function here recurses, and so does every encoder.
NESTING_MAX = 200

_SCHEMA_KEYS = frozenset(
    {
        "additionalItems",
        "additionalProperties",
        "contains",
        "contentSchema",
        "else",
        "if",
        "items",
        "not",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
    }
)
_LIST_KEYS = frozenset({"allOf", "anyOf", "items", "oneOf", "prefixItems"})
MAP_KEYS = frozenset(
    {
        "$defs",
        "definitions",
        "dependencies",
        "dependentSchemas",
        "patternProperties",
        "properties",
    }
)
DEFINITION_KEYS = ("$defs", "definitions")
REFERENCE_KEYS = ("$ref", "$dynamicRef", "$recursiveRef")

TYPE_NAMES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})

# Keywords that say something to a reader and nothing to a validator.
ANNOTATIONS = frozenset(
    {
        "$comment",
        "default",
        "deprecated",
        "description",
        "examples",
        "readOnly",
        "title",
        "writeOnly",
    }
)


def as_object(value: Any) -> JSON | None:
    """The value if it is an object."""
    if isinstance(value, dict):
        return value  # pyright: ignore[reportUnknownVariableType]
    return None


def as_array(value: Any) -> list[Any] | None:
    """The value if it is an array."""
    if isinstance(value, list):
        return value  # pyright: ignore[reportUnknownVariableType]
    return None


def object_at(node: JSON, key: str) -> JSON:
    """The object under a keyword; empty if absent."""
    return as_object(node.get(key)) or {}


def array_at(node: JSON, key: str) -> list[Any]:
    """The array under a keyword; empty if absent."""
    return as_array(node.get(key)) or []


def names_at(node: JSON, key: str) -> list[str]:
    """The strings in the array under a keyword."""
    return [name for name in array_at(node, key) if isinstance(name, str)]


def as_schema(value: Any) -> JSON:
    """A schema as an object: `true` is `{}`, `false` is `{"not": {}}`."""
    if value is False:
        return {"not": {}}
    return as_object(value) or {}


def checked(schema: Any) -> JSON:
    """The schema, which must be an object of bearable depth."""
    root = as_object(schema)
    if root is None:
        raise SchemaError(f"a schema must be an object, got {type(schema).__name__}")
    if nesting(root) > NESTING_MAX:
        raise SchemaError(f"the schema is nested more than {NESTING_MAX} levels deep")
    return root


def nesting(value: Any) -> int:
    """The depth of nested objects and arrays; stops counting past the limit."""
    deepest = 0
    open_values: list[tuple[Any, int]] = [(value, 1)]
    while open_values and deepest <= NESTING_MAX:
        current, level = open_values.pop()
        mapping = as_object(current)
        inner = list(mapping.values()) if mapping is not None else as_array(current)
        if inner is not None:
            deepest = max(deepest, level)
            open_values.extend((item, level + 1) for item in inner)
    return deepest


def infinities(value: Any) -> list[tuple[str | int, ...]]:
    """The places of numbers beyond a float's range, such as `1e400`."""
    found: list[tuple[str | int, ...]] = []
    open_values: list[tuple[Any, tuple[str | int, ...]]] = [(value, ())]
    while open_values:
        current, path = open_values.pop()
        mapping, items = as_object(current), as_array(current)
        if mapping is not None:
            open_values.extend((inner, (*path, key)) for key, inner in mapping.items())
        elif items is not None:
            open_values.extend((inner, (*path, place)) for place, inner in enumerate(items))
        elif isinstance(current, float) and math.isinf(current):
            found.append(path)
    return found


def children(node: JSON) -> Iterator[tuple[str, JSON]]:
    """The schemas directly inside a schema, each with its JSON pointer from there."""
    for key, value in node.items():
        mapping, items = as_object(value), as_array(value)
        if mapping is not None and key in MAP_KEYS:
            for name, child in mapping.items():
                if (schema := as_object(child)) is not None:
                    yield f"{key}/{escape_pointer(name)}", schema
        elif items is not None and key in _LIST_KEYS:
            for position, child in enumerate(items):
                if (schema := as_object(child)) is not None:
                    yield f"{key}/{position}", schema
        elif mapping is not None and key in _SCHEMA_KEYS:
            yield key, mapping


def rebuild(node: JSON, convert: Callable[[JSON], Any]) -> JSON:
    """A copy with every schema directly inside replaced; `true` and `false` stay."""

    def convert_child(child: Any) -> Any:
        schema = as_object(child)
        return child if schema is None else convert(schema)

    copy: JSON = {}
    for key, value in node.items():
        mapping, items = as_object(value), as_array(value)
        if mapping is not None and key in MAP_KEYS:
            copy[key] = {name: convert_child(child) for name, child in mapping.items()}
        elif items is not None and key in _LIST_KEYS:
            copy[key] = [convert_child(child) for child in items]
        elif mapping is not None and key in _SCHEMA_KEYS:
            copy[key] = convert(mapping)
        else:
            copy[key] = value
    return copy


def escape_pointer(name: str) -> str:
    """A key as one step of a JSON pointer in a reference."""
    return name.replace("~", "~0").replace("/", "~1").replace("%", "%25")


def unescape_pointer(step: str) -> str:
    """One step of a JSON pointer in a reference, as a key."""
    return unquote(step).replace("~1", "/").replace("~0", "~")


def reference_of(node: JSON) -> str | None:
    """The reference in the schema, if there is one."""
    for key in REFERENCE_KEYS:
        reference = node.get(key)
        if isinstance(reference, str):
            return reference
    return None


def without(node: JSON, *keys: str) -> JSON:
    """A shallow copy without some keywords."""
    return {key: value for key, value in node.items() if key not in keys}


def types_at(node: JSON) -> list[str]:
    """The value of `type` as a list; empty where it has no known type."""
    declared = node.get("type")
    names: list[Any] = [declared] if isinstance(declared, str) else as_array(declared) or []
    return [name for name in names if isinstance(name, str) and name in TYPE_NAMES]


def type_of(value: Any) -> str:
    """The JSON Schema type of a value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def implied_types(node: JSON) -> list[str]:
    """The types that a schema allows, as far as its keywords tell; empty for any."""
    declared = types_at(node)
    if declared:
        return declared
    if "const" in node:
        return [type_of(node["const"])]
    values = array_at(node, "enum")
    if values:
        return list(dict.fromkeys(type_of(value) for value in values))
    if "properties" in node or "required" in node:
        return ["object"]
    if "items" in node or "prefixItems" in node:
        return ["array"]
    for key in ("anyOf", "oneOf"):
        branches = [implied_types(as_schema(branch)) for branch in array_at(node, key)]
        if branches and all(branches):
            return list(dict.fromkeys(name for branch in branches for name in branch))
    return []


def same(first: Any, second: Any) -> bool:
    """Equal as JSON: `1` and `true` are not, `1` and `1.0` are."""
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second
    if isinstance(first, list) and isinstance(second, list):
        ours, theirs = as_array(first) or [], as_array(second) or []
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(first, dict) and isinstance(second, dict):
        left, right = as_object(first) or {}, as_object(second) or {}
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    return bool(first == second)
