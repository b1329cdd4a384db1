"""OpenAI's own SDK reads what we write."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from polycall.dialects.openai_chat import (
    StreamDecoder,
    StreamEncoder,
    parse_request,
    parse_response,
    render_response,
)
from polycall.errors import OverloadedError
from polycall.fold import fold, unfold
from polycall.ir import (
    Message,
    Opaque,
    Reasoning,
    Refusal,
    Request,
    Response,
    ResponseStart,
    Text,
    ToolCall,
    Usage,
)
from tests.dialects.openai_chat.chunks import NAME, USER, body_of, function, request
from tests.readers import payloads
from tests.sdk import canned
from tests.support import decode

ANSWERS: dict[str, Response] = {
    "text": Response("i", "m", Message("assistant", [Text("안녕 \U0001f600")]), "stop"),
    "nothing": Response("i", "m", Message("assistant"), "stop"),
    "refusal": Response("i", "m", Message("assistant", [Refusal("no")]), "refusal"),
    "calls": Response(
        "msg_1",
        "claude",
        Message(
            "assistant",
            [
                Reasoning("hm", {"anthropic": {"signature": "S"}}),
                Text("a"),
                ToolCall("t1", "f", '{"city": "서울", "n": 1.0}'),
                Text("b"),
                Opaque("anthropic", "server_tool_use", {}),
                ToolCall("t2", "g", ""),
            ],
        ),
        "tool_calls",
        usage=Usage(10, 5, 4, 1, 2),
    ),
}


def encode(response: Response, asked: Request | None = None) -> bytes:
    encoder = StreamEncoder(asked)
    return b"".join(encoder.feed(event) for event in unfold(response)) + encoder.close()


def helped(data: bytes) -> Any:
    """What the SDK's stream helper puts together."""
    with (
        canned(200, "text/event-stream", data) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0) as client,
        client.chat.completions.stream(
            model="m", messages=[{"role": "user", "content": "x"}]
        ) as stream,
    ):
        for _ in stream:
            pass
        return stream.get_final_completion()


@pytest.mark.parametrize("name", ANSWERS)
def test_the_stream_helper_puts_the_answer_together(name: str) -> None:
    response = ANSWERS[name]
    final = helped(encode(response))
    whole = render_response(response)
    message = final.choices[0].message
    said = whole["choices"][0]["message"]
    assert (final.id, final.model) == (whole["id"], whole["model"])
    assert (message.content or "") == (said["content"] or "")
    assert (message.refusal or None) == said["refusal"]
    found = [
        (c.id, c.type, c.function.name, c.function.arguments) for c in message.tool_calls or []
    ]
    expected = [
        (c["id"], c["type"], c["function"]["name"], c["function"]["arguments"])
        for c in said.get("tool_calls", ())
    ]
    assert found == expected
    assert final.choices[0].finish_reason == whole["choices"][0]["finish_reason"]
    usage = final.usage.to_dict() if final.usage else None
    assert usage == whole.get("usage")


@pytest.mark.parametrize("name", ANSWERS)
def test_every_chunk_is_of_the_sdks_type(name: str) -> None:
    chunks = payloads(encode(ANSWERS[name]).decode())
    for payload in chunks:
        ChatCompletionChunk.model_validate(payload)
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    last = [payload for payload in chunks if payload["choices"]][-1]
    assert last["choices"][0]["delta"] == {}
    named = [
        call
        for payload in chunks
        for choice in payload["choices"]
        for call in choice["delta"].get("tool_calls", ())
        if "id" in call or "name" in call["function"]
    ]
    assert [(call["index"], call["id"]) for call in named] == [
        (index, call.id) for index, call in enumerate(ANSWERS[name].tool_calls)
    ]


def test_an_answer_that_is_not_whole_is_told_by_the_sdk() -> None:
    for reason in ("length", "error", "pause"):
        with pytest.raises(openai.LengthFinishReasonError):
            helped(encode(Response("i", "m", Message("assistant", [Text("x")]), reason)))


def test_a_failure_in_the_stream_is_raised_by_the_sdk() -> None:
    encoder = StreamEncoder()
    begun = encoder.feed(ResponseStart("i", "m"))
    data = begun + encoder.fail(OverloadedError("full", status=529))
    with pytest.raises(openai.APIError, match="full"):
        helped(data)


def test_the_encoder_is_the_inverse_of_the_decoder() -> None:
    """Everything of this dialect survives: signatures, details, other choices, extra fields."""
    body = body_of(
        {
            "content": "x",
            "refusal": "r",
            "annotations": [{"type": "url_citation"}],
            "reasoning": "hm",
            "reasoning_details": [{"type": "reasoning.text", "text": "hm", "signature": "S"}],
            "tool_calls": [
                {**function("f", '{"a":1}'), "extra_content": {"google": {"s": 1}}},
                {"id": "b", "type": "custom", "custom": {"name": "c", "input": '"\n'}},
            ],
        },
        "tool_calls",
        usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        service_tier="flex",
    )
    body["choices"][0]["logprobs"] = {"content": [{"token": "x"}]}
    body["choices"].append(
        {
            "index": 1,
            "message": {"role": "assistant", "content": "y", "tool_calls": [function("g")]},
            "finish_reason": "tool_calls",
        }
    )
    response = parse_response(body)
    assert fold(decode(StreamDecoder(), [encode(response)])) == response
    only = parse_response(
        body_of({"content": "", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]})
    )
    assert fold(decode(StreamDecoder(), [encode(only)])) == only


def test_a_client_of_functions_reads_its_spelling_in_streams_too() -> None:
    older = parse_request(request(USER, functions=[{"name": "f"}], stream=True))
    call = Response("i", "m", Message("assistant", [ToolCall("t", "f", '{"a":1}')]), "tool_calls")
    chunks = payloads(encode(call, older).decode())
    pieces = [choice["delta"].get("function_call") for p in chunks for choice in p["choices"]]
    assert [piece for piece in pieces if piece] == [
        {"name": "f", "arguments": ""},
        {"arguments": '{"a":1}'},
    ]
    assert chunks[-1]["choices"][0]["finish_reason"] == "function_call"


def test_the_sdk_reads_a_whole_answer() -> None:
    body = render_response(ANSWERS["calls"])
    with (
        canned(200, "application/json", json.dumps(body).encode()) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0) as client,
    ):
        answer = client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "x"}]
        )
    assert answer.to_dict() == body
    assert NAME not in json.dumps(body)
