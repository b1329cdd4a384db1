"""Requests, whole values: parsing, rendering, and the way there and back."""

from __future__ import annotations

from typing import Any

import pytest

from polycall.dialects import anthropic
from polycall.errors import MalformedRequestError, UnsupportedError
from polycall.ir import (
    Media,
    Message,
    Opaque,
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
from polycall.translation.quirks import Quirks

from .helps import TOOL, WEATHER, again, assistant, body_of, render, results, user, warned

FULL: dict[str, Any] = {
    "model": "claude-opus-5",
    "max_tokens": 2048,
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "", "signature": "sig=="},
                {"type": "redacted_thinking", "data": "secret=="},
                {"type": "text", "text": "Looking."},
                {
                    "type": "server_tool_use",
                    "id": "srvtoolu_1",
                    "name": "code_execution",
                    "input": {"code": "1"},
                },
                {
                    "type": "tool_use",
                    "id": "toolu_1",
                    "name": "get_weather",
                    "input": {"city": "Seoul"},
                    "caller": {"type": "code_execution_20260120", "tool_id": "srvtoolu_1"},
                },
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_1",
                    "is_error": True,
                    "content": [
                        {"type": "text", "text": "no", "cache_control": {"type": "ephemeral"}},
                        {
                            "type": "image",
                            "source": {"type": "base64", "media_type": "image/png", "data": "aaaa"},
                        },
                        {"type": "tool_reference", "tool_name": "x"},
                    ],
                },
                {"type": "text", "text": "Go on."},
            ],
        },
        {"role": "system", "content": "Answer in Korean."},
    ],
    "tools": [
        {"type": "code_execution_20260120", "name": "code_execution"},
        {
            "name": "get_weather",
            "description": "Weather now",
            "input_schema": WEATHER,
            "strict": False,
            "defer_loading": True,
            "allowed_callers": ["direct", "code_execution_20260120"],
            "input_examples": [{"city": "Oslo"}],
            "eager_input_streaming": True,
            "cache_control": {"type": "ephemeral", "ttl": "1h"},
        },
    ],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "thinking": {"type": "adaptive", "display": "omitted"},
    "output_config": {
        "effort": "high",
        "format": {"type": "json_schema", "schema": WEATHER},
        "task_budget": {"type": "tokens", "total": 9},
    },
    "metadata": {"user_id": "u1", "other": "x"},
    "stop_sequences": ["END"],
    "service_tier": "standard_only",
    "container": "container_1",
    "context_management": {"edits": []},
    "stream": True,
}


def test_every_field_is_read() -> None:
    request = anthropic.parse_request(FULL)
    assert request == Request(
        model="claude-opus-5",
        messages=[
            Message(
                "system",
                [Text("Be brief.", {"anthropic": {"cache_control": {"type": "ephemeral"}}})],
            ),
            Message("user", [Text("Weather?")]),
            Message(
                "assistant",
                [
                    Reasoning("", {"anthropic": {"signature": "sig=="}}),
                    Reasoning("", {"anthropic": {"redacted_data": "secret=="}}),
                    Text("Looking."),
                    Opaque(
                        "anthropic",
                        "server_tool_use",
                        {
                            "type": "server_tool_use",
                            "id": "srvtoolu_1",
                            "name": "code_execution",
                            "input": {"code": "1"},
                        },
                    ),
                    ToolCall(
                        "toolu_1",
                        "get_weather",
                        '{"city":"Seoul"}',
                        caller="srvtoolu_1",
                        metadata={
                            "anthropic": {
                                "caller": {
                                    "type": "code_execution_20260120",
                                    "tool_id": "srvtoolu_1",
                                }
                            }
                        },
                    ),
                ],
            ),
            Message(
                "tool",
                [
                    ToolResult(
                        "toolu_1",
                        [
                            Text("no", {"anthropic": {"cache_control": {"type": "ephemeral"}}}),
                            Media("image", "image/png", "aaaa"),
                            Opaque(
                                "anthropic",
                                "tool_reference",
                                {"type": "tool_reference", "tool_name": "x"},
                            ),
                        ],
                        is_error=True,
                        name="get_weather",
                    )
                ],
            ),
            Message("user", [Text("Go on.")]),
            Message(
                "system",
                [Text("Answer in Korean.")],
                metadata={"anthropic": {"place": "messages"}},
            ),
        ],
        tools=[
            Tool(
                "code_execution",
                kind="hosted",
                metadata={"anthropic": {"definition": FULL["tools"][0]}},
            ),
            Tool(
                "get_weather",
                "Weather now",
                WEATHER,
                strict=False,
                defer_loading=True,
                allowed_callers=["direct", "code"],
                examples=[{"city": "Oslo"}],
                metadata={
                    "anthropic": {
                        "allowed_callers": ["direct", "code_execution_20260120"],
                        "eager_input_streaming": True,
                        "cache_control": {"type": "ephemeral", "ttl": "1h"},
                    }
                },
            ),
        ],
        tool_choice=ToolChoice("auto"),
        parallel_tool_calls=False,
        stream=True,
        max_output_tokens=2048,
        stop=["END"],
        reasoning=ReasoningConfig(
            effort="high",
            include_text=False,
            metadata={"anthropic": {"thinking": {"type": "adaptive", "display": "omitted"}}},
        ),
        response_format=ResponseFormat("json_schema", WEATHER),
        service_tier="standard_only",
        end_user="u1",
        provider_options={
            "anthropic": {
                "container": "container_1",
                "context_management": {"edits": []},
                "output_config": {"task_budget": {"type": "tokens", "total": 9}},
                "metadata": {"other": "x"},
            }
        },
        metadata={"anthropic": {}},
    )


def test_every_field_comes_back() -> None:
    wire = anthropic.render_request(anthropic.parse_request(FULL))
    assert wire.body == FULL
    assert wire.path == "/v1/messages"
    assert wire.warnings == []


@pytest.mark.parametrize(
    "fields",
    [
        {"thinking": {"type": "enabled", "budget_tokens": 5000}},
        {"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}},
        {"thinking": {"type": "between_tools"}},
        {"thinking": {"type": "adaptive"}},
        {"output_config": {"effort": "medium"}},
        {"output_format": {"type": "json_schema", "schema": WEATHER}},
        {"output_format": {"type": "json_schema", "json_schema": {"schema": WEATHER}}},
        {"system": "One line."},
        {"system": [{"type": "text", "text": "One block."}]},
        {"temperature": 0.3, "top_p": 0.5, "top_k": 4},
        {"mcp_servers": [{"type": "url", "url": "https://e.org", "name": "n"}]},
        {"cache_control": {"type": "ephemeral"}},
    ],
)
def test_settings_come_back(fields: dict[str, Any]) -> None:
    body = body_of({"role": "user", "content": "hi"}, **fields)
    assert again(body) == body


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "source": {"type": "url", "url": "https://e.org/a.png"}},
        {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
        {"type": "image", "source": {"type": "file", "file_id": "of-a-relative"}},
        {"type": "image", "source": {"type": "stored", "key": "x"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
            "title": "t",
            "context": "c",
            "citations": {"enabled": True},
        },
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "plain"},
        },
        {"type": "document", "source": {"type": "content", "content": "one text"}},
        {
            "type": "document",
            "source": {"type": "content", "content": [{"type": "text", "text": "block"}]},
        },
        {
            "type": "document",
            "source": {
                "type": "content",
                "content": [{"type": "image", "source": {"type": "url", "url": "https://e.org"}}],
            },
        },
        {"type": "search_result", "source": "https://e.org", "title": "t", "content": []},
        {"type": "container_upload", "file_id": "file_2"},
        {"type": "of_tomorrow", "anything": {"a": [1]}},
        {"type": "text", "text": "x", "citations": [{"type": "char_location", "cited_text": "y"}]},
    ],
)
def test_blocks_come_back(block: dict[str, Any]) -> None:
    body = body_of({"role": "user", "content": [block, {"type": "text", "text": "what is it?"}]})
    assert again(body) == body


def test_documents_are_readable_by_others() -> None:
    request = anthropic.parse_request(
        body_of(
            {
                "role": "user",
                "content": [
                    {
                        "type": "document",
                        "title": "notes.txt",
                        "source": {
                            "type": "content",
                            "content": [
                                {"type": "text", "text": "one"},
                                {"type": "text", "text": "two"},
                            ],
                        },
                    }
                ],
            }
        )
    )
    (part,) = request.messages[0].parts
    assert isinstance(part, Media)
    assert (part.kind, part.text, part.filename) == ("document", "one\ntwo", "notes.txt")


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"model": "m"}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        (
            {"messages": [{"role": "user", "content": [{"text": "x"}]}]},
            "messages[0].content[0].type",
        ),
        ({"messages": [], "tools": [{"name": 1}]}, "tools[0].name"),
        ({"messages": [], "max_tokens": "many"}, "max_tokens"),
        ({"messages": [], "tool_choice": {"name": "x"}}, "tool_choice.type"),
        ({"messages": [], "thinking": "yes"}, "thinking"),
        ({"messages": [], "thinking": {"type": {}}}, "thinking.type"),
        ({"messages": [], "thinking": {"type": ["enabled"]}}, "thinking.type"),
        ({"messages": [], "thinking": {"type": 3, "budget_tokens": 9}}, "thinking.type"),
    ],
)
def test_nonsense_is_named_by_its_path(body: dict[str, Any], path: str) -> None:
    with pytest.raises(MalformedRequestError) as caught:
        anthropic.parse_request(body)
    assert caught.value.path == path


def test_a_request_from_elsewhere() -> None:
    wire = render(
        Message("system", [Text("One.")]),
        Message("system", [Text("Two.")]),
        user(Text("Weather?"), Media("image", data="/9j/abc")),
        assistant(
            Reasoning("thoughts", {"openai-responses": {"encrypted_content": "x"}}),
            ToolCall("call_1", "get_weather", '{"city": "Seoul"}'),
        ),
        results(ToolResult("call_1", [Text("sunny")])),
        tools=[TOOL],
        tool_choice=ToolChoice("required"),
        parallel_tool_calls=False,
        temperature=1.7,
        seed=3,
        stop=["\n", "END"],
        service_tier="flex",
        end_user="u",
    )
    assert wire.body == {
        "model": "m",
        "max_tokens": 8192,
        "system": [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Weather?"},
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/jpeg", "data": "/9j/abc"},
                    },
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {
                        "type": "tool_use",
                        "id": "call_1",
                        "name": "get_weather",
                        "input": {"city": "Seoul"},
                    }
                ],
            },
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "sunny"}],
            },
        ],
        "tools": [{"name": "get_weather", "description": "Weather now", "input_schema": WEATHER}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "temperature": 1,
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u"},
    }
    assert warned(wire) == [
        ("dropped_state", "reasoning"),
        ("adjusted", "temperature"),
        ("unsupported", "seed"),
        ("unsupported", "stop"),
        ("unsupported", "service_tier"),
    ]


@pytest.mark.parametrize(
    ("config", "fields", "warnings"),
    [
        (
            ReasoningConfig(effort="high"),
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
            [],
        ),
        (
            ReasoningConfig(effort="minimal", include_text=True),
            {
                "thinking": {"type": "adaptive", "display": "summarized"},
                "output_config": {"effort": "low"},
            },
            [("adjusted", "reasoning.effort")],
        ),
        (ReasoningConfig(effort="none"), {"thinking": {"type": "disabled"}}, []),
        (ReasoningConfig(budget_tokens=0), {"thinking": {"type": "disabled"}}, []),
        (ReasoningConfig(budget_tokens=-1), {"thinking": {"type": "adaptive"}}, []),
        (
            ReasoningConfig(budget_tokens=100),
            {"thinking": {"type": "enabled", "budget_tokens": 1024}},
            [("adjusted", "reasoning.budget_tokens")],
        ),
        (
            ReasoningConfig(budget_tokens=9000),
            {"thinking": {"type": "enabled", "budget_tokens": 9000}, "max_tokens": 17192},
            [],
        ),
        (ReasoningConfig(), {}, []),
    ],
)
def test_reasoning_of_others(
    config: ReasoningConfig, fields: dict[str, Any], warnings: list[tuple[str, str]]
) -> None:
    wire = render(user(Text("x")), reasoning=config)
    assert wire.body == {
        "model": "m",
        "max_tokens": 8192,
        "messages": [{"role": "user", "content": "x"}],
        **fields,
    }
    assert warned(wire) == warnings


@pytest.mark.parametrize(
    ("max_tokens", "thinking", "feature"),
    [
        (4000, {"type": "enabled", "budget_tokens": 3999}, "reasoning.budget_tokens"),
        (500, {"type": "disabled"}, "reasoning"),
    ],
)
def test_a_budget_stays_below_the_callers_maximum(
    max_tokens: int, thinking: dict[str, Any], feature: str
) -> None:
    wire = render(
        user(Text("x")),
        reasoning=ReasoningConfig(budget_tokens=9000),
        max_output_tokens=max_tokens,
    )
    assert wire.body["thinking"] == thinking
    assert wire.body["max_tokens"] == max_tokens
    assert warned(wire) == [("adjusted", feature)]


def test_targets_that_know_budgets_only() -> None:
    quirks = Quirks(reasoning_control="thinking")
    wire = render(user(Text("x")), reasoning=ReasoningConfig(effort="low"), quirks=quirks)
    assert wire.body["thinking"] == {"type": "enabled", "budget_tokens": 2048}
    assert "output_config" not in wire.body
    assert warned(wire) == [("emulated", "reasoning.effort")]


def test_thinking_allows_no_other_sampling() -> None:
    wire = render(
        user(Text("x")),
        reasoning=ReasoningConfig(effort="low"),
        temperature=0.2,
        top_p=0.5,
        top_k=3,
    )
    assert not wire.body.keys() & {"temperature", "top_p", "top_k"}
    assert warned(wire) == [
        ("unsupported", "temperature"),
        ("unsupported", "top_k"),
        ("unsupported", "top_p"),
    ]


def test_what_the_target_refuses_is_left_out() -> None:
    quirks = Quirks(
        refused=frozenset({"temperature", "service_tier", "reasoning"}),
        max_tokens_default=64000,
        late_system=False,
    )
    wire = render(
        user(Text("x")),
        Message("system", [Text("late")]),
        temperature=0.5,
        service_tier="auto",
        reasoning=ReasoningConfig(effort="low"),
        quirks=quirks,
    )
    assert wire.body == {
        "model": "m",
        "max_tokens": 64000,
        "messages": [
            {"role": "user", "content": "x"},
            {"role": "user", "content": "<system>\nlate\n</system>"},
        ],
    }
    assert warned(wire) == [
        ("unsupported", "reasoning"),
        ("unsupported", "service_tier"),
        ("unsupported", "temperature"),
        ("emulated", "messages.system"),
    ]


def test_structured_output_of_others() -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 1}},
        "required": ["n"],
        "additionalProperties": False,
    }
    wire = render(user(Text("x")), response_format=ResponseFormat("json_schema", schema, "n"))
    properties = wire.body["output_config"]["format"]["schema"]["properties"]
    assert "minimum" not in properties["n"]
    assert "minimum" in properties["n"]["description"]
    assert warned(wire) == [("adjusted", "response_format")]


def test_json_without_a_schema_is_asked_for_in_words() -> None:
    wire = render(
        Message("system", [Text("Be brief.")]),
        user(Text("x")),
        response_format=ResponseFormat("json"),
    )
    assert wire.body["system"] == "Be brief.\n\nAnswer with one JSON object and nothing else."
    assert warned(wire) == [("emulated", "response_format")]


def test_a_recursive_schema_is_asked_for_in_words() -> None:
    node = {
        "type": "object",
        "properties": {"next": {"$ref": "#"}},
        "additionalProperties": False,
    }
    wire = render(user(Text("x")), response_format=ResponseFormat("json_schema", node))
    assert '"$ref":"#"' in wire.body["system"]
    assert warned(wire) == [("emulated", "response_format")]


@pytest.mark.parametrize(
    ("fields", "feature"),
    [
        ({"candidates": 2}, "candidates"),
        ({"logprobs": 0}, "logprobs"),
        ({"provider_options": {"openai-responses": {"previous_response_id": "r"}}}, None),
        ({"tools": [Tool("web_search", kind="hosted", metadata={"gemini": {}})]}, "web_search"),
    ],
)
def test_what_changes_the_answer_is_refused(fields: dict[str, Any], feature: str | None) -> None:
    with pytest.raises(UnsupportedError) as caught:
        render(user(Text("x")), **fields)
    assert caught.value.feature == (feature or "previous_response_id")
    wire = render(user(Text("x")), lossy=True, **fields)
    assert warned(wire) == [("unsupported", caught.value.feature)]


@pytest.mark.parametrize(
    "part",
    [
        Media("audio", "audio/wav", "aaaa"),
        Media("image", "image/svg+xml", "aaaa"),
        Media("image", url="gs://bucket/a.png"),
        Media("file", file_id="file-of-another-vendor"),
        Media("document", "application/msword", "aaaa"),
        Opaque("openai-chat", "input_future", {}),
    ],
)
def test_what_a_user_shows_is_never_left_out_silently(part: Media | Opaque) -> None:
    with pytest.raises(UnsupportedError):
        render(user(part, Text("what is it?")))
    wire = render(user(part, Text("what is it?")), lossy=True)
    assert wire.body["messages"][0]["content"] in (
        "what is it?",
        [{"type": "text", "text": "what is it?"}],
    )
    assert [kind for kind, _ in warned(wire)] == ["unsupported"]


def test_text_files_are_sent_as_text() -> None:
    wire = render(user(Media("file", "text/csv", "YSxi", filename="t.csv")))
    assert wire.body["messages"][0]["content"] == [
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "a,b"},
            "title": "t.csv",
        }
    ]


def test_options_of_the_dialect_reach_only_those_who_know_them() -> None:
    body = body_of({"role": "user", "content": "x"}, container="c", inference_geo="eu")
    wire = anthropic.render_request(
        anthropic.parse_request(body), quirks=Quirks(options=frozenset({"container"}))
    )
    assert "inference_geo" not in wire.body
    assert wire.body["container"] == "c"
    assert warned(wire) == [("unsupported", "inference_geo")]
