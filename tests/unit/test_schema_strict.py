"""Strict subsets, and the nulls that they make models write."""

from __future__ import annotations

from typing import Any

import pytest

from polycall.schema import anthropic_strict, openai_strict, strip_nulls


def obj(properties: dict[str, Any], **rest: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, **rest}


def strict_property(schema: dict[str, Any], *, required: bool = True) -> Any:
    """What becomes of one property under OpenAI's strict mode."""
    whole = openai_strict(obj({"p": schema}, required=["p"] if required else []))
    return None if whole is None else whole["properties"]["p"]


def test_A14_optional_properties_become_required_and_nullable() -> None:
    schema = obj(
        {
            "city": {"type": "string"},
            "days": {"type": "integer", "description": "How many.", "default": 3},
            "unit": {"type": "string", "enum": ["c", "f"]},
            "kind": {"const": "x", "title": "Kind"},
            "place": obj({"lat": {"type": "number"}}, description="Where."),
            "tags": {"type": "array", "items": {"type": "string"}},
            "either": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
            "known": {"$ref": "#/$defs/T", "description": "told"},
            "maybe": {"type": ["string", "null"]},
            "short": {"$ref": "#/$defs/T", "enum": ["a"]},
        },
        required=["city"],
        **{"$defs": {"T": {"type": "string"}}},
    )
    assert openai_strict(schema) == {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": ["integer", "null"], "description": "How many. (default: 3)"},
            "unit": {"type": ["string", "null"], "enum": ["c", "f", None]},
            "kind": {
                "title": "Kind",
                "anyOf": [{"type": "string", "const": "x"}, {"type": "null"}],
            },
            "place": {
                "description": "Where.",
                "anyOf": [
                    {
                        "type": "object",
                        "properties": {
                            "lat": {"type": ["number", "null"]},
                        },
                        "required": ["lat"],
                        "additionalProperties": False,
                    },
                    {"type": "null"},
                ],
            },
            "tags": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]},
            "either": {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]},
            "known": {
                "description": "told",
                "anyOf": [{"$ref": "#/$defs/T"}, {"type": "null"}],
            },
            "maybe": {"type": ["string", "null"]},
            "short": {"type": ["string", "null"], "enum": ["a", None]},
        },
        "required": [
            "city",
            "days",
            "unit",
            "kind",
            "place",
            "tags",
            "either",
            "known",
            "maybe",
            "short",
        ],
        "additionalProperties": False,
        "$defs": {"T": {"type": "string"}},
    }


def test_A14_what_is_strict_already_comes_back_equal() -> None:
    schema = {
        "type": "object",
        "properties": {
            "b": {"type": "string", "pattern": "^[a-z]+$", "format": "email"},
            "a": {"type": ["integer", "null"], "minimum": 1, "enum": [1, 2, None]},
            "tree": {"$ref": "#/$defs/Node"},
            "self": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
        },
        "required": ["a", "b", "self", "tree"],
        "additionalProperties": False,
        "$defs": {
            "Node": {
                "type": "object",
                "properties": {
                    "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}},
                },
                "required": ["children"],
                "additionalProperties": False,
            }
        },
    }
    assert openai_strict(schema) == schema


@pytest.mark.parametrize("schema", [{}, {"type": "object"}, obj({}), {"description": ""}])
def test_A16_a_tool_without_parameters(schema: dict[str, Any]) -> None:
    said = {"description": ""} if "description" in schema else {}
    assert openai_strict(schema) == {
        **said,
        "type": "object",
        "properties": {},
        "required": [],
        "additionalProperties": False,
    }


def test_A15_a_format_that_is_unknown_moves_into_the_description() -> None:
    schema = obj({"link": {"type": "string", "format": "uri", "description": "A page."}})
    openai = openai_strict({**schema, "required": ["link"]})
    assert openai is not None
    assert openai["properties"]["link"] == {
        "type": "string",
        "description": 'A page. (format: "uri")',
    }
    anthropic = anthropic_strict(schema)
    assert anthropic is not None
    assert anthropic["properties"]["link"] == schema["properties"]["link"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            {"type": "string", "minLength": 1, "maxLength": 9, "x-order": 3, "deprecated": True},
            {"type": "string", "description": "(minLength: 1, maxLength: 9)"},
        ),
        ({"type": "string", "properties": {}, "items": {}}, {"type": "string"}),
        ({"enum": ["a", 1]}, {"type": ["string", "integer"], "enum": ["a", 1]}),
        ({"const": 3}, {"type": "integer", "const": 3}),
        ({"const": 1.5}, {"type": "number", "const": 1.5}),
        ({"items": {"type": "string"}}, {"type": "array", "items": {"type": "string"}}),
        (
            {"type": ["array", "null"], "items": {"type": "string"}, "uniqueItems": True},
            {
                "type": ["array", "null"],
                "items": {"type": "string"},
                "description": "(uniqueItems: true)",
            },
        ),
        (
            {"type": "string", "pattern": "^(?!x)", "title": "T"},
            {"type": "string", "title": "T", "description": '(pattern: "^(?!x)")'},
        ),
        (
            {"oneOf": [{"type": "string"}, {"type": "integer"}], "type": ["integer", "string"]},
            {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        ),
        (
            {"allOf": [{"$ref": "#/properties/base"}], "description": "told"},
            {"type": "string", "description": "told"},
        ),
        ({"allOf": [{"type": "string"}], "title": "T"}, {"type": "string", "title": "T"}),
        ({"$ref": "#/properties/base"}, {"type": "string"}),
        (
            {"type": "object", "properties": {"a": {"type": "string"}}, "minProperties": 1},
            {
                "type": "object",
                "properties": {"a": {"type": ["string", "null"]}},
                "description": "(minProperties: 1)",
                "required": ["a"],
                "additionalProperties": False,
            },
        ),
        (
            {"type": "object", "additionalProperties": False},
            {"type": "object", "properties": {}, "required": [], "additionalProperties": False},
        ),
    ],
)
def test_what_openai_lacks_is_said_in_another_way(before: Any, after: Any) -> None:
    schema = obj({"base": {"type": "string"}, "p": before}, required=["p", "base"])
    strict = openai_strict(schema)
    assert strict is not None
    assert strict["properties"]["p"] == after


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"description": "anything"},
        {"type": "object"},
        {"type": "object", "properties": {}},
        {"type": "object", "additionalProperties": True, "properties": {"a": {"type": "null"}}},
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"type": "object", "patternProperties": {"^x": {"type": "string"}}},
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["b"]},
        {"type": "object", "properties": {"a": True}},
        {"type": "object", "properties": {"a": False}},
        {"type": "object", "properties": {"a": {"type": "null"}}, "dependentRequired": {"a": []}},
        {"type": "array"},
        {"type": "array", "items": {}},
        {"type": "array", "items": True},
        {"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "string"}},
        {"type": "string", "not": {"const": "x"}},
        {"type": "string", "if": {"const": "x"}, "then": {"minLength": 1}},
        {"allOf": [{"type": "string"}, {"minLength": 1}]},
        {"allOf": [{"type": "string"}], "type": "integer"},
        {"anyOf": []},
        {"anyOf": [{"type": "string"}], "oneOf": [{"type": "string"}]},
        {"anyOf": [{"type": "string"}, {}]},
        {"anyOf": [{"type": "string"}], "type": "integer"},
        {"anyOf": [{"type": "string"}], "properties": {}},
        {"type": "object", "properties": {"a": {"type": "null"}}, "anyOf": [{"required": ["a"]}]},
        {"$ref": "#/$defs/Missing"},
        {"$dynamicRef": "#node"},
        {"type": "array", "items": {"$ref": "#/properties/p"}},
        {"$ref": "#/$defs/Word", "type": "integer"},
    ],
)
def test_what_openai_cannot_mean_is_not_adapted(schema: dict[str, Any]) -> None:
    whole = obj({"p": schema}, required=["p"], **{"$defs": {"Word": {"type": "string"}}})
    assert openai_strict(whole) is None


@pytest.mark.parametrize(
    "root",
    [
        {"anyOf": [obj({"a": {"type": "string"}})]},
        {"type": "array", "items": {"type": "string"}},
        {"type": "string"},
        {"$ref": "#/$defs/Loop", "$defs": {"Loop": {"$ref": "#/$defs/Loop"}}},
    ],
)
def test_a_root_must_be_an_object(root: dict[str, Any]) -> None:
    assert openai_strict(root) is None
    assert anthropic_strict(root) is None


def test_a_root_that_is_a_reference_is_written_out() -> None:
    definitions = {"Node": obj({"next": {"$ref": "#/$defs/Node"}})}
    assert openai_strict({"$ref": "#/$defs/Node", "$defs": definitions}) == {
        "type": "object",
        "properties": {"next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]}},
        "required": ["next"],
        "additionalProperties": False,
        "$defs": {
            "Node": {
                "type": "object",
                "properties": {"next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]}},
                "required": ["next"],
                "additionalProperties": False,
            }
        },
    }


def test_a_described_reference_is_written_out_unless_it_recurs() -> None:
    schema = obj(
        {
            "node": {"$ref": "#/$defs/Node", "description": "the first"},
            "word": {"$ref": "#/$defs/Word", "description": "a word", "default": "x"},
        },
        required=["node", "word"],
        **{
            "$defs": {
                "Node": obj(
                    {"next": {"$ref": "#/$defs/Node", "description": "the next"}},
                    required=["next"],
                ),
                "Word": {"type": "string", "description": "overruled"},
            }
        },
    )
    strict = openai_strict(schema)
    node = {
        "type": "object",
        "properties": {"next": {"description": "the next", "anyOf": [{"$ref": "#/$defs/Node"}]}},
        "required": ["next"],
        "additionalProperties": False,
    }
    assert strict is not None
    assert strict["properties"] == {
        "node": {**node, "description": "the first"},
        "word": {"type": "string", "description": 'a word (default: "x")'},
    }
    assert strict["$defs"]["Node"] == node


def test_described_references_do_not_multiply() -> None:
    definitions: dict[str, Any] = {
        f"L{level}": obj(
            {
                name: {"$ref": f"#/$defs/L{level + 1}", "description": name}
                for name in ("a", "b", "c")
            },
            required=["a", "b", "c"],
        )
        for level in range(8)
    }
    definitions["L8"] = {"type": "string"}
    schema = obj({"r": {"$ref": "#/$defs/L0"}}, required=["r"], **{"$defs": definitions})
    strict = openai_strict(schema)
    assert strict is None or len(str(strict)) < 500_000


def wide(count: int) -> dict[str, Any]:
    return obj({f"p{i}": {"type": "string"} for i in range(count)})


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = obj({"end": {"type": "string"}})
    for _ in range(levels - 1):
        schema = obj({"inner": schema}, required=["inner"])
    return schema


def test_openai_limits() -> None:
    assert openai_strict(wide(5_000)) is not None
    assert openai_strict(wide(5_001)) is None
    assert openai_strict(deep(10)) is not None
    assert openai_strict(deep(11)) is None
    values = [f"v{i}" for i in range(1_001)]
    assert strict_property({"type": "string", "enum": values[1:]}) is not None
    assert strict_property({"type": "string", "enum": values}) is None
    assert openai_strict(obj({"x" * 120_001: {"type": "string"}})) is None


def test_A23_names_and_data_are_left_alone() -> None:
    data = {"default": 1, "$ref": "#/nowhere", "properties": {"x": 1}}
    schema = obj(
        {
            "cache_control": {"type": "string"},
            "title": {"type": "string", "title": "Title"},
            "format": {"type": "string"},
            "$ref": {"type": "string"},
            "default": {"type": "string"},
            "additionalProperties": {"type": "boolean"},
            "data": {"type": "string", "default": data},
        },
        required=[
            "cache_control",
            "title",
            "format",
            "$ref",
            "default",
            "additionalProperties",
            "data",
        ],
    )
    for strict in (openai_strict(schema), anthropic_strict(schema)):
        assert strict is not None
        assert strict["properties"] == {
            **schema["properties"],
            "data": {
                "type": "string",
                "description": '(default: {"default":1,"$ref":"#/nowhere","properties":{"x":1}})',
            },
        }


def test_anthropic_strict_keeps_what_openai_does_not() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **obj(
            {
                "n": {"type": "integer", "minimum": 1, "multipleOf": 2},
                "s": {"type": "string", "pattern": "^a", "not": {"const": "ab"}},
                "some": {"type": "array", "items": {"type": "string"}, "minItems": 1},
                "many": {"type": "array", "items": {"type": "string"}, "minItems": 2},
                "either": {"oneOf": [{"type": "string"}, obj({"x": {"type": "null"}})]},
                "both": {"allOf": [{"type": "string"}, {"$ref": "#/$defs/Word"}]},
            },
            required=["n"],
        ),
        "$defs": {"Word": {"type": "string", "enum": ["a"]}},
    }
    assert anthropic_strict(schema) == {
        "type": "object",
        "properties": {
            "n": {"type": "integer", "description": "(minimum: 1, multipleOf: 2)"},
            "s": {"type": "string", "description": '(pattern: "^a", not: {"const":"ab"})'},
            "some": {"type": "array", "items": {"type": "string"}, "minItems": 1},
            "many": {
                "type": "array",
                "items": {"type": "string"},
                "description": "(minItems: 2)",
            },
            "either": {
                "anyOf": [
                    {"type": "string"},
                    {
                        "type": "object",
                        "properties": {"x": {"type": "null"}},
                        "additionalProperties": False,
                    },
                ]
            },
            "both": {"allOf": [{"type": "string"}, {"$ref": "#/$defs/Word"}]},
        },
        "required": ["n"],
        "additionalProperties": False,
        "$defs": {"Word": {"type": "string", "enum": ["a"]}},
    }


@pytest.mark.parametrize(
    ("required", "kept"), [(["n", "n"], ["n", "n"]), (["n", 5], ["n"]), (True, []), ("n", [])]
)
def test_a_list_of_required_names_has_names_only(required: Any, kept: list[str]) -> None:
    """Old drafts wrote `"required": true`; vendors refuse that."""
    schema = obj({"n": {"type": "integer"}}, required=required)
    strict = anthropic_strict(schema)
    assert strict is not None
    assert strict["required"] == kept


def test_anthropic_strict_refuses_recursion() -> None:
    tree = obj({"kids": {"type": "array", "items": {"$ref": "#"}}})
    assert anthropic_strict(tree) is None
    assert openai_strict(tree) is not None


# ---------------------------------------------------------------------------------------------
# Nulls


def test_only_nulls_that_strict_mode_added_are_stripped() -> None:
    schema = obj(
        {
            "optional": {"type": "string"},
            "nullable": {"type": ["string", "null"]},
            "required": {"type": "string"},
            "choice": {"enum": ["a", None]},
            "any": {},
            "open": True,
            "referred": {"$ref": "#/$defs/T"},
            "narrowed": {"$ref": "#/$defs/T", "anyOf": [{"type": "string"}]},
            "never": {"not": {"type": "null"}},
            "fixed": {"const": None},
            "missing": {"$ref": "#/$defs/Missing"},
            "looping": {"$ref": "#/$defs/Loop"},
        },
        required=["required"],
        **{
            "$defs": {
                "T": {"allOf": [{"type": ["string", "null"]}]},
                "Loop": {"anyOf": [{"$ref": "#/$defs/Loop"}, {"type": "string"}]},
            }
        },
    )
    arguments: dict[str, Any] = {**dict.fromkeys(schema["properties"]), "unknown": None}
    stripped = strip_nulls(arguments, schema)
    gone = arguments.keys() - stripped.keys()
    assert gone == {"optional", "narrowed", "never", "looping"}
    assert set(stripped.values()) == {None}


def test_nulls_are_stripped_at_every_depth() -> None:
    inner = obj({"x": {"type": "integer"}, "y": {"type": "string"}}, required=["x"])
    schema = obj(
        {
            "one": inner,
            "list": {"type": "array", "items": {"$ref": "#/$defs/Inner"}},
            "pair": {"prefixItems": [inner], "items": {"type": ["string", "null"]}},
            "either": {"anyOf": [{"type": "string"}, inner]},
            "all": {"allOf": [inner, obj({"z": {"type": "string"}})]},
        },
        **{"$defs": {"Inner": inner}},
    )
    filled: dict[str, Any] = {
        "one": {"x": 1, "y": None},
        "list": [{"x": 1, "y": "a"}, {"x": 2, "y": None}],
        "pair": [{"x": 1, "y": None}, None],
        "either": {"x": 1, "y": None},
        "all": {"x": 1, "y": None, "z": None},
    }
    assert strip_nulls(filled, schema) == {
        "one": {"x": 1},
        "list": [{"x": 1, "y": "a"}, {"x": 2}],
        "pair": [{"x": 1}, None],
        "either": {"x": 1},
        "all": {"x": 1},
    }


def test_in_a_union_the_branch_that_fits_decides() -> None:
    circle = obj(
        {"kind": {"const": "circle"}, "r": {"type": "number"}, "label": {"type": "string"}},
        required=["kind"],
        additionalProperties=False,
    )
    square = obj(
        {
            "kind": {"const": "square"},
            "label": {"type": ["string", "null"]},
            "points": {"type": "array", "items": {"type": "integer"}},
        },
        required=["kind", "label"],
    )
    schema = obj({"shape": {"oneOf": [circle, square]}})
    cases = [
        ({"kind": "circle", "r": None, "label": None}, {"kind": "circle"}),
        ({"kind": "square", "label": None, "points": [1]}, None),
        ({"kind": "square", "label": None, "points": None}, {"kind": "square", "label": None}),
        ({"kind": "square", "label": None, "points": ["x"]}, None),
        ({"kind": "hexagon", "label": None}, None),
        ({"kind": "circle", "q": None}, None),
        (3.0, None),
    ]
    for value, expected in cases:
        outcome = strip_nulls({"shape": value}, schema)
        assert outcome == {"shape": value if expected is None else expected}


def test_a_branch_that_leaves_the_value_alone_comes_first() -> None:
    schema = obj(
        {
            "u": {
                "anyOf": [
                    obj({"a": {"type": "string"}}),
                    obj({"a": {"type": "null"}}, required=["a"]),
                ]
            },
            "n": {"anyOf": [{"type": "integer"}, {"type": "number"}]},
        }
    )
    assert strip_nulls({"u": {"a": None}, "n": 2.0}, schema) == {"u": {"a": None}, "n": 2.0}


def test_unions_of_unions_end_soon() -> None:
    branch = obj({"next": {"$ref": "#/$defs/N"}, "tail": {"const": "end"}}, required=["tail"])
    schema = obj(
        {"first": {"$ref": "#/$defs/N"}},
        **{"$defs": {"N": {"anyOf": [branch, {**branch, "title": "other"}]}}},
    )
    value: Any = {"tail": "wrong", "next": None}
    for _ in range(40):
        value = {"next": value, "tail": "wrong"}
    assert strip_nulls({"first": value}, schema) == {"first": value}


def test_a_negation_decides_between_branches() -> None:
    branch = obj({"a": {"type": "string"}}, **{"not": {"required": ["b"]}})
    other = obj({"a": {"type": ["string", "null"]}})
    schema = obj({"p": {"anyOf": [branch, other]}})
    assert strip_nulls({"p": {"a": None, "b": 1}}, schema) == {"p": {"a": None, "b": 1}}
    assert strip_nulls({"p": {"a": 1, "c": 1}}, schema) == {"p": {"a": 1, "c": 1}}


def test_a_reference_with_a_remark_and_a_constraint_is_written_out() -> None:
    schema = obj(
        {"p": {"$ref": "#/$defs/T", "description": "One of them.", "enum": ["a"]}},
        **{"$defs": {"T": {"type": "string"}}},
    )
    whole = openai_strict(schema)
    assert whole is not None
    assert whole["properties"]["p"] == {
        "type": ["string", "null"],
        "description": "One of them.",
        "enum": ["a", None],
    }
