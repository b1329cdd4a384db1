"""What is sent to servers that take Chat otherwise than OpenAI does."""

from __future__ import annotations

import re
from typing import Any

import pytest

from polycall.dialects.openai_chat import parse_request, render_request
from polycall.errors import UnsupportedError
from polycall.ir import (
    Media,
    Message,
    Reasoning,
    ReasoningConfig,
    Request,
    ResponseFormat,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from polycall.providers.quirks import NAMED_QUIRKS
from polycall.translation.quirks import Quirks
from tests.dialects.openai_chat.chunks import NAME, USER, function, request, tool
from tests.support import PIXEL

COMPATIBLE = NAMED_QUIRKS["compatible"]
DEEPSEEK = NAMED_QUIRKS["deepseek"]


def sent(body: dict[str, Any] | Request, quirks: Quirks) -> tuple[dict[str, Any], set[str]]:
    """The body that goes out, and the features that were warned about."""
    parsed = body if isinstance(body, Request) else parse_request(body)
    wire = render_request(parsed, quirks=quirks)
    return wire.body, {warning.feature for warning in wire.warnings}


def choosing(mode: Any, *names: str) -> Request:
    tools = [Tool("f"), Tool("g")]
    return Request("m", [Message("user", [Text("hi")])], tools, ToolChoice(mode, list(names)))


def test_a_careful_request_to_an_unknown_server() -> None:
    body = request(
        {
            "role": "developer",
            "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
        },
        {"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"a": 1}}]},
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "hm",
            "annotations": [],
            "tool_calls": [{**function("f"), "extra_content": {"google": {}}}],
        },
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "1"}]},
        tools=[tool("f", strict=True, parameters={"type": "object"})],
        parallel_tool_calls=False,
        max_completion_tokens=5,
        safety_identifier="u",
        verbosity="low",
        stream=True,
    )
    assert sent(body, COMPATIBLE) == (
        request(
            {"role": "system", "content": "a\nb"},
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": "", "tool_calls": [function("f")]},
            {"role": "tool", "tool_call_id": "a", "content": "1"},
            tools=[tool("f", parameters={"type": "object"})],
            max_tokens=5,
            stream=True,
        ),
        {
            "end_user",
            "messages.cache_control",
            "messages.extra_content",
            "reasoning",
            "strict",
            "parallel_tool_calls",
            "verbosity",
        },
    )


@pytest.mark.parametrize("name", NAMED_QUIRKS)
def test_every_named_server_gets_a_conversation_with_tools(name: str) -> None:
    body = request(
        {"role": "system", "content": "s"},
        USER,
        {"role": "assistant", "content": "x", "tool_calls": [function("f")]},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        tools=[tool("f", description="d", parameters={"type": "object"})],
        tool_choice="auto",
        temperature=0.5,
        stream=True,
    )
    rendered, warned = sent(body, NAMED_QUIRKS[name])
    assert [message["role"] for message in rendered["messages"]] == [
        "system",
        "user",
        "assistant",
        "tool",
    ]
    call = rendered["messages"][2]["tool_calls"][0]
    assert call["function"] == {"name": "f", "arguments": "{}"}
    assert rendered["messages"][3]["tool_call_id"] == call["id"]
    assert rendered["tools"] == body["tools"]
    asked = None if name == "compatible" else {"include_usage": True}
    assert rendered.get("stream_options") == asked
    assert warned == set()


# Reasoning


def test_deepseek_gets_its_reasoning_back_on_every_turn() -> None:
    body = request(
        USER,
        {"role": "assistant", "content": "x", "reasoning_content": "one"},
        USER,
        {"role": "assistant", "content": None, "tool_calls": [function("f")]},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        tools=[tool("f")],
    )
    rendered, _ = sent(body, DEEPSEEK)
    assert [m.get("reasoning_content") for m in rendered["messages"]] == [
        None,
        "one",
        None,
        "",
        None,
    ]
    assert rendered["messages"][3]["content"] == ""
    off, _ = sent({**body, "thinking": {"type": "disabled"}}, DEEPSEEK)
    assert [m.get("reasoning_content") for m in off["messages"]] == [None, "one", None, None, None]


def test_the_older_reasoner_gets_it_for_the_current_turn_only() -> None:
    old = {"role": "assistant", "content": "x", "reasoning_content": "old"}
    new = {
        "role": "assistant",
        "content": "",
        "reasoning_content": "new",
        "tool_calls": [function("f")],
    }
    body = request(USER, old, USER, new, {"role": "tool", "tool_call_id": "a", "content": "1"})
    rendered, _ = sent(body, NAMED_QUIRKS["deepseek-reasoner"])
    assert [m.get("reasoning_content") for m in rendered["messages"]] == [
        None,
        None,
        None,
        "new",
        None,
    ]


def history(*parts: Any) -> Request:
    return Request("m", [Message("user", [Text("hi")]), Message("assistant", list(parts))])


def test_reasoning_goes_back_with_calls_or_never() -> None:
    foreign = Reasoning("hm", {"anthropic": {"signature": "S"}})
    with_calls = Quirks(reasoning_field="reasoning_content", reasoning_replay="with_calls")
    rendered, _ = sent(history(foreign, ToolCall("a", "f")), with_calls)
    assert rendered["messages"][1]["reasoning_content"] == "hm"
    rendered, _ = sent(history(foreign, Text("x")), with_calls)
    assert rendered["messages"][1] == {"role": "assistant", "content": "x"}
    rendered, warned = sent(history(foreign, Text("x")), Quirks(reasoning_replay="never"))
    assert rendered["messages"][1] == {"role": "assistant", "content": "x"}
    assert warned == {"reasoning"}


def test_mistral_gets_thinking_as_a_part_of_the_content() -> None:
    rendered, _ = sent(history(Reasoning("hm"), Text("x")), NAMED_QUIRKS["mistral"])
    assert rendered["messages"][1]["content"] == [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "text", "text": "x"},
    ]


@pytest.mark.parametrize(
    ("quirks", "config", "expected", "warned"),
    [
        (Quirks(), ReasoningConfig("max"), {"reasoning_effort": "max"}, set[str]()),
        (
            Quirks(),
            ReasoningConfig(budget_tokens=0),
            {"reasoning_effort": "none"},
            set[str](),
        ),
        (
            Quirks(),
            ReasoningConfig(budget_tokens=99_999),
            {"reasoning_effort": "xhigh"},
            {"reasoning.budget_tokens"},
        ),
        (Quirks(), ReasoningConfig(budget_tokens=-1), {}, set[str]()),
        (COMPATIBLE, ReasoningConfig("xhigh"), {}, {"reasoning"}),
        (
            NAMED_QUIRKS["vllm"],
            ReasoningConfig("xhigh"),
            {"reasoning_effort": "high"},
            {"reasoning.effort"},
        ),
        (
            NAMED_QUIRKS["xai"],
            ReasoningConfig("none"),
            {"reasoning_effort": "low"},
            {"reasoning.effort"},
        ),
        (DEEPSEEK, ReasoningConfig("none"), {"thinking": {"type": "disabled"}}, set[str]()),
        (
            DEEPSEEK,
            ReasoningConfig("minimal"),
            {"thinking": {"type": "enabled"}, "reasoning_effort": "low"},
            {"reasoning.effort"},
        ),
        (
            NAMED_QUIRKS["openrouter"],
            ReasoningConfig(budget_tokens=9, include_text=False),
            {"reasoning": {"max_tokens": 9, "exclude": True}},
            set[str](),
        ),
        (
            NAMED_QUIRKS["openrouter"],
            ReasoningConfig("low"),
            {"reasoning": {"effort": "low"}},
            set[str](),
        ),
        (
            NAMED_QUIRKS["openrouter"],
            ReasoningConfig(budget_tokens=-1),
            {"reasoning": {"enabled": True}},
            set[str](),
        ),
        (Quirks(reasoning_control="none"), ReasoningConfig("low"), {}, {"reasoning"}),
        (Quirks(), ReasoningConfig(include_text=True), {}, {"reasoning.include_text"}),
    ],
)
def test_how_much_to_think_in_the_targets_words(
    quirks: Quirks, config: ReasoningConfig, expected: dict[str, Any], warned: set[str]
) -> None:
    rendered, noted = sent(Request("m", [], reasoning=config), quirks)
    assert {k: v for k, v in rendered.items() if k not in ("model", "messages")} == expected
    assert noted == warned


def test_a_clients_own_thinking_switch_reaches_deepseek() -> None:
    body = request(USER, thinking={"type": "adaptive"}, reasoning_effort="max")
    rendered, warned = sent(body, DEEPSEEK)
    assert (rendered, warned) == (body, set())


# Tool choice


def test_a_subset_of_the_tools_where_there_is_no_word_for_it() -> None:
    rendered, warned = sent(choosing("required", "g"), COMPATIBLE)
    assert rendered["tools"] == [tool("g")]
    assert rendered["tool_choice"] == "required"
    assert warned == {"tool_choice"}


def test_one_tool_where_there_is_no_word_for_it() -> None:
    quirks = Quirks(tool_choices=frozenset({"auto", "required"}))
    rendered, _ = sent(choosing("tool", "g"), quirks)
    assert (rendered["tools"], rendered["tool_choice"]) == ([tool("g")], "required")
    rendered, _ = sent(choosing("none"), quirks)
    assert "tools" not in rendered
    assert "tool_choice" not in rendered


def test_images_stay_in_results_only_where_they_may() -> None:
    image = Media("image", "image/png", data=PIXEL)
    given = Request(
        "m",
        [
            Message("assistant", [ToolCall("a", "f"), ToolCall("b", "f")]),
            Message("tool", [ToolResult("a", [Text("x"), image]), ToolResult("b", [Text("y")])]),
        ],
    )
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    rendered, warned = sent(given, Quirks())
    assert rendered["messages"][1:] == [
        {"role": "tool", "tool_call_id": "a", "content": "x\n[image attached below]"},
        {"role": "tool", "tool_call_id": "b", "content": "y"},
        {"role": "user", "content": [part]},
    ]
    assert warned == {"tool_result.media"}
    rendered, warned = sent(given, Quirks(tool_message_media=True))
    assert rendered["messages"][1]["content"] == [{"type": "text", "text": "x"}, part]
    assert warned == set()


def test_a_freeform_tool_becomes_a_function() -> None:
    grammar = {"syntax": "lark", "definition": "start: /x/"}
    given = Request(
        "m",
        [
            Message("assistant", [ToolCall("a", "c", '{"input":"x"}', kind="custom")]),
            Message("tool", [ToolResult("a", [Text("1")])]),
        ],
        [Tool("c", "d", kind="custom", grammar=grammar)],
        ToolChoice("tool", ["c"]),
    )
    rendered, warned = sent(given, COMPATIBLE)
    assert rendered["tools"] == [
        tool(
            "c",
            description="d\n\nThe input must follow this lark grammar:\nstart: /x/",
            parameters={
                "type": "object",
                "properties": {"input": {"type": "string"}},
                "required": ["input"],
                "additionalProperties": False,
            },
        )
    ]
    assert rendered["messages"][0]["tool_calls"] == [function("c", '{"input":"x"}')]
    assert rendered["tool_choice"] == {"type": "function", "function": {"name": "c"}}
    assert warned == {"custom_tool"}


def test_functions_become_tools() -> None:
    body = request(
        USER,
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "1"},
        functions=[{"name": "f"}],
        function_call={"name": "f"},
    )
    rendered, warned = sent(body, COMPATIBLE)
    call = rendered["messages"][1]["tool_calls"][0]
    assert rendered["messages"][2]["tool_call_id"] == call["id"]
    assert rendered["messages"][2]["role"] == "tool"
    assert rendered["tools"] == [tool("f")]
    assert rendered["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert warned == {"functions"}


def test_a_schema_for_the_answer_where_only_json_is_known() -> None:
    form = ResponseFormat("json_schema", {"type": "object"}, name="w")
    given = Request(
        "m", [Message("system", [Text("s")]), Message("user", [Text("u")])], response_format=form
    )
    rendered, warned = sent(given, DEEPSEEK)
    assert rendered["response_format"] == {"type": "json_object"}
    assert [m["role"] for m in rendered["messages"]] == ["system", "system", "user"]
    assert rendered["messages"][1]["content"].endswith('JSON Schema:\n{"type":"object"}')
    assert warned == {"response_format"}


@pytest.mark.parametrize(
    ("mode", "asked", "expected"),
    [
        ("asked", None, None),
        ("asked", {"include_usage": False}, {"include_usage": False}),
        ("always", None, {"include_usage": True}),
        ("always", {"include_usage": False, "x": 1}, {"include_usage": True, "x": 1}),
        ("never", {"include_usage": True}, None),
    ],
)
def test_usage_is_asked_for_by_the_quirks(mode: Any, asked: Any, expected: Any) -> None:
    body = request(USER, stream=True, **({"stream_options": asked} if asked else {}))
    rendered, _ = sent(body, Quirks(stream_usage=mode))
    assert rendered.get("stream_options") == expected
    rendered, _ = sent({**body, "stream": False}, Quirks(stream_usage=mode))
    assert "stream_options" not in rendered


def test_refused_fields_are_left_out_or_refuse() -> None:
    quirks = Quirks(refused=frozenset({"temperature", "candidates", "messages.name"}))
    rendered, warned = sent(request({**USER, "name": "kim"}, temperature=1, n=1), quirks)
    assert rendered == request(USER)
    assert warned == {"temperature", "messages.name"}  # a default of 1 says nothing
    with pytest.raises(UnsupportedError):
        sent(request(USER, n=2), quirks)
    with pytest.raises(UnsupportedError):
        sent(request(USER, audio={"voice": "x"}), COMPATIBLE)


def test_mistrals_own_spellings() -> None:
    rendered, _ = sent(request(USER, seed=3, user="u"), NAMED_QUIRKS["mistral"])
    assert rendered == request(USER, random_seed=3)


def test_an_assistant_turn_stands_between_results_and_user_where_it_must() -> None:
    body = request(
        USER,
        {"role": "assistant", "content": "", "tool_calls": [function("f", id="abcdefghi")]},
        {"role": "tool", "tool_call_id": "abcdefghi", "content": "1"},
        USER,
    )
    rendered, warned = sent(body, NAMED_QUIRKS["mistral"])
    roles = [message["role"] for message in rendered["messages"]]
    assert roles == ["user", "assistant", "tool", "assistant", "user"]
    assert warned == {"messages"}


def test_ids_that_do_not_fit_are_mapped_and_those_that_do_are_not() -> None:
    quirks = Quirks(call_id_pattern=r"[\s\S]{1,40}")
    long = "chatcmpl-tool-" + "f" * 32
    for call_id in ("short", long):
        body = request(
            {"role": "assistant", "content": None, "tool_calls": [function("f", id=call_id)]},
            {"role": "tool", "tool_call_id": call_id, "content": "1"},
        )
        rendered, _ = sent(body, quirks)
        sent_id = rendered["messages"][0]["tool_calls"][0]["id"]
        assert rendered["messages"][1]["tool_call_id"] == sent_id
        assert (sent_id == call_id) == (call_id == "short")
        assert re.fullmatch(quirks.call_id_pattern, sent_id)


def test_openai_itself_gets_no_other_vendors_fields() -> None:
    body = request(
        USER,
        {"role": "assistant", "content": "x", "reasoning_content": "hm", "annotations": []},
        USER,
        enable_thinking=True,
        store=False,
    )
    rendered, warned = sent(body, NAMED_QUIRKS["openai"])
    assert rendered == request(
        USER, {"role": "assistant", "content": "x", "annotations": []}, USER, store=False
    )
    assert warned == {"reasoning", "enable_thinking"}


def test_signatures_of_a_google_endpoint_return_with_their_call() -> None:
    call = {**function("f"), "extra_content": {"google": {"thought_signature": "S"}}}
    parsed = parse_request(
        request(
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "a", "content": "1"},
        )
    )
    assert parsed.messages[0].tool_calls[0].metadata == {
        NAME: {"extra_content": {"google": {"thought_signature": "S"}}}
    }
    rendered, _ = sent(parsed, Quirks())
    assert rendered["messages"][0]["tool_calls"] == [call]
