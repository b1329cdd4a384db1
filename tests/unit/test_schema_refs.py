"""References: what they name, how they are written out, and the bounds on that."""

from __future__ import annotations

import time
from typing import Any

import pytest

from polycall._support import jsontext
from polycall.errors import RequestError, SchemaError
from polycall.schema import inline_refs, to_gemini
from polycall.schema.walk import nesting


def fan_out(levels: int, width: int) -> dict[str, Any]:
    """A schema whose definitions share each other: `width ** levels` paths through it."""
    definitions: dict[str, Any] = {
        f"L{level}": {
            "type": "object",
            "properties": {f"p{i}": {"$ref": f"#/$defs/L{level + 1}"} for i in range(width)},
        }
        for level in range(levels)
    }
    definitions[f"L{levels}"] = {"type": "string"}
    return {
        "type": "object",
        "properties": {"root": {"$ref": "#/$defs/L0"}},
        "$defs": definitions,
    }


def test_references_of_every_spelling_are_replaced() -> None:
    schema = {
        "$id": "https://example.org/tool",
        "type": "object",
        "properties": {
            "defs": {"$ref": "#/$defs/plain"},
            "legacy": {"$ref": "#/definitions/old"},
            "odd": {"$ref": "#/$defs/a~1b~0c%20d%25"},
            "elsewhere": {"$ref": "#/properties/defs"},
            "place": {"$ref": "#/$defs/union/anyOf/1"},
            "anchor": {"$ref": "#there"},
            "whole": {"$ref": "https://example.org/tool#/$defs/plain"},
            "inner": {"$ref": "https://example.org/inner"},
            "dynamic": {"$dynamicRef": "#moving"},
            "anything": {"$ref": "#/$defs/anything"},
            "nothing": {"$ref": "#/$defs/nothing"},
        },
        "$defs": {
            "plain": {"type": "string"},
            "a/b~c d%": {"type": "integer"},
            "union": {"anyOf": [{"type": "null"}, {"type": "boolean"}]},
            "anchored": {"$anchor": "there", "type": "number"},
            "inner": {"$id": "https://example.org/inner", "type": "array"},
            "moved": {"$dynamicAnchor": "moving", "enum": ["x"]},
            "anything": True,
            "nothing": False,
        },
        "definitions": {"old": {"type": "null"}},
    }
    assert inline_refs(schema) == {
        "$id": "https://example.org/tool",
        "type": "object",
        "properties": {
            "defs": {"type": "string"},
            "legacy": {"type": "null"},
            "odd": {"type": "integer"},
            "elsewhere": {"type": "string"},
            "place": {"type": "boolean"},
            "anchor": {"type": "number"},
            "whole": {"type": "string"},
            "inner": {"$id": "https://example.org/inner", "type": "array"},
            "dynamic": {"enum": ["x"]},
            "anything": {},
            "nothing": {"not": {}},
        },
    }


def test_A06_legacy_definitions_and_siblings_are_kept() -> None:
    schema = {
        "type": "object",
        "properties": {
            "unit": {
                "$ref": "#/definitions/Unit",
                "description": "of the answer",
                "default": "celsius",
            }
        },
        "definitions": {
            "Unit": {"type": "string", "enum": ["celsius", "kelvin"], "description": "a unit"}
        },
    }
    assert inline_refs(schema) == {
        "type": "object",
        "properties": {
            "unit": {
                "type": "string",
                "enum": ["celsius", "kelvin"],
                "description": "of the answer",
                "default": "celsius",
            }
        },
    }


def test_siblings_that_constrain_hold_together_with_the_target() -> None:
    base = {
        "type": "object",
        "properties": {"a": {"type": "string"}, "n": {"type": "number", "minimum": 1}},
        "required": ["a"],
        "minProperties": 1,
        "maxProperties": 9,
    }
    schema = {
        "$ref": "#/$defs/Base",
        "properties": {"b": {"type": "integer"}, "n": {"type": "integer", "minimum": 5}},
        "required": ["a", "b"],
        "minProperties": 2,
        "maxProperties": 5,
        "additionalProperties": False,
        "$defs": {"Base": base},
    }
    assert inline_refs(schema) == {
        "type": "object",
        "properties": {
            "a": {"type": "string"},
            "n": {"type": "integer", "minimum": 5},
            "b": {"type": "integer"},
        },
        "required": ["a", "b"],
        "minProperties": 2,
        "maxProperties": 5,
        "additionalProperties": False,
    }


def test_siblings_that_cannot_be_merged_stand_in_allof() -> None:
    schema = {
        "type": "object",
        "properties": {
            "code": {"$ref": "#/$defs/Code", "pattern": "^b", "description": "both patterns"}
        },
        "$defs": {"Code": {"type": "string", "pattern": "^a"}},
    }
    assert inline_refs(schema)["properties"]["code"] == {
        "allOf": [{"type": "string", "pattern": "^a"}, {"pattern": "^b"}],
        "description": "both patterns",
    }


def test_A04_recursion_ends_in_a_stub_that_says_so() -> None:
    schema = {
        "$ref": "#/$defs/Node",
        "$defs": {
            "Node": {
                "type": "object",
                "description": "A tree.",
                "properties": {
                    "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}},
                    "next": {"$ref": "#/$defs/Node", "description": "The next one."},
                },
            }
        },
    }
    assert inline_refs(schema) == {
        "type": "object",
        "description": "A tree.",
        "properties": {
            "children": {
                "type": "array",
                "items": {
                    "type": "object",
                    "description": "A tree. Recursive: the same shape as 'Node'.",
                },
            },
            "next": {
                "type": "object",
                "description": "The next one. Recursive: the same shape as 'Node'.",
            },
        },
    }


@pytest.mark.parametrize(
    ("target", "types"),
    [
        ({"type": "array", "items": {"$ref": "#/$defs/T"}}, "array"),
        ({"anyOf": [{"type": "string"}, {"items": {"$ref": "#/$defs/T"}}]}, ["string", "array"]),
        ({"not": {"$ref": "#/$defs/T"}}, "object"),
    ],
)
def test_A04_a_stub_has_the_type_of_its_target(target: dict[str, Any], types: Any) -> None:
    schema = {"properties": {"t": {"$ref": "#/$defs/T"}}, "$defs": {"T": target}}
    inlined = inline_refs(schema)["properties"]["t"]
    inner = inlined.get("items") or inlined.get("not") or inlined["anyOf"][1]["items"]
    assert inner == {"type": types, "description": "Recursive: the same shape as 'T'."}


def test_A04_a_root_that_names_itself() -> None:
    schema = {"type": "object", "properties": {"self": {"$ref": "#"}}}
    assert inline_refs(schema) == {
        "type": "object",
        "properties": {
            "self": {
                "type": "object",
                "properties": {
                    "self": {"type": "object", "description": "Recursive: the same shape as '#'."}
                },
            }
        },
    }


def test_A04_definitions_that_only_name_each_other_end() -> None:
    schema = {
        "properties": {"a": {"$ref": "#/$defs/A"}},
        "$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}},
    }
    assert inline_refs(schema) == {
        "properties": {"a": {"type": "object", "description": "Recursive: the same shape as 'A'."}}
    }


def test_A05_a_fan_out_stays_within_the_budget() -> None:
    schema = fan_out(levels=20, width=8)
    started = time.monotonic()
    inlined = inline_refs(schema, size_bytes_max=200_000)
    assert time.monotonic() - started < 1
    assert 190_000 < len(jsontext.encode_bytes(inlined)) <= 200_000
    assert "$ref" not in jsontext.encode(inlined)


def test_A05_what_is_cut_is_the_innermost() -> None:
    inlined = inline_refs(fan_out(levels=20, width=8), size_bytes_max=200_000)
    level = inlined["properties"]["root"]
    for _ in range(3):
        assert list(level["properties"]) == [f"p{i}" for i in range(8)]
        level = level["properties"]["p7"]
    assert inline_refs(fan_out(levels=2, width=2), size_bytes_max=1)["properties"] == {
        "root": {"type": "object", "description": "Shortened: the shape of 'L0'."}
    }


def test_A05_a_chain_of_definitions_stays_readable() -> None:
    schema = fan_out(levels=2_000, width=1)
    inlined = inline_refs(schema)
    assert nesting(inlined) <= 200
    assert nesting(to_gemini(schema)) <= 200


def test_A05_siblings_count_toward_the_budget() -> None:
    schema = {
        "properties": {
            f"p{i}": {"$ref": "#/$defs/T", "description": "d" * 500, "title": "t" * 100}
            for i in range(20)
        },
        "$defs": {"T": {"type": "object", "properties": {"x": {"type": "string"}}}},
    }
    bare = inline_refs(schema, size_bytes_max=0)
    size = len(jsontext.encode_bytes(bare))
    assert bare["properties"]["p0"]["description"] == f"{'d' * 500} Shortened: the shape of 'T'."
    some = inline_refs(schema, size_bytes_max=size + 60)
    assert len(jsontext.encode_bytes(some)) <= size + 60


def test_A05_what_turns_out_too_large_stays_a_stub() -> None:
    # Bare, the target fits; with what stands beside the reference it does not.
    schema = {
        "properties": {"p": {"$ref": "#/$defs/T", "description": "x" * 500}},
        "$defs": {
            "T": {"type": "object", "properties": {"t": {"$ref": "#/$defs/U"}}},
            "U": {"type": "string"},
        },
    }
    stub = inline_refs(schema, size_bytes_max=0)
    size = len(jsontext.encode_bytes(stub))
    assert inline_refs(schema, size_bytes_max=size + 1) == stub


def test_A05_time_is_bounded_too() -> None:
    inlined = inline_refs(fan_out(levels=20, width=8), deadline_s=0.0)
    assert inlined["properties"]["root"]["description"] == "Shortened: the shape of 'L0'."


def test_A23_names_and_data_are_not_keywords() -> None:
    schema = {
        "type": "object",
        "properties": {
            "$ref": {"type": "string"},
            "$defs": {"type": "object", "properties": {"definitions": {"type": "string"}}},
            "properties": {"type": "object", "properties": {"$ref": {"type": "integer"}}},
            "enum": {"enum": [{"$ref": "#/$defs/T"}], "default": {"$ref": "#/$defs/T"}},
            "const": {"const": {"$ref": "#/nowhere"}, "examples": [{"$ref": "#/nowhere"}]},
        },
        "required": ["$ref"],
    }
    assert inline_refs(schema) == schema


@pytest.mark.parametrize(
    ("schema", "path", "message"),
    [
        (
            {"$ref": "#/$defs/Missing"},
            "#/$defs/Missing",
            "'#/$defs/Missing' names nothing: there is no '$defs' on its way",
        ),
        (
            {"$ref": "#/enum/7", "enum": ["a"]},
            "#/enum/7",
            "'#/enum/7' names nothing: there is no '7' on its way",
        ),
        (
            {"$ref": "#/enum/0", "enum": ["a"]},
            "#/enum/0",
            "'#/enum/0' names nothing: what stands there is not a schema",
        ),
        (
            {"$ref": "#place"},
            "#place",
            "'#place' names nothing: no schema has the anchor 'place'",
        ),
        (
            {"$ref": "https://example.org/other.json"},
            "https://example.org/other.json",
            "'https://example.org/other.json' is outside of this schema and is not fetched; "
            "put the definition into '$defs'",
        ),
    ],
)
def test_a_reference_to_nowhere_is_refused(schema: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(SchemaError) as refusal:
        inline_refs({"properties": {"p": schema}, **schema})
    assert (refusal.value.path, refusal.value.message) == (path, message)
    assert isinstance(refusal.value, RequestError)


def test_what_is_no_schema_is_refused() -> None:
    with pytest.raises(SchemaError, match="a schema must be an object, got list"):
        inline_refs([])  # pyright: ignore[reportArgumentType]
    deep: dict[str, Any] = {}
    for _ in range(5_000):
        deep = {"items": deep}
    with pytest.raises(SchemaError, match="nested more than 200 levels deep"):
        inline_refs(deep)


def test_a_result_of_exactly_the_size_is_not_cut() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/A"}, "b": {"$ref": "#/$defs/A"}},
        "$defs": {
            "A": {"type": "object", "properties": {"text": {"type": "string", "enum": ["x"]}}}
        },
    }
    whole = inline_refs(schema)
    size = len(jsontext.encode_bytes(whole))
    assert inline_refs(schema, size_bytes_max=size) == whole
    assert inline_refs(schema, size_bytes_max=size - 1) != whole
