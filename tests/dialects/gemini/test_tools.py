"""Tools, their names and schemas, and the choice among them."""

from __future__ import annotations

from typing import Any

import pytest

from polycall.dialects import gemini
from polycall.errors import UnsupportedError
from polycall.ir import (
    JSON,
    Message,
    Request,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from polycall.translation.quirks import Quirks
from polycall.translation.wire import ToolName
from tests.dialects.gemini.wire import WEATHER, ask, contents, result, same, turn


def declarations(request: Request, **quirks: Any) -> list[JSON]:
    wire = gemini.render_request(request, quirks=Quirks(**quirks))
    return wire.body["tools"][0]["functionDeclarations"]


def test_tools_of_every_kind_come_back_as_written() -> None:
    body = {
        "contents": [turn({"text": "hi"})],
        "tools": [
            {"googleSearch": {}, "urlContext": {}},
            {
                "functionDeclarations": [
                    {
                        "name": "a.b:c",
                        "description": "d",
                        "parameters": {
                            "type": "OBJECT",
                            "properties": {"n": {"type": "INTEGER", "nullable": True}},
                        },
                        "response": {"type": "STRING"},
                        "behavior": "NON_BLOCKING",
                    },
                    {"name": "plain"},
                    {
                        "name": "json",
                        "parametersJsonSchema": {"type": "object", "const": {}},
                        "responseJsonSchema": {"type": "array"},
                    },
                ],
                "codeExecution": {},
            },
            {"functionDeclarations": [{"name": "other"}]},
        ],
    }
    assert same(body) == body
    tools = gemini.parse_request(body).tools
    assert [tool.name for tool in tools] == [
        "googleSearch",
        "urlContext",
        "a.b:c",
        "plain",
        "json",
        "codeExecution",
        "other",
    ]
    assert tools[2].parameters == {
        "type": "object",
        "properties": {"n": {"type": ["integer", "null"]}},
    }
    assert tools[2].output_schema == {"type": "string"}
    assert tools[3].parameters is None
    assert tools[4].output_schema == {"type": "array"}


def test_tools_of_other_dialects() -> None:
    request = ask(
        tools=[
            Tool(
                "f",
                "does",
                {"type": "object", "properties": {"a": {"const": "x"}}},
                output_schema={"type": "string"},
                examples=[{"a": "x"}],
                defer_loading=True,
                allowed_callers=["direct", "code"],
            ),
            Tool("g"),
            Tool("sql", "queries", kind="custom", grammar={"syntax": "lark", "definition": "s: A"}),
        ],
        parallel_tool_calls=False,
        end_user="u",
    )
    wire = gemini.render_request(request)
    assert wire.body["tools"] == [
        {
            "functionDeclarations": [
                {
                    "name": "f",
                    "description": 'does\n\nExamples of arguments:\n{"a":"x"}',
                    "parametersJsonSchema": {
                        "type": "object",
                        "properties": {"a": {"type": "string", "enum": ["x"]}},
                    },
                    "responseJsonSchema": {"type": "string"},
                },
                {"name": "g"},
                {
                    "name": "sql",
                    "description": "queries\n\nThe input must match this lark grammar:\ns: A",
                    "parametersJsonSchema": {
                        "type": "object",
                        "properties": {"input": {"type": "string"}},
                        "required": ["input"],
                    },
                },
            ]
        }
    ]
    assert {(item.kind, item.feature) for item in wire.warnings} == {
        ("emulated", "examples"),
        ("unsupported", "defer_loading"),
        ("unsupported", "allowed_callers"),
        ("emulated", "custom_tool"),
        ("emulated", "parallel_tool_calls"),
        ("unsupported", "end_user"),
    }


def test_hosted_tools_of_other_providers_are_refused() -> None:
    tool = Tool("web_search", kind="hosted", metadata={"anthropic": {"definition": {}}})
    with pytest.raises(UnsupportedError) as caught:
        gemini.render_request(ask(tools=[tool]))
    assert caught.value.feature == "web_search"
    wire = gemini.render_request(ask(tools=[tool], lossy=True))
    assert "tools" not in wire.body
    assert [(item.kind, item.feature) for item in wire.warnings] == [("unsupported", "web_search")]


def test_names_that_google_refuses_get_aliases_everywhere() -> None:
    long = "x" * 70
    request = ask(
        Message("assistant", [ToolCall("1", "a.b/c", namespace="ns")]),
        Message("tool", [ToolResult("1", [Text("r")])]),
        tools=[Tool("a.b/c", namespace="ns"), Tool(long)],
        tool_choice=ToolChoice("required", [long]),
    )
    wire = gemini.render_request(request)
    first, second = (tool["name"] for tool in wire.body["tools"][0]["functionDeclarations"])
    assert wire.aliases == {first: ToolName("a.b/c", "ns"), second: ToolName(long)}
    assert len(second) == 64
    assert wire.body["contents"][1]["parts"][0]["functionCall"]["name"] == first
    assert wire.body["contents"][2]["parts"][0]["functionResponse"]["name"] == first
    config = wire.body["toolConfig"]["functionCallingConfig"]
    assert config == {"mode": "ANY", "allowedFunctionNames": [second]}


def keys_in(value: Any) -> set[str]:
    if isinstance(value, dict):
        return {*value, *(key for item in value.values() for key in keys_in(item))}
    if isinstance(value, list):
        return {key for item in value for key in keys_in(item)}
    return set()


AWKWARD: JSON = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": "x",
    "type": "object",
    "additionalProperties": True,
    "properties": {
        "a": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "propertyNames": {"pattern": "^a"},
        },
        "n": {"type": ["string", "null"]},
        "i": {"type": "integer", "enum": [1, 2]},
        "e": {"enum": ["x", "y"]},
        "r": {"$ref": "#/$defs/R"},
    },
    "$defs": {"R": {"type": "object", "properties": {"b": {"type": "string"}}}},
}


@pytest.mark.parametrize("name", ["A01", "A02", "A03", "A08", "A09", "A11"])
def test_schemas_in_googles_own_spelling_use_only_its_keywords(name: str) -> None:
    (declaration,) = declarations(ask(tools=[Tool(name, "", AWKWARD)]), schema_spelling="openapi")
    found = keys_in(declaration["parameters"])
    banned = {"additionalProperties", "$schema", "$id", "propertyNames", "$ref", "$defs", "const"}
    assert not found & banned
    properties = declaration["parameters"]["properties"]
    assert properties["n"] == {"type": "string", "nullable": True}
    assert "enum" not in properties["i"]
    assert properties["i"]["type"] == "integer"
    assert properties["e"] == {"type": "string", "enum": ["x", "y"]}
    assert properties["r"]["properties"] == {"b": {"type": "string"}}


def test_A03_references_are_sent_where_json_schema_is_taken() -> None:
    (declaration,) = declarations(ask(tools=[Tool("f", "", AWKWARD)]))
    schema = declaration["parametersJsonSchema"]
    assert schema["properties"]["r"] == {"$ref": "#/$defs/R"}
    assert schema["$defs"] == AWKWARD["$defs"]
    assert not keys_in(schema) & {"$schema", "propertyNames"}


@pytest.mark.parametrize("parameters", [{}, {"type": "object"}, {"properties": {}}])
def test_A12_tools_without_parameters_are_objects(parameters: JSON) -> None:
    (declaration,) = declarations(ask(tools=[Tool("f", "", parameters)]))
    assert declaration["parametersJsonSchema"] == {"type": "object", "properties": {}}


def test_A17_references_inside_a_result_are_text() -> None:
    text = '{"$ref":"#/x","$defs":{"x":{"$ref":"image.png"}}}'
    request = ask(
        Message("assistant", [ToolCall("1", "f")]),
        Message("tool", [ToolResult("1", [Text(text)])]),
    )
    assert contents(request)[2] == turn(result("f", {"output": text}, "1"))


def test_A21_functions_and_search_are_both_sent() -> None:
    search = Tool(
        "googleSearch", kind="hosted", metadata={"gemini": {"definition": {"googleSearch": {}}}}
    )
    wire = gemini.render_request(ask(tools=[WEATHER, search]))
    assert [sorted(entry) for entry in wire.body["tools"]] == [
        ["functionDeclarations"],
        ["googleSearch"],
    ]


def test_strict_tools_ask_for_validated_calls() -> None:
    request = ask(tools=[Tool("f", strict=True)])
    wire = gemini.render_request(request)
    assert wire.body["toolConfig"] == {"functionCallingConfig": {"mode": "VALIDATED"}}
    assert [(item.kind, item.feature) for item in wire.warnings] == [("emulated", "strict")]
    wire = gemini.render_request(request, quirks=Quirks(strict_tools=False))
    assert "toolConfig" not in wire.body
    assert [(item.kind, item.feature) for item in wire.warnings] == [("unsupported", "strict")]


@pytest.mark.parametrize(
    ("config", "choice"),
    [
        ({"mode": "AUTO"}, ToolChoice("auto")),
        ({"mode": "NONE"}, ToolChoice("none")),
        ({"mode": "ANY"}, ToolChoice("required")),
        ({"mode": "ANY", "allowedFunctionNames": ["f"]}, ToolChoice("tool", ["f"])),
        ({"mode": "ANY", "allowedFunctionNames": ["f", "g"]}, ToolChoice("required", ["f", "g"])),
        (
            {"mode": "VALIDATED", "allowedFunctionNames": ["f"]},
            ToolChoice("auto", ["f"], {"gemini": {"mode": "VALIDATED"}}),
        ),
        (
            {"mode": "AUTO", "allowedFunctionNames": ["f"]},
            ToolChoice("auto", ["f"], {"gemini": {"mode": "AUTO"}}),
        ),
    ],
)
def test_choices_both_ways(config: JSON, choice: ToolChoice) -> None:
    body = {
        "contents": [turn({"text": "hi"})],
        "tools": [{"functionDeclarations": [{"name": "f"}, {"name": "g"}]}],
        "toolConfig": {"functionCallingConfig": config},
    }
    assert gemini.parse_request(body).tool_choice == choice
    assert same(body) == body


def test_choices_of_other_dialects() -> None:
    tools = [Tool("f"), Tool("g")]

    def chosen(choice: ToolChoice, **quirks: Any) -> JSON:
        request = ask(tools=tools, tool_choice=choice)
        return gemini.render_request(request, quirks=Quirks(**quirks)).body

    calling = "functionCallingConfig"
    body = chosen(ToolChoice("auto", ["f"]))
    assert body["toolConfig"][calling] == {"mode": "VALIDATED", "allowedFunctionNames": ["f"]}
    modes = frozenset({"auto", "none", "required", "tool"})
    body = chosen(ToolChoice("required", ["g"]), tool_choices=modes)
    assert body["toolConfig"][calling] == {"mode": "ANY"}
    assert body["tools"] == [{"functionDeclarations": [{"name": "g"}]}]
    with pytest.raises(UnsupportedError):
        chosen(ToolChoice("required"), tool_choices=frozenset({"auto", "none"}))
    with pytest.raises(UnsupportedError):
        chosen(ToolChoice("hosted", metadata={"openai-chat": {}}))
    plain = gemini.render_request(ask(tool_choice=ToolChoice("auto")))
    assert "toolConfig" not in plain.body
