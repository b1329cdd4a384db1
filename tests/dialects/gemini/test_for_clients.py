"""Answers for a client, whole and streamed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from polycall.dialects import gemini
from polycall.errors import OverloadedError, RateLimitError
from polycall.fold import unfold
from polycall.ir import (
    JSON,
    Event,
    Media,
    Message,
    Opaque,
    PartDelta,
    PartEnd,
    PartStart,
    Reasoning,
    Refusal,
    Request,
    Response,
    ResponseEnd,
    ResponseStart,
    Text,
    ToolCall,
    Usage,
)
from tests.dialects.gemini.answers import OWN, encoded

FOREIGN = Response(
    id="msg_1",
    model="claude",
    message=Message(
        "assistant",
        [
            Reasoning("hm", {"anthropic": {"signature": "???"}}),
            Reasoning("", {"anthropic": {"redacted": "x"}}),
            Text("one"),
            Opaque("anthropic", "server_tool_use", {}),
            Media("image", "image/png", data="AAAA"),
            Refusal("no"),
            ToolCall("toolu_1", "f", '{"a":1}', metadata={"anthropic": {}}),
            ToolCall("toolu_2", "g", "", namespace="ns"),
        ],
    ),
    finish_reason="tool_calls",
    raw_finish_reason="tool_use",
    usage=Usage(10, 7, cached_tokens=4, reasoning_tokens=2, metadata={"anthropic": {"x": 1}}),
)
FOREIGN_PARTS: list[JSON] = [
    {"text": "hm", "thought": True},
    {"text": "one"},
    {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
    {"text": "no"},
    {"functionCall": {"id": "toolu_1", "name": "f", "args": {"a": 1}}},
    {"functionCall": {"id": "toolu_2", "name": "ns__g", "args": {}}},
]
FOREIGN_USAGE = {
    "promptTokenCount": 10,
    "candidatesTokenCount": 5,
    "totalTokenCount": 17,
    "thoughtsTokenCount": 2,
    "cachedContentTokenCount": 4,
}


def test_an_answer_of_another_provider() -> None:
    assert gemini.render_response(FOREIGN) == {
        "candidates": [
            {
                "content": {"role": "model", "parts": FOREIGN_PARTS},
                "index": 0,
                "finishReason": "STOP",
            }
        ],
        "usageMetadata": FOREIGN_USAGE,
        "modelVersion": "claude",
        "responseId": "msg_1",
    }


def test_a_stream_of_another_provider() -> None:
    head = {"modelVersion": "claude", "responseId": "msg_1"}
    chunks = [
        {"candidates": [{"content": {"role": "model", "parts": [part]}, "index": 0}], **head}
        for part in FOREIGN_PARTS
    ]
    last = {"content": {"role": "model", "parts": [{"text": ""}]}, "index": 0}
    chunks.append(
        {
            "candidates": [{**last, "finishReason": "STOP"}],
            "usageMetadata": FOREIGN_USAGE,
            **head,
        }
    )
    assert encoded(list(unfold(FOREIGN))) == chunks


@pytest.mark.parametrize(
    ("finish", "raw", "reason"),
    [
        ("stop", "end_turn", "STOP"),
        ("length", "max_tokens", "MAX_TOKENS"),
        ("content_filter", "content_filter", "SAFETY"),
        ("refusal", "refusal", "SAFETY"),
        ("pause", "pause_turn", "MAX_TOKENS"),
        ("pause", "CONTINUATION", "MAX_TOKENS"),
        ("error", "", "OTHER"),
        ("content_filter", "RECITATION", "RECITATION"),
    ],
)
def test_finish_reasons_for_a_client(finish: Any, raw: str, reason: str) -> None:
    own: JSON = {"candidate": {"continuationToken": "AAAA"}}
    response = Response("1", "m", Message("assistant"), finish, raw, metadata={"gemini": own})
    (candidate,) = gemini.render_response(response)["candidates"]
    assert candidate == {
        "content": {"role": "model", "parts": []},
        "index": 0,
        "finishReason": reason,
    }


def test_arguments_that_are_no_object_never_reach_a_client() -> None:
    parts = [Text("a"), ToolCall("1", "f", '{"a":'), ToolCall("2", "g", "{}")]
    response = Response("r", "m", Message("assistant", parts), "tool_calls")
    wanted = {
        "finishReason": "MALFORMED_FUNCTION_CALL",
        "finishMessage": 'Malformed function call: f({"a":)',
    }
    (candidate,) = gemini.render_response(response)["candidates"]
    assert candidate == {
        "content": {
            "role": "model",
            "parts": [{"text": "a"}, {"functionCall": {"id": "2", "name": "g", "args": {}}}],
        },
        "index": 0,
        **wanted,
    }
    *_, last = encoded(list(unfold(response)))
    assert {key: last["candidates"][0][key] for key in wanted} == wanted
    assert gemini.parse_response(last).finish_reason == "error"


def test_fragments_of_arguments_are_sent_whole() -> None:
    events: list[Event] = [
        ResponseStart("r", "m"),
        PartStart(0, ToolCall("1", "f", "")),
        PartDelta(0, '{"a"'),
        PartDelta(0, ":1}"),
        PartEnd(0),
        ResponseEnd("tool_calls"),
    ]
    first, _ = encoded(events)
    assert first["candidates"][0]["content"]["parts"] == [
        {"functionCall": {"id": "1", "name": "f", "args": {"a": 1}}}
    ]


def test_a_signature_that_comes_late_follows_on_an_empty_text() -> None:
    events: list[Event] = [
        ResponseStart("r", "m"),
        PartStart(0, Reasoning("", OWN)),
        PartDelta(0, "hm"),
        PartEnd(0, {"gemini": {"thoughtSignature": "c2ln"}}),
        ResponseEnd("stop"),
    ]
    first, second, _ = encoded(events)
    assert first["candidates"][0]["content"]["parts"] == [{"text": "hm", "thought": True}]
    assert second["candidates"][0]["content"]["parts"] == [
        {"text": "", "thought": True, "thoughtSignature": "c2ln"}
    ]


def test_a_stream_can_be_a_json_array() -> None:
    events = list(unfold(FOREIGN))
    encoder = gemini.StreamEncoder(framing="json-array")
    raw = b"".join(encoder.feed(event) for event in events) + encoder.close()
    assert json.loads(raw) == encoded(events)
    assert encoder.close() == b""
    empty = gemini.StreamEncoder(framing="json-array")
    assert empty.close() == b"[]"
    failed = gemini.StreamEncoder(framing="json-array")
    (body,) = json.loads(failed.fail(RateLimitError("slow down")))
    assert body["error"]["code"] == 429


def test_fail_ends_a_stream_with_an_error_frame() -> None:
    encoder = gemini.StreamEncoder()
    raw = encoder.feed(ResponseStart("r", "m")) + encoder.fail(OverloadedError("busy"))
    assert raw == (b'data: {"error":{"code":503,"message":"busy","status":"UNAVAILABLE"}}\r\n\r\n')
    assert encoder.close() == b""


def test_a_blocked_prompt_is_encoded_without_candidates() -> None:
    body = {"promptFeedback": {"blockReason": "SAFETY"}, "responseId": "r"}
    assert encoded(list(unfold(gemini.parse_response(body)))) == [body]


def test_the_model_of_the_request_names_an_answer_without_one() -> None:
    request = Request("gemini-x", [])
    response = Response("", "", Message("assistant", [Text("a")]), "stop")
    assert gemini.render_response(response, request)["modelVersion"] == "gemini-x"
    first, _ = encoded(list(unfold(response)), request=request)
    assert first["modelVersion"] == "gemini-x"
