"""Requests from other dialects: what is said, what is told otherwise, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from polycall.dialects.openai_responses import render_request
from polycall.errors import UnsupportedError
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
from polycall.translation.quirks import Quirks
from tests.support import PIXEL

PDF = "JVBERi0xLjQgJSVFT0Y="

NAME = "openai-responses"


def sent(*messages: Message, **fields: Any) -> Any:
    """The input items of messages from elsewhere."""
    return render_request(Request("m", [*messages], **fields)).body["input"]


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
                    ToolResult("c1", [Text("boom"), Media("image", "image/png", PIXEL)], True),
                    ToolResult("c2", [Media("document", "application/pdf", PDF)]),
                ],
            ),
        ],
    )
    image = {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}"}
    file = {
        "type": "input_file",
        "file_data": f"data:application/pdf;base64,{PDF}",
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
        ("emulated", "stop"),
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
            Request("m", [Message("user", [Opaque("anthropic", "container_upload", {})])]),
            "container_upload",
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
        {"effort": "high"},
        {"effort": "xhigh"},
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
                        Media("image", "image/png", PIXEL),
                        Media("audio", "audio/wav", "aGk="),
                        ToolCall("c", "f", caller="srvtoolu_1"),
                        ToolResult("c", [Text("r")]),
                        Opaque("anthropic", "server_tool_use", {}),
                    ],
                ),
                Message("tool", [Text("and"), Media("image", url="https://x/i.png")]),
                Message("assistant", [ToolCall("d", "g")]),
                Message("tool", [ToolResult("d", [Media("video", url="https://x/v")])]),
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
            ],
            lossy=True,
        )
    )
    image = {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}"}
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
        {"type": "function_call", "call_id": "d", "name": "g", "arguments": "{}"},
        {
            "type": "function_call_output",
            "call_id": "d",
            "output": [
                {"type": "input_text", "text": "[video, https://x/v: not shown to this model]"}
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
    ]
    assert [warning.feature for warning in wire.warnings] == [
        "server_tool_use",
        "messages.name",
        "assistant.media",
        "audio",
        "caller",
        "tool_result.media",
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
