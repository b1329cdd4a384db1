"""Tools that a client of this wire runs itself, on another vendor's model and back."""

from __future__ import annotations

from typing import Any

import pytest

from polycall._support import jsontext
from polycall.dialects.anthropic import (
    StreamDecoder,
    StreamEncoder,
    parse_request,
    render_request,
    render_response,
)
from polycall.exchange import RequestUndo
from polycall.fold import unfold
from polycall.ir import JSON, Message, Response, ToolCall
from polycall.providers.dialects import DIALECTS
from polycall.providers.provider import DialectName

OTHERS: list[DialectName] = ["openai-chat", "openai-responses", "gemini"]
TOOLS: dict[str, tuple[JSON, JSON]] = {
    "bash": ({"type": "bash_20250124", "name": "bash"}, {"command": "ls 안녕"}),
    "editor": (
        {
            "type": "text_editor_20250728",
            "name": "str_replace_based_edit_tool",
            "max_characters": 9000,
        },
        {"command": "view", "path": "/a.py", "view_range": [1, -1]},
    ),
    "old editor": (
        {"type": "text_editor_20241022", "name": "str_replace_editor"},
        {"command": "undo_edit", "path": "/a.py"},
    ),
    "memory": (
        {"type": "memory_20250818", "name": "memory"},
        {"command": "rename", "old_path": "/memories/a", "new_path": "/memories/b"},
    ),
    "computer": (
        {
            "type": "computer_20251124",
            "name": "computer",
            "display_width_px": 800,
            "display_height_px": 600,
            "enable_zoom": True,
        },
        {"action": "zoom", "region": [0, 0, 10, 10]},
    ),
}
SET: JSON = {"type": "computer_toolset_20260801", "configs": {"zoom": {"enabled": False}}}
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9"
    "awAAAABJRU5ErkJggg=="
)


def body(*more: JSON, tools: list[JSON]) -> JSON:
    messages = [{"role": "user", "content": "go"}, *more]
    return {"model": "m", "max_tokens": 100, "messages": messages, "tools": tools}


def functions(dialect: str, wire: JSON) -> dict[str, JSON]:
    """Names and parameters of the functions that a body offers."""
    match dialect:
        case "openai-chat":
            offered = [tool["function"] for tool in wire["tools"]]
        case "gemini":
            offered = [each for group in wire["tools"] for each in group["functionDeclarations"]]
        case _:
            offered = wire["tools"]
            if any(tool["type"] == "namespace" for tool in offered):
                offered = [each for tool in offered for each in tool["tools"]]
    schemas = ("parameters", "parametersJsonSchema")
    return {each["name"]: next(each[key] for key in schemas if key in each) for each in offered}


@pytest.mark.parametrize("target", OTHERS)
@pytest.mark.parametrize("name", TOOLS)
def test_they_are_functions_elsewhere_and_themselves_at_home(
    name: str, target: DialectName
) -> None:
    definition, arguments = TOOLS[name]
    request = parse_request(body(tools=[definition]))
    wire = DIALECTS[target].render_request(request)
    (schema,) = functions(target, wire.body).values()
    assert set(arguments) <= set(schema["properties"])
    for key in ("command", "action"):
        if key in arguments and "enum" in schema["properties"][key]:
            assert arguments[key] in schema["properties"][key]["enum"]
    assert render_request(request).body["tools"] == [definition]
    if name == "old editor":
        assert "undo_edit" in str(schema)
    if name == "editor":
        assert "undo_edit" not in str(schema)


@pytest.mark.parametrize("target", OTHERS)
@pytest.mark.parametrize("name", TOOLS)
def test_a_call_of_another_vendors_model_is_one_of_this_wire(
    name: str, target: DialectName
) -> None:
    definition, arguments = TOOLS[name]
    tool = definition["name"]
    call = ToolCall("c1", tool, jsontext.encode(arguments))
    request = parse_request(body(tools=[definition]))
    response = Response("r", "m", Message("assistant", [call]), "tool_calls")
    (block,) = render_response(response, request)["content"]
    assert (block["type"], block["name"], block["input"]) == ("tool_use", tool, arguments)
    encoder = StreamEncoder(request)
    data = b"".join(encoder.feed(event) for event in unfold(response)) + encoder.close()
    decoder = StreamDecoder()
    events = [*decoder.feed(data), *decoder.close()]
    assert tool in str(events)
    # And in the history, with a picture as its result.
    picture = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    result: JSON = {
        "type": "tool_result",
        "tool_use_id": block["id"],
        "content": [{"type": "image", "source": picture}],
    }
    turns: list[JSON] = [
        {"role": "assistant", "content": [block]},
        {"role": "user", "content": [result]},
    ]
    again = parse_request(body(*turns, tools=[definition]))
    wire = DIALECTS[target].render_request(again)
    sent = jsontext.encode(wire.body)
    assert tool in sent
    assert PIXEL in sent
    assert [warning for warning in wire.warnings if warning.kind == "unsupported"] == []
    assert render_request(again).body["messages"][1:] == turns


@pytest.mark.parametrize("target", OTHERS)
def test_a_toolset_is_its_members(target: DialectName) -> None:
    request = parse_request(body(tools=[SET]))
    assert render_request(request).body["tools"] == [SET]
    wire = DIALECTS[target].render_request(request)
    offered = functions(target, wire.body)
    assert len(offered) == 16
    assert not any("zoom" in name for name in offered)
    scroll = next(name for name in offered if "scroll" in name)
    namespace = "computer" if target == "openai-responses" else ""
    arguments = '{"scroll_amount":3,"scroll_direction":"down"}'
    call = ToolCall("c1", scroll, arguments, namespace=namespace)
    response = Response("r", "m", Message("assistant", [call]), "tool_calls")
    restored = RequestUndo(request, wire).response(response)
    (block,) = render_response(restored, request)["content"]
    assert (block["name"], block["toolset_name"]) == ("scroll", "computer")
    turns: list[JSON] = [
        {"role": "assistant", "content": [block]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": block["id"], "content": "ok"}],
        },
    ]
    again = parse_request(body(*turns, tools=[SET]))
    assert render_request(again).body["messages"][1:] == turns
    assert scroll in jsontext.encode(DIALECTS[target].render_request(again).body)


@pytest.mark.parametrize("kind", ["web_search_20260318", "code_execution_20250825", "bash", "x"])
@pytest.mark.parametrize("target", OTHERS)
def test_what_the_vendor_runs_is_still_refused_by_name(kind: str, target: DialectName) -> None:
    tools: list[Any] = [{"type": kind, "name": "some_tool"}]
    with pytest.raises(Exception, match="some_tool"):
        DIALECTS[target].render_request(parse_request(body(tools=tools)))
