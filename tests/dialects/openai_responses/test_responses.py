"""Whole responses: statuses, items, usage, and what a client of this dialect is given."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.responses import Response as SDKResponse

from polycall.dialects.openai_responses import parse_request, parse_response, render_response
from polycall.errors import (
    BillingError,
    InvalidRequestError,
    ProtocolError,
    RateLimitError,
    ServerError,
)
from polycall.ir import (
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

from .wire import USAGE, body, call, message

NAME = "openai-responses"


def test_a_response_is_read_whole() -> None:
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "e"}
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    given = body(
        reasoning,
        message("Looking.", phase="commentary"),
        search,
        call('{"a":1}', namespace="ns", caller={"type": "program", "caller_id": "call_p"}),
        {
            "type": "custom_tool_call",
            "id": "ctc_1",
            "call_id": "c2",
            "name": "calc",
            "input": '"x"',
        },
        message("Done.", item_id="msg_2", phase="final_answer"),
        tool_usage={"x": 1},
    )
    empty = {"part": {"annotations": [], "logprobs": []}}
    ended = {"fields": {"type": "message", "status": "completed"}}
    assert parse_response(given) == Response(
        id="resp_1",
        model="m",
        created=1790000000,
        message=Message(
            "assistant",
            [
                Reasoning(
                    metadata={
                        NAME: {"id": "rs_1", "fields": {"summary": [], "encrypted_content": "e"}}
                    }
                ),
                Text(
                    "Looking.",
                    metadata={
                        NAME: {"message": {"id": "msg_1", "phase": "commentary"}, **empty, **ended}
                    },
                ),
                Opaque(NAME, "web_search_call", search),
                ToolCall(
                    "call_1",
                    "f",
                    '{"a":1}',
                    namespace="ns",
                    caller="call_p",
                    metadata={
                        NAME: {
                            "id": "fc_call_1",
                            "fields": {
                                "status": "completed",
                                "caller": {"type": "program", "caller_id": "call_p"},
                            },
                        }
                    },
                ),
                ToolCall(
                    "c2",
                    "calc",
                    '{"input":"\\"x\\""}',
                    kind="custom",
                    metadata={NAME: {"id": "ctc_1"}},
                ),
                Text(
                    "Done.",
                    metadata={
                        NAME: {
                            "message": {"id": "msg_2", "phase": "final_answer"},
                            **empty,
                            **ended,
                        }
                    },
                ),
            ],
        ),
        finish_reason="tool_calls",
        raw_finish_reason="completed",
        usage=Usage(80, 40, 64, 8, 16, metadata={NAME: USAGE}),
        metadata={NAME: {"tool_usage": {"x": 1}}},
    )
    assert render_response(parse_response(given)) == given


@pytest.mark.parametrize(
    ("fields", "reason", "raw"),
    [
        ({"status": "completed"}, "stop", "completed"),
        ({"status": "complete"}, "stop", "complete"),
        ({"status": "incomplete"}, "length", "incomplete"),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
            "length",
            "max_output_tokens",
        ),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}},
            "content_filter",
            "content_filter",
        ),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "steered"}},
            "pause",
            "steered",
        ),
        ({"status": "queued"}, "pause", "queued"),
        ({"status": "in_progress"}, "pause", "in_progress"),
        ({"status": "cancelled"}, "error", "cancelled"),
    ],
)
def test_statuses(fields: dict[str, Any], reason: str, raw: str) -> None:
    given = body(message("t"), **fields)
    response = parse_response(given)
    assert (response.finish_reason, response.raw_finish_reason) == (reason, raw)
    again = render_response(response)
    assert parse_response(again).finish_reason == reason
    if fields["status"] != "complete":
        assert again == given


def test_a_refusal_is_not_a_stop() -> None:
    refusal = message("", content=[{"type": "refusal", "refusal": "no"}])
    response = parse_response(body(refusal))
    assert response.finish_reason == "refusal"
    assert [type(part) for part in response.message.parts] == [Refusal]
    assert parse_response(body(refusal, call("{}"))).finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("given", "error", "code"),
    [
        (
            body(status="failed", error={"code": "server_error", "message": "x"}),
            ServerError,
            "server_error",
        ),
        (
            body(status="failed", error={"code": "rate_limit_exceeded", "message": "x"}),
            RateLimitError,
            "rate_limit_exceeded",
        ),
        (
            body(status="failed", error={"code": "invalid_image", "message": "x"}),
            InvalidRequestError,
            "invalid_image",
        ),
        (body(status="failed", error=None), ServerError, ""),
        (
            {"error": {"code": "insufficient_quota", "message": "x"}},
            BillingError,
            "insufficient_quota",
        ),
        ({"error": "broken", "code": "slow"}, ServerError, "slow"),
    ],
)
def test_a_failure_is_raised(given: dict[str, Any], error: type[Exception], code: str) -> None:
    with pytest.raises(error) as caught:
        parse_response(given)
    assert (getattr(caught.value, "code", None), getattr(caught.value, "status", 0)) == (code, None)


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"choices": []}, "output"),
        (body(status=3), "status"),  # pyright: ignore[reportArgumentType]
        (body(3), "output[0]"),
        (body({"type": "function_call", "call_id": "c"}), "output[0].name"),
        (
            body(message("", content="x")) | {"usage": {"input_tokens": "many"}},
            "usage.input_tokens",
        ),
        (
            body({"type": "message", "content": [{"type": "output_text", "text": 1}]}),
            "output[0].content[0].text",
        ),
        (body({"type": "reasoning", "summary": "x"}), "output[0].summary"),
    ],
)
def test_garbage_names_the_place(given: dict[str, Any], path: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_response(given)
    assert caught.value.path == path


def test_habits_of_other_servers() -> None:
    response = parse_response(
        body(
            call({"a": 1}),
            call("", call_id="c2"),
            {"type": "function_call", "id": "fc_3", "name": "g", "arguments": "null"},
            {"type": "function_call", "call_id": "", "name": "h", "arguments": "{"},
            {"type": "message", "content": None},
            created_at=1790000000.7,
            usage={"input_tokens": 3.0, "input_tokens_details": None, "output_tokens": None},
        )
    )
    calls = response.tool_calls
    assert [(each.name, each.arguments_json, each.arguments) for each in calls] == [
        ("f", '{"a":1}', {"a": 1}),
        ("f", "", {}),
        ("g", "null", {}),
        ("h", "{", None),
    ]
    assert [each.id for each in calls[:3]] == ["call_1", "c2", "fc_3"]
    assert calls[3].id.startswith("call_")
    assert response.created == 1790000000
    assert (response.usage.input_tokens, response.usage.output_tokens) == (3, 0)
    assert response.message.parts[-1] == Text(
        "", metadata={NAME: {"message": {}, "fields": {"type": "message"}, "empty": True}}
    )


FOREIGN = Response(
    id="msg_01",
    model="claude",
    message=Message(
        "assistant",
        [
            Reasoning("think", metadata={"anthropic": {"signature": "s"}}),
            Text("a"),
            Text("b"),
            Text("", metadata={"gemini": {"thoughtSignature": "x"}}),
            ToolCall("toolu_1", "get_weather", ""),
            ToolCall("toolu_2", "calc", '{"input":"2+2"}'),
            Media("image", "image/png", "aGk="),
            Media("audio", "audio/wav", "aGk="),
            Opaque("anthropic", "server_tool_use", {}),
            Refusal("no"),
        ],
    ),
    finish_reason="tool_calls",
    raw_finish_reason="tool_use",
    usage=Usage(10, 5, 4, 0, 2),
)
ASKED = parse_request(
    {
        "model": "m",
        "input": "hi",
        "instructions": "Be kind.",
        "temperature": 0.5,
        "store": True,
        "previous_response_id": "resp_0",
        "text": {"verbosity": "low"},
        "tools": [
            {"type": "function", "name": "get_weather", "parameters": {}, "strict": True},
            {"type": "custom", "name": "calc"},
        ],
        "tool_choice": "required",
    }
)


def output_text(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def test_a_foreign_answer_is_a_complete_response() -> None:
    rendered = render_response(FOREIGN, ASKED)
    ids = [item.pop("id") for item in rendered["output"]]
    assert [name.split("_")[0] for name in ids] == ["rs", "msg", "fc", "ctc", "ig", "msg", "msg"]
    assert len(set(ids)) == len(ids)
    base = {"type": "message", "role": "assistant", "status": "completed"}
    assert rendered["output"] == [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "think"}]},
        {**base, "content": [output_text("a"), output_text("b")]},
        {
            "type": "function_call",
            "call_id": "toolu_1",
            "name": "get_weather",
            "arguments": "{}",
            "status": "completed",
        },
        {"type": "custom_tool_call", "call_id": "toolu_2", "name": "calc", "input": "2+2"},
        {"type": "image_generation_call", "status": "completed", "result": "aGk="},
        {**base, "content": [output_text("[audio audio/wav]")]},
        {**base, "content": [{"type": "refusal", "refusal": "no"}]},
    ]
    assert rendered["id"].startswith("resp_")
    assert rendered["usage"] == {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 15,
    }
    echoed = {
        "model": "claude",
        "status": "completed",
        "instructions": "Be kind.",
        "temperature": 0.5,
        "store": True,
        "previous_response_id": "resp_0",
        "text": {"format": {"type": "text"}, "verbosity": "low"},
        "tool_choice": "required",
        "error": None,
        "incomplete_details": None,
    }
    assert {key: rendered[key] for key in echoed} == echoed
    assert [tool["name"] for tool in rendered["tools"]] == ["get_weather", "calc"]


def test_a_foreign_answer_satisfies_the_sdks_model() -> None:
    SDKResponse.model_validate(render_response(FOREIGN, ASKED))
    SDKResponse.model_validate(render_response(FOREIGN))


def test_the_same_answer_has_the_same_ids() -> None:
    assert render_response(FOREIGN, ASKED) == render_response(FOREIGN, ASKED)


@pytest.mark.parametrize(
    ("reason", "raw", "status", "details", "error"),
    [
        ("stop", "end_turn", "completed", None, None),
        ("length", "max_tokens", "incomplete", {"reason": "max_output_tokens"}, None),
        ("content_filter", "SAFETY", "incomplete", {"reason": "content_filter"}, None),
        ("refusal", "refusal", "incomplete", {"reason": "content_filter"}, None),
        ("pause", "pause_turn", "incomplete", {"reason": "pause_turn"}, None),
        (
            "error",
            "MALFORMED_FUNCTION_CALL",
            "failed",
            None,
            {"code": "server_error", "message": "the model stopped: MALFORMED_FUNCTION_CALL"},
        ),
    ],
)
def test_no_foreign_end_looks_like_a_success(
    reason: Any, raw: str, status: str, details: Any, error: Any
) -> None:
    rendered = render_response(Response("r", "m", Message("assistant", []), reason, raw))
    assert (rendered["status"], rendered["incomplete_details"], rendered["error"]) == (
        status,
        details,
        error,
    )
    assert rendered["usage"] is None


def test_invalid_arguments_stay_as_the_model_wrote_them() -> None:
    calls = [ToolCall("a", "f", '{"a": "he'), ToolCall("b", "calc", "2+2", kind="custom")]
    rendered = render_response(Response("r", "m", Message("assistant", [*calls]), "length"))
    assert rendered["output"][0]["arguments"] == '{"a": "he'
    assert rendered["output"][1]["input"] == "2+2"
