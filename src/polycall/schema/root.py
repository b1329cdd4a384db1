"""The root of a tool's schema, for wires that take one plain object there.

A reference at the root is written out, and `anyOf`, `oneOf` and `allOf` of objects become one
object: with all properties, required where every branch (of `allOf`: any) requires them.
"""

from __future__ import annotations

from typing import Any

from polycall.errors import SchemaError
from polycall.ir import JSON
from polycall.schema.merge import combine
from polycall.schema.refs import References
from polycall.schema.walk import array_at, as_schema, object_at, without
from polycall.schema.words import describe, shown

_UNIONS = ("anyOf", "oneOf")
_STEPS_MAX = 200


def object_schema(schema: JSON) -> JSON:
    """The schema with a plain object at its root; the same one where it has that already.

    One that describes no object at all stays as it is, for the vendor to judge.
    """
    has_type = schema.get("type") == "object"
    if has_type and not schema.keys() & {"$ref", "anyOf", "oneOf", "allOf"}:
        return schema
    try:
        root = _Roots(schema).resolved(schema)
    except SchemaError:
        return schema
    if root is None:
        return schema
    definitions = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    return {"type": "object", **without(root, "type", *definitions), **definitions}


class _Roots:
    """Follows the branches of one root; those that refer to each other without end are given up."""

    def __init__(self, schema: JSON) -> None:
        self._references = References(schema)
        self._steps = 0

    def resolved(self, node: JSON) -> JSON | None:
        """One object that takes what the node takes; `None` where it takes no object."""
        self._steps += 1
        if self._steps > _STEPS_MAX:
            raise SchemaError("the root has too many branches")
        node = self._references.resolved(node)
        kind = node.get("type", "object")
        if kind != "object" and not (isinstance(kind, list) and "object" in kind):
            return None
        whole = without(node, *_UNIONS, "allOf")
        for key in _UNIONS:
            if key in node:
                merged = self._any_of(array_at(node, key))
                if merged is None:
                    return None
                whole = _both(whole, merged)
        for part in array_at(node, "allOf"):
            resolved = self.resolved(as_schema(part))
            if resolved is None:
                return None
            whole = _both(whole, resolved)
        return whole

    def _any_of(self, branches: list[Any]) -> JSON | None:
        objects = [
            resolved
            for branch in branches
            if (resolved := self.resolved(as_schema(branch))) is not None
        ]
        return _united(objects) if objects else None


def _both(first: JSON, second: JSON) -> JSON:
    whole = combine(without(first, "type"), without(second, "type"))
    return {**first, **second} if whole is None else whole


def _united(objects: list[JSON]) -> JSON:
    properties: JSON = {}
    for branch in objects:
        for name, child in object_at(branch, "properties").items():
            known = properties.setdefault(name, child)
            if known != child:
                properties[name] = {"anyOf": [*_choices(known), child]}
    merged: JSON = {"properties": properties}
    required = [
        name
        for name in array_at(objects[0], "required")
        if all(name in array_at(branch, "required") for branch in objects)
    ]
    if required:
        merged["required"] = required
    if all(branch.get("additionalProperties") is False for branch in objects):
        merged["additionalProperties"] = False
    shapes = [list(object_at(branch, "properties")) for branch in objects]
    if len(shapes) < 2:
        return merged
    return describe(merged, f"(one of these sets of properties: {shown(shapes)})")


def _choices(node: Any) -> list[Any]:
    if isinstance(node, dict) and list(node) == ["anyOf"]:  # pyright: ignore[reportUnknownArgumentType]
        return list(array_at(as_schema(node), "anyOf"))
    return [node]
