"""Tool definitions and every form of tool choice."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polycall.dialects import anthropic
from polycall.errors import UnsupportedError
from polycall.ir import JSON, ReasoningConfig, Text, Tool, ToolCall, ToolChoice
from polycall.schema.root import object_schema
from polycall.translation.quirks import Quirks
from polycall.translation.wire import ToolName

from .helps import TOOL, WEATHER, again, assistant, body_of, render, user, warned

OTHER = Tool("get_time", parameters=WEATHER)
ASK = user(Text("x"))


def choice_of(wire_body: JSON) -> tuple[Any, list[str]]:
    return wire_body.get("tool_choice"), [tool["name"] for tool in wire_body.get("tools", [])]


@pytest.mark.parametrize(
    ("choice", "wire", "names", "warnings"),
    [
        (None, None, ["get_weather", "get_time"], []),
        (ToolChoice("auto"), {"type": "auto"}, ["get_weather", "get_time"], []),
        (ToolChoice("none"), {"type": "none"}, ["get_weather", "get_time"], []),
        (ToolChoice("required"), {"type": "any"}, ["get_weather", "get_time"], []),
        (
            ToolChoice("tool", ["get_time"]),
            {"type": "tool", "name": "get_time"},
            ["get_weather", "get_time"],
            [],
        ),
        (
            ToolChoice("required", ["get_time"]),
            {"type": "tool", "name": "get_time"},
            ["get_weather", "get_time"],
            [],
        ),
        (
            ToolChoice("auto", ["get_time"]),
            {"type": "auto"},
            ["get_time"],
            [("emulated", "tool_choice.allowed_tools")],
        ),
        (
            ToolChoice("required", ["get_time", "get_weather"]),
            {"type": "any"},
            ["get_weather", "get_time"],
            [],
        ),
    ],
)
def test_choice(
    choice: ToolChoice | None, wire: Any, names: list[str], warnings: list[tuple[str, str]]
) -> None:
    rendered = render(ASK, tools=[TOOL, OTHER], tool_choice=choice)
    assert choice_of(rendered.body) == (wire, names)
    assert warned(rendered) == warnings


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "auto"},
        {"type": "any"},
        {"type": "none"},
        {"type": "tool", "name": "get_weather"},
        {"type": "auto", "disable_parallel_tool_use": True},
        {"type": "auto", "disable_parallel_tool_use": False},
        {"type": "any", "disable_parallel_tool_use": True},
        {"type": "tool", "name": "get_weather", "disable_parallel_tool_use": True},
        {"type": "of_tomorrow", "group": "g"},
    ],
)
def test_choices_come_back(choice: JSON) -> None:
    tools = [{"name": "get_weather", "input_schema": WEATHER}]
    body = body_of({"role": "user", "content": "x"}, tools=tools, tool_choice=choice)
    assert again(body) == body


def test_f01_a_forced_call_beats_thinking_and_says_so() -> None:
    """The vendor refuses both together; neither is dropped in silence."""
    wire = render(
        ASK,
        tools=[TOOL],
        tool_choice=ToolChoice("required"),
        reasoning=ReasoningConfig(budget_tokens=2000),
    )
    assert wire.body["thinking"] == {"type": "disabled"}
    assert wire.body["tool_choice"] == {"type": "any"}
    assert warned(wire) == [("adjusted", "reasoning")]


def test_f01_adaptive_thinking_allows_forced_calls_unless_the_model_does_not() -> None:
    fields: dict[str, Any] = {
        "tools": [TOOL],
        "tool_choice": ToolChoice("tool", ["get_weather"]),
        "reasoning": ReasoningConfig(effort="high"),
    }
    free = render(ASK, **fields)
    assert free.body["thinking"] == {"type": "adaptive"}
    assert free.warnings == []
    bound = render(ASK, **fields, quirks=Quirks(forced_choice_while_reasoning=False))
    assert bound.body["thinking"] == {"type": "disabled"}
    assert bound.body["tool_choice"] == {"type": "tool", "name": "get_weather"}
    assert warned(bound) == [("adjusted", "reasoning")]


def test_f01_a_model_that_takes_no_forced_calls_refuses() -> None:
    quirks = Quirks(tool_choices=frozenset({"auto", "none", "subset"}))
    fields: dict[str, Any] = {
        "tools": [TOOL, OTHER],
        "tool_choice": ToolChoice("tool", ["get_time"]),
    }
    with pytest.raises(UnsupportedError) as caught:
        render(ASK, **fields, quirks=quirks)
    assert caught.value.feature == "tool_choice"
    wire = render(ASK, **fields, quirks=quirks, lossy=True)
    assert choice_of(wire.body) == ({"type": "auto"}, ["get_time"])
    assert warned(wire) == [
        ("unsupported", "tool_choice"),
        ("emulated", "tool_choice.allowed_tools"),
    ]


def test_f03_none_works() -> None:
    wire = render(ASK, tools=[TOOL], tool_choice=ToolChoice("none"), parallel_tool_calls=False)
    assert choice_of(wire.body) == ({"type": "none"}, ["get_weather"])
    quirks = Quirks(tool_choices=frozenset({"auto"}))
    without = render(ASK, tools=[TOOL], tool_choice=ToolChoice("none"), quirks=quirks)
    assert choice_of(without.body) == (None, [])
    assert warned(without) == [("emulated", "tool_choice")]


@pytest.mark.parametrize("mode", ["required", "tool"])
def test_f04_a_choice_that_cannot_be_honoured_is_refused(mode: Any) -> None:
    names = ["missing"] if mode == "tool" else []
    with pytest.raises(UnsupportedError):
        render(ASK, tool_choice=ToolChoice(mode, names))
    with pytest.raises(UnsupportedError):
        render(ASK, tools=[TOOL], tool_choice=ToolChoice("tool", ["missing"]))
    lossy = render(ASK, tools=[TOOL], tool_choice=ToolChoice("tool", ["missing"]), lossy=True)
    assert choice_of(lossy.body) == ({"type": "auto"}, ["get_weather"])


def test_a_choice_without_tools_says_nothing() -> None:
    wire = render(ASK, tool_choice=ToolChoice("auto"), parallel_tool_calls=False)
    assert "tool_choice" not in wire.body
    assert wire.warnings == []


@pytest.mark.parametrize(
    ("word", "mode"), [("auto", "auto"), ("any", "required"), ("none", "none")]
)
def test_f05_a_bare_word_becomes_an_object(word: str, mode: Any) -> None:
    body = body_of(
        {"role": "user", "content": "x"},
        tools=[{"name": "get_weather", "input_schema": WEATHER}],
        tool_choice=word,
    )
    request = anthropic.parse_request(body)
    assert request.tool_choice == ToolChoice(mode)
    assert again(body)["tool_choice"] == {"type": word}


def test_f06_parallel_calls_off() -> None:
    wire = render(ASK, tools=[TOOL], parallel_tool_calls=False)
    assert wire.body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert "tool_choice" not in render(ASK, tools=[TOOL], parallel_tool_calls=True).body
    unable = render(
        ASK, tools=[TOOL], parallel_tool_calls=False, quirks=Quirks(parallel_switch=False)
    )
    assert warned(unable) == [("unsupported", "parallel_tool_calls")]


def test_another_vendors_hosted_choice_is_refused() -> None:
    choice = ToolChoice("hosted", metadata={"openai-responses": {}})
    with pytest.raises(UnsupportedError):
        render(ASK, tools=[TOOL], tool_choice=choice)


def test_a20_fields_with_and_without_a_slot() -> None:
    tool = Tool(
        "get_weather",
        parameters=WEATHER,
        examples=[{"city": "Oslo"}],
        defer_loading=True,
        allowed_callers=["direct", "code"],
        output_schema={"type": "string"},
    )
    wire = render(ASK, tools=[tool])
    assert wire.body["tools"] == [
        {
            "name": "get_weather",
            "input_schema": WEATHER,
            "defer_loading": True,
            "input_examples": [{"city": "Oslo"}],
        }
    ]
    assert warned(wire) == [("unsupported", "allowed_callers"), ("unsupported", "output_schema")]


def test_a20_programs_need_the_vendors_tool() -> None:
    only = Tool("get_weather", parameters=WEATHER, allowed_callers=["code"])
    with pytest.raises(UnsupportedError):
        render(ASK, tools=[only])
    definition = {"type": "code_execution_20260120", "name": "code_execution"}
    code = Tool("code_execution", kind="hosted", metadata={"anthropic": {"definition": definition}})
    wire = render(ASK, tools=[code, only])
    assert wire.body["tools"][0] == definition
    assert wire.body["tools"][1]["allowed_callers"] == ["code_execution_20260120"]


def test_a22_at_most_four_cache_marks() -> None:
    mark = {"type": "ephemeral"}
    tools = [
        {"name": f"t{i}", "input_schema": {"type": "object"}, "cache_control": mark}
        for i in range(6)
    ]
    system = [{"type": "text", "text": "s", "cache_control": mark}]
    messages = [
        {"role": "user", "content": [{"type": "text", "text": f"{i}", "cache_control": mark}]}
        for i in range(4)
    ]
    body = body_of(*messages, tools=tools, system=system)
    wire = anthropic.render_request(anthropic.parse_request(body))
    assert ["cache_control" in tool for tool in wire.body["tools"]] == [False] * 5 + [True]
    assert wire.body["system"] == system
    assert ["cache_control" in m["content"][0] for m in wire.body["messages"]] == [
        False,
        False,
        True,
        True,
    ]
    assert warned(wire) == [("adjusted", "cache_control")]
    assert all("cache_control" in tool for tool in tools)  # the input is as it was


def test_a23_properties_may_have_any_name() -> None:
    schema: JSON = {
        "type": "object",
        "properties": {
            name: {"type": "string"}
            for name in ("cache_control", "title", "format", "$ref", "type", "anyOf", "strict")
        },
        "required": ["cache_control", "title"],
    }
    body = body_of(
        {"role": "user", "content": "x"},
        tools=[{"name": "t", "input_schema": schema, "strict": True}],
    )
    assert again(body) == body
    wire = render(ASK, tools=[Tool("t", parameters=schema)])
    assert wire.body["tools"][0]["input_schema"] == schema


def test_a18_names_the_wire_does_not_allow() -> None:
    long = "x" * 70
    tools = [Tool("a.b/c", parameters=WEATHER), Tool(long), Tool(long + "y"), Tool("3d-view")]
    wire = render(
        ASK,
        assistant(ToolCall("c", "a.b/c", "{}")),
        tools=[*tools, Tool("go", namespace="crm")],
        tool_choice=ToolChoice("tool", ["a.b/c"]),
    )
    names = [tool["name"] for tool in wire.body["tools"]]
    assert len(set(names)) == 5
    assert all(len(name) <= 64 for name in names)
    assert names[3] == "3d-view"
    assert wire.aliases[names[0]] == ToolName("a.b/c")
    assert wire.aliases[names[4]] == ToolName("go", "crm")
    assert wire.body["tool_choice"]["name"] == names[0]
    assert wire.body["messages"][1]["content"][0]["name"] == names[0]


def test_a_freeform_tool_takes_its_text_as_input() -> None:
    tool = Tool(
        "sql", "Runs SQL", kind="custom", grammar={"syntax": "lark", "definition": "start: X"}
    )
    call = ToolCall("c", "sql", '{"input": "select 1"}', kind="custom")
    wire = render(ASK, assistant(call), tools=[tool])
    assert wire.body["tools"] == [
        {
            "name": "sql",
            "description": "Runs SQL\n\n'input' must match this lark grammar:\nstart: X",
            "input_schema": {
                "type": "object",
                "properties": {"input": {"type": "string"}},
                "required": ["input"],
                "additionalProperties": False,
            },
        }
    ]
    assert wire.body["messages"][1]["content"][0]["input"] == {"input": "select 1"}
    assert warned(wire) == [("emulated", "custom_tool")]


def test_strict_schemas_of_others_are_adapted() -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer", "maximum": 5}, "s": {"type": "string"}},
        "required": ["n"],
        "additionalProperties": False,
    }
    wire = render(ASK, tools=[Tool("t", parameters=schema, strict=True)])
    (definition,) = wire.body["tools"]
    assert definition["strict"] is True
    assert "maximum" not in definition["input_schema"]["properties"]["n"]
    assert definition["input_schema"]["required"] == ["n"]
    assert warned(wire) == [("adjusted", "input_schema")]
    loose = render(ASK, tools=[Tool("t", parameters=schema)])
    assert loose.body["tools"][0]["input_schema"] == schema


def test_strict_is_off_where_no_schema_can_be() -> None:
    open_map = {"type": "object", "additionalProperties": {"type": "string"}}
    wire = render(ASK, tools=[Tool("t", parameters=open_map, strict=True)])
    assert wire.body["tools"] == [{"name": "t", "input_schema": open_map}]
    assert warned(wire) == [("adjusted", "strict")]


def test_strict_has_limits() -> None:
    closed: JSON = {"type": "object", "properties": {}, "additionalProperties": False}
    many = [Tool(f"t{i}", parameters=closed, strict=True) for i in range(22)]
    wire = render(ASK, tools=many)
    assert sum(tool.get("strict", False) for tool in wire.body["tools"]) == 20
    wide: JSON = {
        "type": "object",
        "properties": {f"p{i}": {"type": "string"} for i in range(25)},
        "additionalProperties": False,
    }
    wire = render(ASK, tools=[Tool("w", parameters=wide, strict=True)])
    assert "strict" not in wire.body["tools"][0]
    assert warned(wire) == [("adjusted", "strict")]


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({}, {"type": "object"}),
        ({"properties": {"a": {}}}, {"type": "object", "properties": {"a": {}}}),
        (
            {"type": ["object", "null"], "properties": {}},
            {"type": "object", "properties": {}},
        ),
        (
            {"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": {"x": {}}}}},
            {
                "type": "object",
                "properties": {"x": {}},
                "$defs": {"A": {"type": "object", "properties": {"x": {}}}},
            },
        ),
        (
            {
                "allOf": [
                    {"type": "object", "properties": {"a": {}}, "required": ["a"]},
                    {"type": "object", "properties": {"b": {}}, "required": ["b"]},
                ]
            },
            {"type": "object", "properties": {"a": {}, "b": {}}, "required": ["a", "b"]},
        ),
        (
            {
                "anyOf": [
                    {
                        "type": "object",
                        "properties": {"k": {"type": "string"}, "a": {}},
                        "required": ["k", "a"],
                    },
                    {"type": "object", "properties": {"k": {"type": "integer"}}, "required": ["k"]},
                    {"type": "null"},
                ]
            },
            {
                "type": "object",
                "properties": {"k": {"anyOf": [{"type": "string"}, {"type": "integer"}]}, "a": {}},
                "required": ["k"],
                "description": '(one of these sets of properties: [["k","a"],["k"]])',
            },
        ),
    ],
)
def test_a_root_becomes_one_object(schema: JSON, expected: JSON) -> None:
    assert object_schema(schema) == expected


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string"},
        {"anyOf": [{"type": "string"}, {"type": "null"}]},
        {"$ref": "#/$defs/Missing"},
        {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}},
    ],
)
def test_a_root_that_is_no_object_is_left_to_the_vendor(schema: JSON) -> None:
    assert object_schema(schema) is schema


_schemas = st.recursive(
    st.sampled_from([{"type": "string"}, {"type": "object"}, {}, {"$ref": "#"}, {"type": "null"}]),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["object", "array", ["object", "null"], 3]),
            "properties": st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
            "required": st.lists(st.sampled_from("ab"), max_size=2),
            "anyOf": st.lists(inner, max_size=3),
            "oneOf": st.lists(inner, max_size=2),
            "allOf": st.lists(inner, max_size=2),
            "additionalProperties": st.sampled_from([True, False, {}]),
        },
    ),
    max_leaves=8,
)


@given(_schemas)
def test_roots_never_fail(schema: JSON) -> None:
    root = object_schema(schema)
    assert root is schema or (
        root["type"] == "object" and not root.keys() & {"anyOf", "oneOf", "allOf", "$ref"}
    )
    assert object_schema(root) == root


def test_tools_without_parameters() -> None:
    assert render(ASK, tools=[Tool("t")]).body["tools"] == [
        {"name": "t", "input_schema": {"type": "object", "properties": {}}}
    ]


def test_hosted_tools_come_back_whole() -> None:
    tools = [
        {"type": "web_search_20260318", "name": "web_search", "max_uses": 3},
        {"type": "mcp_toolset", "mcp_server_name": "github"},
        {"type": "custom", "name": "t", "input_schema": {"type": "object"}},
    ]
    body = body_of({"role": "user", "content": "x"}, tools=tools)
    request = anthropic.parse_request(body)
    assert [(tool.name, tool.kind) for tool in request.tools] == [
        ("web_search", "hosted"),
        ("github", "hosted"),
        ("t", "function"),
    ]
    assert again(body) == body
