"""Removing the nulls that a strict schema made a model write."""

from __future__ import annotations

from typing import Any

from polycall.errors import SchemaError
from polycall.ir import JSON
from polycall.schema.refs import References
from polycall.schema.walk import (
    REFERENCE_KEYS,
    array_at,
    as_array,
    as_object,
    as_schema,
    checked,
    names_at,
    object_at,
    reference_of,
    same,
    type_of,
    types_at,
    without,
)


def strip_nulls(arguments: Any, schema: JSON) -> Any:
    """The arguments without nulls where the caller's own schema has an optional property.

    Only an explicit null goes, and only where the property may be left out and may not be null.
    Nothing else changes; the input is not touched.
    """
    root = checked(schema)
    return _Stripper(References(root)).strip(arguments, root)


def accepts_null(node: JSON, references: References) -> bool:
    """Whether null is a value of the schema."""
    return _Stripper(references).fits(None, node)


class _Stripper:
    def __init__(self, references: References) -> None:
        self._references = references
        # By the identity of value and schema, both kept alive here: unions of unions would
        # otherwise try every branch under every branch, and cycles would never end.
        self._stripped: dict[tuple[int, int], tuple[Any, JSON, Any]] = {}
        self._fitting: dict[tuple[int, int], tuple[Any, JSON, bool]] = {}

    def strip(self, value: Any, node: JSON) -> Any:
        """The value, stripped by one schema and by all that it consists of."""
        key = (id(value), id(node))
        known = self._stripped.get(key)
        if known is not None:
            return known[2]
        self._stripped[key] = (value, node, value)
        result = value
        for part in self._parts(node):
            result = self._strip_by(result, part)
        self._stripped[key] = (value, node, result)
        return result

    def _parts(self, node: JSON) -> list[JSON]:
        """The schemas that hold together: this one, what it refers to, all of its `allOf`."""
        parts: list[JSON] = []
        seen: set[str] = set()
        waiting = [node]
        while waiting:
            current = waiting.pop(0)
            reference = reference_of(current)
            if reference is not None and reference not in seen:
                seen.add(reference)
                try:
                    waiting.append(self._references.target(reference))
                except SchemaError:
                    continue
            waiting.extend(as_schema(part) for part in array_at(current, "allOf"))
            parts.append(without(current, "allOf", *REFERENCE_KEYS))
        return parts

    def _strip_by(self, value: Any, node: JSON) -> Any:
        for key in ("anyOf", "oneOf"):
            if key in node:
                value = self._strip_union(value, array_at(node, key))
        mapping, items = as_object(value), as_array(value)
        if mapping is not None and "properties" in node:
            return self._strip_object(mapping, node)
        if items is not None:
            return self._strip_array(items, node)
        return value

    def _strip_object(self, value: JSON, node: JSON) -> JSON:
        properties = object_at(node, "properties")
        required = names_at(node, "required")
        kept: JSON = {}
        for name, item in value.items():
            child = properties.get(name)
            if child is None:
                kept[name] = item
            elif item is None:
                if name in required or self.fits(None, as_schema(child)):
                    kept[name] = item
            else:
                kept[name] = self.strip(item, as_schema(child))
        return kept

    def _strip_array(self, values: list[Any], node: JSON) -> list[Any]:
        first = array_at(node, "prefixItems")
        rest = as_schema(node.get("items", {}))
        return [
            self.strip(item, as_schema(first[position]) if position < len(first) else rest)
            for position, item in enumerate(values)
        ]

    def _strip_union(self, value: Any, branches: list[Any]) -> Any:
        """Strip the value by the branch that it belongs to.

        A branch that changes nothing comes first.
        """
        changed: list[Any] = []
        for branch in branches:
            schema = as_schema(branch)
            stripped = self.strip(value, schema)
            if self.fits(stripped, schema):
                if same(stripped, value):
                    return value
                changed.append(stripped)
        return changed[0] if changed else value

    def fits(self, value: Any, node: JSON) -> bool:
        """Whether the value has the schema's shape: types, names, literals."""
        key = (id(value), id(node))
        known = self._fitting.get(key)
        if known is not None:
            return known[2]
        self._fitting[key] = (value, node, False)
        result = all(self._fits_one(value, part) for part in self._parts(node))
        self._fitting[key] = (value, node, result)
        return result

    def _fits_one(self, value: Any, node: JSON) -> bool:
        types = types_at(node)
        if types and not _is_any(value, types):
            return False
        if "const" in node and not same(value, node["const"]):
            return False
        if "enum" in node and not any(same(value, item) for item in array_at(node, "enum")):
            return False
        if "not" in node and self.fits(value, as_schema(node["not"])):
            return False
        for key in ("anyOf", "oneOf"):
            if key in node and not any(
                self.fits(value, as_schema(branch)) for branch in array_at(node, key)
            ):
                return False
        mapping, items = as_object(value), as_array(value)
        if mapping is not None:
            return self._fits_object(mapping, node)
        if items is not None and "items" in node:
            rest = as_schema(node["items"])
            return all(
                self.fits(item, rest) for item in items[len(array_at(node, "prefixItems")) :]
            )
        return True

    def _fits_object(self, value: JSON, node: JSON) -> bool:
        properties = object_at(node, "properties")
        if any(name not in value for name in names_at(node, "required")):
            return False
        if node.get("additionalProperties") is False and any(
            name not in properties for name in value
        ):
            return False
        return all(
            self.fits(value[name], as_schema(child))
            for name, child in properties.items()
            if name in value
        )


def _is_any(value: Any, types: list[str]) -> bool:
    actual = type_of(value)
    if actual in types:
        return True
    if actual == "integer":
        return "number" in types
    return actual == "number" and "integer" in types and float(value).is_integer()
