"""What OpenAI's two wires refuse, one case a row: status, message, param, code."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sim.conftest import WEATHER, Post

USER: dict[str, Any] = {"role": "user", "content": "weather in Seoul"}


def function(name: str = "get_weather", **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": WEATHER, **fields}}


def call(call_id: str = "call_1", name: str = "get_weather") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": "{}"}}


def result(call_id: str = "call_1", content: Any = "18C") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def asked(*calls: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(calls)}


def image(url: str) -> dict[str, Any]:
    part = {"type": "image_url", "image_url": {"url": url}}
    return {"role": "user", "content": [part]}


PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9"
    "awAAAABJRU5ErkJggg=="
)
NO_RESULT = (
    "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
    "'tool_call_id'. The following tool_call_ids did not have response messages: "
)
STRICT: dict[str, Any] = {**WEATHER, "additionalProperties": False}

CHAT: dict[str, tuple[dict[str, Any], str, str | None, str | None]] = {
    "unknown field": ({"top_k": 3}, "Unrecognized request argument supplied: top_k", None, None),
    "unknown nested field": (
        {"messages": [{**USER, "mood": "good"}]},
        "Unknown parameter: 'messages[0].mood'.",
        "messages[0].mood",
        "unknown_parameter",
    ),
    "no messages": (
        {"messages": None},
        "Invalid type for 'messages': expected an array, but got null instead.",
        "messages",
        "invalid_type",
    ),
    "empty messages": (
        {"messages": []},
        "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an "
        "empty array instead.",
        "messages",
        "empty_array",
    ),
    "foreign role": (
        {"messages": [{"role": "model", "content": "x"}]},
        "Invalid value: 'model'. Supported values are: 'system', 'developer', 'user', "
        "'assistant', 'tool', 'function'.",
        "messages[0].role",
        "invalid_value",
    ),
    "missing content": (
        {"messages": [{"role": "user"}]},
        "Missing required parameter: 'messages[0].content'.",
        "messages[0].content",
        "missing_required_parameter",
    ),
    "wrong type": (
        {"temperature": "hot"},
        "Invalid type for 'temperature': expected an integer or null or a decimal, but got a "
        "string instead.",
        "temperature",
        "invalid_type",
    ),
    "out of range": (
        {"temperature": 3},
        "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 "
        "instead.",
        "temperature",
        "decimal_above_max_value",
    ),
    "five stop sequences": (
        {"stop": ["a", "b", "c", "d", "e"]},
        "Invalid 'stop': too long. Expected a maximum length of 4, but got length 5 instead.",
        "stop",
        "string_above_max_length",
    ),
    "result without a call": (
        {"messages": [USER, result()]},
        "Invalid parameter: messages with role 'tool' must be a response to a preceeding message "
        "with 'tool_calls'.",
        "messages[1].role",
        None,
    ),
    "call without a result": (
        {"messages": [USER, asked(call()), USER]},
        NO_RESULT + "call_1",
        "messages[1].role",
        None,
    ),
    "one of two results": (
        {"messages": [USER, asked(call(), call("call_2")), result(), USER]},
        NO_RESULT + "call_2",
        "messages[2].role",
        None,
    ),
    "result of another call": (
        {"messages": [USER, asked(call()), result("call_9")]},
        "Invalid parameter: 'tool_call_id' of 'call_9' not found in 'tool_calls' of previous "
        "message.",
        "messages[2].tool_call_id",
        None,
    ),
    "two results of one call": (
        {"messages": [USER, asked(call()), result(), result()]},
        "Duplicate or late tool message for 'tool_call_id' call_1.",
        "messages[3].tool_call_id",
        None,
    ),
    "duplicate call ids": (
        {"messages": [USER, asked(call(), call()), result()]},
        "Duplicate value for 'tool_call_id' of 'call_1'.",
        "messages[1].tool_calls[1].id",
        None,
    ),
    "long call id": (
        {"messages": [USER, asked(call("c" * 41)), result("c" * 41)]},
        "Invalid 'messages[1].tool_calls[0].id': string too long. Expected a string with maximum "
        "length 40, but got a string with length 41 instead.",
        "messages[1].tool_calls[0].id",
        "string_above_max_length",
    ),
    "arguments as an object": (
        {
            "messages": [
                USER,
                asked({**call(), "function": {"name": "get_weather", "arguments": {}}}),
            ]
        },
        "Invalid type for 'messages[1].tool_calls[0].function.arguments': expected a string, but "
        "got an object instead.",
        "messages[1].tool_calls[0].function.arguments",
        "invalid_type",
    ),
    "image in a result": (
        {"messages": [USER, asked(call()), result(content=image("https://x/y.png")["content"])]},
        "Invalid value: 'image_url'. Supported values are: 'text'.",
        "messages[2].content[0].type",
        "invalid_value",
    ),
    "tool name with a dot": (
        {"tools": [function("get.weather")]},
        "Invalid 'tools[0].function.name': string does not match pattern. Expected a string that "
        "matches the pattern '^[a-zA-Z0-9_-]+$'.",
        "tools[0].function.name",
        "invalid_value",
    ),
    "long tool name": (
        {"tools": [function("w" * 65)]},
        "Invalid 'tools[0].function.name': string too long. Expected a string with maximum length "
        "64, but got a string with length 65 instead.",
        "tools[0].function.name",
        "string_above_max_length",
    ),
    "empty tools": (
        {"tools": []},
        "Invalid 'tools': empty array. Expected an array with minimum length 1, but got an empty "
        "array instead.",
        "tools",
        "empty_array",
    ),
    "two tools of one name": (
        {"tools": [function(), function()]},
        "Duplicate tool name: 'get_weather'.",
        "tools",
        "invalid_value",
    ),
    "schema of another type": (
        {"tools": [function(parameters={"type": "array"})]},
        "Invalid schema for function 'get_weather': schema must be a JSON Schema of 'type: "
        '"object"\', got \'type: "array"\'.',
        "tools[0].function.parameters",
        "invalid_function_parameters",
    ),
    "strict with an open object": (
        {"tools": [function(strict=True)]},
        "Invalid schema for function 'get_weather': In context=(), 'additionalProperties' is "
        "required to be supplied and to be false.",
        "tools[0].function.parameters",
        "invalid_function_parameters",
    ),
    "strict with an optional property": (
        {"tools": [function(strict=True, parameters=STRICT)]},
        "Invalid schema for function 'get_weather': In context=(), 'required' is required to be "
        "supplied and to be an array including every key in properties. Missing 'unit'.",
        "tools[0].function.parameters",
        "invalid_function_parameters",
    ),
    "flat tool": (
        {"tools": [{"type": "function", "name": "get_weather"}]},
        "Unknown parameter: 'tools[0].name'.",
        "tools[0].name",
        "unknown_parameter",
    ),
    "choice without tools": (
        {"tool_choice": "auto"},
        "'tool_choice' is only allowed when 'tools' are specified.",
        "tool_choice",
        None,
    ),
    "parallel switch without tools": (
        {"parallel_tool_calls": False},
        "'parallel_tool_calls' is only allowed when 'tools' are specified.",
        "parallel_tool_calls",
        None,
    ),
    "unknown tool chosen": (
        {
            "tools": [function()],
            "tool_choice": {"type": "function", "function": {"name": "get_time"}},
        },
        "Tool choice 'get_time' not found in 'tools' parameter.",
        "tool_choice",
        None,
    ),
    "unknown choice": (
        {"tools": [function()], "tool_choice": "any"},
        "Invalid value: 'any'. Supported values are: 'none', 'auto', 'required'.",
        "tool_choice",
        "invalid_value",
    ),
    "stream options without a stream": (
        {"stream_options": {"include_usage": True}},
        "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
        "stream_options",
        None,
    ),
    "json mode without the word": (
        {"response_format": {"type": "json_object"}},
        "'messages' must contain the word 'json' in some form, to use 'response_format' of type "
        "'json_object'.",
        "messages",
        None,
    ),
    "image that is none": (
        {"messages": [image("data:image/png;base64,aGVsbG8=")]},
        "You uploaded an unsupported image. Please make sure your image has of one the following "
        "formats: ['png', 'jpeg', 'gif', 'webp'].",
        "messages[0].content[0].image_url.url",
        "invalid_image_format",
    ),
    "image at no address": (
        {"messages": [image("file:///etc/passwd")]},
        "Invalid 'messages[0].content[0].image_url.url'. Expected a valid URL, but got a value "
        "with an invalid format.",
        "messages[0].content[0].image_url.url",
        "invalid_value",
    ),
    "tools with reasoning": (
        {"model": "sim-1-thinking", "tools": [function()]},
        "Function tools with reasoning_effort are not supported for sim-1-thinking in "
        "/v1/chat/completions. To use function tools, use /v1/responses or set reasoning_effort "
        "to 'none'.",
        "reasoning_effort",
        None,
    ),
    "temperature with reasoning": (
        {"model": "sim-1-thinking", "temperature": 0.2},
        "Unsupported value: 'temperature' does not support 0.2 with this model. Only the default "
        "(1) value is supported.",
        "temperature",
        "unsupported_value",
    ),
    "old limit with reasoning": (
        {"model": "sim-1-thinking", "max_tokens": 100},
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
        "'max_completion_tokens' instead.",
        "max_tokens",
        "unsupported_parameter",
    ),
    "effort without reasoning": (
        {"model": "sim-1-mini", "reasoning_effort": "high"},
        "Unsupported parameter: 'reasoning_effort' is not supported with this model (sim-1-mini).",
        "reasoning_effort",
        "unsupported_parameter",
    ),
}


@pytest.mark.parametrize("case", CHAT)
def test_chat(post: Post, case: str) -> None:
    changes, message, param, code = CHAT[case]
    answer = post("openai", "/chat/completions", {"model": "sim-1", "messages": [USER], **changes})
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    assert (answer.status, answer.json()) == (400, {"error": error})
    assert answer.headers["x-request-id"].startswith("req_")


def test_chat_takes_what_is_right(post: Post) -> None:
    body = {
        "model": "sim-1",
        "messages": [
            {"role": "developer", "content": "be short"},
            image(f"data:image/png;base64,{PNG}"),
            asked(call(), call("call_2")),
            result("call_2"),
            result(content=[{"type": "text", "text": "18C"}]),
        ],
        "tools": [function(strict=None)],
        "tool_choice": {
            "type": "allowed_tools",
            "allowed_tools": {
                "mode": "auto",
                "tools": [{"type": "function", "function": {"name": "get_weather"}}],
            },
        },
        "stop": "never",
        "temperature": 0,
    }
    assert post("openai", "/chat/completions", body).status == 200


ITEM: dict[str, Any] = {
    "type": "function_call",
    "call_id": "call_1",
    "name": "get_weather",
    "arguments": "{}",
}
OUTPUT: dict[str, Any] = {"type": "function_call_output", "call_id": "call_1", "output": "18C"}
FLAT: dict[str, Any] = {"type": "function", "name": "get_weather", "parameters": WEATHER}

RESPONSES: dict[str, tuple[dict[str, Any], str, str | None, str | None]] = {
    "unknown field": (
        {"messages": []},
        "Unknown parameter: 'messages'.",
        "messages",
        "unknown_parameter",
    ),
    "stop": ({"stop": ["x"]}, "Unknown parameter: 'stop'.", "stop", "unknown_parameter"),
    "nested tool": (
        {"tools": [function()]},
        "Unknown parameter: 'tools[0].function'.",
        "tools[0].function",
        "unknown_parameter",
    ),
    "call without an output": (
        {"input": [USER, ITEM]},
        "No tool output found for function call call_1.",
        "input",
        None,
    ),
    "user words before the output": (
        {"input": [USER, ITEM, USER, OUTPUT]},
        "No tool output found for function call call_1.",
        "input",
        None,
    ),
    "output without a call": (
        {"input": [USER, OUTPUT]},
        "No tool call found for function call output with call_id call_1.",
        "input",
        None,
    ),
    "two outputs of one call": (
        {"input": [USER, ITEM, OUTPUT, OUTPUT]},
        "Duplicate output for call_id call_1.",
        "input",
        None,
    ),
    "two calls of one id": (
        {"input": [USER, ITEM, ITEM, OUTPUT]},
        "Duplicate function call id: call_1.",
        "input",
        None,
    ),
    "long call id": (
        {"input": [USER, {**ITEM, "call_id": "c" * 65}]},
        "Invalid 'input[1].call_id': too long. Expected a maximum length of 64, but got length 65 "
        "instead.",
        "input[1].call_id",
        "string_above_max_length",
    ),
    "error flag": (
        {"input": [USER, ITEM, {**OUTPUT, "is_error": True}]},
        "Unknown parameter: 'input[2].is_error'.",
        "input[2].is_error",
        "unknown_parameter",
    ),
    "forced choice without tools": (
        {"tool_choice": "required"},
        "Tool choice other than 'auto' and 'none' must be specified with 'tools' parameter.",
        "tool_choice",
        None,
    ),
    "unknown tool chosen": (
        {"tools": [FLAT], "tool_choice": {"type": "function", "name": "get_time"}},
        "Tool choice 'get_time' not found in 'tools' parameter.",
        "tool_choice",
        None,
    ),
    "strict with an optional property": (
        {"tools": [{**FLAT, "strict": True, "parameters": STRICT}]},
        "Invalid schema for function 'get_weather': In context=(), 'required' is required to be "
        "supplied and to be an array including every key in properties. Missing 'unit'.",
        "tools[0].parameters",
        "invalid_function_parameters",
    ),
    "temperature with reasoning": (
        {"model": "sim-1-thinking", "temperature": 0.5},
        "Unsupported parameter: 'temperature' is not supported with this model (sim-1-thinking).",
        "temperature",
        "unsupported_parameter",
    ),
    "foreign encrypted content": (
        {
            "input": [
                USER,
                {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"},
                ITEM,
                OUTPUT,
            ]
        },
        "The encrypted content for item rs_1 could not be verified. Reason: Encrypted content "
        "could not be decrypted or parsed.",
        "input[1].encrypted_content",
        "invalid_encrypted_content",
    ),
    "stored state": (
        {"previous_response_id": "resp_1"},
        "Previous response with id 'resp_1' not found.",
        "previous_response_id",
        "previous_response_not_found",
    ),
}


@pytest.mark.parametrize("case", RESPONSES)
def test_responses(post: Post, case: str) -> None:
    changes, message, param, code = RESPONSES[case]
    answer = post("openai", "/responses", {"model": "sim-1", "input": "hello", **changes})
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    assert (answer.status, answer.json()) == (400, {"error": error})


@pytest.mark.parametrize("path", ["/chat/completions", "/responses"])
@pytest.mark.parametrize(
    ("key", "code", "message"),
    [
        ("", None, "You didn't provide an API key."),
        ("Bearer sk-invalid", "invalid_api_key", "Incorrect API key provided."),
    ],
)
def test_keys(post: Post, path: str, key: str, code: str | None, message: str) -> None:
    answer = post("openai", path, {}, authorization=key)
    error = {
        "message": f"{message} You can obtain an API key from https://platform.openai.com.",
        "type": "invalid_request_error",
        "param": None,
        "code": code,
    }
    assert (answer.status, answer.json()) == (401, {"error": error})


def test_unknown_model(post: Post) -> None:
    answer = post("openai", "/chat/completions", {"model": "gpt-9", "messages": [USER]})
    error = {
        "message": "The model `gpt-9` does not exist or you do not have access to it.",
        "type": "invalid_request_error",
        "param": None,
        "code": "model_not_found",
    }
    assert (answer.status, answer.json()) == (404, {"error": error})
    answer = post("openai", "/responses", {"model": "gpt-9", "input": "x"})
    error.update(message="The requested model 'gpt-9' does not exist.", param="model")
    assert (answer.status, answer.json()) == (400, {"error": error})


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'"text"'])
@pytest.mark.parametrize("path", ["/chat/completions", "/responses"])
def test_bodies_that_are_no_object(post: Post, path: str, body: bytes) -> None:
    answer = post("openai", path, body)
    assert answer.status == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
