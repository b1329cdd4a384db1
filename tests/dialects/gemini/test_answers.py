"""Whole answers from the wire."""

from __future__ import annotations

from typing import Any

import pytest

from polycall.dialects import gemini
from polycall.errors import OverloadedError, ProtocolError
from polycall.ir import (
    JSON,
    Message,
    Reasoning,
    Response,
    Text,
    ToolCall,
    Usage,
)
from tests.dialects.gemini.answers import OWN, USAGE, call_part, chunk, streamed


def test_a_whole_answer() -> None:
    body = chunk(
        {"text": "hm", "thought": True},
        {"text": "18C"},
        call_part("f", {"a": 1.0}, thoughtSignature="c2ln"),
        {"text": "", "thoughtSignature": "bGFzdA=="},
        reason="STOP",
        usageMetadata=USAGE,
        createTime="2026-07-22T23:37:37.029264Z",
    )
    body["candidates"][0] |= {"avgLogprobs": -0.5, "groundingMetadata": {"web_search": [1]}}
    response = gemini.parse_response(body)
    (made,) = response.tool_calls
    assert response == Response(
        id="r-1",
        model="gemini-3",
        created=1784763457,
        message=Message(
            "assistant",
            [
                Reasoning("hm", OWN),
                Text("18C"),
                ToolCall(
                    made.id,
                    "f",
                    '{"a":1.0}',
                    metadata={"gemini": {"thoughtSignature": "c2ln", "no_id": True}},
                ),
                Text("", {"gemini": {"thoughtSignature": "bGFzdA=="}}),
            ],
        ),
        finish_reason="tool_calls",
        raw_finish_reason="STOP",
        usage=Usage(85, 40, cached_tokens=64, reasoning_tokens=16, metadata={"gemini": USAGE}),
        metadata={
            "gemini": {
                "createTime": "2026-07-22T23:37:37.029264Z",
                "candidate": {"avgLogprobs": -0.5, "groundingMetadata": {"web_search": [1]}},
            }
        },
    )
    assert gemini.render_response(response) == body
    assert streamed(body) == response


def test_C09_calls_have_ids_of_their_own() -> None:
    body = chunk(call_part("now", {}), call_part("now", {}), reason="STOP")
    first, second = gemini.parse_response(body).tool_calls
    assert first.id != second.id
    assert "now" not in (first.id, second.id)
    assert gemini.parse_response(body).tool_calls == [first, second]
    other = gemini.parse_response({**body, "responseId": "r-2"}).tool_calls
    assert not {first.id, second.id} & {item.id for item in other}
    named = chunk({"functionCall": {"id": "fc-1", "name": "now"}}, reason="STOP")
    assert gemini.parse_response(named).tool_calls == [ToolCall("fc-1", "now", metadata=OWN)]


@pytest.mark.parametrize(
    ("wire", "finish", "raw"),
    [
        ("STOP", "stop", "STOP"),
        (1, "stop", "STOP"),
        ("MAX_TOKENS", "length", "MAX_TOKENS"),
        (2, "length", "MAX_TOKENS"),
        ("SAFETY", "content_filter", "SAFETY"),
        (3, "content_filter", "SAFETY"),
        ("RECITATION", "content_filter", "RECITATION"),
        ("BLOCKLIST", "content_filter", "BLOCKLIST"),
        ("PROHIBITED_CONTENT", "content_filter", "PROHIBITED_CONTENT"),
        ("SPII", "content_filter", "SPII"),
        ("IMAGE_SAFETY", "content_filter", "IMAGE_SAFETY"),
        ("MODEL_ARMOR", "content_filter", "MODEL_ARMOR"),
        ("UNEXPECTED_TOOL_CALL", "error", "UNEXPECTED_TOOL_CALL"),
        ("TOO_MANY_TOOL_CALLS", "error", "TOO_MANY_TOOL_CALLS"),
        ("MISSING_THOUGHT_SIGNATURE", "error", "MISSING_THOUGHT_SIGNATURE"),
        ("OTHER", "error", "OTHER"),
        ("CONTINUATION", "pause", "CONTINUATION"),
        ("BRAND_NEW", "error", "BRAND_NEW"),
        (99, "error", "99"),
        (None, "stop", ""),
    ],
)
def test_finish_reasons(wire: Any, finish: str, raw: str) -> None:
    response = gemini.parse_response(chunk({"text": "a"}, reason=wire))
    assert (response.finish_reason, response.raw_finish_reason) == (finish, raw)


def test_D10_a_malformed_call_is_an_error_with_its_message() -> None:
    candidate = {"finishReason": "MALFORMED_FUNCTION_CALL", "finishMessage": "print(", "index": 0}
    response = gemini.parse_response({"candidates": [candidate]})
    assert response == Response(
        id="",
        model="",
        message=Message("assistant"),
        finish_reason="error",
        raw_finish_reason="MALFORMED_FUNCTION_CALL",
        metadata={"gemini": {"candidate": {"finishMessage": "print("}}},
    )


@pytest.mark.parametrize(
    ("body", "raw"),
    [
        ({"promptFeedback": {"blockReason": "SAFETY"}}, "SAFETY"),
        ({"promptFeedback": {"blockReason": "NEW"}, "usageMetadata": {}}, "NEW"),
        ({"promptFeedback": {"blockReasonMessage": "why"}, "candidates": []}, ""),
    ],
)
def test_an_answer_without_candidates_was_filtered(body: JSON, raw: str) -> None:
    response = gemini.parse_response(body)
    assert (response.finish_reason, response.raw_finish_reason) == ("content_filter", raw)
    assert response.message.parts == []
    assert "candidates" not in gemini.render_response(response)
    if raw:
        assert streamed(body) == response


@pytest.mark.parametrize("body", [{"candidates": []}, {"usageMetadata": {"promptTokenCount": 3}}])
def test_an_answer_with_no_candidate_and_no_feedback_is_a_failure(body: JSON) -> None:
    with pytest.raises(ProtocolError, match="candidates"):
        gemini.parse_response(body)


@pytest.mark.parametrize("reason", ["FINISH_REASON_UNSPECIFIED", "MADE_UP"])
def test_t16_an_end_that_says_nothing_is_no_clean_end(reason: str) -> None:
    content = {"role": "model", "parts": [{"text": "half"}]}
    body = {"candidates": [{"content": content, "finishReason": reason}]}
    assert gemini.parse_response(body).finish_reason == "error"
    assert streamed(body).finish_reason == "error"


def test_a_blocked_prompt_beside_an_empty_candidate() -> None:
    body = {"candidates": [{"index": 0}], "promptFeedback": {"blockReason": "OTHER"}}
    response = gemini.parse_response(body)
    assert (response.finish_reason, response.raw_finish_reason) == ("content_filter", "OTHER")


def test_other_candidates_are_kept_whole() -> None:
    body = chunk({"text": "a"}, reason="STOP")
    other = {"content": {"parts": [{"text": "b"}]}, "finishReason": "STOP", "index": 1}
    body["candidates"].append(other)
    response = gemini.parse_response(body)
    assert response.message.parts == [Text("a")]
    assert response.metadata == {"gemini": {"candidates": [other]}}
    assert gemini.render_response(response) == body
    pieces = [
        chunk({"text": "a"}),
        {"candidates": [{"content": {"parts": [{"text": "b"}]}, "index": 1}]},
        {"candidates": [{"content": {"parts": [{"text": "c"}]}, "index": 1}]},
        {"candidates": [{"finishReason": "STOP", "index": 1}, {"finishReason": "STOP"}]},
    ]
    pieces[3]["candidates"][1]["index"] = 0
    joined = {**other, "content": {"parts": [{"text": "bc"}]}}
    assert streamed(*pieces).metadata == {"gemini": {"candidates": [joined]}}


@pytest.mark.parametrize("usage", [{}, {"promptTokenCount": None}, {"totalTokenCount": 3}])
def test_usage_that_says_nothing_is_not_reported(usage: JSON) -> None:
    response = gemini.parse_response(chunk({"text": "a"}, reason="STOP", usageMetadata=usage))
    assert not response.usage.is_reported


def test_an_error_sent_with_status_200_is_raised() -> None:
    body = {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}
    with pytest.raises(OverloadedError):
        gemini.parse_response(body)


def test_snake_case_answers_are_read() -> None:
    body = {
        "candidates": [
            {
                "content": {
                    "parts": [
                        {
                            "function_call": {"name": "f", "args": {"a_b": 1}},
                            "thought_signature": "c2ln",
                        }
                    ]
                },
                "finish_reason": "STOP",
            }
        ],
        "usage_metadata": {"prompt_token_count": 3, "candidates_token_count": 4},
        "model_version": "m",
        "response_id": "r",
    }
    response = gemini.parse_response(body)
    assert (response.id, response.model) == ("r", "m")
    assert (response.usage.input_tokens, response.usage.output_tokens) == (3, 4)
    assert response.tool_calls[0].arguments == {"a_b": 1}
    assert response.tool_calls[0].metadata["gemini"]["thoughtSignature"] == "c2ln"
