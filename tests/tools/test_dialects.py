"""Every signature through every dialect, strict and not: the arguments come back equal."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from polycall import ir, schema
from polycall._support import jsontext
from polycall.providers.dialects import DIALECTS
from polycall.sim import schemas as vendors
from polycall.tools import tool
from polycall.translation.restore import RequestUndo
from polycall.translation.wire import Dialect
from tests.tools.cases import CASES, Case

PATHS = {"gemini": "/v1beta/models/m:generateContent"}


def filled(value: Any, node: Any, root: dict[str, Any]) -> Iterator[Any]:
    """The value as a model writes it that must give every required property: absent is null."""
    if not isinstance(node, dict):
        yield value
    elif "$ref" in node:
        target: Any = root
        for step in node["$ref"].split("/")[1:]:
            target = target[step.replace("~1", "/").replace("~0", "~")]
        yield from filled(value, target, root)
    elif "anyOf" in node:
        for branch in node["anyOf"]:
            yield from filled(value, branch, root)
    elif isinstance(value, dict):
        properties = node.get("properties", {})
        absent = [name for name in node.get("required", []) if name not in value]
        names = [*value, *absent]
        choices = [
            [None] if name in absent else list(filled(value[name], properties.get(name), root))
            for name in names
        ]
        for chosen in itertools.product(*choices):
            yield dict(zip(names, chosen, strict=True))
    elif isinstance(value, list) and "items" in node:
        for chosen in itertools.product(*(list(filled(v, node["items"], root)) for v in value)):
            yield list(chosen)
    else:
        yield value


def as_a_model_writes(arguments: dict[str, Any], parameters: dict[str, Any]) -> dict[str, Any]:
    validator = jsonschema_rs.validator_for(parameters)
    return next(v for v in filled(arguments, parameters, parameters) if validator.is_valid(v))


def wire_definition(name: str, body: dict[str, Any]) -> dict[str, Any]:
    """The tool as it stands in the body of a request."""
    match name:
        case "openai-chat" | "ollama-chat":
            return body["tools"][0]["function"]
        case "bedrock-converse":
            definition = body["toolConfig"]["tools"][0]["toolSpec"]
            return {**definition, "parameters": definition["inputSchema"]["json"]}
        case "gemini":
            return body["tools"][0]["functionDeclarations"][0]
        case _:
            return body["tools"][0]


def wire_parameters(name: str, body: dict[str, Any]) -> dict[str, Any]:
    definition = wire_definition(name, body)
    keys = ("parameters", "input_schema", "parametersJsonSchema")
    found = next((definition[key] for key in keys if key in definition), None)
    return found if found is not None else {"type": "object", "properties": {}}


def complaint(name: str, definition: dict[str, Any], parameters: dict[str, Any]) -> str | None:
    """What the vendor would say of the schema."""
    if name == "gemini":
        return vendors.gemini_json_schema_problem(parameters)
    if name == "anthropic":
        plain = vendors.anthropic_problem(parameters)
        return plain or (
            vendors.anthropic_strict_problem(parameters) if definition.get("strict") else None
        )
    if name == "bedrock-converse":  # its strict tools are those of the models that it serves
        return vendors.anthropic_strict_problem(parameters) if definition.get("strict") else None
    return vendors.openai_strict_problem(parameters) if definition.get("strict") else None


@pytest.mark.parametrize("strict", [None, True], ids=["plain", "strict"])
@pytest.mark.parametrize("name", list(DIALECTS))
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_arguments_come_back_equal(case: Case, name: Any, strict: bool | None) -> None:
    dialect: Dialect = DIALECTS[name]
    made = tool(case.function, strict=strict)
    request = ir.Request(
        model="m",
        messages=[ir.Message("user", [ir.Text("go")])],
        tools=[made.definition],
        max_output_tokens=100,
    )
    wire = dialect.render_request(request)
    definition, parameters = wire_definition(name, wire.body), wire_parameters(name, wire.body)
    assert complaint(name, definition, parameters) is None
    if strict and name.startswith("openai"):
        assert bool(definition.get("strict")) == case.adaptable
    reparsed = dialect.parse_request(wire.body, path=PATHS.get(name, ""))
    assert reparsed.tools[0].description == definition.get("description", "")

    written = as_a_model_writes(case.arguments, parameters)
    call = ir.ToolCall("call_1", made.name, jsontext.encode(written))
    answer = ir.Response("r", "m", ir.Message("assistant", [call]), "tool_calls")
    received = dialect.parse_response(dialect.render_response(answer, request))
    restored = RequestUndo(request, wire).response(received)

    checked = made.check(restored.tool_calls[0].arguments_json)
    assert checked.arguments == case.arguments
    assert checked.mends == ()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_gemini_openapi_takes_every_signature(case: Case) -> None:
    rendered = schema.to_gemini(tool(case.function).parameters)
    assert vendors.gemini_schema_problem(rendered) is None
    as_json_schema = schema.from_gemini(rendered)
    assert jsonschema_rs.validator_for(as_json_schema).is_valid(case.arguments)
