"""Tools and tool choice."""

from __future__ import annotations

from typing import Any

import pytest

from polycall.dialects.openai_responses import parse_request, render_request
from polycall.errors import UnsupportedError
from polycall.ir import Request, Tool, ToolChoice
from polycall.translation.quirks import Quirks
from polycall.translation.wire import ToolName

NAME = "openai-responses"
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"type": "string"}},
    "required": ["city"],
}


def around(**fields: Any) -> dict[str, Any]:
    wire = render_request(parse_request({"model": "m", "input": "hi", **fields}))
    assert wire.warnings == []
    return {key: wire.body[key] for key in fields}


FUNCTION = {
    "type": "function",
    "name": "get_weather",
    "description": "d",
    "parameters": SCHEMA,
    "strict": False,
    "defer_loading": True,
    "allowed_callers": ["direct", "programmatic"],
    "output_schema": {"type": "object"},
    "async": True,
}


@pytest.mark.parametrize(
    "tool",
    [
        FUNCTION,
        {"type": "function", "name": "f"},
        {"type": "function", "name": "f", "parameters": SCHEMA, "strict": True},
        {"type": "custom", "name": "c"},
        {"type": "custom", "name": "c", "description": "d", "format": {"type": "text"}},
        {
            "type": "custom",
            "name": "c",
            "format": {"type": "grammar", "syntax": "lark", "definition": "start: /a/"},
        },
        {"type": "tool_search", "execution": "server"},
        {"type": "programmatic_tool_calling"},
        {"type": "mcp", "server_label": "s", "server_url": "https://x", "headers": {"a": "b"}},
        {"type": "web_search", "filters": {"allowed_domains": ["x"]}},
        {"type": "namespace", "name": "empty", "description": "", "tools": []},
        {
            "type": "namespace",
            "name": "wx",
            "description": "Weather",
            "tools": [FUNCTION, {"type": "custom", "name": "c"}],
        },
        {"type": "something_of_next_year", "x": 1},
    ],
)
def test_a_tool_comes_back_as_it_was(tool: dict[str, Any]) -> None:
    other = {"type": "function", "name": "other", "parameters": SCHEMA, "strict": False}
    assert around(tools=[tool, other]) == {"tools": [tool, other]}


@pytest.mark.parametrize(
    "choice",
    [
        "auto",
        "none",
        "required",
        {"type": "function", "name": "f"},
        {"type": "custom", "name": "c"},
        {"type": "mcp", "server_label": "s", "name": "t"},
        {"type": "web_search_preview"},
        {"type": "programmatic_tool_calling"},
        {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]},
        {
            "type": "allowed_tools",
            "mode": "auto",
            "tools": [{"type": "custom", "name": "c"}, {"type": "mcp", "server_label": "s"}],
        },
    ],
)
def test_a_choice_comes_back_as_it_was(choice: Any) -> None:
    tools = [
        {"type": "function", "name": "f", "parameters": None, "strict": None},
        {"type": "custom", "name": "c"},
    ]
    wire = render_request(
        parse_request({"model": "m", "input": "hi", "tools": tools, "tool_choice": choice})
    )
    assert wire.body["tool_choice"] == choice
    assert wire.body["tools"] == tools


def test_tools_are_flat_in_the_middle() -> None:
    tools = [{"type": "namespace", "name": "wx", "description": "W", "tools": [FUNCTION]}]
    choice = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}
    request = parse_request({"model": "m", "input": "", "tools": tools, "tool_choice": choice})
    assert request.tools == [
        Tool(
            name="get_weather",
            description="d",
            parameters=SCHEMA,
            strict=False,
            output_schema={"type": "object"},
            defer_loading=True,
            allowed_callers=["direct", "code"],
            namespace="wx",
            metadata={NAME: {"namespace": {"description": "W"}, "fields": {"async": True}}},
        )
    ]
    assert request.tool_choice == ToolChoice("auto", ["f"], metadata={NAME: {"definition": choice}})


def rendered(*tools: Tool, **fields: Any) -> Any:
    return render_request(Request("m", [], tools=[*tools], **fields))


def test_strict_is_never_left_to_the_vendors_default() -> None:
    wire = rendered(Tool("f", parameters=SCHEMA), Tool("g"))
    assert wire.body["tools"] == [
        {"type": "function", "name": "f", "parameters": SCHEMA, "strict": False},
        {
            "type": "function",
            "name": "g",
            "parameters": {"type": "object", "properties": {}},
            "strict": False,
        },
    ]
    assert wire.warnings == []


def test_a14_strict_adapts_the_schema_and_says_so() -> None:
    wire = rendered(Tool("f", parameters=SCHEMA, strict=True), Tool("g", strict=True))
    tool = wire.body["tools"][0]
    assert tool["strict"] is True
    assert sorted(tool["parameters"]["required"]) == ["city", "unit"]
    assert tool["parameters"]["additionalProperties"] is False
    assert wire.adapted == {"f": SCHEMA}
    assert [(warning.kind, warning.feature) for warning in wire.warnings] == [
        ("adjusted", "strict")
    ]
    assert wire.body["tools"][1]["strict"] is True


def test_a14_strict_is_turned_off_where_the_schema_has_no_such_form() -> None:
    open_ended = {"type": "object", "additionalProperties": {"type": "string"}}
    wire = rendered(Tool("f", parameters=open_ended, strict=True))
    assert wire.body["tools"] == [
        {"type": "function", "name": "f", "parameters": open_ended, "strict": False}
    ]
    assert [(warning.kind, warning.feature) for warning in wire.warnings] == [
        ("adjusted", "strict")
    ]


def test_a18_names_the_wire_does_not_allow_are_aliased() -> None:
    long, twin = "a" * 70, "a" * 69 + "b"
    wire = rendered(
        Tool("ns.tool"),
        Tool(long),
        Tool(twin),
        Tool("ok", namespace="wx"),
        Tool("a.b", namespace="wx"),
        Tool("x", namespace="not valid"),
        tool_choice=ToolChoice("tool", ["ns.tool"]),
    )
    flat = [tool["name"] for each in wire.body["tools"] for tool in (each.get("tools") or [each])]
    assert len(set(flat)) == 6
    assert all(
        len(name) <= 64 and name.replace("-", "").replace("_", "").isalnum() for name in flat
    )
    assert set(wire.aliases.values()) == {
        ToolName("ns.tool"),
        ToolName(long),
        ToolName(twin),
        ToolName("a.b", "wx"),
        ToolName("x", "not valid"),
    }
    assert wire.body["tool_choice"] == {"type": "function", "name": flat[0]}


def test_a20_what_needs_a_hosted_tool_beside_it_is_told() -> None:
    wire = rendered(
        Tool(
            "f",
            defer_loading=True,
            allowed_callers=["direct", "code"],
            examples=[{"city": "Seoul"}],
            description="d",
        )
    )
    assert [warning.feature for warning in wire.warnings] == [
        "examples",
        "defer_loading",
        "allowed_callers",
    ]
    assert wire.body["tools"] == [
        {
            "type": "function",
            "name": "f",
            "description": 'd\n\nExamples of arguments:\n{"city":"Seoul"}',
            "parameters": {"type": "object", "properties": {}},
            "strict": False,
        }
    ]
    with pytest.raises(UnsupportedError):
        rendered(Tool("f", allowed_callers=["code"]))


def test_hosted_tools_of_another_vendor_are_refused() -> None:
    hosted = Tool("web_search", kind="hosted", metadata={"anthropic": {"definition": {}}})
    with pytest.raises(UnsupportedError):
        rendered(hosted)
    wire = rendered(hosted, lossy=True)
    assert "tools" not in wire.body
    assert [warning.feature for warning in wire.warnings] == ["web_search"]
    with pytest.raises(UnsupportedError):
        rendered(Tool("f"), tool_choice=ToolChoice("hosted", metadata={"anthropic": {}}))


def test_freeform_tools() -> None:
    tool = Tool("calc", "d", kind="custom", grammar={"syntax": "regex", "definition": "[0-9]+"})
    choice = ToolChoice("required", ["calc", "f"])
    wire = rendered(tool, Tool("f"), tool_choice=choice)
    assert wire.body["tools"][0] == {
        "type": "custom",
        "name": "calc",
        "description": "d",
        "format": {"type": "grammar", "syntax": "regex", "definition": "[0-9]+"},
    }
    assert wire.body["tool_choice"] == {
        "type": "allowed_tools",
        "mode": "required",
        "tools": [{"type": "custom", "name": "calc"}, {"type": "function", "name": "f"}],
    }
    emulated = render_request(
        Request("m", [], tools=[tool]), quirks=Quirks(custom_tools=False, strict_tools=False)
    )
    assert emulated.body["tools"] == [
        {
            "type": "function",
            "name": "calc",
            "description": "d\n\nThe input must match this grammar, regex: [0-9]+",
            "parameters": {
                "type": "object",
                "properties": {"input": {"type": "string"}},
                "required": ["input"],
                "additionalProperties": False,
            },
        }
    ]
    assert [warning.feature for warning in emulated.warnings] == ["custom_tool"]


def test_f04_a_choice_that_cannot_be_honoured_is_refused_never_loosened() -> None:
    tools = [Tool("f"), Tool("g")]
    auto_only = Quirks(tool_choices=frozenset({"auto"}))
    for choice in (ToolChoice("tool", ["f"]), ToolChoice("required"), ToolChoice("none")):
        with pytest.raises(UnsupportedError):
            render_request(Request("m", [], tools=tools, tool_choice=choice), quirks=auto_only)
    subset = Request("m", [], tools=tools, tool_choice=ToolChoice("auto", ["g"]))
    wire = render_request(subset, quirks=auto_only)
    assert [tool["name"] for tool in wire.body["tools"]] == ["g"]
    assert wire.body["tool_choice"] == "auto"
    assert [warning.kind for warning in wire.warnings] == ["emulated"]


def test_no_tools_no_choice() -> None:
    body = rendered(tool_choice=ToolChoice("auto"), parallel_tool_calls=False).body
    assert body.keys() == {"model", "input", "store", "include"}


def test_lossy_choices_are_left_out() -> None:
    auto_only = Quirks(tool_choices=frozenset({"auto"}), custom_tools=False)
    for choice in (ToolChoice("tool", ["f"]), ToolChoice("required")):
        request = Request("m", [], tools=[Tool("f", kind="custom")], tool_choice=choice, lossy=True)
        wire = render_request(request, quirks=auto_only)
        assert "tool_choice" not in wire.body
        assert [warning.feature for warning in wire.warnings] == ["custom_tool", "tool_choice"]


def test_callers_and_loading_beside_their_hosted_tools() -> None:
    hosted = [{"type": "tool_search"}, {"type": "programmatic_tool_calling"}]
    own = parse_request({"model": "m", "input": "", "tools": hosted}).tools
    wire = rendered(*own, Tool("f", defer_loading=True, allowed_callers=["code"]))
    assert wire.body["tools"][2] == {
        "type": "function",
        "name": "f",
        "parameters": {"type": "object", "properties": {}},
        "strict": False,
        "defer_loading": True,
        "allowed_callers": ["programmatic"],
    }
    direct = rendered(Tool("f", allowed_callers=["direct"]))
    assert direct.warnings == []
