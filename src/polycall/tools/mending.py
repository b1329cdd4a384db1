"""Mending arguments where the schema leaves one reading, and noting what was done.

A value is changed only where, as it stands, no schema would take it, and where a single other
value could be meant.  A string stays a string wherever the schema has one.
"""

from __future__ import annotations

from typing import Any

from polycall._support import jsontext
from polycall.errors import SchemaError
from polycall.ir import JSON
from polycall.schema.nulls import accepts_null
from polycall.schema.refs import References
from polycall.schema.walk import (
    array_at,
    as_array,
    as_object,
    as_schema,
    implied_types,
    names_at,
    object_at,
    type_of,
)

# Beyond this a double is not an exact integer, and the number that was meant is lost.
_EXACT_MAX = 2**53

_KIND_BY_TYPE = {
    "array": "encoded_twice",
    "boolean": "boolean_as_text",
    "integer": "number_as_text",
    "null": "null_as_text",
    "number": "number_as_text",
    "object": "encoded_twice",
}


class Mending:
    """Arguments of one tool, mended by its schema."""

    def __init__(self, schema: JSON) -> None:
        self._schema = schema
        self._references = References(schema)

    def mend(self, arguments: JSON) -> tuple[JSON, list[str]]:
        """The arguments, mended, and the kinds of mends; the input is not changed."""
        kinds: list[str] = []
        mended = self._mend(arguments, self._schema, kinds)
        assert isinstance(mended, dict)
        return as_object(mended) or {}, list(dict.fromkeys(kinds))

    def _mend(self, value: Any, node: JSON, kinds: list[str]) -> Any:
        branches = self._branches(node)
        types = _types(branches)
        if types and isinstance(value, str) and "string" not in types:
            value = self._decoded(value, types, kinds)
        if isinstance(value, float) and "integer" in types and "number" not in types:
            value = _integral(value, kinds)
        mapping, items = as_object(value), as_array(value)
        if mapping is not None:
            # Which of several objects is meant is not for us to say.
            known = _only(branches, "object")
            return value if known is None else self._mend_object(mapping, known, kinds)
        if items is not None:
            known = _only(branches, "array")
            return value if known is None else self._mend_array(items, known, kinds)
        return value

    def _mend_object(self, value: JSON, node: JSON, kinds: list[str]) -> JSON:
        properties = object_at(node, "properties")
        rest = as_object(node.get("additionalProperties"))
        mended: JSON = {}
        for name, item in value.items():
            child = as_schema(properties[name]) if name in properties else rest
            if child is None:
                mended[name] = item
            elif (
                item is None
                and name in properties
                and name not in names_at(node, "required")
                and not accepts_null(child, self._references)
            ):
                kinds.append("null_for_absent")
            else:
                mended[name] = self._mend(item, child, kinds)
        return mended

    def _mend_array(self, values: list[Any], node: JSON, kinds: list[str]) -> list[Any]:
        first = array_at(node, "prefixItems")
        rest = as_schema(node.get("items"))
        return [
            self._mend(item, as_schema(first[place]) if place < len(first) else rest, kinds)
            for place, item in enumerate(values)
        ]

    def _branches(self, node: JSON, level: int = 0) -> list[JSON] | None:
        """The alternatives of a schema, resolved; `None` where they cannot be determined."""
        try:
            node = self._references.resolved(node)
        except SchemaError:
            return None
        if level > 10 or "allOf" in node or "not" in node or "if" in node:
            return None
        alternatives = [*array_at(node, "anyOf"), *array_at(node, "oneOf")]
        if not alternatives:
            return [node]
        if object_at(node, "properties") or "items" in node:
            return None
        found: list[JSON] = []
        for alternative in alternatives:
            inner = self._branches(as_schema(alternative), level + 1)
            if inner is None:
                return None
            found.extend(inner)
        return found

    def _decoded(self, text: str, types: set[str], kinds: list[str]) -> Any:
        """The value that the text spells, if the schema has its type."""
        try:
            value = jsontext.decode(text)
        except ValueError:
            return text
        name = type_of(value)
        if name in types or (name == "integer" and "number" in types):
            kinds.append(_KIND_BY_TYPE[name])
            return value
        if name == "number" and "integer" in types and float(value).is_integer():
            kinds.append(_KIND_BY_TYPE[name])
        else:
            return text
        return value


def _integral(value: float, kinds: list[str]) -> int | float:
    if not value.is_integer() or abs(value) > _EXACT_MAX:
        return value
    kinds.append("integer_as_float")
    return int(value)


def _types(branches: list[JSON] | None) -> set[str]:
    """All types of the alternatives; none where one of them takes any."""
    known = [implied_types(branch) for branch in branches or ()]
    return {name for names in known for name in names} if all(known) else set()


def _only(branches: list[JSON] | None, name: str) -> JSON | None:
    """The one alternative of a type; `None` if there is not exactly one."""
    found = [branch for branch in branches or () if name in implied_types(branch)]
    return found[0] if len(found) == 1 else None
