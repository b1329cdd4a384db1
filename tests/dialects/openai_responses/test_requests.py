"""Requests: every input item, every field, and what comes from other dialects."""

from __future__ import annotations

from typing import Any

import pytest

from polycall.dialects.openai_responses import parse_request, render_request
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
    ToolResult,
    Warning,
)
from polycall.quirks import Quirks

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


def sent(*messages: Message, **fields: Any) -> Any:
    """The input items of messages from elsewhere."""
    return render_request(Request("m", [*messages], **fields)).body["input"]


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


# ---------------------------------------------------------------------------------------------
# From other dialects


def test_a_foreign_request_is_stateless() -> None:
    wire = render_request(
        Request(
            "m",
            [
                Message("system", [Text("Be kind.")]),
                Message("system", [Text("Be brief.")]),
                Message("user", [Text("hi")]),
                Message("assistant", [Text("a"), Text("b"), Refusal("no")]),
                Message("assistant", [Text("")]),
                Message("system", [Text("Now in Korean.")]),
                Message("user", [Text("x"), Text("y")]),
            ],
            stream=True,
            end_user="u",
        )
    )
    assert (wire.path, wire.warnings) == ("/responses", [])
    assert wire.body == {
        "model": "m",
        "instructions": "Be kind.\n\nBe brief.",
        "input": [
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "content": [
                    {"type": "output_text", "text": "a"},
                    {"type": "output_text", "text": "b"},
                    {"type": "refusal", "refusal": "no"},
                ],
            },
            {"role": "system", "content": "Now in Korean."},
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "x"},
                    {"type": "input_text", "text": "y"},
                ],
            },
        ],
        "stream": True,
        "safety_identifier": "u",
        "store": False,
        "include": ["reasoning.encrypted_content"],
    }


def test_own_options_win_over_the_stateless_defaults() -> None:
    options = {NAME: {"store": True, "truncation": "auto"}}
    body = render_request(Request("m", [], provider_options=options)).body
    assert body == {"model": "m", "input": [], "store": True, "truncation": "auto"}


def test_reasoning_of_others_is_dropped_with_a_word() -> None:
    wire = render_request(
        Request(
            "m",
            [
                Message(
                    "assistant",
                    [
                        Reasoning("secret", metadata={"anthropic": {"signature": "s"}}),
                        ToolCall("c", "f", "", metadata={NAME: {"id": "fc_1"}}),
                    ],
                ),
                Message("tool", [ToolResult("c", [Text("r")])]),
            ],
        )
    )
    # Without its reasoning, an item must not go by its stored id either.
    assert wire.body["input"] == [
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "r"},
    ]
    assert wire.warnings == [
        Warning("dropped_state", "reasoning", "reasoning that this provider cannot take back")
    ]


def test_own_reasoning_goes_back_unchanged_or_not_at_all() -> None:
    whole = Reasoning(
        "t",
        metadata={
            NAME: {
                "id": "rs_1",
                "fields": {
                    "summary": [{"type": "summary_text", "text": "t"}],
                    "encrypted_content": "e",
                },
            }
        },
    )
    stored = Reasoning("t", metadata={NAME: {"id": "rs_1", "fields": {"summary": []}}})
    carried = Reasoning("t", metadata={NAME: {"fields": {"encrypted_content": "e"}}})
    item = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "t"}]}
    end = {"role": "assistant", "content": "x"}
    assert sent(Message("assistant", [whole, Text("x")])) == [
        {**item, "id": "rs_1", "encrypted_content": "e"},
        end,
    ]
    assert sent(Message("assistant", [carried, Text("x")])) == [
        {**item, "encrypted_content": "e"},
        end,
    ]
    # An id alone is "not found" where nothing is stored; reasoning alone is refused, too.
    assert sent(Message("assistant", [stored, Text("x")])) == [end]
    assert sent(Message("assistant", [whole])) == []


def test_results_with_errors_and_media() -> None:
    request = Request(
        "m",
        [
            Message("assistant", [ToolCall("c1", "f"), ToolCall("c2", "g")]),
            Message(
                "tool",
                [
                    ToolResult("c1", [Text("boom"), Media("image", "image/png", "aGk=")], True),
                    ToolResult("c2", [Media("document", "application/pdf", "aGk=")]),
                ],
            ),
        ],
    )
    image = {"type": "input_image", "image_url": "data:image/png;base64,aGk="}
    file = {
        "type": "input_file",
        "file_data": "data:application/pdf;base64,aGk=",
        "filename": "document.pdf",
    }
    error = {"type": "input_text", "text": '{"error":"boom"}'}
    wire = render_request(request)
    assert [item["output"] for item in wire.body["input"][2:]] == [[error, image], [file]]
    assert [warning.feature for warning in wire.warnings] == ["is_error"]

    plain = render_request(request, quirks=Quirks(result_media=False))
    stub = {"type": "input_text", "text": "[attached below]"}
    assert [item.get("output") for item in plain.body["input"][2:]] == [[error, stub], [stub], None]
    assert plain.body["input"][-1] == {"role": "user", "content": [image, file]}


def test_orphans_are_repaired() -> None:
    request = Request(
        "m",
        [
            Message("assistant", [ToolCall("c1", "f"), ToolCall("c2", "calc", kind="custom")]),
            Message("tool", [ToolResult("c1", [Text("r")]), ToolResult("gone", [Text("x")])]),
            Message("user", [Text("stop")]),
            Message("assistant", [ToolCall("c3", "f")]),
        ],
    )
    wire = render_request(request)
    assert [item.get("call_id", item.get("role")) for item in wire.body["input"]] == [
        "c1",
        "c2",
        "c1",
        "c2",
        "user",
        "c3",
    ]
    assert wire.body["input"][3] == {
        "type": "custom_tool_call_output",
        "call_id": "c2",
        "output": '{"error":"no result: the call was interrupted"}',
    }
    assert [warning.feature for warning in wire.warnings] == [
        "orphan_tool_result",
        "orphan_tool_call",
    ]


def test_long_call_ids_are_shortened_alike() -> None:
    long = "toolu_" + "x" * 80
    items = sent(
        Message("assistant", [ToolCall(long, "f")]), Message("tool", [ToolResult(long, [Text("")])])
    )
    assert items[0]["call_id"] == items[1]["call_id"]
    assert len(items[0]["call_id"]) <= 64


def test_what_has_no_counterpart_is_told() -> None:
    wire = render_request(
        Request("m", [], stop=["END"], seed=1, top_k=2, presence_penalty=0.1, frequency_penalty=0.2)
    )
    assert [(warning.kind, warning.feature) for warning in wire.warnings] == [
        ("unsupported", "stop"),
        ("unsupported", "top_k"),
        ("unsupported", "seed"),
        ("unsupported", "presence_penalty"),
        ("unsupported", "frequency_penalty"),
    ]
    assert wire.body.keys() == {"model", "input", "store", "include"}


@pytest.mark.parametrize(
    ("request_", "feature"),
    [
        (Request("m", [], candidates=2), "candidates"),
        (Request("m", [Message("user", [Media("audio", "audio/wav", "aGk=")])]), "audio"),
        (Request("m", [Message("user", [Media("image", file_id="file_01ab")])]), "file_id"),
        (
            Request("m", [Message("user", [Opaque("anthropic", "search_result", {})])]),
            "search_result",
        ),
        (Request("m", [], provider_options={"gemini": {"cachedContent": "c"}}), "cachedContent"),
    ],
)
def test_what_would_change_the_answer_is_refused(request_: Request, feature: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        render_request(request_)
    assert caught.value.feature == feature


def test_effort_from_a_budget() -> None:
    def effort(budget: int) -> Any:
        config = ReasoningConfig(budget_tokens=budget)
        return render_request(Request("m", [], reasoning=config)).body.get("reasoning")

    assert [effort(tokens) for tokens in (-1, 0, 2000, 10_000, 30_000)] == [
        None,
        {"effort": "none"},
        {"effort": "low"},
        {"effort": "medium"},
        {"effort": "high"},
    ]
    shown = ReasoningConfig(effort="high", include_text=True)
    assert render_request(Request("m", [], reasoning=shown)).body["reasoning"] == {
        "effort": "high",
        "summary": "auto",
    }


def test_a_schema_that_is_not_strict_enough_is_sent_as_it_is() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    format_ = ResponseFormat("json_schema", schema=schema, strict=True)
    wire = render_request(Request("m", [], response_format=format_))
    assert wire.body["text"]["format"] == {
        "type": "json_schema",
        "name": "response",
        "schema": schema,
        "strict": False,
    }
    assert [warning.feature for warning in wire.warnings] == ["response_format.strict"]


def test_quirks_leave_out_what_a_server_does_not_take() -> None:
    request = Request(
        "m",
        [],
        temperature=0.5,
        service_tier="flex",
        reasoning=ReasoningConfig(effort="low"),
        parallel_tool_calls=None,
        provider_options={NAME: {"truncation": "auto"}},
    )
    quirks = Quirks(
        refused=frozenset({"temperature"}),
        options=frozenset({"store"}),
        reasoning_control="none",
    )
    wire = render_request(request, quirks=quirks)
    assert wire.body == {"model": "m", "input": [], "service_tier": "flex", "store": False}
    assert [warning.feature for warning in wire.warnings] == [
        "reasoning",
        "truncation",
        "include",
        "temperature",
    ]


def test_what_a_server_of_this_dialect_may_lack() -> None:
    call_id = "call-with-dashes"
    request = Request(
        "m",
        [
            Message("assistant", [ToolCall(call_id, "f")]),
            Message("tool", [ToolResult(call_id, [Text("r")])]),
        ],
        tools=[Tool("f", strict=True)],
        parallel_tool_calls=True,
        response_format=ResponseFormat("text"),
    )
    quirks = Quirks(
        call_id_pattern="[a-z0-9]{9}", call_id_length=9, parallel_switch=False, strict_tools=False
    )
    wire = render_request(request, quirks=quirks)
    ids = {item["call_id"] for item in wire.body["input"]}
    assert len(ids) == 1
    assert all(len(each) == 9 and each.isalnum() for each in ids)
    assert "parallel_tool_calls" not in wire.body
    assert "strict" not in wire.body["tools"][0]
    assert wire.body["text"] == {"format": {"type": "text"}}
    assert [warning.feature for warning in wire.warnings] == ["strict", "parallel_tool_calls"]
    with pytest.raises(UnsupportedError):
        render_request(
            Request("m", [], response_format=ResponseFormat("json")),
            quirks=Quirks(response_formats=frozenset()),
        )
    lossy = Request("m", [], response_format=ResponseFormat("json"), lossy=True)
    assert "text" not in render_request(lossy, quirks=Quirks(response_formats=frozenset())).body


def test_log_probabilities_are_asked_for_in_both_places() -> None:
    body = render_request(Request("m", [], logprobs=2)).body
    assert body["top_logprobs"] == 2
    assert body["include"] == ["reasoning.encrypted_content", "message.output_text.logprobs"]


def test_parts_in_unusual_places() -> None:
    wire = render_request(
        Request(
            "m",
            [
                Message("user", [Refusal("no"), Text("x")], name="Kim"),
                Message("user", []),
                Message(
                    "assistant",
                    [
                        Media("image", "image/png", "aGk="),
                        Media("audio", "audio/wav", "aGk="),
                        ToolCall("c", "f", caller="srvtoolu_1"),
                        ToolResult("c", [Text("r")]),
                        Opaque("anthropic", "server_tool_use", {}),
                    ],
                ),
                Message("tool", [Text("and"), Media("image", url="https://x/i.png")]),
                Message(
                    "user",
                    [
                        Media("document", text="words", filename="a.txt"),
                        Media("document", text="bare"),
                        Media("document", url="https://x/a.pdf"),
                        Media("video", url="https://x/v"),
                        Media("file", "application/zip", data="aGk="),
                    ],
                ),
                Message("tool", [ToolResult("c", [Media("video", url="https://x/v")])]),
            ],
            lossy=True,
        )
    )
    image = {"type": "input_image", "image_url": "data:image/png;base64,aGk="}
    assert wire.body["input"] == [
        {
            "role": "user",
            "content": [{"type": "input_text", "text": "no"}, {"type": "input_text", "text": "x"}],
        },
        {"role": "user", "content": [image]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "r"},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "and"},
                {"type": "input_image", "image_url": "https://x/i.png"},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "a.txt\n\nwords"},
                {"type": "input_text", "text": "bare"},
                {"type": "input_file", "file_url": "https://x/a.pdf"},
                {
                    "type": "input_file",
                    "file_data": "data:application/zip;base64,aGk=",
                    "filename": "document.bin",
                },
            ],
        },
        {"type": "function_call_output", "call_id": "c", "output": []},
    ]
    assert [warning.feature for warning in wire.warnings] == [
        "name",
        "assistant.media",
        "audio",
        "caller",
        "server_tool_use",
        "document",
        "video",
    ]


def test_a_program_of_this_dialect_keeps_its_calls() -> None:
    program = {"type": "program", "call_id": "call_p", "code": "x"}
    items = sent(
        Message(
            "assistant", [Opaque(NAME, "program", program), ToolCall("c", "f", caller="call_p")]
        )
    )
    assert items == [
        program,
        {
            "type": "function_call",
            "call_id": "c",
            "name": "f",
            "arguments": "{}",
            "caller": {"type": "program", "caller_id": "call_p"},
        },
    ]


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
