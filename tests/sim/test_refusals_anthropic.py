"""What Anthropic's wire refuses, one case a row."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sim.conftest import WEATHER, Post
from tests.sim.test_refusals_openai import PNG

USER: dict[str, Any] = {"role": "user", "content": "weather in Seoul"}
TOOL: dict[str, Any] = {"name": "get_weather", "input_schema": WEATHER}
USE: dict[str, Any] = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}
RESULT: dict[str, Any] = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "18C"}
TEXT: dict[str, Any] = {"type": "text", "text": "thanks"}
MARK = {"cache_control": {"type": "ephemeral"}}


def said(role: str, *blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": role, "content": list(blocks)}


def image(**source: Any) -> dict[str, Any]:
    return said("user", {"type": "image", "source": source})


def no_result(position: int, *ids: str) -> str:
    return (
        f"messages.{position}: `tool_use` ids were found without `tool_result` blocks immediately "
        f"after: {', '.join(ids)}. Each `tool_use` block must have a corresponding `tool_result` "
        "block in the next message."
    )


SECOND = {**USE, "id": "toolu_2"}
CASES: dict[str, tuple[dict[str, Any], str]] = {
    "no limit": ({"max_tokens": ...}, "max_tokens: Field required"),
    "unknown field": (
        {"frequency_penalty": 1},
        "frequency_penalty: Extra inputs are not permitted",
    ),
    "unknown block field": (
        {"messages": [said("user", {**TEXT, "mood": "good"})]},
        "messages.0.content.0.mood: Extra inputs are not permitted",
    ),
    "wrong type": ({"max_tokens": "many"}, "max_tokens: Input should be a valid integer"),
    "temperature too high": (
        {"temperature": 1.5},
        "temperature: Input should be less than or equal to 1",
    ),
    "foreign role": (
        {"messages": [{"role": "tool", "content": "x"}]},
        "messages.0.role: Input should be 'user', 'assistant' or 'system'",
    ),
    "foreign block": (
        {"messages": [said("user", {"type": "image_url"})]},
        "messages.0.content.0: Input tag 'image_url' found using 'type' does not match any of the "
        "expected tags: 'text', 'image', 'document', 'search_result', 'thinking', "
        "'redacted_thinking', 'tool_use', 'tool_result', 'code_execution_tool_result', "
        "'server_tool_use', 'mcp_tool_use', 'web_search_tool_result', "
        "'web_fetch_tool_result', 'bash_code_execution_tool_result', "
        "'text_editor_code_execution_tool_result', 'tool_search_tool_result', "
        "'advisor_tool_result', 'mcp_tool_result', 'compaction', 'fallback', "
        "'container_upload', 'tool_addition', 'tool_removal'",
    ),
    "no messages": (
        {"messages": []},
        "messages: List should have at least 1 item after validation, not 0",
    ),
    "empty content": (
        {"messages": [{"role": "user", "content": ""}]},
        "messages.0: all messages must have non-empty content except for the optional final "
        "assistant message",
    ),
    "empty text": (
        {"messages": [said("user", {"type": "text", "text": ""})]},
        "messages: text content blocks must be non-empty",
    ),
    "blank text": (
        {"messages": [said("user", {"type": "text", "text": " \n"})]},
        "messages: text content blocks must contain non-whitespace text",
    ),
    "trailing whitespace": (
        {"messages": [USER, {"role": "assistant", "content": "It is "}]},
        "messages: final assistant content cannot end with trailing whitespace",
    ),
    "prefill": (
        {"model": "sim-1-thinking", "messages": [USER, {"role": "assistant", "content": "It"}]},
        "This model does not support assistant message prefill. The conversation must end with a "
        "user message.",
    ),
    "call without a result": (
        {"messages": [USER, said("assistant", USE), said("user", TEXT)]},
        no_result(1, "toolu_1"),
    ),
    "open call at the end": (
        {"messages": [USER, said("assistant", USE)]},
        no_result(1, "toolu_1"),
    ),
    "one of two results": (
        {"messages": [USER, said("assistant", USE, SECOND), said("user", RESULT)]},
        no_result(1, "toolu_2"),
    ),
    "result after text": (
        {"messages": [USER, said("assistant", USE), said("user", TEXT, RESULT)]},
        no_result(1, "toolu_1"),
    ),
    "result a turn too late": (
        {
            "messages": [
                USER,
                said("assistant", USE),
                said("user", RESULT),
                said("assistant", TEXT),
                said("user", RESULT),
            ]
        },
        "messages.4: unexpected `tool_use_id` found in `tool_result` blocks: toolu_1. Each "
        "`tool_result` block must have a corresponding `tool_use` block in the previous message.",
    ),
    "two results of one call": (
        {"messages": [USER, said("assistant", USE), said("user", RESULT, RESULT)]},
        "messages.2: each tool_use must have a single result. Found multiple `tool_result` blocks "
        "with id: toolu_1",
    ),
    "duplicate call ids": (
        {"messages": [USER, said("assistant", USE, USE), said("user", RESULT)]},
        "messages.1: `tool_use` ids must be unique",
    ),
    "call id with a dot": (
        {"messages": [USER, said("assistant", {**USE, "id": "a.b"}), said("user", RESULT)]},
        "messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'",
    ),
    "input as text": (
        {"messages": [USER, said("assistant", {**USE, "input": "{}"}), said("user", RESULT)]},
        "messages.1.content.0.input: Input should be a valid dictionary",
    ),
    "call of the user": (
        {"messages": [said("user", USE)]},
        "messages.0.content.0: `tool_use` blocks are not allowed in `user` messages",
    ),
    "tool name": (
        {"tools": [{**TOOL, "name": "get.weather"}]},
        "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'",
    ),
    "two tools of one name": ({"tools": [TOOL, TOOL]}, "tools: Tool names must be unique."),
    "no schema": ({"tools": [{"name": "ping"}]}, "tools.0.input_schema: Field required"),
    "schema without a type": (
        {"tools": [{**TOOL, "input_schema": {}}]},
        "tools.0.custom.input_schema.type: Field required",
    ),
    "schema of another type": (
        {"tools": [{**TOOL, "input_schema": {"type": "string"}}]},
        "tools.0.custom.input_schema.type: Input should be 'object'",
    ),
    "union at the root": (
        {"tools": [{**TOOL, "input_schema": {"type": "object", "anyOf": [WEATHER]}}]},
        "tools.0.custom.input_schema: input_schema does not support oneOf, allOf, or anyOf at the "
        "top level",
    ),
    "no json schema": (
        {"tools": [{**TOOL, "input_schema": {"type": "object", "properties": {"a": 3}}}]},
        "tools.0.custom.input_schema: JSON schema is invalid. It must match JSON Schema draft "
        "2020-12 (https://json-schema.org/draft/2020-12). Learn more about tool use at "
        "https://docs.claude.com/en/docs/tool-use.",
    ),
    "strict with an open object": (
        {"tools": [{**TOOL, "strict": True}]},
        "tools.0.custom.input_schema: For 'object' type, 'additionalProperties' must be explicitly "
        "set to false",
    ),
    "choice without tools": (
        {"tool_choice": {"type": "auto"}},
        "tool_choice: tool_choice may only be specified while providing tools.",
    ),
    "choice as text": (
        {"tools": [TOOL], "tool_choice": "auto"},
        "tool_choice: Input should be a valid dictionary",
    ),
    "unknown tool chosen": (
        {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "get_time"}},
        "tool_choice.tool.name: Tool 'get_time' not found in provided tools",
    ),
    "forced choice with thinking": (
        {
            "tools": [TOOL],
            "tool_choice": {"type": "any"},
            "max_tokens": 2000,
            "thinking": {"type": "enabled", "budget_tokens": 1024},
        },
        "Thinking may not be enabled when tool_choice forces tool use.",
    ),
    "forced choice of a model that always thinks": (
        {"model": "sim-1-thinking", "tools": [TOOL], "tool_choice": {"type": "any"}},
        "tool_choice forces tool use is not supported for this model.",
    ),
    "small budget": (
        {"thinking": {"type": "enabled", "budget_tokens": 100}},
        "thinking.budget_tokens: Input should be greater than or equal to 1024",
    ),
    "budget over the limit": (
        {"max_tokens": 1024, "thinking": {"type": "enabled", "budget_tokens": 1024}},
        "`max_tokens` must be greater than `thinking.budget_tokens`.",
    ),
    "temperature with thinking": (
        {"temperature": 0.5, "thinking": {"type": "adaptive"}},
        "`temperature` may only be set to 1 when thinking is enabled.",
    ),
    "temperature of a new model": (
        {"model": "sim-1-thinking", "temperature": 1},
        "`temperature` is deprecated for this model.",
    ),
    "thinking of a small model": (
        {"model": "sim-1-mini", "thinking": {"type": "adaptive"}},
        "thinking.type: 'adaptive' is not supported by this model.",
    ),
    "foreign signature": (
        {
            "messages": [
                USER,
                said("assistant", {"type": "thinking", "thinking": "x", "signature": "EqQB"}, TEXT),
                USER,
            ]
        },
        "messages.1.content.0: Invalid `signature` in `thinking` block",
    ),
    "image type": (
        {"messages": [image(type="base64", media_type="image/bmp", data=PNG)]},
        "messages.0.content.0.image.source.base64.media_type: Input should be 'image/jpeg', "
        "'image/png', 'image/gif' or 'image/webp'",
    ),
    "image of another type": (
        {"messages": [image(type="base64", media_type="image/jpeg", data=PNG)]},
        "messages.0.content.0.image.source.base64: The image was specified using the image/jpeg "
        "media type, but the image appears to be a image/png image",
    ),
    "image that is none": (
        {"messages": [image(type="base64", media_type="image/png", data="aGVsbG8=")]},
        "messages.0.content.0.image.source.base64: Could not process image",
    ),
    "image without TLS": (
        {"messages": [image(type="url", url="http://example.com/a.png")]},
        "messages.0.content.0.image.source.url: Only HTTPS URLs are supported.",
    ),
    "five cache marks": (
        {"messages": [said("user", *[{**TEXT, **MARK}] * 5)]},
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    ),
    "json mode without a schema": (
        {"output_config": {"format": {"type": "json_schema"}}},
        "output_config.format.schema: Field required",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_messages(post: Post, case: str) -> None:
    changes, message = CASES[case]
    body: dict[str, Any] = {"model": "sim-1", "max_tokens": 100, "messages": [USER], **changes}
    body = {name: value for name, value in body.items() if value is not ...}
    answer = post("anthropic", "/v1/messages", body)
    error = {"type": "invalid_request_error", "message": message, "details": None}
    wanted = {"type": "error", "error": error, "request_id": answer.headers["request-id"]}
    assert (answer.status, answer.json()) == (400, wanted)


def test_messages_take_what_is_right(post: Post) -> None:
    body = {
        "model": "sim-1",
        "max_tokens": 2000,
        "system": [{**TEXT, **MARK}],
        "thinking": {"type": "adaptive"},
        "tools": [{**TOOL, "input_examples": [{"city": "Oslo"}], "allowed_callers": ["direct"]}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "messages": [
            image(type="base64", media_type="image/png", data=PNG),
            said("user", TEXT),
            said("assistant", TEXT, USE, SECOND),
            said("user", {**RESULT, "tool_use_id": "toolu_2", "is_error": True}),
            said("user", RESULT, TEXT),
            {"role": "system", "content": "stay brief"},
            USER,
        ],
    }
    answer = post("anthropic", "/v1/messages", body)
    assert answer.status == 200, answer.content


def test_counting(post: Post) -> None:
    path = "/v1/messages/count_tokens"
    body: dict[str, Any] = {"model": "sim-1", "messages": [USER]}
    assert post("anthropic", path, body).json() == {"input_tokens": 8}
    refused = post("anthropic", path, {**body, "max_tokens": 10})
    assert refused.json()["error"]["message"] == "max_tokens: Extra inputs are not permitted"


@pytest.mark.parametrize(
    ("headers", "status", "kind", "message"),
    [
        ({}, 401, "authentication_error", "x-api-key header is required"),
        ({"x-api-key": "invalid"}, 401, "authentication_error", "invalid x-api-key"),
        (
            {"authorization": "Bearer k"},
            400,
            "invalid_request_error",
            "anthropic-version: header is required",
        ),
        (
            {"x-api-key": "k", "anthropic-version": "1999-01-01"},
            400,
            "invalid_request_error",
            'anthropic-version: "1999-01-01" is not a valid version',
        ),
    ],
)
def test_keys(post: Post, headers: dict[str, str], status: int, kind: str, message: str) -> None:
    blank = {"x-api-key": "", "anthropic-version": headers.get("anthropic-version", "")}
    answer = post("anthropic", "/v1/messages", {}, **{**blank, **headers})
    if message.endswith("is required") and status == 400:
        message = 'anthropic-version: "" is not a valid version'
    assert (answer.status, answer.json()["error"]) == (
        status,
        {"type": kind, "message": message, "details": None},
    )


def test_unknown_model(post: Post) -> None:
    body = {"model": "claude-9", "max_tokens": 1, "messages": [USER]}
    answer = post("anthropic", "/v1/messages", body)
    error = {"type": "not_found_error", "message": "model: claude-9", "details": None}
    assert (answer.status, answer.json()["error"]) == (404, error)
