"""A schema that would keep a validator at work for ever is not asked."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from polycall.errors import ToolDefinitionError
from polycall.ir import JSON
from polycall.schema.ways import LOOKS_MAX, Ways
from polycall.tools.validate import SchemaChecker

OBJECT: JSON = {"type": "object"}


def doubling(levels: int, keyword: str = "allOf", leaf: Any = OBJECT) -> JSON:
    """Each level looks twice at the next one."""
    table = {f"a{n}": {keyword: [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(levels)}
    return {"$ref": "#/$defs/a0", "$defs": {**table, f"a{levels}": leaf}}


def deeper(levels: int) -> JSON:
    """Each level looks twice at a property, so that only a deep value takes long."""
    table = {
        f"a{n}": {"anyOf": [{"properties": {"x": {"$ref": f"#/$defs/a{n + 1}"}}}] * 2}
        for n in range(levels)
    }
    return {"$ref": "#/$defs/a0", "$defs": {**table, f"a{levels}": OBJECT}}


def nested(depth: int) -> Any:
    node: Any = {}
    for _ in range(depth):
        node = {"x": node}
    return node


def all_of_each(count: int) -> JSON:
    """Rings by which a validator goes in each order."""
    each = [{"$ref": f"#/$defs/a{n}"} for n in range(count)]
    return {f"a{n}": {"allOf": each} for n in range(count)}


TREE: JSON = {
    "$defs": {"n": {"anyOf": [{"type": "null"}, {"properties": {"x": {"$ref": "#/$defs/n"}}}]}},
    "$ref": "#/$defs/n",
}


@pytest.mark.parametrize("keyword", ["allOf", "anyOf", "oneOf"])
def test_references_that_double_are_refused(keyword: str) -> None:
    with pytest.raises(ToolDefinitionError, match="the schema of 'evil' cannot be used"):
        SchemaChecker(doubling(60, keyword), label="evil")


@pytest.mark.parametrize(
    "schema",
    [
        doubling(60, leaf={"type": "string"}),
        {"not": doubling(60), "$defs": doubling(60)["$defs"]},
        {"if": {"$ref": "#/$defs/a0"}, "$defs": doubling(60)["$defs"]},
        {"dependentSchemas": {"x": {"$ref": "#/$defs/a0"}}, "$defs": doubling(60)["$defs"]},
        {"$ref": "#/$defs/a0", "$defs": all_of_each(8)},
        {"$ref": "https://example.com/elsewhere"},
    ],
    ids=["leaf", "not", "if", "dependent", "rings", "elsewhere"],
)
def test_what_is_too_much_for_any_value(schema: JSON) -> None:
    assert not Ways(schema).are_few({})


@pytest.mark.parametrize("keyword", ["allOf", "anyOf", "oneOf"])
def test_a_ring_that_is_looked_at_once_is_checked(keyword: str) -> None:
    schema: JSON = {keyword: [{"$ref": "#"}, {"type": "object"}], "required": ["a"]}
    assert Ways(schema).are_few({"a": 1})
    assert SchemaChecker(schema, label="t").problems({})


def test_what_is_too_much_for_a_deep_value_alone(caplog: pytest.LogCaptureFixture) -> None:
    ways = Ways(deeper(60))
    assert ways.are_few(nested(10))
    assert not ways.are_few(nested(40))
    checker = SchemaChecker(deeper(60), label="t")
    assert checker.problems(nested(1)) == []
    with caplog.at_level(logging.WARNING):
        assert checker.problems(nested(60)) == []
    assert caplog.messages == [
        "a value is not checked against the schema of 't': that could take for ever"
    ]


def test_what_is_too_much_for_a_long_value_alone() -> None:
    schema: JSON = {"items": {"$ref": "#/$defs/a0"}, "$defs": doubling(12)["$defs"]}
    assert Ways(schema).are_few([1] * 1_000)
    assert not Ways(schema).are_few([1] * (LOOKS_MAX // 4_000))


@pytest.mark.parametrize("depth", [0, 1, 20, 150])
def test_an_ordinary_tree_is_checked_at_any_depth(depth: int) -> None:
    assert Ways(TREE).are_few(nested(depth))
    assert SchemaChecker(TREE, label="t").problems(nested(depth)) == []


def test_an_ordinary_schema_with_references_is_checked() -> None:
    schema: JSON = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/name"}, "b": {"$ref": "#/$defs/name"}},
        "$defs": {"name": {"type": "string"}},
    }
    (problem,) = SchemaChecker(schema, label="t").problems({"a": "x", "b": 1})
    assert problem.path == ("b",)
