"""Laws of schema translation, on random schemas with values that fit them."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import jsonschema_rs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polycall import schema as schemas
from polycall._support import jsontext
from polycall.errors import SchemaError
from polycall.sim import schemas as vendors
from tests.unit.schemas import Case, documents

# Random schemas take their time to draw, and the machine may be busy: neither is a failure.
law = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def is_valid(schema: dict[str, Any], value: Any) -> bool:
    return jsonschema_rs.validator_for(schema).is_valid(value)


@law
@given(documents())
def test_cases_are_what_they_say(case: Case) -> None:
    assert is_valid(case.schema, case.value)


@law
@given(documents())
def test_openai_strict_loses_nothing(case: Case) -> None:
    before = copy.deepcopy(case.schema)
    strict = schemas.openai_strict(case.schema)
    assert case.schema == before
    assert strict is not None
    assert vendors.openai_strict_problem(strict) is None
    assert is_valid(strict, case.filled)
    assert schemas.strip_nulls(case.filled, case.schema) == case.value


@law
@given(documents())
def test_strip_nulls_leaves_what_is_valid(case: Case) -> None:
    assert schemas.strip_nulls(case.value, case.schema) == case.value


@law
@given(documents())
def test_openai_strict_is_idempotent(case: Case) -> None:
    strict = schemas.openai_strict(case.schema)
    assert strict is not None
    assert schemas.openai_strict(strict) == strict


@law
@given(documents())
def test_anthropic_strict_takes_the_same_values(case: Case) -> None:
    strict = schemas.anthropic_strict(case.schema)
    assert strict is not None
    assert vendors.anthropic_strict_problem(strict) is None
    assert is_valid(strict, case.value)
    assert schemas.anthropic_strict(strict) == strict


@law
@given(documents())
def test_inlined_means_the_same(case: Case) -> None:
    inlined = schemas.inline_refs(case.schema)
    assert is_valid(inlined, case.value)
    assert schemas.inline_refs(inlined) == inlined


@law
@given(documents())
def test_gemini_takes_every_value(case: Case) -> None:
    rendered = schemas.to_gemini(case.schema)
    assert vendors.gemini_schema_problem(rendered) is None
    assert is_valid(schemas.from_gemini(rendered), case.value)


@law
@given(documents())
def test_gemini_json_schema_takes_every_value(case: Case) -> None:
    rendered = schemas.gemini_json_schema(case.schema)
    assert vendors.gemini_json_schema_problem(rendered) is None
    assert is_valid(rendered, case.value)
    assert schemas.gemini_json_schema(rendered) == rendered


KEYWORDS = [
    "$anchor", "$defs", "$id", "$ref", "additionalProperties", "allOf", "anyOf", "const",
    "default", "definitions", "description", "enum", "examples", "exclusiveMinimum", "format",
    "if", "items", "maxItems", "minItems", "minimum", "not", "nullable", "oneOf", "pattern",
    "prefixItems", "properties", "propertyOrdering", "required", "title", "type",
]  # fmt: skip
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.sampled_from(["", "a", "object", "STRING", "array", "#", "#/$defs/a", "#/items", "#a"]),
)
GARBAGE = st.recursive(
    VALUES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from([*KEYWORDS, "a", "b"]), inner, max_size=4),
    ),
    max_leaves=25,
)


@settings(law, max_examples=150)
@given(st.dictionaries(st.sampled_from(KEYWORDS), GARBAGE, max_size=6), GARBAGE)
def test_garbage_raises_nothing_but_schema_errors(schema: dict[str, Any], value: Any) -> None:
    before = copy.deepcopy(schema)
    for translate in (
        schemas.inline_refs,
        schemas.openai_strict,
        schemas.anthropic_strict,
        schemas.to_gemini,
        schemas.gemini_json_schema,
        schemas.from_gemini,
        lambda schema: schemas.strip_nulls(value, schema),
    ):
        with contextlib.suppress(SchemaError):
            jsontext.encode(translate(schema))
    assert schema == before
