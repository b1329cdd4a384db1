"""A schema that would keep a validator at work for ever is not asked."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from polycall._support import jsontext
from polycall.errors import ArgumentsError, ToolDefinitionError
from polycall.ir import JSON
from polycall.schema.ways import LOOKS_MAX, Ways
from polycall.tools.mending import Mending
from polycall.tools.validate import SchemaChecker, check_arguments

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


def test_what_is_too_much_for_a_deep_value_alone() -> None:
    ways = Ways(deeper(60))
    assert ways.are_few(nested(10))
    assert not ways.are_few(nested(40))
    checker = SchemaChecker(deeper(60), label="t")
    assert checker.problems(nested(1)) == []
    (problem,) = checker.problems(nested(60))
    assert problem.message.startswith("cannot be checked: ")


FILTER: JSON = {
    "anyOf": [
        {"properties": {"and": {"items": {"$ref": "#/$defs/filter"}}}, "required": ["and"]},
        {"properties": {"or": {"items": {"$ref": "#/$defs/filter"}}}, "required": ["or"]},
        {"properties": {"not": {"$ref": "#/$defs/filter"}}, "required": ["not"]},
        {"properties": {"field": {"type": "string"}, "eq": {}}, "required": ["field"]},
    ]
}
PAY: JSON = {
    "$defs": {"filter": FILTER, "most": deeper(60)["$defs"]["a0"], **deeper(60)["$defs"]},
    "type": "object",
    "properties": {
        "filter": {"$ref": "#/$defs/filter"},
        "amount": {"maximum": 10},
        "note": {},
        "most": {"$ref": "#/$defs/most"},
    },
}


@pytest.mark.parametrize(
    "more",
    [
        {"note": nested(40)},
        {"note": [nested(100)] * 50},
        {"another": nested(140)},
        {"filter": {"field": "a", "eq": nested(60)}},
        {"filter": {"and": [{"not": {"field": f"f{n}", "eq": nested(30)}} for n in range(9)]}},
        {"note": "x" * 100, "most": nested(8)},
        {"most": nested(100)},
    ],
    ids=["note", "notes", "another", "filter", "filters", "shallow", "everywhere"],
)
def test_no_part_of_the_arguments_keeps_the_rest_from_being_checked(more: JSON) -> None:
    """A model could else send what it likes, where it nests deeply what nobody looks at."""
    schema = SchemaChecker(PAY, label="pay")
    for amount in (1_000_000_000, 10.5):
        with pytest.raises(ArgumentsError):
            check_arguments(
                jsontext.encode({"amount": amount, **more}),
                name="pay",
                parameters=PAY,
                checker=schema,
                mending=Mending(PAY),
            )
    if "most" not in more or more["most"] != nested(100):
        assert schema.problems({"amount": 10, **more}) == []


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


@pytest.mark.parametrize("schema", [doubling(600), deeper(60), {"$ref": "#/$defs/nobody"}])
@pytest.mark.parametrize("value", [{}, nested(40), [1] * 9], ids=["empty", "deep", "long"])
def test_a_schema_that_was_given_up_once_is_given_up_again(schema: JSON, value: Any) -> None:
    ways = Ways(schema)
    assert len({ways.are_few(value) for _ in range(7)}) == 1


def test_checks_in_several_threads_at_once_count_the_same() -> None:
    ways = Ways({"$ref": "#/$defs/a0", "$defs": all_of_each(8)})
    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(ways.are_few, [nested(n % 9) for n in range(200)])) == {False}


def wide(properties: int) -> JSON:
    names = {f"p{n}": {"type": "string"} for n in range(properties)}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "properties": {**names, "amount": {"type": "integer", "maximum": 10}},
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("schema", "more"),
    [
        (wide(250), {"x": [0] * 90_000}),
        ({**wide(250), "$defs": {"one": {"$ref": "#"}}}, {"x": [str(n) for n in range(90_000)]}),
        ({**wide(9_000), "$defs": {"a": TREE}}, {f"x{n}": nested(n) for n in range(20)}),
        ({**wide(10), "not": {"$ref": "#/$defs/a0"}, **deeper(60)}, {"x": [[[1]]] * 1_000}),
    ],
    ids=["no references", "long", "deeper and deeper", "many"],
)
def test_neither_width_nor_use_keeps_arguments_from_being_checked(schema: JSON, more: JSON) -> None:
    checker = SchemaChecker(schema, label="pay")
    for _ in range(9):
        assert checker.problems({"amount": 99_999, **more})
