"""Tools that a client of this wire runs itself, on another vendor's model and back."""

from __future__ import annotations

from typing import Any

import pytest

from polycall._support import jsontext
from polycall.dialects.openai_responses import (
    StreamDecoder,
    StreamEncoder,
    parse_request,
    render_request,
    render_response,
)
from polycall.fold import fold, unfold
from polycall.ir import JSON, Message, Opaque, Response, ToolCall
from polycall.providers.dialects import DIALECTS

OTHERS = ["openai-chat", "anthropic", "gemini"]
WEATHER: JSON = {
    "type": "function",
    "name": "get_weather",
    "description": "weather",
    "parameters": {"type": "object", "properties": {}},
    "strict": False,
}
SEARCH: JSON = {
    "type": "tool_search",
    "execution": "client",
    "description": "find tools",
    "parameters": {"type": "object", "properties": {"query": {"type": "string"}}},
}
TOOLS: dict[str, tuple[JSON, str, JSON]] = {
    "tool_search": (
        SEARCH,
        '{"query":"rain"}',
        {"type": "tool_search_call", "execution": "client", "arguments": {"query": "rain"}},
    ),
    "shell": (
        {"type": "shell", "environment": {"type": "local"}},
        '{"commands":["ls"]}',
        {"type": "shell_call", "action": {"commands": ["ls"]}},
    ),
    "local_shell": (
        {"type": "local_shell"},
        '{"command":["ls","-l"]}',
        {
            "type": "local_shell_call",
            "action": {"type": "exec", "env": {}, "command": ["ls", "-l"]},
        },
    ),
    "computer": (
        {"type": "computer"},
        '{"actions":[{"type":"click","button":"left","x":1,"y":2},{"type":"screenshot"}]}',
        {
            "type": "computer_call",
            "pending_safety_checks": [],
            "actions": [
                {"type": "click", "button": "left", "x": 1, "y": 2},
                {"type": "screenshot"},
            ],
        },
    ),
    "apply_patch": (
        {"type": "apply_patch"},
        '{"type":"update_file","path":"a.py","diff":"@@"}',
        {
            "type": "apply_patch_call",
            "operation": {"type": "update_file", "path": "a.py", "diff": "@@"},
        },
    ),
}


def body(*items: JSON, **fields: Any) -> JSON:
    return {"model": "m", "input": [{"role": "user", "content": "go"}, *items], **fields}


def names(dialect: str, wire: JSON) -> list[str]:
    """The tools that a body of this dialect offers."""
    match dialect:
        case "openai-chat":
            return [tool["function"]["name"] for tool in wire.get("tools", [])]
        case "gemini":
            declared = [each for group in wire["tools"] for each in group["functionDeclarations"]]
            return [each["name"] for each in declared]
        case _:
            return [tool.get("name") or tool["type"] for tool in wire.get("tools", [])]


OFFERS: dict[str, list[JSON]] = {
    "additional_tools": [{"type": "additional_tools", "role": "developer", "tools": [WEATHER]}],
    "a client's search": [
        {"type": "tool_search_call", "call_id": "c", "execution": "client", "arguments": {}},
        {
            "type": "tool_search_output",
            "call_id": "c",
            "execution": "client",
            "tools": [WEATHER],
        },
    ],
    "both, which is one": [
        {"type": "additional_tools", "role": "developer", "tools": [WEATHER]},
        {"type": "additional_tools", "role": "developer", "tools": [WEATHER]},
    ],
}


@pytest.mark.parametrize("name", OFFERS)
@pytest.mark.parametrize("target", OTHERS)
def test_t8_tools_offered_inside_of_the_input_are_tools_of_the_request(
    name: str, target: str
) -> None:
    request = parse_request(body(*OFFERS[name], tools=[SEARCH]))
    wire = DIALECTS[target].render_request(request)
    assert names(target, wire.body) == ["tool_search", "get_weather"]
    own = render_request(request).body
    assert own["tools"] == [SEARCH], "on their own wire they stand in their item alone"
    assert own["input"][1:] == OFFERS[name]


@pytest.mark.parametrize("name", TOOLS)
@pytest.mark.parametrize("target", OTHERS)
def test_t8_tools_that_the_client_runs_are_functions_elsewhere(name: str, target: str) -> None:
    definition = TOOLS[name][0]
    request = parse_request(body(tools=[definition]))
    wire = DIALECTS[target].render_request(request)
    assert names(target, wire.body) == [name]
    assert render_request(request).body["tools"] == [definition]


@pytest.mark.parametrize("name", TOOLS)
@pytest.mark.parametrize("choice", ["auto", "required", "own"])
def test_t8_choices_of_them_are_choices_of_functions(name: str, choice: str) -> None:
    wanted: Any = {"type": name} if choice == "own" else choice
    request = parse_request(body(tools=[TOOLS[name][0]], tool_choice=wanted))
    assert render_request(request).body["tool_choice"] == wanted
    sent = DIALECTS["openai-chat"].render_request(request).body["tool_choice"]
    named = {"type": "function", "function": {"name": name}}
    assert sent == (named if choice == "own" else choice)


@pytest.mark.parametrize("name", TOOLS)
def test_t8_a_call_comes_back_as_the_item_that_the_client_waits_for(name: str) -> None:
    definition, arguments, expected = TOOLS[name]
    request = parse_request(body(tools=[definition]))
    call = ToolCall("call_1", name, arguments)
    response = Response("r", "m", Message("assistant", [call]), "tool_calls")
    (item,) = render_response(response, request)["output"]
    assert item.pop("id")
    assert item == {**expected, "call_id": "call_1", "status": "completed"}
    encoder = StreamEncoder(request)
    stream = b"".join([*map(encoder.feed, unfold(response)), encoder.close()])
    assert b"function_call" not in stream
    decoder = StreamDecoder()
    streamed = fold([*decoder.feed(stream), *decoder.close()])
    (part,) = streamed.message.parts
    assert isinstance(part, Opaque)
    data = part.data
    assert data.pop("id")
    assert data == item


@pytest.mark.parametrize("arguments", ['{"com', "[]", "{}"])
def test_t8_arguments_that_do_not_fit_stay_a_function_call(arguments: str) -> None:
    request = parse_request(body(tools=[TOOLS["shell"][0]]))
    response = Response(
        "r", "m", Message("assistant", [ToolCall("c", "shell", arguments)]), "tool_calls"
    )
    (item,) = render_response(response, request)["output"]
    assert (item["type"], item["arguments"]) == ("function_call", arguments)
    encoder = StreamEncoder(request)
    stream = b"".join([*map(encoder.feed, unfold(response)), encoder.close()]).decode()
    assert f'"arguments":{jsontext.encode(arguments)}' in stream


def test_t8_what_the_vendor_runs_is_still_the_vendors() -> None:
    for definition in (
        {"type": "tool_search"},
        {"type": "shell", "environment": {"type": "container_auto"}},
        {"type": "web_search"},
    ):
        (tool,) = parse_request(body(tools=[definition])).tools
        assert tool.kind == "hosted"


def test_the_preview_of_the_computer_has_one_action_a_call() -> None:
    definition: JSON = {
        "type": "computer_use_preview",
        "display_width": 800,
        "display_height": 600,
        "environment": "browser",
    }
    request = parse_request(body(tools=[definition]))
    assert render_request(request).body["tools"] == [definition]
    call = ToolCall("c1", "computer", '{"type":"type","text":"안녕"}')
    response = Response("r", "m", Message("assistant", [call]), "tool_calls")
    (item,) = render_response(response, request)["output"]
    assert (item["type"], item["action"]) == ("computer_call", {"type": "type", "text": "안녕"})


PATCH = "*** Begin Patch\n*** Add File: 안녕.txt\n+hi 🎉\n*** End Patch"
FREEFORM: dict[str, str] = {
    "as asked": jsontext.encode({"input": PATCH}),
    "under another name": jsontext.encode({"patch": PATCH}),
    "as a JSON string": jsontext.encode(PATCH),
    "as it is": PATCH,
}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("spelling", FREEFORM)
def test_freeform_text_is_unwrapped_however_a_model_wrote_it(spelling: str, streamed: bool) -> None:
    tool: JSON = {"type": "custom", "name": "apply_patch", "description": "patch"}
    request = parse_request(body(tools=[tool]))
    call = ToolCall("c1", "apply_patch", FREEFORM[spelling])
    response = Response("r", "m", Message("assistant", [call]), "tool_calls")
    if not streamed:
        (item,) = render_response(response, request)["output"]
    else:
        encoder = StreamEncoder(request)
        data = b"".join(encoder.feed(event) for event in unfold(response)) + encoder.close()
        events = [
            jsontext.decode(line[6:]) for line in data.splitlines() if line.startswith(b"data: ")
        ]
        deltas = [each["delta"] for each in events if each["type"].endswith("input.delta")]
        assert "".join(deltas) == PATCH
        (item,) = events[-1]["response"]["output"]
    assert (item["type"], item["input"]) == ("custom_tool_call", PATCH)
