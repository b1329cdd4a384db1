"""Whole answers: what they mean, and what a client of OpenAI reads."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

from polycall.dialects.openai_chat import parse_request, parse_response, render_response
from polycall.errors import PolycallError, ProtocolError, RateLimitError, UpstreamError
from polycall.ir import (
    FinishReason,
    Media,
    Message,
    Opaque,
    Reasoning,
    Refusal,
    Response,
    Text,
    ToolCall,
    Usage,
)
from tests.dialects.openai_chat.chunks import NAME, USER, body_of, called, function, request

USAGE = {
    "prompt_tokens": 80,
    "completion_tokens": 40,
    "total_tokens": 120,
    "prompt_tokens_details": {"cached_tokens": 64, "cache_write_tokens": 2},
    "completion_tokens_details": {"reasoning_tokens": 16},
}


def test_an_answer_means_what_it_says() -> None:
    body = body_of(
        {
            "content": "Checking.",
            "refusal": None,
            "annotations": [],
            "tool_calls": [function("w", '{"city": "Paris"}'), function("t", "", "b")],
        },
        "tool_calls",
        usage=USAGE,
        service_tier="default",
        system_fingerprint=None,
    )
    expected = Response(
        "c1",
        "m",
        Message(
            "assistant",
            [Text("Checking."), ToolCall("a", "w", '{"city": "Paris"}'), ToolCall("b", "t", "")],
        ),
        "tool_calls",
        "tool_calls",
        Usage(80, 40, 64, 2, 16, "default", {NAME: USAGE}),
        created=7,
        metadata={NAME: {"body": {"service_tier": "default"}}},
    )
    assert parse_response(body) == expected
    assert [call.arguments for call in expected.tool_calls] == [{"city": "Paris"}, {}]


REASONED = {
    "reasoning_content": ({"reasoning_content": "hm"}, "hm", {"field": "reasoning_content"}),
    "reasoning": ({"reasoning": "hm"}, "hm", {"field": "reasoning"}),
    "reasoning_text": ({"reasoning_text": "hm"}, "hm", {"field": "reasoning_text"}),
    "both": (
        {"reasoning": "a", "reasoning_content": "b"},
        "b",
        {"field": "reasoning_content", "also": {"reasoning": "a"}},
    ),
    "details": (
        {"reasoning": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]},
        "hm",
        {"field": "reasoning", "details": [{"type": "reasoning.text", "text": "hm"}]},
    ),
    "only details": (
        {"reasoning_details": [{"type": "reasoning.summary", "summary": "hm"}]},
        "hm",
        {"details": [{"type": "reasoning.summary", "summary": "hm"}]},
    ),
    "sealed": (
        {"reasoning_details": [{"type": "reasoning.encrypted", "data": "E"}]},
        "",
        {"details": [{"type": "reasoning.encrypted", "data": "E"}]},
    ),
}


@pytest.mark.parametrize("case", REASONED)
def test_reasoning_is_found_wherever_it_stands(case: str) -> None:
    fields, text, notes = REASONED[case]
    response = parse_response(body_of({"content": "x", **fields}))
    assert response.message.parts == [Reasoning(text, {NAME: notes}), Text("x")]
    assert parse_response(render_response(response)) == response


def test_thinking_parts_in_the_content() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    content = [thinking, {"type": "text", "text": "x"}, {"type": "reference", "ids": [1]}]
    assert parse_response(body_of({"content": content})).message.parts == [
        Reasoning("hm", {NAME: {"field": "thinking"}}),
        Text("x"),
        Opaque(NAME, "reference", {"type": "reference", "ids": [1]}),
    ]


@pytest.mark.parametrize(
    ("raw", "content", "expected"),
    [
        ("stop", "x", "stop"),
        ("", "x", "stop"),
        (None, "x", "stop"),
        ("eos", "x", "stop"),
        ("end_turn", "x", "stop"),
        ("whatever", "x", "error"),
        ("tool_calls", "x", "stop"),
        ("length", "x", "length"),
        ("model_length", "x", "length"),
        ("content_filter", "x", "content_filter"),
        ("refusal", "x", "refusal"),
    ],
)
def test_finish_reasons(raw: str | None, content: str, expected: FinishReason) -> None:
    response = parse_response(body_of({"content": content}, raw))
    assert (response.finish_reason, response.raw_finish_reason) == (expected, raw or "")


@pytest.mark.parametrize("raw", ["stop", "tool_calls", "eos", "", "function_call"])
def test_a_normal_end_with_calls_is_tool_calls(raw: str) -> None:
    response = parse_response(body_of({"content": None, "tool_calls": [function("f")]}, raw))
    assert response.finish_reason == "tool_calls"
    assert render_response(response)["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 2}, Usage(3, 2)),
        (
            {"prompt_tokens": 3, "completion_tokens": 2, "prompt_cache_hit_tokens": 1},
            Usage(3, 2, 1),
        ),
        ({"prompt_tokens": 3, "completion_tokens": 2, "num_cached_tokens": 1}, Usage(3, 2, 1)),
        ({"prompt_tokens": 3, "completion_tokens": None}, Usage(3)),
        (
            {
                "prompt_tokens": 3,
                "completion_tokens": 2,
                "total_tokens": 9,
                "completion_tokens_details": {"reasoning_tokens": 4},
            },
            Usage(3, 6, reasoning_tokens=4),
        ),
        (
            {"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": None},
            Usage(3, 2),
        ),
    ],
)
def test_usage_in_one_arithmetic(raw: dict[str, Any], expected: Usage) -> None:
    usage = parse_response(body_of({"content": "x"}, usage=raw)).usage
    assert usage.metadata == {NAME: raw}
    assert usage + Usage() == expected


def test_other_choices_are_kept_and_given_back() -> None:
    other = {
        "index": 1,
        "message": {"role": "assistant", "content": None, "tool_calls": [function("g")]},
        "finish_reason": "tool_calls",
        "logprobs": None,
    }
    body = body_of({"content": "x"})
    body["choices"] = [other, {**body["choices"][0], "logprobs": {"content": [{"token": "x"}]}}]
    response = parse_response(body)
    assert response.text == "x"
    assert response.metadata[NAME]["choices"] == [
        {
            "index": 1,
            "message": {"role": "assistant", "tool_calls": [function("g")]},
            "finish_reason": "tool_calls",
        }
    ]
    assert response.metadata[NAME]["choice"] == {"logprobs": {"content": [{"token": "x"}]}}
    back = render_response(response)
    assert parse_response(back) == response
    message = {**other["message"], "refusal": None}
    assert back["choices"][1] == {**other, "message": message}


def test_what_only_chat_knows_is_given_back() -> None:
    body = body_of(
        {
            "content": None,
            "refusal": None,
            "annotations": [{"type": "url_citation", "url_citation": {"url": "u"}}],
            "audio": {"id": "a", "data": "AAAA", "transcript": "x", "expires_at": 3},
            "tool_calls": [
                {**function("f"), "extra_content": {"google": {"thought_signature": "S"}}}
            ],
        },
        "tool_calls",
        usage=USAGE,
        system_fingerprint="fp",
        provider="P",
    )
    body["choices"][0]["logprobs"] = {"content": [], "refusal": None}
    body["choices"][0]["native_finish_reason"] = "TOOL"
    assert render_response(parse_response(body)) == body


FOREIGN = Response(
    "msg_1",
    "claude",
    Message(
        "assistant",
        [
            Reasoning("hm", {"anthropic": {"signature": "S"}}),
            Text("a"),
            Text("b"),
            Media("image", "image/png", data="AAAA"),
            Opaque("anthropic", "server_tool_use", {}),
            ToolCall("t", "f", ""),
        ],
    ),
    "tool_calls",
    "tool_use",
    Usage(10, 5, 4, 1, 2),
)


def test_an_answer_of_another_dialect_is_what_the_sdk_takes() -> None:
    body = render_response(FOREIGN)
    assert body == {
        "id": "msg_1",
        "object": "chat.completion",
        "created": 0,
        "model": "claude",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "ab",
                    "refusal": None,
                    "reasoning_content": "hm",
                    "images": [
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
                    ],
                    "tool_calls": [function("f", "{}", "t")],
                    "annotations": [],
                },
                "logprobs": None,
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 1},
            "completion_tokens_details": {"reasoning_tokens": 2},
        },
    }
    ChatCompletion.model_validate(body)


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("content_filter", "content_filter"),
        ("refusal", "stop"),
        ("pause", "length"),
        ("error", "length"),
    ],
)
def test_every_reason_has_a_word_of_openai(reason: FinishReason, word: str) -> None:
    response = Response("", "m", Message("assistant", [Refusal("no")]), reason)
    body = render_response(response)
    assert body["choices"][0]["finish_reason"] == word
    assert body["choices"][0]["message"]["refusal"] == "no"
    assert "usage" not in body  # unknown is not zero
    assert body["id"].startswith("chatcmpl-")
    ChatCompletion.model_validate(body)


def test_a_refusal_without_words_is_a_filter() -> None:
    body = render_response(Response("i", "m", Message("assistant"), "refusal"))
    assert body["choices"][0]["finish_reason"] == "content_filter"


def test_a_client_of_functions_is_answered_in_its_spelling() -> None:
    older = parse_request(request(USER, functions=[{"name": "f"}]))
    choice = render_response(FOREIGN, older)["choices"][0]
    assert choice["message"]["function_call"] == {"name": "f", "arguments": "{}"}
    assert "tool_calls" not in choice["message"]
    assert choice["finish_reason"] == "function_call"


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "slow down", "code": 429}},
        {"error": {"message": "slow down", "code": "rate_limit_exceeded"}, "choices": []},
        {"object": "error", "message": "slow down", "type": "rate_limit_error", "code": None},
        {"error": "slow down", "code": 429},
    ],
)
def test_an_error_behind_a_status_of_200_is_raised(body: dict[str, Any]) -> None:
    with pytest.raises(RateLimitError) as caught:
        parse_response(body)
    assert caught.value.message == "slow down"


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "choices"),
        ({"choices": ["x"]}, "choices[0]"),
        ({"choices": [{"index": 0}]}, "choices[0].message"),
        (body_of({"content": 5}), "choices[0].message.content"),
        (body_of({"tool_calls": {}}), "choices[0].message.tool_calls"),
        (body_of({"tool_calls": [{"function": 3}]}), "choices[0].message.tool_calls[0].function"),
    ],
)
def test_nonsense_is_a_protocol_error_with_its_place(body: dict[str, Any], path: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_response(body)
    assert caught.value.path == path


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


@given(
    st.sampled_from(["message", "finish_reason", "index", "logprobs", "usage"]),
    st.sampled_from(["content", "tool_calls", "reasoning", "reasoning_details", "refusal"]),
    json_values,
    json_values,
)
def test_garbage_raises_only_what_it_may(outer: str, inner: str, first: Any, second: Any) -> None:
    body = body_of({"content": "x", inner: second})
    body["choices"].append({**body["choices"][0], outer: first})
    body["choices"][0][outer if outer != "message" else "stop_reason"] = first
    try:
        render_response(parse_response(body))
    except (ProtocolError, UpstreamError) as error:
        assert isinstance(error, PolycallError)


def test_calls_without_ids_get_stable_unique_ones() -> None:
    pieces = [{"function": {"name": "f", "arguments": "{}"}}] * 2
    body = body_of({"content": None, "tool_calls": pieces}, "tool_calls")
    first, second = called(parse_response(body)), called(parse_response(body))
    assert first == second
    assert len({call_id for call_id, _, _ in first}) == 2


def test_an_object_as_content_is_its_text() -> None:
    assert parse_response(body_of({"content": {"title": "사과"}})).text == '{"title":"사과"}'
