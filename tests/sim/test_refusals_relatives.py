"""What the relatives of Chat Completions refuse: DeepSeek, and a server of little means."""

from __future__ import annotations

import json
from typing import Any

import pytest

from polycall.sim import Simulation
from tests.sim.conftest import KEYS, WEATHER, Post, request
from tests.sim.test_refusals_openai import USER, asked, call, function, result

PREFIX = "Failed to deserialize the JSON body into the target type: "

DEEPSEEK: dict[str, tuple[dict[str, Any], int, str]] = {
    "developer role": (
        {"messages": [{"role": "developer", "content": "x"}]},
        422,
        PREFIX + "messages[0].role: unknown variant `developer`, expected one of 'system', 'user', "
        "'assistant', 'tool'",
    ),
    "no messages": ({"messages": ...}, 422, PREFIX + "missing field `messages`"),
    "wrong type": (
        {"temperature": "hot"},
        422,
        PREFIX + "temperature: invalid type: string, expected integer or null or number",
    ),
    "custom tool": (
        {"tools": [{"type": "custom", "custom": {"name": "x"}}]},
        422,
        PREFIX + "tools[0].type: unknown variant `custom`, expected one of 'function'",
    ),
    "schema format": (
        {"response_format": {"type": "json_schema"}},
        422,
        PREFIX + "response_format.type: unknown variant `json_schema`, expected one of 'text', "
        "'json_object'",
    ),
    "subset": (
        {
            "tools": [function()],
            "tool_choice": {"type": "allowed_tools", "function": {"name": "x"}},
        },
        422,
        PREFIX + "tool_choice.type: unknown variant `allowed_tools`, expected one of 'function'",
    ),
    "out of range": (
        {"temperature": 3},
        400,
        "Invalid temperature value, the valid range is <= 2",
    ),
    "call without a result": (
        {"messages": [USER, asked(call())]},
        400,
        "An assistant message with 'tool_calls' must be followed by tool messages responding to "
        "each 'tool_call_id'. The following tool_call_ids did not have response messages: call_1",
    ),
    "forced choice while thinking": (
        {"model": "sim-1-thinking", "tools": [function()], "tool_choice": "required"},
        400,
        "Thinking mode does not support this tool_choice",
    ),
    "no reasoning with calls": (
        {"model": "sim-1-thinking", "messages": [USER, asked(call()), result()]},
        400,
        "Missing `reasoning_content` field in the assistant message at message index 1.",
    ),
    "unknown model": (
        {"model": "deepseek-9"},
        400,
        "The supported API model names are deepseek-v4-pro or deepseek-v4-flash, "
        "but you passed deepseek-9.",
    ),
}


@pytest.mark.parametrize("path", ["/chat/completions", "/v1/chat/completions"])
@pytest.mark.parametrize("case", DEEPSEEK)
def test_deepseek(sim: Simulation, case: str, path: str) -> None:
    changes, status, message = DEEPSEEK[case]
    body: dict[str, Any] = {"model": "sim-1", "messages": [USER], **changes}
    body = {name: value for name, value in body.items() if value is not ...}
    root = sim.base_url("deepseek").removesuffix("/v1")
    answer = request("POST", root + path, json.dumps(body).encode(), KEYS["deepseek"])
    assert (answer.status, answer.json()["error"]["message"]) == (status, message)


def test_deepseek_ignores_what_it_does_not_know(post: Post) -> None:
    body = {"model": "sim-1", "messages": [USER], "parallel_tool_calls": True, "x": 1}
    assert post("deepseek", "/chat/completions", body).status == 200


def test_deepseek_takes_foreign_reasoning(post: Post) -> None:
    turn = {**asked(call()), "reasoning_content": ""}
    body = {"model": "sim-1-thinking", "messages": [USER, turn, result()]}
    assert post("deepseek", "/chat/completions", body).status == 200


COMPATIBLE: dict[str, tuple[dict[str, Any], str]] = {
    "stream options": (
        {"stream": True, "stream_options": {"include_usage": True}},
        "body.stream_options: Extra inputs are not permitted",
    ),
    "new limit": (
        {"max_completion_tokens": 5},
        "body.max_completion_tokens: Extra inputs are not permitted",
    ),
    "parallel switch": (
        {"parallel_tool_calls": False},
        "body.parallel_tool_calls: Extra inputs are not permitted",
    ),
    "strict": (
        {"tools": [function(strict=False)]},
        "body.tools.0.function.strict: Extra inputs are not permitted",
    ),
    "parts in a result": (
        {"messages": [USER, asked(call()), result(content=[{"type": "text", "text": "x"}])]},
        "body.messages.2.content: Input should be string, got array",
    ),
    "developer role": (
        {"messages": [{"role": "developer", "content": "x"}]},
        "body.messages.0.role: Input should be 'system', 'user', 'assistant', 'tool', got "
        "developer",
    ),
    "schema format": (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": WEATHER}}},
        "body.response_format.type: Input should be 'text', 'json_object', got json_schema",
    ),
    "subset": (
        {"tools": [function()], "tool_choice": {"type": "allowed_tools"}},
        "body.tool_choice.type: Input should be 'function', got allowed_tools",
    ),
}


@pytest.mark.parametrize("case", COMPATIBLE)
def test_compatible(post: Post, case: str) -> None:
    changes, message = COMPATIBLE[case]
    answer = post(
        "compatible", "/chat/completions", {"model": "sim-1", "messages": [USER], **changes}
    )
    error = {"message": message, "type": "BadRequestError", "param": None, "code": 400}
    assert (answer.status, answer.json()) == (400, {"error": error})
