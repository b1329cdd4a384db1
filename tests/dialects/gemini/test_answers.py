"""Answers: whole and streamed, from the wire and for a client."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polycall.dialects import gemini
from polycall.errors import OverloadedError, ProtocolError, RateLimitError, TruncatedError
from polycall.fold import fold, unfold
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
from tests.support import decode

OWN: dict[str, JSON] = {"gemini": {}}
USAGE: JSON = {
    "promptTokenCount": 80,
    "candidatesTokenCount": 24,
    "thoughtsTokenCount": 16,
    "toolUsePromptTokenCount": 5,
    "totalTokenCount": 125,
    "cachedContentTokenCount": 64,
}


def chunk(*parts: JSON, reason: Any = None, **top: Any) -> JSON:
    candidate: JSON = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    if reason is not None:
        candidate["finishReason"] = reason
    return {"candidates": [candidate], "modelVersion": "gemini-3", "responseId": "r-1", **top}


def sse(*chunks: JSON) -> bytes:
    return b"".join(b"data: " + json.dumps(item).encode() + b"\r\n\r\n" for item in chunks)


def streamed(*chunks: JSON) -> Response:
    return fold(decode(gemini.StreamDecoder(), [sse(*chunks)]))


def call(name: str, args: JSON | None = None, **beside: Any) -> JSON:
    wire: JSON = {"name": name} if args is None else {"name": name, "args": args}
    return {"functionCall": wire, **beside}


def encoded(events: list[Event], **options: Any) -> list[JSON]:
    encoder = gemini.StreamEncoder(**options)
    raw = b"".join(encoder.feed(event) for event in events) + encoder.close()
    frames = raw.split(b"\r\n\r\n")
    assert frames.pop() == b""
    assert all(frame.startswith(b"data: ") for frame in frames)
    return [json.loads(frame[6:]) for frame in frames]


# ---------------------------------------------------------------------------------------------
# Whole answers


def test_a_whole_answer() -> None:
    body = chunk(
        {"text": "hm", "thought": True},
        {"text": "18C"},
        call("f", {"a": 1.0}, thoughtSignature="c2ln"),
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
    body = chunk(call("now", {}), call("now", {}), reason="STOP")
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
        ("BRAND_NEW", "stop", "BRAND_NEW"),
        (99, "stop", "99"),
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
        ({"usageMetadata": {"promptTokenCount": 3}}, ""),
    ],
)
def test_an_answer_without_candidates_was_filtered(body: JSON, raw: str) -> None:
    response = gemini.parse_response(body)
    assert (response.finish_reason, response.raw_finish_reason) == ("content_filter", raw)
    assert response.message.parts == []
    assert "candidates" not in gemini.render_response(response)
    if raw:
        assert streamed(body) == response


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


# ---------------------------------------------------------------------------------------------
# Streams from the wire


def test_events_come_as_soon_as_they_are_known() -> None:
    decoder = gemini.StreamDecoder()
    first = Usage(80, metadata={"gemini": {"promptTokenCount": 80}})
    seen = decoder.feed(
        sse(chunk({"text": "hm", "thought": True}, usageMetadata={"promptTokenCount": 80}))
    )
    assert seen == [
        ResponseStart("r-1", "gemini-3", usage=first),
        PartStart(0, Reasoning("", OWN)),
        PartDelta(0, "hm"),
    ]
    assert decoder.feed(sse(chunk({"text": "a"}))) == [
        PartEnd(0),
        PartStart(1, Text("")),
        PartDelta(1, "a"),
    ]
    assert decoder.feed(sse(chunk({"text": "b"}))) == [PartDelta(1, "b")]
    made = decoder.feed(sse(chunk(call("f", {"x": 1}, thoughtSignature="c2ln"))))
    (start,) = [event for event in made if isinstance(event, PartStart)]
    assert isinstance(start.part, ToolCall)
    assert made == [
        PartEnd(1),
        PartStart(
            2,
            ToolCall(
                start.part.id,
                "f",
                "",
                metadata={"gemini": {"thoughtSignature": "c2ln", "no_id": True}},
            ),
        ),
        PartDelta(2, '{"x":1}'),
        PartEnd(2),
    ]
    assert decoder.feed(sse(chunk({"text": ""}, reason="STOP", usageMetadata=USAGE))) == []
    usage = Usage(85, 40, cached_tokens=64, reasoning_tokens=16, metadata={"gemini": USAGE})
    assert decoder.close() == [ResponseEnd("tool_calls", "STOP", usage)]


def test_signed_texts_stand_alone_in_streams_and_bodies() -> None:
    parts = [
        {"text": "a"},
        {"text": "b"},
        {"text": "c", "thoughtSignature": "MQ=="},
        {"text": "d"},
        {"text": "", "thoughtSignature": "Mg=="},
        {"text": "e", "thought": True, "thoughtSignature": "Mw=="},
        {"text": "f", "thought": True},
    ]
    told = streamed(*(chunk(part) for part in parts), chunk(reason="STOP"))
    assert told.message.parts == [
        Text("ab"),
        Text("c", {"gemini": {"thoughtSignature": "MQ=="}}),
        Text("d"),
        Text("", {"gemini": {"thoughtSignature": "Mg=="}}),
        Reasoning("e", {"gemini": {"thoughtSignature": "Mw=="}}),
        Reasoning("f", OWN),
    ]
    assert gemini.parse_response(chunk(*parts, reason="STOP")) == told


def test_B11_and_B21_a_call_without_arguments_is_whole() -> None:
    decoder = gemini.StreamDecoder()
    events = decoder.feed(sse(chunk(call("now", thoughtSignature="c2ln"), reason="STOP")))
    events += decoder.close()
    assert [event for event in events if isinstance(event, PartDelta)] == [PartDelta(0, "{}")]
    (made,) = fold(events).tool_calls
    assert made.arguments == {}
    assert made.metadata["gemini"]["thoughtSignature"] == "c2ln"


def test_B15_only_the_end_of_the_bytes_ends_the_answer() -> None:
    told = streamed(
        chunk({"text": "a"}, reason="STOP"),
        chunk({"text": "b"}, reason="STOP"),
        chunk(reason="MAX_TOKENS"),
    )
    assert told.message.parts == [Text("ab")]
    assert (told.finish_reason, told.raw_finish_reason) == ("length", "MAX_TOKENS")


def test_G05_parallel_calls_stay_in_order_over_chunks() -> None:
    told = streamed(
        chunk(call("f", {"a": 1}, thoughtSignature="c2ln"), call("f", {"a": 2})),
        chunk(call("g", {"a": 3}), {"text": ""}, reason="STOP"),
    )
    assert [(item.name, item.arguments) for item in told.tool_calls] == [
        ("f", {"a": 1}),
        ("f", {"a": 2}),
        ("g", {"a": 3}),
    ]
    signed = ["thoughtSignature" in item.metadata["gemini"] for item in told.tool_calls]
    assert signed == [True, False, False]


def test_a_cut_stream_is_told() -> None:
    decoder = gemini.StreamDecoder()
    decoder.feed(sse(chunk({"text": "a"})))
    with pytest.raises(TruncatedError):
        decoder.close()
    with pytest.raises(TruncatedError):
        gemini.StreamDecoder().close()


def test_a_stream_may_be_a_json_array_or_one_body() -> None:
    chunks = [chunk({"text": "a"}), chunk({"text": "b"}, reason="STOP")]
    wanted = streamed(*chunks)
    for raw in (json.dumps(chunks), "[" + ",\r\n".join(map(json.dumps, chunks)) + "\n]"):
        assert fold(decode(gemini.StreamDecoder(), [raw.encode()])) == wanted
    whole = json.dumps(chunk({"text": "ab"}, reason="STOP")).encode()
    assert fold(decode(gemini.StreamDecoder(), [whole])) == wanted


def test_each_data_line_may_be_a_chunk() -> None:
    chunks = [chunk({"text": "a"}), chunk({"text": "b"}, reason="STOP")]
    raw = b"".join(b"data: " + json.dumps(item).encode() + b"\n" for item in chunks)
    assert fold(decode(gemini.StreamDecoder(), [raw])) == streamed(*chunks)


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_error_inside_a_stream(wrapped: bool) -> None:
    error = {"error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED"}}
    raw = json.dumps([chunk({"text": "a"}), error]).encode() if wrapped else b""
    decoder = gemini.StreamDecoder()
    events = decoder.feed(raw or sse(chunk({"text": "a"}), error))
    assert events[-1] == PartDelta(0, "a")
    with pytest.raises(RateLimitError):
        decoder.close()


@pytest.mark.parametrize(
    "payload",
    [b"data: x\n\n", b"data: 3\n\n", sse(chunk({"functionCall": {"args": {}}})), b'[{"a":'],
)
def test_garbage_in_a_stream_is_a_protocol_error(payload: bytes) -> None:
    decoder = gemini.StreamDecoder()
    decoder.feed(payload)
    with pytest.raises(ProtocolError):
        decoder.close()


def test_log_probabilities_of_chunks_add_up() -> None:
    first, last = chunk({"text": "a"}), chunk({"text": "b"}, reason="STOP")
    first["candidates"][0]["logprobsResult"] = {"chosenCandidates": [{"token": "a"}]}
    last["candidates"][0]["logprobsResult"] = {"chosenCandidates": [{"token": "b"}]}
    kept = streamed(first, last).metadata["gemini"]["candidate"]["logprobsResult"]
    assert kept == {"chosenCandidates": [{"token": "a"}, {"token": "b"}]}


TEXTS = st.text(max_size=4)
SIGNED = st.sampled_from([{}, {}, {}, {"thoughtSignature": "c2ln"}])
WIRE_PARTS = st.one_of(
    st.builds(lambda text, beside: {"text": text, **beside}, TEXTS, SIGNED),
    st.builds(lambda text, beside: {"text": text, "thought": True, **beside}, TEXTS, SIGNED),
    st.builds(
        lambda args, beside: call("f", args, **beside),
        st.dictionaries(TEXTS, st.integers() | TEXTS | st.booleans(), max_size=3),
        SIGNED,
    ),
    st.just({"executableCode": {"code": "1"}}),
    st.just({"inlineData": {"mimeType": "image/png", "data": "AAAA"}}),
)


@given(st.lists(st.lists(WIRE_PARTS, max_size=3), min_size=1, max_size=5), st.randoms())
def test_chunking_changes_nothing(groups: list[list[JSON]], random: Any) -> None:
    raw = sse(*(chunk(*parts) for parts in groups), chunk(reason="STOP"))
    events = decode(gemini.StreamDecoder(), [raw])
    places = sorted(random.choices(range(len(raw) + 1), k=6))
    edges = [0, *places, len(raw)]
    pieces = [raw[start:end] for start, end in itertools.pairwise(edges)]
    assert decode(gemini.StreamDecoder(), pieces) == events
    body = chunk(*(part for parts in groups for part in parts), reason="STOP")
    response = gemini.parse_response(body)
    assert fold(events) == response
    assert gemini.parse_response(gemini.render_response(response)) == response
    frames = encoded(events)
    assert streamed(*frames).message == response.message


# ---------------------------------------------------------------------------------------------
# Answers for a client


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
