"""Rare inputs, one by one: each has an answer that somebody may depend on."""

from __future__ import annotations

import pytest

from polycall.dialects import anthropic
from polycall.dialects.anthropic import StreamDecoder, StreamEncoder
from polycall.errors import UnsupportedError
from polycall.fold import fold
from polycall.ir import (
    JSON,
    Media,
    Message,
    Opaque,
    PartDelta,
    PartEnd,
    PartStart,
    Reasoning,
    ReasoningConfig,
    Response,
    ResponseEnd,
    ResponseStart,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from polycall.schema.root import object_schema
from polycall.translation.quirks import Quirks
from tests.support import decode

from .helps import (
    MESSAGE_STOP,
    TOOL,
    again,
    assistant,
    body_of,
    delta,
    message_delta,
    message_start,
    render,
    results,
    sse,
    start,
    stop,
    user,
    warned,
)


def test_input_as_text_and_blocks_that_cannot_stand_in_results() -> None:
    body = body_of(
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "1", "name": "go", "input": '{"a": 1}'}],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "1",
                    "content": [{"type": "thinking", "thinking": "t", "signature": "s"}],
                }
            ],
        },
    )
    request = anthropic.parse_request(body)
    assert request.messages[0].tool_calls[0].arguments_json == '{"a": 1}'
    assert again(body)["messages"][1] == body["messages"][1]


def test_unknown_fields_of_messages_come_back() -> None:
    body = body_of(
        {"role": "user", "content": "a", "mood": "calm"},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "1", "name": "go", "input": {}}],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "1", "content": "x"}],
            "mood": "glad",
        },
        {"role": "system", "content": "b", "mood": "new"},
    )
    assert again(body)["messages"][3] == body["messages"][3]
    assert again(body)["messages"][0] == body["messages"][0]


def test_a_call_told_twice_among_two_messages() -> None:
    call = ToolCall("1", "go")
    wire = render(user(Text("a")), assistant(call), assistant(call), results(ToolResult("1")))
    assert [message["role"] for message in wire.body["messages"]] == ["user", "assistant", "user"]


def test_results_whose_content_is_another_dialects() -> None:
    foreign = Opaque("gemini", "executableCode", {"executableCode": {"code": "1+1"}})
    wire = render(
        user(Text("a")),
        assistant(ToolCall("1", "go")),
        results(ToolResult("1", [foreign])),
        lossy=True,
    )
    text = {"type": "text", "text": '{"executableCode":{"code":"1+1"}}'}
    assert wire.body["messages"][2]["content"] == [
        {"type": "tool_result", "tool_use_id": "1", "content": text["text"]}
    ]
    assert warned(wire) == [("emulated", "executableCode")]


def test_thoughts_and_calls_of_users_are_left_out() -> None:
    wire = render(user(Text("a"), Reasoning("t"), ToolCall("1", "go")))
    assert wire.body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "a"}]}]
    assert warned(wire) == [("unsupported", "messages.user")]


@pytest.mark.parametrize(
    ("part", "source"),
    [
        (
            Media("image", "image/jpg", "aaaa"),
            {"type": "base64", "media_type": "image/jpeg", "data": "aaaa"},
        ),
        (
            Media("image", url="https://e.org/a"),
            {"type": "url", "url": "https://e.org/a"},
        ),
        (
            Media("document", text="plain"),
            {"type": "text", "media_type": "text/plain", "data": "plain"},
        ),
        (
            Media("file", "image/png", "aaaa"),
            {"type": "base64", "media_type": "image/png", "data": "aaaa"},
        ),
        (
            Media("file", "application/octet-stream", "JVBERi0="),
            {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
        ),
        (Media("file", file_id="file_1"), {"type": "file", "file_id": "file_1"}),
    ],
)
def test_sources(part: Media, source: JSON) -> None:
    (block,) = render(user(part)).body["messages"][0]["content"]
    is_image = part.kind == "image" or part.media_type == "image/png"
    assert block == {"type": "image" if is_image else "document", "source": source}


@pytest.mark.parametrize(
    "part",
    [
        Media("image", data="????"),
        Media("file", "text/plain", "gICA"),
        Media("file", data="aaaa"),
        Media("video", "video/mp4", "aaaa"),
    ],
)
def test_sources_that_are_not_taken(part: Media) -> None:
    with pytest.raises(UnsupportedError):
        render(user(part))


@pytest.mark.parametrize(
    "source",
    [
        {"type": "content", "content": 3},
        {"type": "content", "content": [{"type": "text", "text": 3}]},
        {"type": "content", "content": ["x"]},
        {"type": "text", "media_type": "text/plain", "data": "x", "language": "ko"},
    ],
)
def test_odd_sources_come_back(source: JSON) -> None:
    body = body_of(
        {
            "role": "user",
            "content": [{"type": "document", "source": source}, {"type": "text", "text": "?"}],
        }
    )
    assert again(body) == body


def test_quirks_of_relatives() -> None:
    strict = Tool("t", "d", {"type": "object"}, strict=True)
    quirks = Quirks(strict_tools=False, reasoning_control="none", refused=frozenset({"seed"}))
    wire = render(
        user(Text("a")), tools=[strict], reasoning=ReasoningConfig(effort="low"), quirks=quirks
    )
    assert wire.body["tools"] == [
        {"name": "t", "description": "d", "input_schema": {"type": "object"}}
    ]
    assert "thinking" not in wire.body
    assert warned(wire) == [("unsupported", "reasoning"), ("adjusted", "strict")]


def test_a_root_union_is_reported() -> None:
    union: JSON = {"anyOf": [{"type": "object", "properties": {"a": {}}}]}
    wire = render(user(Text("a")), tools=[Tool("t", parameters=union)])
    assert wire.body["tools"][0]["input_schema"] == {"type": "object", "properties": {"a": {}}}
    assert warned(wire) == [("adjusted", "input_schema")]


def test_branches_without_end_are_given_up() -> None:
    endless: JSON = {"anyOf": [{"$ref": "#"}] * 9}
    assert object_schema(endless) is endless


def test_three_shapes_of_one_property() -> None:
    def branch(kind: str) -> JSON:
        return {
            "type": "object",
            "properties": {"k": {"type": kind}},
            "additionalProperties": False,
        }

    merged = object_schema({"oneOf": [branch("string"), branch("integer"), branch("null")]})
    assert merged["properties"] == {
        "k": {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]}
    }
    assert merged["additionalProperties"] is False


def test_all_of_with_a_branch_that_is_no_object() -> None:
    schema: JSON = {"allOf": [{"type": "string"}, {"type": "object"}]}
    assert object_schema(schema) is schema


def test_a_grammarless_freeform_tool() -> None:
    wire = render(user(Text("a")), tools=[Tool("sql", "Runs SQL", kind="custom"), TOOL])
    assert wire.body["tools"][0]["description"] == "Runs SQL"


def test_cache_marks_beside_the_automatic_one() -> None:
    mark = {"type": "ephemeral"}
    block = {"type": "text", "text": "x", "cache_control": mark}
    answer = {"type": "tool_result", "tool_use_id": "1", "content": [block], "cache_control": mark}
    body = body_of(
        {"role": "user", "content": [block, block]},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "1", "name": "go", "input": {}}],
        },
        {"role": "user", "content": [answer]},
        cache_control=mark,
    )
    wire = anthropic.render_request(anthropic.parse_request(body))
    assert ["cache_control" in b for b in wire.body["messages"][0]["content"]] == [False, True]
    assert warned(wire) == [("adjusted", "cache_control")]


def test_a_stop_sequence_of_another_wire() -> None:
    response = Response(
        "r",
        "m",
        Message("assistant", [Text("x"), ToolResult("1")]),
        "stop",
        metadata={"anthropic": {"stop_sequence": "END"}},
    )
    body = anthropic.render_response(response)
    assert (body["stop_reason"], body["stop_sequence"]) == ("stop_sequence", "END")
    assert body["content"] == [{"type": "text", "text": "x"}]


def test_parts_that_no_answer_has_leave_no_gap() -> None:
    encoder = StreamEncoder()
    encoder.feed(ResponseStart("r", "m"))
    assert encoder.feed(PartStart(0, ToolResult("1"))) == b""
    assert encoder.feed(PartDelta(0, "x")) == b""
    assert encoder.feed(PartEnd(0)) == b""
    assert b'"index":0' in encoder.feed(PartStart(1, Text("")))
    assert encoder.feed(PartEnd(1)).startswith(b"event: content_block_stop")
    assert encoder.feed(ResponseEnd("stop")).endswith(b'{"type":"message_stop"}\n\n')


def test_unknown_deltas_of_every_block_are_kept() -> None:
    events = decode(
        StreamDecoder(),
        [
            sse(
                message_start(),
                start(0, type="thinking", thinking="", signature="s"),
                delta(0, type="mood_delta", mood="calm"),
                stop(0),
                start(1, type="tool_use", id="t", name="go", input={}),
                delta(1, type="mood_delta", mood="glad"),
                stop(1),
                message_delta("tool_use", output_tokens=1),
                MESSAGE_STOP,
            )
        ],
    )
    assert fold(events).message.parts == [
        Reasoning("", {"anthropic": {"signature": "s", "mood": "calm"}}),
        ToolCall("t", "go", "{}", metadata={"anthropic": {"mood": "glad"}}),
    ]


def test_what_the_last_event_says_more_is_kept() -> None:
    """Bedrock's copy of this wire puts its metrics there."""
    metrics = {"inputTokenCount": 3, "firstByteLatency": 40}
    last = {**MESSAGE_STOP, "amazon-bedrock-invocationMetrics": metrics, "nothing": None}
    said = sse(message_start(), message_delta("end_turn", output_tokens=1), last)
    kept = fold(decode(StreamDecoder(), [said])).metadata["anthropic"]
    assert kept["amazon-bedrock-invocationMetrics"] == metrics
    assert not kept.keys() & {"type", "nothing"}


def test_errors_without_any_words() -> None:
    error = anthropic.parse_error(500, {"odd": 1})
    assert error.message == '{"odd":1}'
