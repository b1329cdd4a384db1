"""Request bodies: what they mean, and that they come back as they were."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polycall.dialects.openai_chat import parse_request, render_request
from polycall.errors import MalformedRequestError, UnsupportedError
from polycall.ir import (
    Media,
    Message,
    Opaque,
    Reasoning,
    ReasoningConfig,
    Refusal,
    Request,
    ResponseFormat,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Warning,
)
from tests.dialects.openai_chat.chunks import NAME, USER, function, request, tool
from tests.support import PIXEL

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def test_a_request_means_what_it_says() -> None:
    body = request(
        {"role": "developer", "content": "Use tools."},
        {"role": "user", "content": "weather?", "name": "kim"},
        {"role": "assistant", "content": None, "tool_calls": [function("w", '{"city": "서울"}')]},
        {"role": "tool", "tool_call_id": "a", "content": "18"},
        tools=[tool("w", description="d", parameters=SCHEMA, strict=False)],
        tool_choice={"type": "function", "function": {"name": "w"}},
        parallel_tool_calls=False,
        max_completion_tokens=9,
        temperature=0.5,
        top_p=1,
        stop=["x"],
        seed=3,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        n=2,
        logprobs=True,
        top_logprobs=4,
        reasoning_effort="low",
        response_format={"type": "json_object"},
        service_tier="flex",
        safety_identifier="u1",
        stream=True,
        stream_options={"include_usage": True},
        verbosity="low",
        store=False,
    )
    options = {"stream_options": {"include_usage": True}, "verbosity": "low", "store": False}
    expected = Request(
        model="m",
        messages=[
            Message("system", [Text("Use tools.")], metadata={NAME: {"role": "developer"}}),
            Message("user", [Text("weather?")], name="kim"),
            Message("assistant", [ToolCall("a", "w", '{"city": "서울"}')]),
            Message("tool", [ToolResult("a", [Text("18")], name="w")]),
        ],
        tools=[Tool("w", "d", SCHEMA, strict=False)],
        tool_choice=ToolChoice("tool", ["w"]),
        parallel_tool_calls=False,
        stream=True,
        max_output_tokens=9,
        temperature=0.5,
        top_p=1,
        stop=["x"],
        seed=3,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        candidates=2,
        logprobs=4,
        reasoning=ReasoningConfig("low", metadata={NAME: {"reasoning_effort": "low"}}),
        response_format=ResponseFormat("json"),
        service_tier="flex",
        end_user="u1",
        provider_options={NAME: options},
        metadata={NAME: {}},
    )
    assert parse_request(body) == expected
    wire = render_request(expected)
    assert (wire.path, wire.body, wire.warnings) == ("/chat/completions", body, [])


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}
DOCUMENT = {
    "type": "file",
    "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"},
}
AUDIO = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}}

SAME_AGAIN: dict[str, dict[str, Any]] = {
    "one text part": request({"role": "user", "content": [{"type": "text", "text": "hi"}]}),
    "no parts": request({"role": "user", "content": []}),
    "empty text": request({"role": "user", "content": ""}),
    "null content": request({"role": "user", "content": None}),
    "media": request({"role": "user", "content": [IMAGE, DOCUMENT, AUDIO]}),
    "image by address": request(
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y"}}]}
    ),
    "image as a string": request(
        {"role": "user", "content": [{"type": "image_url", "image_url": "https://x/y"}]}
    ),
    "data address with parameters": request(
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": "data:image/png;x=1;base64,AAAA"}}
            ],
        }
    ),
    "document and video": request(
        {
            "role": "user",
            "content": [
                {"type": "document_url", "document_url": "https://x/d", "document_name": "d"},
                {"type": "video_url", "video_url": {"url": "https://x/v"}},
            ],
        }
    ),
    "file by id": request(
        {"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}
    ),
    "unknown part": request({"role": "user", "content": [{"type": "holo", "holo": [1]}]}),
    "cache marks": request(
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}}
            ],
        }
    ),
    "prefix": request(USER, {"role": "assistant", "content": "{", "prefix": True}),
    "audio echoed": request(USER, {"role": "assistant", "content": None, "audio": {"id": "a"}}),
    "refusal": request(USER, {"role": "assistant", "content": None, "refusal": "no"}),
    "refusal part": request(
        USER, {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}
    ),
    "assistant parts": request(
        USER, {"role": "assistant", "content": [{"type": "text", "text": "a"}]}
    ),
    "assistant without content": request(
        USER,
        {"role": "assistant", "tool_calls": [function("f")]},
        {"role": "tool", "tool_call_id": "a", "content": ""},
    ),
    "assistant with empty content": request(
        USER,
        {"role": "assistant", "content": "", "tool_calls": [function("f")]},
        {"role": "tool", "tool_call_id": "a", "content": "x", "name": "f"},
    ),
    "result parts": request(
        USER,
        {"role": "assistant", "content": None, "tool_calls": [function("f")]},
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "x"}, IMAGE]},
    ),
    "two reasonings": request(
        USER,
        {
            "role": "assistant",
            "content": "x",
            "reasoning": "a",
            "reasoning_content": "b",
            "reasoning_details": [{"type": "reasoning.encrypted", "data": "E", "index": 0}],
        },
    ),
    "empty reasoning": request(
        USER, {"role": "assistant", "content": "x", "reasoning_content": ""}
    ),
    "thinking parts": request(
        USER,
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}], "closed": True},
                {"type": "text", "text": "x"},
            ],
        },
    ),
    "functions": request(
        USER,
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "1"},
        functions=[{"name": "f", "parameters": SCHEMA}],
        function_call={"name": "f"},
    ),
    "custom tools": request(
        USER,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "a", "type": "custom", "custom": {"name": "c", "input": '2"+2'}}],
        },
        {"role": "tool", "tool_call_id": "a", "content": "4"},
        tools=[
            {
                "type": "custom",
                "custom": {
                    "name": "c",
                    "format": {
                        "type": "grammar",
                        "grammar": {"syntax": "lark", "definition": "start: /x/"},
                    },
                },
            },
            {"type": "custom", "custom": {"name": "d", "format": {"type": "text"}}},
        ],
        tool_choice={"type": "custom", "custom": {"name": "c"}},
    ),
    "allowed tools": request(
        USER,
        tools=[tool("f"), tool("g")],
        tool_choice={
            "type": "allowed_tools",
            "allowed_tools": {
                "mode": "required",
                "tools": [{"type": "function", "function": {"name": "f"}}],
            },
        },
    ),
    "hosted tool": request(
        USER, tools=[{"type": "browser_search", "depth": 2}], tool_choice={"type": "browser_search"}
    ),
    "extra tool fields": request(
        USER,
        tools=[{**tool("f", needs=[1]), "cache_control": {"type": "ephemeral"}}],
        tool_choice="any",
    ),
    "older names": request(USER, max_tokens=5, user="u", stop="x", random_seed=1, top_k=4),
    "both names": request(
        USER, max_completion_tokens=5, user="u", safety_identifier="s", top_logprobs=2
    ),
    "thinking switches": request(
        USER, thinking={"type": "disabled"}, reasoning={"max_tokens": 9, "exclude": True}
    ),
    "unknown effort": request(USER, reasoning_effort="default"),
    "schema": request(
        USER,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "w", "schema": SCHEMA, "strict": True, "description": "d"},
        },
    ),
    "text format": request(USER, response_format={"type": "text"}),
    "other fields": request(
        USER, metadata={"a": "b"}, logit_bias={"1": 2}, prediction={"type": "content"}, x=[None]
    ),
}


@pytest.mark.parametrize("case", SAME_AGAIN)
def test_what_a_client_wrote_goes_out_as_written(case: str) -> None:
    body = SAME_AGAIN[case]
    parsed = parse_request(body)
    wire = render_request(parsed)
    assert wire.warnings == []
    assert wire.body == body
    assert parse_request(wire.body) == parsed


NORMALISED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "null is absent": (
        request({**USER, "name": None}, tools=None, stop=None, stream=False),
        request(USER),
    ),
    "empty tools": (request(USER, tools=[], tool_choice="auto"), request(USER)),
    "no type": (
        request(USER, tools=[{"function": {"name": "f"}}]),
        request(USER, tools=[tool("f")]),
    ),
    "index and empty arguments": (
        request(
            USER,
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{**function("f", ""), "index": 0}, function("g", {"a": 1}, "b")],
            },
            {"role": "tool", "tool_call_id": "a", "content": "1"},
            {"role": "tool", "tool_call_id": "b", "content": None},
        ),
        request(
            USER,
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [function("f", "{}"), function("g", '{"a":1}', "b")],
            },
            {"role": "tool", "tool_call_id": "a", "content": "1"},
            {"role": "tool", "tool_call_id": "b", "content": ""},
        ),
    ),
}


@pytest.mark.parametrize("case", NORMALISED)
def test_what_says_nothing_is_left_out(case: str) -> None:
    given_body, expected = NORMALISED[case]
    wire = render_request(parse_request(given_body))
    assert (wire.body, wire.warnings) == (expected, [])


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"model": "m"}, "messages"),
        (request("x"), "messages[0]"),
        (request({"role": "owner", "content": "x"}), "messages[0].role"),
        (request({"role": "user", "content": 5}), "messages[0].content"),
        (request({"role": "user", "content": [5]}), "messages[0].content[0]"),
        (request(USER, temperature="hot"), "temperature"),
        (request(USER, tools=[{"type": "function", "function": {}}]), "tools[0].function.name"),
        (request(USER, tool_choice="perhaps"), "tool_choice"),
        (request(USER, response_format={"type": "xml"}), "response_format.type"),
        (request(USER, stop=[1]), "stop[0]"),
    ],
)
def test_a_malformed_request_is_refused_with_its_place(body: dict[str, Any], path: str) -> None:
    with pytest.raises(MalformedRequestError) as caught:
        parse_request(body)
    assert caught.value.path == path


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
FIELDS = ["messages", "tools", "functions", "tool_choice", "stop", "reasoning", "response_format"]


@given(st.sampled_from(FIELDS), json_values)
def test_garbage_raises_nothing_but_a_malformed_request(field: str, value: Any) -> None:
    body = {**request(USER), field: value}
    try:
        parsed = parse_request(body)
    except MalformedRequestError:
        return
    try:
        render_request(parsed)
    except UnsupportedError:
        return


@given(
    st.sampled_from(
        ["role", "content", "tool_calls", "name", "reasoning_details", "function_call"]
    ),
    json_values,
)
def test_a_garbled_message_raises_nothing_else_either(field: str, value: Any) -> None:
    message = {"role": "assistant", "content": "x", field: value}
    try:
        parse_request(request(USER, message))
    except MalformedRequestError:
        return


def test_a_request_of_another_dialect() -> None:
    """Everything that has no place is warned about, emulated or refused; nothing is silent."""
    other = Request(
        model="m",
        messages=[
            Message("system", [Text("a"), Text("b")]),
            Message("user", [Text("x"), Media("document", text="plain")]),
            Message(
                "assistant",
                [
                    Reasoning("secret", metadata={"anthropic": {"signature": "s"}}),
                    Text("one "),
                    ToolCall("t1", "Search", '{"q":1}', namespace="web"),
                    Text("two"),
                    Opaque("anthropic", "server_tool_use", {}),
                ],
            ),
            Message(
                "tool",
                [
                    ToolResult(
                        "t1", [Text("bad"), Media("image", "image/png", data=PIXEL)], is_error=True
                    )
                ],
            ),
        ],
        tools=[
            Tool("Search", "d", SCHEMA, namespace="web", examples=[{"city": "x"}]),
            Tool("late", output_schema={}, defer_loading=True, allowed_callers=["code"]),
        ],
        reasoning=ReasoningConfig(budget_tokens=5_000),
        top_k=3,
        stream=True,
        provider_options={"anthropic": {"speed": "fast"}},
    )
    wire = render_request(other)
    name = "web__Search"
    alias = wire.body["tools"][0]["function"]["name"]
    assert alias == name
    assert wire.aliases[name].name == "Search"
    described = 'd\n\nExamples of arguments:\n{"city":"x"}'
    assert wire.body == {
        "model": "m",
        "messages": [
            {
                "role": "system",
                "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
            },
            {
                "role": "user",
                "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "plain"}],
            },
            {
                "role": "assistant",
                "content": "one two",
                "tool_calls": [function(name, '{"q":1}', "t1")],
            },
            {
                "role": "tool",
                "tool_call_id": "t1",
                "content": '{"error":"bad\\n[image attached below]"}',
            },
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
                ],
            },
        ],
        "tools": [tool(name, description=described, parameters=SCHEMA), tool("late")],
        "reasoning_effort": "medium",
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert {(warning.kind, warning.feature) for warning in wire.warnings} == {
        ("emulated", "document"),
        ("dropped_state", "reasoning"),
        ("adjusted", "part_order"),
        ("unsupported", "server_tool_use"),
        ("emulated", "is_error"),
        ("emulated", "tool_result.media"),
        ("emulated", "examples"),
        ("unsupported", "output_schema"),
        ("unsupported", "defer_loading"),
        ("unsupported", "allowed_callers"),
        ("adjusted", "reasoning.budget_tokens"),
        ("unsupported", "top_k"),
        ("unsupported", "speed"),
    }


@pytest.mark.parametrize(
    ("message", "tools", "feature"),
    [
        (Message("user", [Media("video", url="https://x")]), [], "video"),
        (Message("user", [Media("image", file_id="f")]), [], "file_id"),
        (Message("user", [Media("document", url="https://x")]), [], "document"),
        (Message("user", [Media("audio", url="https://x")]), [], "audio"),
        (Message("user", [Text("x")]), [Tool("web_search", kind="hosted")], "tools"),
    ],
)
def test_what_would_change_the_answer_is_refused(
    message: Message, tools: list[Tool], feature: str
) -> None:
    with pytest.raises(UnsupportedError) as caught:
        render_request(Request("m", [message], tools))
    assert caught.value.feature == feature
    wire = render_request(Request("m", [message, Message("user", [Text("y")])], tools, lossy=True))
    assert wire.body["messages"][-1] == {"role": "user", "content": "y"}
    assert [warning.feature for warning in wire.warnings] == [feature]


def test_a_refusal_of_another_dialect_stands_in_its_field() -> None:
    wire = render_request(Request("m", [Message("assistant", [Refusal("no")])]))
    assert wire.body["messages"] == [{"role": "assistant", "content": "", "refusal": "no"}]


def test_strict_tools_are_made_strict_or_not_strict() -> None:
    """The caller's own schema is kept, for what comes back."""
    optional = {"type": "object", "properties": {"a": {"type": "string"}}}
    wire = render_request(Request("m", [], [Tool("f", parameters=optional, strict=True)]))
    sent = wire.body["tools"][0]["function"]
    assert sent["strict"] is True
    assert sent["parameters"]["required"] == ["a"]
    assert wire.adapted == {"f": optional}
    assert [warning.kind for warning in wire.warnings] == ["adjusted"]
    free = {"type": "object", "patternProperties": {"x": {"type": "string"}}}
    wire = render_request(Request("m", [], [Tool("f", parameters=free, strict=True)]))
    assert wire.body["tools"] == [tool("f", parameters=free)]
    assert wire.warnings == [
        Warning("adjusted", "strict", "the schema of 'f' has no strict form; sent without strict")
    ]
