"""Two schemas in one."""

from __future__ import annotations

from typing import Any

from polycall.ir import JSON
from polycall.schema.walk import (
    ANNOTATIONS,
    MAP_KEYS,
    array_at,
    as_array,
    as_object,
    as_schema,
    implied_types,
    same,
    types_at,
    without,
)

_LARGER_WINS = frozenset({"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"})
_SMALLER_WINS = frozenset({"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"})


def combine(base: JSON, extra: JSON) -> JSON | None:
    """One schema that means both; `None` where only `allOf` could say it.

    Annotations of `extra` win.  A closed `base` stays closed around the properties of both:
    that is what those who write it mean, whatever the letter of the specification.
    """
    merged = dict(base)
    for key, value in extra.items():
        if key not in merged or key in ANNOTATIONS or same(merged[key], value):
            merged[key] = value
            continue
        joined = _join(key, merged[key], value)
        if joined is None:
            return None
        merged[key] = joined
    return merged


def combined(base: JSON, extra: JSON) -> JSON:
    """One schema that means both, with `allOf` where nothing else could say it."""
    merged = combine(base, extra)
    if merged is not None:
        return merged
    remarks = {key: value for key, value in extra.items() if key in ANNOTATIONS}
    return {"allOf": [base, without(extra, *ANNOTATIONS)], **remarks}


def _join(key: str, first: Any, second: Any) -> Any:
    """Both values of one keyword in one; `None` where there is no such value."""
    if key in _LARGER_WINS or key in _SMALLER_WINS:
        if not (_is_number(first) and _is_number(second)):
            return None
        return max(first, second) if key in _LARGER_WINS else min(first, second)
    if key == "type":
        return _join_types(first, second)
    if key == "additionalProperties" and (first is False or second is False):
        return False
    left, right = as_object(first), as_object(second)
    if left is not None and right is not None:
        if key in ("items", "additionalProperties"):
            return combined(left, right)
        if key in MAP_KEYS:
            return _join_maps(left, right)
        return None
    ours, theirs = as_array(first), as_array(second)
    if ours is None or theirs is None:
        return None
    if key in ("required", "allOf"):
        return [*ours, *(item for item in theirs if not _contains(ours, item))]
    if key == "enum":
        return [item for item in ours if _contains(theirs, item)] or None
    return None


def _join_maps(first: JSON, second: JSON) -> JSON:
    joined = dict(first)
    for name, schema in second.items():
        known = joined.get(name, True)
        if known is True or schema is False:
            joined[name] = schema
        elif as_object(known) is not None and as_object(schema) is not None:
            joined[name] = combined(as_schema(known), as_schema(schema))
    return joined


def _join_types(first: Any, second: Any) -> Any:
    ours, theirs = types_at({"type": first}), types_at({"type": second})
    both = [name for name in ours if name in theirs]
    # Every integer is a number.
    if "integer" in ours + theirs and "number" in ours + theirs and "integer" not in both:
        both.append("integer")
    if not both:
        return None
    return both[0] if len(both) == 1 else both


def _contains(values: list[Any], value: Any) -> bool:
    return any(same(value, other) for other in values)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def flat(node: JSON) -> JSON:
    """The schema with its `allOf` merged as far as that goes, and with integer bounds closed."""
    rest: list[Any] = []
    for part in array_at(node, "allOf"):
        whole = combine(flat(as_schema(part)), without(node, "allOf"))
        if whole is None:
            rest.append(part)
        else:
            node = {**whole, **({"allOf": node["allOf"]} if "allOf" in node else {})}
    if "allOf" in node:
        node = {**without(node, "allOf"), **({"allOf": rest} if rest else {})}
    if implied_types(node) != ["integer"]:
        return node
    for exclusive, inclusive, step in (
        ("exclusiveMinimum", "minimum", 1),
        ("exclusiveMaximum", "maximum", -1),
    ):
        bound = node.get(exclusive)
        if isinstance(bound, int) and bound is not True and inclusive not in node:
            node = {**without(node, exclusive), inclusive: bound + step}
    return node
