"""Requests of this dialect: every input item and every field comes back as it was."""

from __future__ import annotations

from typing import Any

import pytest

from polycall.dialects.openai_responses import parse_request, render_request
from polycall.errors import MalformedRequestError
from polycall.ir import (
    Media,
    Message,
    Opaque,
    Reasoning,
    ReasoningConfig,
    Request,
    ResponseFormat,
    Text,
    ToolCall,
    ToolResult,
)

NAME = "openai-responses"
REASONING = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "Need"}, {"type": "summary_text", "text": "more"}],
    "encrypted_content": "gAAA",
}
CALL = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_1",
    "name": "get_weather",
    "arguments": '{"city": "서울"}',
    "status": "completed",
}
RESULT = {"type": "function_call_output", "call_id": "call_1", "output": "18C"}


def around(body: dict[str, Any]) -> dict[str, Any]:
    """The body after a way through the middle language."""
    wire = render_request(parse_request({"model": "m", **body}))
    assert wire.warnings == []
    return {key: value for key, value in wire.body.items() if key != "model"}


@pytest.mark.parametrize(
    "item",
    [
        {"role": "user", "content": "hi"},
        {"type": "message", "role": "user", "content": "hi"},
        {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"role": "user", "content": []},
        {"role": "developer", "content": "be kind"},
        {"role": "system", "content": [{"type": "input_text", "text": "be kind"}]},
        {"role": "assistant", "content": "hello"},
        {"role": "assistant", "content": "hello", "phase": "commentary"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "hello"}]},
        {"role": "assistant", "content": []},
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "phase": "final_answer",
            "content": [
                {"type": "output_text", "text": "a", "annotations": [{"type": "url_citation"}]},
                {"type": "refusal", "refusal": "no"},
            ],
        },
        {"role": "assistant", "content": [{"type": "some_new_part", "x": 1}]},
        {
            "role": "user",
            "content": [
                {
                    "type": "input_text",
                    "text": "a",
                    "prompt_cache_breakpoint": {"mode": "explicit"},
                },
                {"type": "input_image", "image_url": "https://x/i.png", "detail": "high"},
                {"type": "input_image", "image_url": "data:image/png;base64,aGk="},
                {"type": "input_image", "image_url": "data:image/png;charset=x;base64,aGk"},
                {"type": "input_image", "file_id": "file-1"},
                {"type": "input_file", "file_data": "data:application/pdf;base64,aGk="},
                {
                    "type": "input_file",
                    "file_data": "data:text/plain,h%20i",
                    "filename": "a.txt",
                },
                {"type": "input_file", "file_data": "aGk=", "filename": "a.pdf"},
                {"type": "input_file", "file_url": "https://x/a.pdf"},
                {"type": "input_file", "file_id": "file-2", "detail": "low"},
                {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
                {"type": "input_image"},
                {"type": "input_video", "video_url": "https://x/v"},
            ],
        },
        {"type": "item_reference", "id": "msg_9"},
        {"type": "compaction", "encrypted_content": "x"},
        {"type": "compaction_trigger"},
        {"type": "additional_tools", "role": "developer", "tools": []},
        {"type": "configuration_update", "reasoning": {"effort": "high"}},
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {}},
        {"type": "mcp_approval_response", "approval_request_id": "a", "approve": True},
        {"type": "something_of_next_year", "payload": {"deep": [1, 2]}},
        {"type": "message", "role": "critic", "content": "hm"},
        REASONING,
        {"type": "reasoning", "id": "rs_2", "summary": []},
        {
            "type": "reasoning",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "hm"}],
            "status": "completed",
        },
    ],
)
def test_an_item_comes_back_as_it_was(item: dict[str, Any]) -> None:
    assert around({"input": [item]}) == {"input": [item]}


@pytest.mark.parametrize(
    "items",
    [
        [CALL, RESULT],
        [
            REASONING,
            CALL,
            {**CALL, "call_id": "call_2", "id": "fc_2"},
            RESULT,
            {**RESULT, "call_id": "call_2"},
        ],
        [{**CALL, "namespace": "wx"}, RESULT],
        [{**CALL, "caller": {"type": "direct"}}, {**RESULT, "caller": {"type": "direct"}}],
        [
            {
                "type": "program",
                "id": "prog_1",
                "call_id": "call_p",
                "code": "x",
                "fingerprint": "f",
            },
            {**CALL, "caller": {"type": "program", "caller_id": "call_p"}},
            {**RESULT, "caller": {"type": "program", "caller_id": "call_p"}},
            {"type": "program_output", "id": "po_1", "call_id": "call_p", "result": "r"},
        ],
        [
            {
                "type": "custom_tool_call",
                "id": "ctc_1",
                "call_id": "c",
                "name": "calc",
                "input": "2\n",
            },
            {"type": "custom_tool_call_output", "call_id": "c", "output": "4"},
        ],
        [
            CALL,
            {
                "type": "function_call_output",
                "call_id": "call_1",
                "output": [
                    {"type": "input_text", "text": "see"},
                    {
                        "type": "input_image",
                        "image_url": "data:image/png;base64,aGk=",
                        "detail": "low",
                    },
                    {"type": "input_file", "file_id": "file-3", "filename": "a.pdf"},
                ],
                "status": "completed",
            },
        ],
        [CALL, {**RESULT, "output": [{"type": "input_text", "text": "only"}]}],
        [CALL, {**RESULT, "output": []}],
        [
            {"type": "tool_search_call", "call_id": "ts", "execution": "client", "arguments": {}},
            {"type": "tool_search_output", "call_id": "ts", "execution": "client", "tools": []},
        ],
        [
            {"type": "tool_search_call", "call_id": "ts", "execution": "client", "arguments": {}},
            {"type": "function_call_output", "call_id": "ts", "output": "none"},
        ],
        [
            {"type": "computer_call", "call_id": "cc", "action": {"type": "click"}},
            {"type": "computer_call_output", "call_id": "cc", "output": {"type": "x"}},
            {"type": "function_call_output", "name": "nameless", "output": "kept whole"},
        ],
        [
            {"role": "assistant", "content": "a"},
            {"role": "assistant", "content": "b"},
            {"role": "user", "content": "c"},
            {"role": "user", "content": "d"},
        ],
        [{"type": "item_reference", "id": "fc_7"}, {**RESULT, "call_id": "call_7"}],
    ],
)
def test_a_conversation_comes_back_as_it_was(items: list[dict[str, Any]]) -> None:
    assert around({"input": items}) == {"input": items}


def test_a_turn_is_one_message_with_everything_in_place() -> None:
    search = {"type": "tool_search_call", "call_id": "ts", "arguments": {}}
    request = parse_request(
        {
            "model": "m",
            "instructions": "Use tools.",
            "input": [
                {"role": "developer", "content": "Be brief."},
                {"role": "user", "content": "Weather?"},
                REASONING,
                search,
                {
                    "type": "message",
                    "id": "msg_1",
                    "role": "assistant",
                    "phase": "commentary",
                    "content": [{"type": "output_text", "text": "Looking."}],
                },
                {**CALL, "caller": {"type": "program", "caller_id": "call_p"}},
                RESULT,
                {"type": "shell_call_output", "call_id": "s", "output": []},
            ],
        }
    )
    assert request.messages == [
        Message("system", [Text("Use tools.")], metadata={NAME: {"slot": "instructions"}}),
        Message("system", [Text("Be brief.")], metadata={NAME: {"role": "developer"}}),
        Message("user", [Text("Weather?")]),
        Message(
            "assistant",
            [
                Reasoning(
                    "Need\n\nmore",
                    metadata={
                        NAME: {
                            "id": "rs_1",
                            "fields": {
                                "summary": REASONING["summary"],
                                "encrypted_content": "gAAA",
                            },
                        }
                    },
                ),
                Opaque(NAME, "tool_search_call", search),
                Text(
                    "Looking.",
                    metadata={
                        NAME: {
                            "message": {"id": "msg_1", "phase": "commentary"},
                            "fields": {"type": "message"},
                        }
                    },
                ),
                ToolCall(
                    "call_1",
                    "get_weather",
                    '{"city": "서울"}',
                    caller="call_p",
                    metadata={
                        NAME: {
                            "id": "fc_1",
                            "fields": {
                                "status": "completed",
                                "caller": {"type": "program", "caller_id": "call_p"},
                            },
                        }
                    },
                ),
            ],
        ),
        Message(
            "tool",
            [
                ToolResult("call_1", [Text("18C")], name="get_weather"),
                Opaque(
                    NAME,
                    "shell_call_output",
                    {"type": "shell_call_output", "call_id": "s", "output": []},
                ),
            ],
        ),
    ]


@pytest.mark.parametrize(
    "body",
    [
        {"input": "hi"},
        {"input": []},
        {"prompt": {"id": "pmpt_1"}},
        {"input": "hi", "instructions": ""},
        {"input": "hi", "instructions": "Be kind.", "stream": True, "store": True},
        {
            "input": "hi",
            "max_output_tokens": 64,
            "temperature": 0.2,
            "top_p": 0.9,
            "top_logprobs": 3,
            "include": ["message.output_text.logprobs"],
            "parallel_tool_calls": False,
            "service_tier": "flex",
        },
        {"input": "hi", "include": ["message.output_text.logprobs"]},
        {"input": "hi", "top_logprobs": 0},
        {"input": "hi", "user": "u"},
        {"input": "hi", "safety_identifier": "s", "user": "u"},
        {
            "input": "hi",
            "reasoning": {"effort": "xhigh", "summary": "auto", "context": "all_turns"},
        },
        {"input": "hi", "reasoning": {"effort": "colossal"}},
        {"input": "hi", "reasoning": {}},
        {"input": "hi", "text": {"format": {"type": "text"}, "verbosity": "low"}},
        {"input": "hi", "text": {"format": {"type": "json_object"}}},
        {"input": "hi", "text": {"format": {"type": "toml"}}},
        {
            "input": "hi",
            "text": {
                "format": {
                    "type": "json_schema",
                    "name": "n",
                    "schema": {"type": "object"},
                    "description": "d",
                    "strict": True,
                }
            },
        },
        {
            "input": "hi",
            "previous_response_id": "resp_0",
            "truncation": "auto",
            "metadata": {"a": "b"},
            "background": True,
            "max_tool_calls": 3,
            "prompt_cache_key": "k",
            "some_new_field": [1],
        },
    ],
)
def test_a_body_comes_back_as_it_was(body: dict[str, Any]) -> None:
    assert around(body) == body


def test_fields_are_where_other_dialects_look_for_them() -> None:
    request = parse_request(
        {
            "model": "m",
            "input": "hi",
            "stream": True,
            "user": "u",
            "reasoning": {"effort": "low", "summary": "auto"},
            "text": {
                "format": {"type": "json_schema", "name": "n", "schema": {}, "strict": None},
                "verbosity": "low",
            },
            "include": ["message.output_text.logprobs"],
            "store": None,
        }
    )
    assert request == Request(
        model="m",
        messages=[Message("user", [Text("hi")])],
        stream=True,
        end_user="u",
        logprobs=0,
        reasoning=ReasoningConfig(
            effort="low", include_text=True, metadata={NAME: {"summary": "auto"}}
        ),
        response_format=ResponseFormat(
            "json_schema", schema={}, name="n", metadata={NAME: {"fields": {}}}
        ),
        provider_options={
            NAME: {"text.verbosity": "low", "include": ["message.output_text.logprobs"]}
        },
        metadata={NAME: {"input": "text", "end_user": "user", "logprobs": "include"}},
    )


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"input": 1}, "input"),
        ({"input": ["x"]}, "input[0]"),
        ({"input": [{}]}, "input[0]"),
        ({"input": [{"role": 3}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": 3}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"type": 1}]}]}, "input[0].content[0].type"),
        ({"input": [{"type": "function_call", "call_id": "c"}]}, "input[0].name"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": {}}, "tools"),
        ({"tool_choice": "any"}, "tool_choice"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.name"),
        ({"max_output_tokens": "9"}, "max_output_tokens"),
        ({"text": {"format": []}}, "text.format"),
    ],
)
def test_a_malformed_request_names_the_place(body: dict[str, Any], path: str) -> None:
    with pytest.raises(MalformedRequestError) as caught:
        parse_request({"model": "m", **body})
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("url", "media_type", "data"),
    [
        ("data:image/png;base64,aGk=", "image/png", "aGk="),
        ("data:image/png;base64,aGk", "image/png", "aGk="),
        ("data:IMAGE/PNG;charset=utf-8;base64,a-_=", "image/png", "a+/="),
        ("data:image/png;base64,aG\nk%3D", "image/png", "aGk="),
        ("data:image/svg+xml,%3Csvg/%3E", "image/svg+xml", "PHN2Zy8+"),
        ("data:image/png;base64,not base64!", "image/png", "not base64!"),
    ],
)
def test_data_urls(url: str, media_type: str, data: str) -> None:
    item = {"role": "user", "content": [{"type": "input_image", "image_url": url}]}
    request = parse_request({"model": "m", "input": [item]})
    media = request.messages[0].parts[0]
    assert isinstance(media, Media)
    assert (media.media_type, media.data, media.url) == (media_type, data, "")
    assert render_request(request).body["input"] == [item]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "text", "text": "chat's spelling"},
        {"type": "input_file", "file_id": "a", "file_url": "b"},
        {"type": "input_audio", "input_audio": {}},
        {"type": "refusal", "refusal": "no", "x": 1},
    ],
)
def test_unusual_content_comes_back_as_it_was(part: dict[str, Any]) -> None:
    item = {"role": "assistant" if part["type"] == "refusal" else "user", "content": [part]}
    assert around({"input": [item]}) == {"input": [item]}
