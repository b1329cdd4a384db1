"""Gemini's two spellings of a schema, and the way back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google.genai import types as genai

from polycall.schema import from_gemini, gemini_json_schema, to_gemini
from tests.unit.test_schema_refs import fan_out

OPENAPI_KEYWORDS = {
    "anyOf", "default", "description", "enum", "example", "format", "items", "maxItems",
    "maxLength", "maxProperties", "maximum", "minItems", "minLength", "minProperties", "minimum",
    "nullable", "pattern", "properties", "propertyOrdering", "required", "title", "type",
}  # fmt: skip


def obj(properties: dict[str, Any], **rest: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, **rest}


def nodes(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every schema within a schema in Gemini's spelling."""
    yield schema
    for child in [*schema.get("properties", {}).values(), *schema.get("anyOf", [])]:
        yield from nodes(child)
    if "items" in schema:
        yield from nodes(schema["items"])


def rendered(schema: dict[str, Any]) -> dict[str, Any]:
    """In Gemini's spelling, checked to be nothing else."""
    result = to_gemini(schema)
    for node in nodes(result):
        assert set(node) <= OPENAPI_KEYWORDS
        assert set(node) == {"anyOf"} or isinstance(node["type"], str)
        assert all(isinstance(value, str) and value for value in node.get("enum", []))
        assert set(node.get("required", [])) <= set(node.get("properties", {}))
    genai.Schema.model_validate(result)
    return result


def one(schema: Any) -> dict[str, Any]:
    """What becomes of one property."""
    return rendered(obj({"p": schema}))["properties"]["p"]


@pytest.mark.parametrize("extra", [True, False, {}, {"type": "string"}])
def test_A01_additional_properties_go_at_every_depth(extra: Any) -> None:
    inner = obj({"x": {"type": "string"}}, additionalProperties=extra)
    schema = obj(
        {"one": inner, "many": {"type": "array", "items": inner}, "either": {"anyOf": [inner]}},
        additionalProperties=extra,
    )
    assert "additionalProperties" not in {key for node in nodes(rendered(schema)) for key in node}


def test_A01_an_open_map_is_told() -> None:
    assert one({"type": "object", "additionalProperties": {"type": "integer"}}) == {
        "type": "object",
        "description": '(the value of every other property: {"type":"integer"})',
    }
    assert one(obj({}, additionalProperties=True)) == {
        "type": "object",
        "properties": {},
        "description": "(other properties are allowed)",
    }


def test_A02_unknown_keywords_go_at_every_depth() -> None:
    noise = {"$schema": "s", "$id": "i", "$comment": "c", "x-order": 1, "deprecated": True}
    schema = obj(
        {
            "list": {
                "type": "array",
                "items": obj({"n": {"type": "null", **noise}}, **noise),
                "contains": {"type": "string"},
            },
            "either": {"anyOf": [{"type": "string", **noise}, {"type": "integer", **noise}]},
        },
        propertyNames={"pattern": "^[a-z]+$"},
        unevaluatedProperties=False,
        **noise,
    )
    assert rendered(schema) == {
        "type": "object",
        "properties": {
            "list": {
                "type": "array",
                "items": {"type": "object", "properties": {"n": {"type": "null"}}},
                "description": '(contains: {"type":"string"})',
            },
            "either": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        },
        "description": '(propertyNames: {"pattern":"^[a-z]+$"})',
    }


def test_A03_references_are_written_out() -> None:
    schema = obj(
        {"unit": {"$ref": "#/$defs/Unit", "description": "of the answer"}},
        required=["unit"],
        **{"$defs": {"Unit": {"type": "string", "enum": ["c", "f"]}}},
    )
    assert rendered(schema) == {
        "type": "object",
        "properties": {
            "unit": {"type": "string", "enum": ["c", "f"], "description": "of the answer"}
        },
        "required": ["unit"],
    }


def test_A04_recursion_ends() -> None:
    tree = obj(
        {"kids": {"type": "array", "items": {"$ref": "#"}}, "all": {"$ref": "#/properties/kids"}}
    )
    leaf = {"type": "object", "description": "Recursive: the same shape as '#'."}
    kids = rendered(tree)["properties"]["kids"]
    assert kids["items"]["properties"]["kids"] == {"type": "array", "items": leaf}


def test_A05_a_fan_out_stays_small() -> None:
    assert len(str(rendered(fan_out(levels=12, width=4)))) < 1_500_000


def test_A08_enums_that_are_no_strings_become_words() -> None:
    assert one({"type": "integer", "enum": [1, 2, 3], "description": "How fast."}) == {
        "type": "integer",
        "description": "How fast. (enum: [1,2,3])",
    }
    assert one({"enum": [0.5, 1.5]}) == {"type": "number", "description": "(enum: [0.5,1.5])"}
    assert one({"type": "boolean", "enum": [True]}) == {
        "type": "boolean",
        "description": "(enum: [true])",
    }
    assert one({"const": 7}) == {"type": "integer", "description": "(const: 7)"}


def test_A09_an_enum_without_a_type_is_one_of_strings() -> None:
    assert one({"enum": ["a", "b"]}) == {"type": "string", "enum": ["a", "b"]}
    assert one({"const": "a"}) == {"type": "string", "enum": ["a"]}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["", "a"], {"type": "string", "description": '(enum: ["","a"])'}),
        (["a", None], {"type": "string", "enum": ["a"], "nullable": True}),
        (
            ["a", 1],
            {
                "anyOf": [
                    {"type": "string", "enum": ["a"]},
                    {"type": "integer", "description": "(enum: [1])"},
                ]
            },
        ),
        ([None], {"type": "null"}),
    ],
)
def test_A10_enums_with_odd_members(values: list[Any], expected: dict[str, Any]) -> None:
    assert one({"enum": values}) == expected


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": ["string", "null"]}, {"type": "string", "nullable": True}),
        (
            {"type": ["string", "integer", "null"], "minLength": 2, "minimum": 1, "title": "T"},
            {
                "anyOf": [
                    {"title": "T", "type": "string", "minLength": 2, "nullable": True},
                    {"title": "T", "type": "integer", "minimum": 1, "nullable": True},
                ]
            },
        ),
        (
            {"anyOf": [{"type": ["string", "null"]}, {"type": "integer"}]},
            {
                "anyOf": [
                    {"type": "string", "nullable": True},
                    {"type": "integer", "nullable": True},
                ]
            },
        ),
        (
            {"anyOf": [{"type": "string", "description": "text"}, {"type": "null"}], "default": 1},
            {"type": "string", "description": "(default: 1) text", "nullable": True},
        ),
        ({"anyOf": [{"type": "null"}, {"const": None}]}, {"type": "null"}),
        ({"type": ["integer", "number"]}, {"type": "number"}),
        ({"type": ["string", "integer"], "enum": ["a"]}, {"type": "string", "enum": ["a"]}),
        (
            {"type": ["number", "string"], "enum": [1, 2]},
            {"type": "number", "description": "(enum: [1,2])"},
        ),
        ({"type": "null"}, {"type": "null"}),
    ],
)
def test_A11_type_lists_and_nulls(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    assert one(schema) == expected


@pytest.mark.parametrize("branch", [{"type": ""}, {}, True, {"type": "any"}])
def test_A11_a_branch_without_a_type_is_spelt_out(branch: Any) -> None:
    flat = [{"type": name} for name in ("string", "number", "boolean", "object")]
    array = {"type": "array", "items": {"anyOf": flat}}
    assert one({"anyOf": [branch, {"type": "null"}]}) == {
        "anyOf": [{**node, "nullable": True} for node in [*flat, array]]
    }
    assert one(branch) == {"anyOf": [{**node, "nullable": True} for node in [*flat, array]]}


@pytest.mark.parametrize("schema", [{}, {"type": "object"}, obj({}), {"properties": {}}])
def test_A12_no_parameters_are_an_object(schema: dict[str, Any]) -> None:
    assert rendered(schema) == {"type": "object", "properties": {}}


def test_a_root_that_is_a_union_becomes_one_object() -> None:
    schema = {
        "description": "Find.",
        "oneOf": [
            obj(
                {
                    "by": {"const": "id"},
                    "id": {"type": "integer"},
                    "note": {"type": ["string", "null"]},
                },
                required=["by", "id"],
            ),
            obj(
                {
                    "by": {"const": "name"},
                    "id": {"type": ["string", "integer"]},
                    "note": {"type": ["string", "null"]},
                },
                required=["by"],
            ),
            {"type": "null"},
        ],
    }
    assert rendered(schema) == {
        "type": "object",
        "properties": {
            "by": {"type": "string", "enum": ["id", "name"]},
            "id": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
            "note": {"type": "string", "nullable": True},
        },
        "required": ["by"],
        "description": (
            'Find. (exactly one of these sets of properties: [["by","id","note"],'
            '["by","id","note"]])'
        ),
    }


def test_alternatives_of_required_stay_one_object() -> None:
    schema = obj(
        {"a": {"type": "string"}, "b": {"type": "string"}},
        anyOf=[{"required": ["a"]}, {"required": ["b"]}],
    )
    assert rendered(schema) == {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
        "description": '(exactly one of these sets of properties: [["a","b"],["a","b"]])',
    }


def test_A12_a_response_may_be_an_array() -> None:
    assert to_gemini({"type": "array", "items": {"type": "string"}}) == {
        "type": "array",
        "items": {"type": "string"},
    }


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (
            {"allOf": [obj({"a": {"type": "string"}}), obj({"b": {"type": "string"}})]},
            obj({"b": {"type": "string"}, "a": {"type": "string"}}),
        ),
        (
            {"allOf": [{"type": "string", "pattern": "a"}, {"pattern": "b"}]},
            {"type": "string", "pattern": "a", "description": '(allOf: [{"pattern":"b"}])'},
        ),
        ({"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 9},
         {"type": "integer", "minimum": 1, "maximum": 8}),
        ({"type": "number", "exclusiveMinimum": 0, "multipleOf": 0.5},
         {"type": "number", "description": "(exclusiveMinimum: 0, multipleOf: 0.5)"}),
        ({"type": "string", "format": "uuid"},
         {"type": "string", "description": '(format: "uuid")'}),
        ({"type": "string", "format": "date-time"}, {"type": "string", "format": "date-time"}),
        ({"type": "integer", "format": "int64"}, {"type": "integer", "format": "int64"}),
        ({"type": "string", "examples": ["x"]}, {"type": "string", "example": "x"}),
        (
            {"type": "string", "examples": ["x", "y"], "default": "z"},
            {"type": "string", "default": "z", "description": '(examples: ["x","y"])'},
        ),
        ({"type": "array"}, {"type": "array", "items": {"anyOf": [
            {"type": "string"}, {"type": "number"}, {"type": "boolean"}, {"type": "object"}]}}),
        (
            {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}],
             "items": {"type": "string"}},
            {
                "type": "array",
                "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
                "description": '(prefixItems: [{"type":"string"},{"type":"integer"}])',
            },
        ),
        (
            {"type": "array", "items": [{"type": "string"}, {"type": "string"}]},
            {
                "type": "array",
                "items": {"type": "string"},
                "description": '(prefixItems: [{"type":"string"},{"type":"string"}])',
            },
        ),
        ({"type": "string", "not": {"const": "x"}},
         {"type": "string", "description": '(not: {"const":"x"})'}),
        ({"anyOf": [False, {"type": "string"}]}, {"type": "string"}),
        (
            {"anyOf": [{"type": "string", "maxLength": 3}, {"type": "string", "format": "date"}],
             "type": "string", "description": "When."},
            {"anyOf": [{"type": "string", "maxLength": 3, "description": "When."},
                       {"type": "string", "description": 'When. (format: "date")'}]},
        ),
        (obj({"gone": False, "kept": True}, required=["gone", "kept", "unknown"],
             propertyOrdering=["kept", "gone"]), None),
    ],
)  # fmt: skip
def test_what_gemini_lacks_is_said_in_another_way(schema: Any, expected: Any) -> None:
    result = one(schema)
    if expected is None:
        assert list(result["properties"]) == ["kept"]
        assert (result["required"], result["propertyOrdering"]) == (["kept"], ["kept"])
    else:
        assert result == expected


def test_A23_names_and_data_are_left_alone() -> None:
    names = ["cache_control", "title", "format", "$ref", "$defs", "properties", "enum", "anyOf"]
    schema = obj({name: {"type": "string", "default": "$ref"} for name in names}, required=names)
    assert rendered(schema) == schema
    written = gemini_json_schema(schema)
    assert list(written["properties"]) == written["required"] == names


# ---------------------------------------------------------------------------------------------
# parametersJsonSchema


def test_A07_definitions_stay() -> None:
    schema = obj(
        {
            "a": {"$ref": "#/$defs/Node"},
            "b": {"$ref": "#/definitions/Node", "description": "told", "default": None},
            "c": {"$ref": "#/properties/a", "title": "T"},
            "d": {"$ref": "#"},
            "e": {"$ref": "#here"},
        },
        **{
            "$defs": {
                "Node": obj({"next": {"$ref": "#/$defs/Node"}}),
                "unused": {"$anchor": "here", "type": "string"},
            },
            "definitions": {"Node": {"const": "x"}},
        },
    )
    assert gemini_json_schema(schema) == {
        "type": "object",
        "properties": {
            "a": {"$ref": "#/$defs/Node"},
            "b": {"description": "told", "anyOf": [{"$ref": "#/$defs/Node_"}]},
            "c": {"title": "T", "anyOf": [{"$ref": "#/$defs/a"}]},
            "d": {"$ref": "#"},
            "e": {"$ref": "#/$defs/here"},
        },
        "$defs": {
            "Node": obj({"next": {"$ref": "#/$defs/Node"}}),
            "Node_": {"enum": ["x"], "type": "string"},
            "a": {"$ref": "#/$defs/Node"},
            "here": {"$anchor": "here", "type": "string"},
        },
    }


def test_A07_a_long_chain_of_definitions_is_written() -> None:
    written = gemini_json_schema(fan_out(levels=2_000, width=1))
    assert len(written["$defs"]) == 2_001


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"const": 3}, {"enum": [3], "type": "integer"}),
        ({"const": True}, {"type": "boolean", "description": "(enum: [true])"}),
        ({"enum": ["a", 1]}, {"enum": ["a", 1]}),
        (
            {"enum": ["a", None], "type": ["string", "null"], "title": "T"},
            {"title": "T", "anyOf": [{"type": "string", "enum": ["a"]}, {"type": "null"}]},
        ),
        (
            {"enum": ["a", 1, None]},
            {"anyOf": [{"type": ["string", "integer"], "enum": ["a", 1]}, {"type": "null"}]},
        ),
        ({"enum": [True, 1]}, {"type": ["boolean", "integer"], "description": "(enum: [true,1])"}),
        ({"type": "any"}, {}),
        ({"type": ["string", "null"]}, {"type": ["string", "null"]}),
        (
            {"type": "string", "minLength": 1, "pattern": "^a", "default": "ab"},
            {"type": "string", "description": '(pattern: "^a", minLength: 1, default: "ab")'},
        ),
        ({"type": "integer", "exclusiveMinimum": 0}, {"type": "integer", "minimum": 1}),
        ({"allOf": [{"$ref": "#/$defs/Word"}]}, {"$ref": "#/$defs/Word"}),
        (
            {"allOf": [{"$ref": "#/$defs/Word"}], "description": "d"},
            {"description": "d", "anyOf": [{"$ref": "#/$defs/Word"}]},
        ),
        ({"$ref": "#/$defs/Word", "enum": ["x", "z"]}, {"enum": ["x"], "type": "string"}),
        ({"$ref": "#/$defs/Word", "type": "integer"},
         {"$ref": "#/$defs/Word"}),
        (
            {"allOf": [{"$ref": "#/$defs/Word"}, {"$ref": "#/$defs/Long"}]},
            {"enum": ["x"], "type": "string", "description": "(minLength: 1)"},
        ),
        ({"type": "array", "prefixItems": [{"const": "a"}], "items": False},
         {"type": "array", "prefixItems": [{"enum": ["a"], "type": "string"}], "items": False}),
    ],
)  # fmt: skip
def test_json_schema_for_gemini(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    definitions = {
        "Word": {"type": "string", "enum": ["x", "y"]},
        "Long": {"enum": ["x"], "minLength": 1},
    }
    written = gemini_json_schema(obj({"p": schema}, **{"$defs": definitions}))
    assert written["properties"]["p"] == expected


def test_cycles_stand_in_optional_properties_only() -> None:
    schema = {
        "$ref": "#/$defs/Node",
        "$defs": {
            "Node": obj(
                {
                    "name": {"type": "string"},
                    "edges": {"type": "array", "items": {"$ref": "#/$defs/Edge"}},
                },
                required=["name", "edges"],
            ),
            "Edge": obj({"to": {"$ref": "#/$defs/Node"}}, required=["to"]),
        },
    }
    node = obj(
        {
            "name": {"type": "string"},
            "edges": {"type": "array", "items": {"$ref": "#/$defs/Edge"}},
        },
    )
    assert gemini_json_schema(schema) == {
        **node,
        "required": ["name", "edges"],
        "$defs": {
            "Edge": {
                **obj({"to": {"$ref": "#/$defs/Node"}}),
                "description": "(required too: to)",
            },
            "Node": {**node, "required": ["name"], "description": "(required too: edges)"},
        },
    }


def test_references_with_constraints_do_not_multiply() -> None:
    definitions: dict[str, Any] = {
        f"L{level}": obj(
            {
                name: {"$ref": f"#/$defs/L{level + 1}", "minProperties": 1}
                for name in ("a", "b", "c")
            }
        )
        for level in range(12)
    }
    definitions["L12"] = obj({})
    schema = obj({"r": {"$ref": "#/$defs/L0"}}, **{"$defs": definitions})
    assert len(str(gemini_json_schema(schema))) < 50_000


@pytest.mark.parametrize("schema", [{}, {"type": "object"}, obj({})])
def test_A12_no_parameters_in_json_schema(schema: dict[str, Any]) -> None:
    assert gemini_json_schema(schema) == {"type": "object", "properties": {}}


def test_A12_a_response_in_json_schema_may_be_an_array() -> None:
    schema = {"type": "array", "items": {"type": "string"}}
    assert gemini_json_schema(schema) == schema


# ---------------------------------------------------------------------------------------------
# Back


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "STRING", "format": "enum", "enum": ["A"]}, {"type": "string", "enum": ["A"]}),
        ({"type": "STRING", "nullable": True}, {"type": ["string", "null"]}),
        (
            {"type": "STRING", "nullable": True, "enum": ["A"]},
            {"type": ["string", "null"], "enum": ["A", None]},
        ),
        ({"type": "NULL", "nullable": True}, {"type": "null"}),
        ({"nullable": True, "enum": ["A"]}, {"enum": ["A", None]}),
        ({"nullable": True}, {}),
        ({"type": "STRING", "nullable": False}, {"type": "string"}),
        (
            {"any_of": [{"type": "STRING"}], "nullable": True},
            {"anyOf": [{"type": "string"}, {"type": "null"}]},
        ),
        (
            {"anyOf": [{"type": "STRING"}, {"type": "NULL"}], "nullable": True},
            {"anyOf": [{"type": "string"}, {"type": "null"}]},
        ),
        ({"type": "TYPE_UNSPECIFIED", "title": "T"}, {"title": "T"}),
        ({"type": 6, "properties": {"a": {"type": 1}}}, obj({"a": {"type": "string"}})),
        ({"type": 0, "title": "T"}, {"title": "T"}),
        ({"type": True}, {}),
        ({"type": ["string", "null"]}, {"type": ["string", "null"]}),
        (
            {"type": "ARRAY", "minItems": "1", "max_items": "5", "items": {"type": "INTEGER"}},
            {"type": "array", "minItems": 1, "maxItems": 5, "items": {"type": "integer"}},
        ),
        ({"type": "STRING", "minLength": "many"}, {"type": "string", "minLength": "many"}),
        ({"type": "STRING", "example": "x"}, {"type": "string", "examples": ["x"]}),
        ({"type": "INTEGER", "enum": ["1", "2"]}, {"type": "integer", "enum": [1, 2]}),
        (
            {"type": "NUMBER", "enum": ["1.5", 2, "x"]},
            {"type": "number", "enum": [1.5, 2, "x"]},
        ),
        ({"ref": "#/defs/A", "defs": {"A": {"type": "STRING"}}},
         {"$ref": "#/$defs/A", "$defs": {"A": {"type": "string"}}}),
        ({"additional_properties": {"type": "STRING"}},
         {"additionalProperties": {"type": "string"}}),
    ],
)  # fmt: skip
def test_back_to_json_schema(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    assert from_gemini(schema) == expected


def test_the_declared_order_becomes_the_order_of_keys() -> None:
    schema = {
        "type": "OBJECT",
        "properties": {
            "a": {"type": "STRING"},
            "any_of": {"type": "STRING"},
            "b": {"type": "OBJECT", "property_ordering": ["x"]},
        },
        "propertyOrdering": ["b", "a", "unknown"],
        "required": ["a"],
    }
    result = from_gemini(schema)
    assert list(result["properties"]) == ["b", "a", "any_of"]
    assert result == {
        "type": "object",
        "properties": {
            "a": {"type": "string"},
            "any_of": {"type": "string"},
            "b": {"type": "object"},
        },
        "required": ["a"],
    }
