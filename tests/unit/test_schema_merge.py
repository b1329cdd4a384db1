"""Two schemas in one: what holds for both, or nothing at all."""

from __future__ import annotations

from typing import Any

import pytest

from polycall.schema.merge import combine, combined, flat
from polycall.schema.walk import same

STRING = {"type": "string"}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({"minimum": 1}, {"minimum": 3}, {"minimum": 3}),
        ({"maxLength": 1}, {"maxLength": 3}, {"maxLength": 1}),
        ({"minimum": 1}, {"minimum": "3"}, None),
        ({"type": "number"}, {"type": "integer"}, {"type": "integer"}),
        ({"type": ["string", "null"]}, {"type": ["null", "string"]}, {"type": ["string", "null"]}),
        ({"type": "string"}, {"type": "integer"}, None),
        ({"enum": [1, 2, 3]}, {"enum": [3, 2]}, {"enum": [2, 3]}),
        ({"enum": [1]}, {"enum": [True]}, None),
        ({"required": ["a"]}, {"required": ["b", "a"]}, {"required": ["a", "b"]}),
        ({"items": STRING}, {"items": {"minLength": 1}}, {"items": {**STRING, "minLength": 1}}),
        ({"items": STRING}, {"items": False}, None),
        ({"additionalProperties": STRING}, {"additionalProperties": False},
         {"additionalProperties": False}),
        ({"additionalProperties": STRING}, {"additionalProperties": {"minLength": 1}},
         {"additionalProperties": {**STRING, "minLength": 1}}),
        ({"properties": {"a": STRING, "b": False, "c": True, "d": STRING}},
         {"properties": {"a": True, "b": STRING, "c": STRING, "d": False}},
         {"properties": {"a": STRING, "b": False, "c": STRING, "d": False}}),
        ({"pattern": "a"}, {"pattern": "b"}, None),
        ({"not": STRING}, {"not": {"type": "null"}}, None),
        ({"anyOf": [STRING]}, {"anyOf": [{}]}, None),
        ({"description": "a"}, {"description": "b"}, {"description": "b"}),
    ],
)  # fmt: skip
def test_one_schema_for_both(first: Any, second: Any, expected: Any) -> None:
    assert combine(first, second) == expected


def test_what_has_no_common_spelling_stands_in_allof() -> None:
    assert combined({"pattern": "a", "title": "A"}, {"pattern": "b", "title": "B"}) == {
        "allOf": [{"pattern": "a", "title": "A"}, {"pattern": "b"}],
        "title": "B",
    }


def test_allof_is_merged_as_far_as_it_goes() -> None:
    schema = {
        "allOf": [{"allOf": [{"minimum": 1}], "type": "integer"}, {"pattern": "a"}],
        "pattern": "b",
        "exclusiveMaximum": 5,
    }
    assert flat(schema) == {
        "type": "integer",
        "minimum": 1,
        "pattern": "b",
        "maximum": 4,
        "allOf": [{"pattern": "a"}],
    }


def test_equal_as_json() -> None:
    assert same({"a": [1, {"b": None}]}, {"a": [1.0, {"b": None}]})
    assert not same([1, 0], [True, False])
    assert not same({"a": 1}, {"b": 1})
    assert not same([1], [1, 2])
    assert not same({"a": 1}, {"a": 1, "b": 1})


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"exclusiveMinimum": 1}, {"minimum": 2}),
        ({"exclusiveMaximum": 9}, {"maximum": 8}),
        # The inclusive bound may be the stricter one, so both stay.
        ({"exclusiveMinimum": 1, "minimum": 5}, {"exclusiveMinimum": 1, "minimum": 5}),
        ({"exclusiveMaximum": 9, "maximum": 3}, {"exclusiveMaximum": 9, "maximum": 3}),
        ({"exclusiveMinimum": True, "minimum": 5}, {"exclusiveMinimum": True, "minimum": 5}),
    ],
)
def test_exclusive_bounds_of_integers(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    assert flat({"type": "integer", **schema}) == {"type": "integer", **expected}
