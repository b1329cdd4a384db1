"""Streams from the wire."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polycall.dialects import gemini
from polycall.errors import ProtocolError, RateLimitError, TruncatedError
from polycall.fold import fold
from polycall.ir import (
    JSON,
    PartDelta,
    PartEnd,
    PartStart,
    Reasoning,
    ResponseEnd,
    ResponseStart,
    Text,
    ToolCall,
    Usage,
)
from tests.dialects.gemini.answers import OWN, USAGE, call_part, chunk, encoded, sse, streamed
from tests.support import decode


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
    made = decoder.feed(sse(chunk(call_part("f", {"x": 1}, thoughtSignature="c2ln"))))
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
    events = decoder.feed(sse(chunk(call_part("now", thoughtSignature="c2ln"), reason="STOP")))
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
        chunk(call_part("f", {"a": 1}, thoughtSignature="c2ln"), call_part("f", {"a": 2})),
        chunk(call_part("g", {"a": 3}), {"text": ""}, reason="STOP"),
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
        lambda args, beside: call_part("f", args, **beside),
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
