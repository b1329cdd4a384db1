"""Laws of schema translation, on random schemas with values that fit them."""

from __future__ import annotations

import copy
from typing import Any

import jsonschema_rs
from hypothesis import given

from polycall import schema as schemas
from tests.unit.schemas import Case, documents


def is_valid(schema: dict[str, Any], value: Any) -> bool:
    return jsonschema_rs.validator_for(schema).is_valid(value)


@given(documents())
def test_cases_are_what_they_say(case: Case) -> None:
    assert is_valid(case.schema, case.value)


@given(documents())
def test_openai_strict_loses_nothing(case: Case) -> None:
    before = copy.deepcopy(case.schema)
    strict = schemas.openai_strict(case.schema)
    assert case.schema == before
    assert strict is not None
    assert is_valid(strict, case.filled)
    assert schemas.strip_nulls(case.filled, case.schema) == case.value


@given(documents())
def test_strip_nulls_leaves_what_is_valid(case: Case) -> None:
    assert schemas.strip_nulls(case.value, case.schema) == case.value


@given(documents())
def test_openai_strict_is_idempotent(case: Case) -> None:
    strict = schemas.openai_strict(case.schema)
    assert strict is not None
    assert schemas.openai_strict(strict) == strict


@given(documents())
def test_anthropic_strict_takes_the_same_values(case: Case) -> None:
    strict = schemas.anthropic_strict(case.schema)
    assert strict is not None
    assert is_valid(strict, case.value)
    assert schemas.anthropic_strict(strict) == strict


@given(documents())
def test_inlined_means_the_same(case: Case) -> None:
    inlined = schemas.inline_refs(case.schema)
    assert is_valid(inlined, case.value)
    assert schemas.inline_refs(inlined) == inlined


@given(documents())
def test_gemini_takes_every_value(case: Case) -> None:
    rendered = schemas.to_gemini(case.schema)
    assert is_valid(schemas.from_gemini(rendered), case.value)


@given(documents())
def test_gemini_json_schema_takes_every_value(case: Case) -> None:
    rendered = schemas.gemini_json_schema(case.schema)
    assert is_valid(rendered, case.value)
    assert schemas.gemini_json_schema(rendered) == rendered
