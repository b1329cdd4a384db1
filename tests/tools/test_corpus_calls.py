"""Every recorded call whose definition is in its request: valid, mended or refused, per model."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from msgspec import Struct

from polycall import ir
from polycall._support import jsontext
from polycall.errors import ArgumentsError, PolycallError
from polycall.fold import fold
from polycall.providers.dialects import DIALECTS
from polycall.providers.provider import DialectName
from polycall.tools import ToolStats, tool_from_schema
from polycall.tools.validate import Checked
from tests.support import corpus


class Recorded(Struct):
    """One recorded call with the definition it was made by."""

    model: str
    finish_reason: str
    call: ir.ToolCall
    parameters: dict[str, Any] | None


def recorded_calls(name: DialectName) -> Iterator[Recorded]:
    dialect = DIALECTS[name]
    for record in corpus(name):
        if record["status"] != 200 or not isinstance(record["request"], dict):
            continue
        try:
            request = dialect.parse_request(record["request"], path=record["url_path"] or "")
            if record["response_sse"]:
                decoder = dialect.StreamDecoder()
                events = decoder.feed(record["response_sse"].encode())
                response = fold([*events, *decoder.close()])
            else:
                response = dialect.parse_response(record["response"])
        except PolycallError:
            continue  # what cannot be parsed is the business of the dialect's own tests
        definitions = {tool.name: tool for tool in request.tools if tool.kind == "function"}
        for call in response.tool_calls:
            definition = definitions.get(call.name)
            if definition is not None:
                yield Recorded(record["model"], response.finish_reason, call, definition.parameters)


@functools.cache
def outcomes(name: DialectName) -> list[tuple[Recorded, Checked | str]]:
    """Each call with its checked arguments, or with what the model would be told."""
    found: list[tuple[Recorded, Checked | str]] = []
    for recorded in recorded_calls(name):
        made = tool_from_schema(recorded.call.name, "", recorded.parameters, lambda given: given)
        try:
            found.append((recorded, made.check(recorded.call.arguments_json)))
        except ArgumentsError as error:
            found.append((recorded, str(error)))
    return found


@pytest.mark.parametrize("name", list(DIALECTS))
def test_the_table_of_every_model_adds_up(name: DialectName) -> None:
    stats = ToolStats()
    for recorded, outcome in outcomes(name):
        if isinstance(outcome, str):
            stats.record(recorded.model, "refused")
        else:
            stats.record(recorded.model, "mended" if outcome.mends else "valid", outcome.mends)
    table = stats.table()
    total = Counter[str]()
    for model, row in table.items():
        print(f"{model:45} {row}")
        total.update({key: row[key] for key in ("valid", "mended", "refused")})
    assert sum(total.values()) == len(outcomes(name)) > 0
    # Calls that fit are the rule everywhere; a checker that refused good ones would show here.
    assert total["valid"] > 0.8 * sum(total.values())


@pytest.mark.parametrize("name", list(DIALECTS))
def test_valid_calls_are_what_the_schema_says_and_untouched(name: DialectName) -> None:
    for recorded, outcome in outcomes(name):
        if isinstance(outcome, Checked) and not outcome.mends:
            assert outcome.arguments == jsontext.decode(recorded.call.arguments_json)
            schema = recorded.parameters or {}
            assert jsonschema_rs.validator_for(schema, offline=True).is_valid(outcome.arguments)


@pytest.mark.parametrize("name", list(DIALECTS))
def test_no_mend_changes_a_meaning(name: DialectName) -> None:
    """A mend may only respell: what it gives, written as text again, is what the model wrote.

    - `empty`: no text, or null, for a tool that needs no arguments, can only mean none.
    - `encoded_twice`, `number_as_text`, `boolean_as_text`, `null_as_text`: the same characters
      without their quotes, where the schema has no string at that place.
    - `integer_as_float`: the same number, where the schema has integers only.
    - `null_for_absent`: null where it is no value, for a property that may be left out.
    - `relaxed_json`: other quotes, or none, around the same names and values.
    """
    for recorded, outcome in outcomes(name):
        if isinstance(outcome, Checked) and outcome.mends:
            text = recorded.call.arguments_json
            if outcome.mends == ("empty",):
                assert text.strip() in ("", "null", '""')
                assert outcome.arguments == {}
            else:
                assert "relaxed_json" not in outcome.mends
                assert spelling(jsontext.decode(text)) == spelling(outcome.arguments)


@pytest.mark.parametrize("name", list(DIALECTS))
def test_cut_off_calls_are_never_run(name: DialectName) -> None:
    for recorded, outcome in outcomes(name):
        if recorded.call.arguments is None:
            assert isinstance(outcome, str)
            assert "nothing was run" in outcome


def spelling(value: Any) -> Any:
    """A value with everything that a mend may respell in one spelling."""
    if isinstance(value, dict):
        return {key: spelling(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [spelling(item) for item in value]
    if isinstance(value, str):
        try:
            return spelling(jsontext.decode(value))
        except ValueError:
            return value
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
