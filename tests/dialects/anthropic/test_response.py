"""Whole answers and errors, both ways."""

from __future__ import annotations

from typing import Any

import pytest

from polycall import errors
from polycall.dialects import anthropic
from polycall.ir import (
    JSON,
    Media,
    Message,
    Opaque,
    Part,
    Reasoning,
    Refusal,
    Response,
    Text,
    ToolCall,
    Usage,
)

ANSWER: JSON = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-opus-5",
    "content": [
        {"type": "thinking", "thinking": "", "signature": "sig"},
        {"type": "redacted_thinking", "data": "d"},
        {"type": "text", "text": "Hi", "citations": [{"type": "char_location"}]},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
        {"type": "tool_use", "id": "toolu_1", "name": "ping", "input": {}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "stop_details": None,
    "container": {"id": "c", "expires_at": "2026-11-20T22:00:00Z"},
    "of_tomorrow": 1,
    "usage": {
        "input_tokens": 10,
        "cache_read_input_tokens": 20,
        "cache_creation_input_tokens": 5,
        "cache_creation": {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 0},
        "output_tokens": 9,
        "output_tokens_details": {"thinking_tokens": 4},
        "service_tier": "standard",
    },
}


def answer(*content: JSON, reason: str | None = "end_turn", **more: Any) -> JSON:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": list(content),
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
        **more,
    }


def test_an_answer_is_read() -> None:
    assert anthropic.parse_response(ANSWER) == Response(
        id="msg_1",
        model="claude-opus-5",
        message=Message(
            "assistant",
            [
                Reasoning("", {"anthropic": {"signature": "sig"}}),
                Reasoning("", {"anthropic": {"redacted_data": "d"}}),
                Text("Hi", {"anthropic": {"citations": [{"type": "char_location"}]}}),
                Opaque("anthropic", "web_search_tool_result", ANSWER["content"][3]),
                ToolCall("toolu_1", "ping", "{}"),
            ],
        ),
        finish_reason="tool_calls",
        raw_finish_reason="tool_use",
        usage=Usage(
            input_tokens=35,
            output_tokens=9,
            cached_tokens=20,
            cache_write_tokens=5,
            reasoning_tokens=4,
            metadata={"anthropic": ANSWER["usage"]},
        ),
        metadata={
            "anthropic": {
                "container": {"id": "c", "expires_at": "2026-11-20T22:00:00Z"},
                "of_tomorrow": 1,
            }
        },
    )


def test_an_answer_comes_back() -> None:
    without_nulls = {key: value for key, value in ANSWER.items() if key != "stop_details"}
    assert anthropic.render_response(anthropic.parse_response(ANSWER)) == without_nulls


@pytest.mark.parametrize(
    ("raw", "finish"),
    [
        ("end_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("stop_sequence", "stop"),
        ("pause_turn", "pause"),
        ("compaction", "pause"),
        ("refusal", "refusal"),
        ("of_tomorrow", "error"),
        ("tool_use", "stop"),  # B19: no calls, so not `tool_calls`
        (None, "stop"),
    ],
)
def test_stop_reasons(raw: str | None, finish: str) -> None:
    response = anthropic.parse_response(answer({"type": "text", "text": "x"}, reason=raw))
    assert (response.finish_reason, response.raw_finish_reason) == (finish, raw or "")
    rendered = anthropic.render_response(response)["stop_reason"]
    assert rendered == (raw or "end_turn")


def test_b14_a_call_is_always_tool_use() -> None:
    call = {"type": "tool_use", "id": "t", "name": "go", "input": {}}
    response = anthropic.parse_response(answer(call, reason="end_turn"))
    assert response.finish_reason == "tool_calls"
    assert anthropic.render_response(response)["stop_reason"] == "tool_use"
    cut = anthropic.parse_response(answer(call, reason="max_tokens"))
    assert cut.finish_reason == "length"
    assert anthropic.render_response(cut)["stop_reason"] == "max_tokens"


def test_a_refusal_keeps_its_details() -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": "policy"}
    body = answer(reason="refusal", stop_details=details)
    response = anthropic.parse_response(body)
    assert response.message.parts == []
    assert response.metadata == {"anthropic": {"stop_details": details}}
    assert anthropic.render_response(response) == body


def test_the_sequence_that_stopped_it_comes_back() -> None:
    body = answer({"type": "text", "text": "x"}, reason="stop_sequence", stop_sequence="END")
    assert anthropic.render_response(anthropic.parse_response(body)) == body


@pytest.mark.parametrize(
    ("wire", "usage"),
    [
        ({"input_tokens": 3, "output_tokens": 4}, Usage(3, 4)),
        (
            {"input_tokens": 3, "output_tokens": 4, "cache_read_input_tokens": None},
            Usage(3, 4),
        ),
        (
            {
                "input_tokens": 0,
                "output_tokens": 4,
                "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 3},
            },
            Usage(5, 4, cache_write_tokens=5),
        ),
        ({}, Usage()),
    ],
)
def test_usage(wire: JSON, usage: Usage) -> None:
    parsed = anthropic.parse_response(answer(usage=wire)).usage
    own = {key: value for key, value in wire.items() if value is not None}
    assert parsed == Usage(
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_tokens,
        usage.cache_write_tokens,
        usage.reasoning_tokens,
        metadata={"anthropic": own},
    )


def test_an_answer_without_usage() -> None:
    body = {key: value for key, value in answer().items() if key != "usage"}
    assert anthropic.parse_response(body).usage == Usage()


@pytest.mark.parametrize("body", [{}, {"content": "x"}, {"content": [1]}, {"content": [{}]}])
def test_nonsense_is_a_protocol_error(body: JSON) -> None:
    with pytest.raises(errors.ProtocolError):
        anthropic.parse_response(body)


def test_an_error_under_status_200_is_raised() -> None:
    body = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    with pytest.raises(errors.OverloadedError) as caught:
        anthropic.parse_response(body)
    assert (caught.value.status, caught.value.body) == (200, body)


def test_calls_without_ids_get_them() -> None:
    call = {"type": "tool_use", "name": "go", "input": {"a": 1}}
    first, second = anthropic.parse_response(answer(call, call)).tool_calls
    assert first.id.startswith("call_")
    assert first.id != second.id
    assert anthropic.parse_response(answer(call, call)).tool_calls == [first, second]


@pytest.mark.parametrize(
    ("finish", "raw", "reason"),
    [
        ("stop", "STOP", "end_turn"),
        ("tool_calls", "STOP", "tool_use"),
        ("length", "MAX_TOKENS", "max_tokens"),
        ("content_filter", "SAFETY", "refusal"),
        ("refusal", "", "refusal"),
        ("pause", "CONTINUATION", "pause_turn"),
        ("error", "MALFORMED_FUNCTION_CALL", "max_tokens"),
        ("stop", "refusal", "end_turn"),
    ],
)
def test_reasons_of_others(finish: Any, raw: str, reason: str) -> None:
    response = Response("r", "m", Message("assistant", [Text("x")]), finish, raw)
    assert anthropic.render_response(response)["stop_reason"] == reason


def test_an_answer_from_elsewhere() -> None:
    parts: list[Part] = [
        Reasoning("thought", {"gemini": {"thoughtSignature": "g"}}),
        Reasoning("", {"openai-responses": {"encrypted_content": "e"}}),
        Text("", {"gemini": {"thoughtSignature": "g"}}),
        Text("Hello"),
        Refusal("but no"),
        Media("image", "image/png", "aaaa"),
        Opaque("openai-responses", "web_search_call", {}),
        ToolCall("functions.go:0", "go", '{"a": 1}'),
        ToolCall("call_2", "go", '{"cut'),
    ]
    response = Response(
        "chatcmpl-1",
        "gpt",
        Message("assistant", parts),
        "tool_calls",
        "tool_calls",
        Usage(100, 20, cached_tokens=60, cache_write_tokens=10, reasoning_tokens=5),
    )
    assert anthropic.render_response(response) == {
        "id": "msg_chatcmpl-1",
        "type": "message",
        "role": "assistant",
        "model": "gpt",
        "content": [
            {"type": "thinking", "thinking": "thought", "signature": ""},
            {"type": "text", "text": "Hello", "citations": []},
            {"type": "text", "text": "but no", "citations": []},
            {"type": "text", "text": "[image left out: image/png]", "citations": []},
            {
                "type": "tool_use",
                "id": "pc64_ZnVuY3Rpb25zLmdvOjA",
                "name": "go",
                "input": {"a": 1},
                "caller": {"type": "direct"},
            },
            {
                "type": "tool_use",
                "id": "call_2",
                "name": "go",
                "input": {"invalid_arguments_json": '{"cut'},
                "caller": {"type": "direct"},
            },
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        # The vendor's clients want every field of its schema, with nothing in it if need be.
        "stop_details": None,
        "container": None,
        "usage": {
            "cache_creation": None,
            "inference_geo": None,
            "server_tool_use": None,
            "service_tier": None,
            "input_tokens": 30,
            "cache_creation_input_tokens": 10,
            "cache_read_input_tokens": 60,
            "output_tokens": 20,
            "output_tokens_details": {"thinking_tokens": 5},
        },
    }


@pytest.mark.parametrize("given", ["", "with space", "é"])
def test_ids_of_answers_are_made_where_none_fits(given: str) -> None:
    response = Response(given, "m", Message("assistant"), "stop")
    made = anthropic.render_response(response)["id"]
    assert made.startswith("msg_")
    assert made == anthropic.render_response(response)["id"]


# ---------------------------------------------------------------------------------------------
# Errors


def error_body(kind: str, message: str = "why", **details: Any) -> JSON:
    error: JSON = {"type": kind, "message": message}
    if details:
        error["details"] = details
    return {"type": "error", "error": error, "request_id": "req_1"}


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (400, "invalid_request_error", errors.InvalidRequestError),
        (401, "authentication_error", errors.AuthenticationError),
        (402, "billing_error", errors.BillingError),
        (403, "permission_error", errors.PermissionDeniedError),
        (404, "not_found_error", errors.NotFoundError),
        (413, "request_too_large", errors.RequestTooLargeError),
        (429, "rate_limit_error", errors.RateLimitError),
        (500, "api_error", errors.ServerError),
        (504, "timeout_error", errors.UpstreamTimeoutError),
        (529, "overloaded_error", errors.OverloadedError),
    ],
)
def test_errors_go_there_and_come_back(
    status: int, kind: str, expected: type[errors.UpstreamError]
) -> None:
    body = error_body(kind)
    error = anthropic.parse_error(status, body)
    assert type(error) is expected
    assert (error.status, error.type, error.message) == (status, kind, "why")
    assert error.request_id == "req_1"
    assert anthropic.render_error(error) == (status, body)
    assert type(anthropic.parse_error(200, body)) is expected
    # Without its status, what is too large is a prompt with too many tokens, which is a 400.
    made = expected("why", status=status)
    assert anthropic.render_error(made) == (
        status,
        {"type": "error", "error": {"type": kind, "message": "why"}},
    )


@pytest.mark.parametrize(
    ("status", "body", "expected", "message"),
    [
        (502, "<html>bad gateway</html>", errors.ServerError, "<html>bad gateway</html>"),
        (503, b"busy", errors.OverloadedError, "busy"),
        (500, None, errors.ServerError, "the provider answered with status 500"),
        (401, {"error": "no key"}, errors.AuthenticationError, "no key"),
        (403, {"message": "forbidden"}, errors.PermissionDeniedError, "forbidden"),
        (404, {"detail": "nothing here"}, errors.NotFoundError, "nothing here"),
        (429, [{"error": {"message": "slow"}}], errors.RateLimitError, "slow"),
        (418, {"error": {"type": "teapot", "message": "x"}}, errors.InvalidRequestError, "x"),
        (409, error_body("conflict_error"), errors.ServerError, "why"),
        (
            400,
            error_body("invalid_request_error", "prompt is too long: 9 tokens > 8 maximum"),
            errors.RequestTooLargeError,
            "prompt is too long: 9 tokens > 8 maximum",
        ),
        (
            400,
            error_body("invalid_request_error", "Your credit balance is too low to go on"),
            errors.BillingError,
            "Your credit balance is too low to go on",
        ),
        (
            429,
            error_body("rate_limit_error", error_code="enforced_spend_limit_reached"),
            errors.BillingError,
            "why",
        ),
    ],
)
def test_errors_of_any_shape(
    status: int, body: Any, expected: type[errors.UpstreamError], message: str
) -> None:
    error = anthropic.parse_error(status, body)
    assert type(error) is expected
    assert error.message == message
    assert error.body == body


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (errors.MalformedRequestError("bad", path="messages"), 400, "invalid_request_error"),
        (errors.UnsupportedError("no", feature="n"), 400, "invalid_request_error"),
        (errors.TruncatedError("cut"), 502, "api_error"),
        (errors.ProtocolError("nonsense"), 502, "api_error"),
        (errors.UpstreamConnectionError("refused"), 502, "api_error"),
        (errors.UpstreamError("unknown"), 500, "api_error"),
        (errors.PolycallError("own"), 500, "api_error"),
        (errors.OverloadedError("busy", status=503), 529, "overloaded_error"),
    ],
)
def test_errors_of_others(error: errors.PolycallError, status: int, kind: str) -> None:
    body = {"type": "error", "error": {"type": kind, "message": str(error)}}
    assert anthropic.render_error(error) == (status, body)


def test_a_body_of_another_dialect_is_not_given_back() -> None:
    foreign = {"type": "error", "error": {"type": "server_error", "message": "m", "code": None}}
    error = errors.ServerError("m", status=500, body=foreign, request_id="req_9")
    assert anthropic.render_error(error) == (
        500,
        {
            "type": "error",
            "error": {"type": "api_error", "message": "m"},
            "request_id": "req_9",
        },
    )
