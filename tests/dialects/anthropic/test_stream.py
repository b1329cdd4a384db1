"""Streams: tolerant decoding, strict encoding, and the laws between them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from polycall import errors
from polycall.dialects import anthropic
from polycall.dialects.anthropic import StreamDecoder, StreamEncoder
from polycall.fold import fold, unfold
from polycall.ir import (
    JSON,
    Event,
    Media,
    Message,
    Opaque,
    Part,
    PartDelta,
    PartEnd,
    PartStart,
    Reasoning,
    Refusal,
    Response,
    ResponseEnd,
    ResponseStart,
    Text,
    ToolCall,
    Usage,
)
from tests.support import cut, decode

from .helps import MESSAGE_STOP, delta, message_delta, message_start, sse, start, stop

PING: JSON = {"type": "ping"}

WHOLE = [
    message_start(
        usage={"input_tokens": 16, "cache_read_input_tokens": 64, "output_tokens": 1},
        container=None,
    ),
    PING,
    start(0, type="thinking", thinking="", signature=""),
    delta(0, type="thinking_delta", thinking="Need "),
    delta(0, type="thinking_delta", thinking="weather."),
    delta(0, type="signature_delta", signature="sig=="),
    stop(0),
    start(1, type="redacted_thinking", data="secret"),
    stop(1),
    start(2, type="text", text="", citations=None),
    delta(2, type="text_delta", text="서울 "),
    PING,
    delta(2, type="citations_delta", citation={"type": "char_location", "cited_text": "x"}),
    delta(2, type="text_delta", text="is sunny\u2028"),
    stop(2),
    start(3, type="server_tool_use", id="srvtoolu_1", name="web_search", input={}),
    delta(3, type="input_json_delta", partial_json=""),
    delta(3, type="input_json_delta", partial_json='{"query": '),
    delta(3, type="input_json_delta", partial_json='"x"}'),
    stop(3),
    start(4, type="web_search_tool_result", tool_use_id="srvtoolu_1", content=[]),
    stop(4),
    start(5, type="tool_use", id="toolu_1", name="get_weather", input={}),
    delta(5, type="input_json_delta", partial_json=""),
    delta(5, type="input_json_delta", partial_json='{"city": "Se'),
    delta(5, type="input_json_delta", partial_json='oul"}'),
    stop(5),
    start(6, type="tool_use", id="toolu_2", name="ping", input={}),
    delta(6, type="input_json_delta", partial_json=""),
    stop(6),
    {
        "type": "message_delta",
        "delta": {
            "stop_reason": "tool_use",
            "stop_sequence": None,
            "container": {"id": "c1", "expires_at": "2026-11-20T22:00:00Z"},
        },
        "usage": {"output_tokens": 40, "output_tokens_details": {"thinking_tokens": 9}},
        "context_management": {"applied_edits": []},
    },
    MESSAGE_STOP,
]

WHOLE_RESPONSE = Response(
    id="msg_1",
    model="claude",
    message=Message(
        "assistant",
        [
            Reasoning("Need weather.", {"anthropic": {"signature": "sig=="}}),
            Reasoning("", {"anthropic": {"redacted_data": "secret"}}),
            Text(
                "서울 is sunny\u2028",
                {"anthropic": {"citations": [{"type": "char_location", "cited_text": "x"}]}},
            ),
            Opaque(
                "anthropic",
                "server_tool_use",
                {
                    "type": "server_tool_use",
                    "id": "srvtoolu_1",
                    "name": "web_search",
                    "input": {"query": "x"},
                },
            ),
            Opaque(
                "anthropic",
                "web_search_tool_result",
                {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
            ),
            ToolCall("toolu_1", "get_weather", '{"city": "Seoul"}'),
            ToolCall("toolu_2", "ping", "{}"),
        ],
    ),
    finish_reason="tool_calls",
    raw_finish_reason="tool_use",
    usage=Usage(
        80,
        40,
        cached_tokens=64,
        reasoning_tokens=9,
        metadata={
            "anthropic": {
                "input_tokens": 16,
                "cache_read_input_tokens": 64,
                "output_tokens": 40,
                "output_tokens_details": {"thinking_tokens": 9},
            }
        },
    ),
    metadata={
        "anthropic": {
            "container": {"id": "c1", "expires_at": "2026-11-20T22:00:00Z"},
            "context_management": {"applied_edits": []},
        }
    },
)


def events_of(*events: JSON, names: bool = True) -> list[Event]:
    return decode(StreamDecoder(), [sse(*events, names=names)])


def parts_of(*events: JSON) -> list[Part]:
    end = (message_delta("end_turn", output_tokens=1), MESSAGE_STOP)
    return fold(events_of(message_start(), *events, *end)).message.parts


def encode(events: list[Event]) -> bytes:
    encoder = StreamEncoder()
    return b"".join(encoder.feed(event) for event in events) + encoder.close()


def wire_events(data: bytes) -> list[JSON]:
    """An independent reader of what was encoded; every event must name itself twice."""
    found: list[JSON] = []
    for frame in data.decode().split("\n\n")[:-1]:
        name, payload = frame.split("\n")
        event = json.loads(payload.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        found.append(event)
    return found


# ---------------------------------------------------------------------------------------------
# Decoding


def test_a_whole_stream() -> None:
    assert fold(events_of(*WHOLE)) == WHOLE_RESPONSE


def test_b01_every_parallel_call_is_a_part_of_its_own() -> None:
    events = events_of(*WHOLE)
    calls = [e for e in events if isinstance(e, PartStart) and isinstance(e.part, ToolCall)]
    assert calls == [
        PartStart(5, ToolCall("toolu_1", "get_weather", "")),
        PartStart(6, ToolCall("toolu_2", "ping", "")),
    ]


def test_events_come_as_soon_as_they_are_known() -> None:
    decoder = StreamDecoder()
    seen = [decoder.feed(sse(event)) for event in WHOLE]
    kinds = [[type(event).__name__ for event in events] for events in seen]
    assert kinds[:7] == [
        ["ResponseStart"],
        [],
        ["PartStart"],
        ["PartDelta"],
        ["PartDelta"],
        [],
        ["PartEnd"],
    ]
    assert seen[0] == [
        ResponseStart(
            "msg_1",
            "claude",
            usage=Usage(
                80,
                1,
                cached_tokens=64,
                metadata={
                    "anthropic": {
                        "input_tokens": 16,
                        "cache_read_input_tokens": 64,
                        "output_tokens": 1,
                    }
                },
            ),
        )
    ]
    assert seen[-1] != []
    assert decoder.close() == []


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.booleans())
def test_b25_b26_cutting_the_bytes_changes_nothing(seed: int, crlf: bool) -> None:
    data = sse(*WHOLE)
    if crlf:
        data = data.replace(b"\n", b"\r\n")
    assert decode(StreamDecoder(), cut(data, seed=seed)) == events_of(*WHOLE)


def test_event_names_and_padding_do_not_matter() -> None:
    assert events_of(*WHOLE, names=False) == events_of(*WHOLE)
    padded = sse(*WHOLE).replace(b"}\n\n", b"}        \n\n")
    assert decode(StreamDecoder(), [padded]) == events_of(*WHOLE)
    with_done = sse(*WHOLE) + b"data: [DONE]\n\n"
    assert decode(StreamDecoder(), [with_done]) == events_of(*WHOLE)


def test_b34_a_stream_and_a_body_are_one_answer() -> None:
    body = anthropic.render_response(WHOLE_RESPONSE)
    from_body = anthropic.parse_response(body)
    assert _with_compact_arguments(WHOLE_RESPONSE) == from_body


def _with_compact_arguments(response: Response) -> Response:
    parts = [
        replace(part, arguments_json=json.dumps(part.arguments, separators=(",", ":")))
        if isinstance(part, ToolCall)
        else part
        for part in response.message.parts
    ]
    return replace(response, message=Message("assistant", parts))


def test_a_whole_body_in_place_of_a_stream() -> None:
    body = anthropic.render_response(WHOLE_RESPONSE)
    pieces = cut(json.dumps(body).encode(), seed=1)
    assert fold(decode(StreamDecoder(), pieces)) == anthropic.parse_response(body)
    error = {"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}}
    with pytest.raises(errors.RateLimitError):
        decode(StreamDecoder(), [json.dumps(error).encode()])


@pytest.mark.parametrize(
    ("events", "parts"),
    [
        # interleaved: the second waits until the first is complete
        (
            [
                start(0, type="tool_use", id="a", name="go", input={}),
                start(1, type="tool_use", id="b", name="go", input={}),
                delta(1, type="input_json_delta", partial_json='{"n":'),
                delta(0, type="input_json_delta", partial_json='{"m":1}'),
                delta(1, type="input_json_delta", partial_json="2}"),
                stop(1),
                stop(0),
            ],
            [ToolCall("a", "go", '{"m":1}'), ToolCall("b", "go", '{"n":2}')],
        ),
        # out of order
        (
            [
                start(1, type="text", text=""),
                delta(1, type="text_delta", text="two"),
                stop(1),
                start(0, type="text", text=""),
                delta(0, type="text_delta", text="one"),
                stop(0),
            ],
            [Text("one"), Text("two")],
        ),
        # a gap
        (
            [start(3, type="text", text="a"), stop(3), start(5, type="text", text="b")],
            [Text("a"), Text("b")],
        ),
        # one index for all
        (
            [
                start(0, type="text", text=""),
                delta(0, type="text_delta", text="a"),
                stop(0),
                start(0, type="tool_use", id="t", name="go", input={}),
                delta(0, type="input_json_delta", partial_json="{}"),
            ],
            [Text("a"), ToolCall("t", "go", "{}")],
        ),
        # no indexes, no stops
        (
            [
                {"type": "content_block_start", "content_block": {"type": "text", "text": "a"}},
                {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "b"}},
                {"type": "content_block_start", "content_block": {"type": "text", "text": "c"}},
            ],
            [Text("ab"), Text("c")],
        ),
        # no start
        ([delta(0, type="text_delta", text="a")], [Text("a")]),
        ([delta(0, type="thinking_delta", thinking="a")], [Reasoning("a", {"anthropic": {}})]),
        # the input whole at the start
        (
            [start(0, type="tool_use", id="t", name="go", input={"a": 1}), stop(0)],
            [ToolCall("t", "go", '{"a":1}')],
        ),
        (
            [
                start(0, type="tool_use", id="t", name="go", input={"old": 1}),
                delta(0, type="input_json_delta", partial_json='{"new":1}'),
                stop(0),
            ],
            [ToolCall("t", "go", '{"new":1}')],
        ),
        # one id twice
        (
            [
                start(0, type="tool_use", id="t", name="go", input={}),
                stop(0),
                start(1, type="tool_use", id="t", name="go", input={}),
                stop(1),
            ],
            [ToolCall("t", "go", "{}"), ToolCall("t_2", "go", "{}")],
        ),
        # fields and deltas of tomorrow
        (
            [
                start(0, type="text", text="", mood="calm"),
                delta(0, type="mood_delta", mood_score="1"),
                delta(0, type="mood_delta", mood_score="2"),
                stop(0),
            ],
            [Text("", {"anthropic": {"mood": "calm", "mood_score": "12"}})],
        ),
        (
            [
                start(0, type="compaction", content=None),
                delta(0, type="compaction_delta", content="Sum"),
                delta(0, type="compaction_delta", content="mary", n=[1]),
                delta(0, type="compaction_delta", n=[2], content=None),
                stop(0),
            ],
            [
                Opaque(
                    "anthropic",
                    "compaction",
                    {"type": "compaction", "content": "Summary", "n": [1, 2]},
                )
            ],
        ),
        (
            [
                start(0, type="server_tool_use", id="s", name="n", input={}),
                delta(0, type="input_json_delta", partial_json='{"cut'),
                stop(0),
            ],
            [
                Opaque(
                    "anthropic",
                    "server_tool_use",
                    {
                        "type": "server_tool_use",
                        "id": "s",
                        "name": "n",
                        "input": {"invalid_arguments_json": '{"cut'},
                    },
                )
            ],
        ),
        (
            [
                start(0, type="tool_use", id="t", name="go", input={}, caller={"type": "direct"}),
                stop(0),
            ],
            [ToolCall("t", "go", "{}", metadata={"anthropic": {"caller": {"type": "direct"}}})],
        ),
        (
            [
                start(0, type="text", text="a", citations=[{"n": 1}]),
                delta(0, type="citations_delta", citation={"n": 2}),
                stop(0),
            ],
            [Text("a", {"anthropic": {"citations": [{"n": 1}, {"n": 2}]}})],
        ),
        ([{"type": "of_tomorrow", "index": 0}, stop(7)], []),
    ],
)
def test_habits_of_servers(events: list[JSON], parts: list[Part]) -> None:
    assert parts_of(*events) == parts


def test_a_call_without_an_id_has_the_same_in_stream_and_body() -> None:
    (streamed,) = parts_of(
        start(0, type="tool_use", name="go", input={}),
        delta(0, type="input_json_delta", partial_json='{"a": '),
        delta(0, type="input_json_delta", partial_json="1}"),
        stop(0),
    )
    call = {"type": "tool_use", "name": "go", "input": {"a": 1}}
    body = {"id": "m", "content": [call], "stop_reason": "tool_use"}
    (whole,) = anthropic.parse_response(body).tool_calls
    assert streamed == replace(whole, arguments_json='{"a": 1}')


def test_interleaved_blocks_wait_in_order() -> None:
    decoder = StreamDecoder()
    decoder.feed(
        sse(message_start(), start(0, type="text", text=""), start(1, type="text", text=""))
    )
    assert decoder.feed(sse(delta(1, type="text_delta", text="later"))) == []
    assert decoder.feed(sse(delta(0, type="text_delta", text="now"))) == [PartDelta(0, "now")]
    assert decoder.feed(sse(stop(0))) == [
        PartEnd(0),
        PartStart(1, Text("")),
        PartDelta(1, "later"),
    ]


def test_h06_later_counts_win_unless_they_are_empty() -> None:
    split = {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 0}
    first = {"input_tokens": 10, "cache_creation_input_tokens": 5, "cache_creation": split}
    response = fold(
        events_of(
            message_start(usage={**first, "output_tokens": 1, "service_tier": "standard"}),
            message_delta(None, output_tokens=3, input_tokens=30),
            message_delta(
                "end_turn",
                output_tokens=7,
                input_tokens=0,
                cache_creation_input_tokens=0,
                cache_creation={"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 2},
                server_tool_use={"web_search_requests": 1},
            ),
            MESSAGE_STOP,
        )
    )
    assert response.usage == Usage(
        35,
        7,
        cache_write_tokens=5,
        metadata={
            "anthropic": {
                "input_tokens": 30,
                "cache_creation_input_tokens": 5,
                "cache_creation": {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 2},
                "output_tokens": 7,
                "service_tier": "standard",
                "server_tool_use": {"web_search_requests": 1},
            }
        },
    )


def test_a_stop_reason_is_the_least_that_a_complete_answer_has() -> None:
    body = [message_start(), start(0, type="text", text=""), delta(0, type="text_delta", text="a")]
    complete = fold(events_of(*body, message_delta("max_tokens", output_tokens=2)))
    assert (complete.text, complete.finish_reason) == ("a", "length")
    bare = fold(events_of(*body, stop(0), MESSAGE_STOP))
    assert (bare.text, bare.finish_reason, bare.raw_finish_reason) == ("a", "stop", "")


@pytest.mark.parametrize("count", [0, 1, 5, 20, len(WHOLE) - 2])
def test_b31_a_cut_stream_is_truncated(count: int) -> None:
    decoder = StreamDecoder()
    events = decoder.feed(sse(*WHOLE[:count]))
    with pytest.raises(errors.TruncatedError):
        decoder.close()
    assert events == events_of(*WHOLE)[: len(events)]


def test_b29_an_error_event_is_the_error_of_its_type() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    decoder = StreamDecoder()
    events = decoder.feed(sse(*WHOLE[:4], error, *WHOLE[4:]))
    assert len(events) == 3
    with pytest.raises(errors.OverloadedError) as caught:
        decoder.close()
    assert caught.value.body == error
    nameless = StreamDecoder()
    nameless.feed(b'data: {"error":{"message":"broken"}}\n\n')
    with pytest.raises(errors.ServerError):
        nameless.close()


@pytest.mark.parametrize(
    "events",
    [
        [delta(0, type="input_json_delta", partial_json="{}")],
        [start(0, type="text", text=""), stop(0), delta(0, type="text_delta", text="x")],
        [start(0, type="text", text=3)],
        [start(0, text="x")],
        [{"type": "content_block_start", "index": "a", "content_block": {"type": "text"}}],
        [{"type": "content_block_delta", "index": 0}],
        [message_delta(3)],
        [{"type": "message_delta", "usage": {"output_tokens": "many"}, "delta": {}}, MESSAGE_STOP],
    ],
)
def test_nonsense_is_a_protocol_error(events: list[JSON]) -> None:
    decoder = StreamDecoder()
    decoder.feed(sse(message_start(), *events))
    with pytest.raises(errors.ProtocolError):
        decoder.close()


_small_json = st.recursive(
    st.none() | st.integers(-1, 3) | st.text(max_size=3) | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "text",
                    "thinking",
                    "partial_json",
                    "index",
                    "delta",
                    "content_block",
                    "input",
                ]
            ),
            inner | st.sampled_from(["text", "tool_use", "text_delta", "input_json_delta", "x"]),
            max_size=4,
        )
    ),
    max_leaves=6,
)


@given(
    st.lists(
        st.builds(
            lambda kind, more: {**more, "type": kind},
            st.sampled_from(
                [
                    "message_start",
                    "content_block_start",
                    "content_block_delta",
                    "content_block_stop",
                    "message_delta",
                    "message_stop",
                ]
            ),
            st.dictionaries(
                st.sampled_from(["index", "delta", "content_block", "message", "usage"]),
                _small_json,
                max_size=4,
            ),
        )
        | st.sampled_from(WHOLE),
        max_size=8,
    )
)
def test_garbage_raises_nothing_else_and_obeys_the_grammar(events: list[JSON]) -> None:
    decoder = StreamDecoder()
    told = decoder.feed(sse(*events))
    try:
        fold([*told, *decoder.close()])
    except (errors.ProtocolError, errors.UpstreamError):
        return


# ---------------------------------------------------------------------------------------------
# Encoding


def test_what_is_decoded_is_encoded_the_same() -> None:
    data = encode(events_of(*WHOLE))
    assert fold(decode(StreamDecoder(), [data])) == WHOLE_RESPONSE
    found = wire_events(data)
    indexes = [e["index"] for e in found if e["type"] == "content_block_start"]
    assert indexes == list(range(7))
    assert found[0]["message"]["usage"] == WHOLE[0]["message"]["usage"]


def test_b11_an_encoded_stream_from_elsewhere() -> None:
    events: list[Event] = [
        ResponseStart("chatcmpl-1", "gpt"),
        PartStart(0, Reasoning("", {"openai-responses": {"encrypted_content": "e"}})),
        PartEnd(0),
        PartStart(1, Reasoning("")),
        PartDelta(1, "thought"),
        PartEnd(1, {"openai-responses": {"encrypted_content": "e"}}),
        PartStart(2, Text("")),
        PartDelta(2, "Hi"),
        PartEnd(2),
        PartStart(3, Text("", {"gemini": {"thoughtSignature": "g"}})),
        PartEnd(3),
        PartStart(4, Refusal("")),
        PartDelta(4, "no"),
        PartEnd(4),
        PartStart(5, Media("image", "image/png", "aaaa")),
        PartEnd(5),
        PartStart(6, Opaque("gemini", "executableCode", {})),
        PartEnd(6),
        PartStart(7, ToolCall("functions.go:0", "go", "")),
        PartDelta(7, '{"a'),
        PartDelta(7, '":1}'),
        PartEnd(7),
        PartStart(8, ToolCall("call_2", "go", "")),
        PartDelta(8, "nu"),
        PartDelta(8, "ll"),
        PartEnd(8),
        ResponseEnd("tool_calls", "tool_calls", Usage(50, 9, cached_tokens=20)),
    ]
    usage = {
        "input_tokens": 30,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 20,
        "output_tokens": 9,
    }
    nulls = dict.fromkeys(
        (
            "cache_creation",
            "inference_geo",
            "output_tokens_details",
            "server_tool_use",
            "service_tier",
        )
    )
    by_model = {"type": "tool_use", "caller": {"type": "direct"}}
    assert wire_events(encode(events)) == [
        {
            "type": "message_start",
            "message": {
                "id": "msg_chatcmpl-1",
                "type": "message",
                "role": "assistant",
                "model": "gpt",
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                # The vendor's clients want every field of its schema.
                "stop_details": None,
                "container": None,
                "usage": {**nulls, "input_tokens": 0, "output_tokens": 0},
            },
        },
        start(0, type="thinking", thinking="", signature=""),
        delta(0, type="thinking_delta", thinking="thought"),
        delta(0, type="signature_delta", signature=""),
        stop(0),
        start(1, type="text", text="", citations=[]),
        delta(1, type="text_delta", text="Hi"),
        stop(1),
        start(2, type="text", text="", citations=[]),
        delta(2, type="text_delta", text="no"),
        stop(2),
        start(3, type="text", text="", citations=[]),
        delta(3, type="text_delta", text="[image left out: image/png]"),
        stop(3),
        start(4, **by_model, id="pc64_ZnVuY3Rpb25zLmdvOjA", name="go", input={}),
        delta(4, type="input_json_delta", partial_json=""),
        delta(4, type="input_json_delta", partial_json='{"a'),
        delta(4, type="input_json_delta", partial_json='":1}'),
        stop(4),
        start(5, **by_model, id="call_2", name="go", input={}),
        delta(5, type="input_json_delta", partial_json=""),
        stop(5),
        message_delta("tool_use", **usage),
        MESSAGE_STOP,
    ]


@pytest.mark.parametrize(
    ("texts", "pieces"),
    [
        ([], []),
        (["{}"], ["{}"]),
        ([" ", "\n"], []),
        (['"', '"'], []),
        (["null"], []),
        (["n", "o"], ["no"]),
        (['"x'], ['"x']),
        (["nul"], ["nul"]),  # cut: what the model wrote, for the client to refuse
        (['{"a":', "nul", "l}"], ['{"a":', "nul", "l}"]),
    ],
)
def test_b21_arguments_of_every_spelling(texts: list[str], pieces: list[str]) -> None:
    events = [
        ResponseStart("r", "m"),
        PartStart(0, ToolCall("t", "go", "")),
        *(PartDelta(0, text) for text in texts),
        PartEnd(0),
        ResponseEnd("tool_calls"),
    ]
    found = [e["delta"] for e in wire_events(encode(events)) if e["type"] == "content_block_delta"]
    assert [d["partial_json"] for d in found] == ["", *pieces]


def test_b12_large_arguments_arrive_whole() -> None:
    text = json.dumps({"code": "x = 'é\\n'\n" * 12_000})
    events = [
        ResponseStart("r", "m"),
        PartStart(0, ToolCall("t", "go", "")),
        *(PartDelta(0, text[i : i + 37]) for i in range(0, len(text), 37)),
        PartEnd(0),
        ResponseEnd("tool_calls"),
    ]
    (call,) = fold(decode(StreamDecoder(), cut(encode(events), seed=3))).tool_calls
    assert call.arguments_json == text


def test_b17_b23_fragments_are_forwarded_as_they_arrive() -> None:
    encoder = StreamEncoder()
    encoder.feed(ResponseStart("r", "m"))
    encoder.feed(PartStart(0, ToolCall("t", "go", "")))
    assert wire_events(encoder.feed(PartDelta(0, '{"a": "'))) == [
        delta(0, type="input_json_delta", partial_json='{"a": "')
    ]
    assert wire_events(encoder.feed(PartDelta(0, '"}'))) == [
        delta(0, type="input_json_delta", partial_json='"}')
    ]


def test_parts_that_come_whole_at_their_start() -> None:
    events = [
        ResponseStart("r", "m"),
        PartStart(0, Text("all")),
        PartEnd(0),
        PartStart(1, ToolCall("t", "go", '{"a":1}')),
        PartEnd(1),
        PartStart(2, Reasoning("", {"anthropic": {"redacted_data": "d"}})),
        PartEnd(2),
        PartStart(3, Reasoning("")),
        PartEnd(3, {"anthropic": {"signature": "s"}}),
        PartStart(4, Text("")),
        PartEnd(4, {"anthropic": {"citations": [{"n": 1}]}}),
        ResponseEnd("tool_calls"),
    ]
    # The caller stands in every answer, and what an answer says comes back as it was: as a note.
    said = {"anthropic": {"caller": {"type": "direct"}}}
    assert fold(decode(StreamDecoder(), [encode(events)])).message.parts == [
        Text("all"),
        ToolCall("t", "go", '{"a":1}', metadata=said),
        Reasoning("", {"anthropic": {"redacted_data": "d"}}),
        Reasoning("", {"anthropic": {"signature": "s"}}),
        Text("", {"anthropic": {"citations": [{"n": 1}]}}),
    ]


def test_b29_a_failure_ends_the_stream_with_an_error_event() -> None:
    encoder = StreamEncoder()
    begun = encoder.feed(ResponseStart("r", "m"))
    failed = encoder.fail(errors.OverloadedError("busy", request_id="req_1"))
    assert wire_events(failed) == [
        {
            "type": "error",
            "error": {"type": "overloaded_error", "message": "busy"},
            "request_id": "req_1",
        }
    ]
    decoder = StreamDecoder()
    decoder.feed(begun + failed)
    with pytest.raises(errors.OverloadedError):
        decoder.close()


_texts = st.text(max_size=6)
_parts: st.SearchStrategy[Part] = st.one_of(
    st.builds(Text, _texts.filter(bool)),
    st.builds(lambda t, s: Reasoning(t, {"anthropic": {"signature": s}}), _texts, _texts),
    st.builds(lambda d: Reasoning("", {"anthropic": {"redacted_data": d}}), _texts),
    st.builds(
        lambda d: Opaque("anthropic", "of_tomorrow", {"type": "of_tomorrow", "data": d}), _texts
    ),
)


@given(
    st.lists(_parts, max_size=4),
    st.lists(_texts, max_size=3, unique=True),
    st.sampled_from(["end_turn", "max_tokens", "refusal", "of_tomorrow", "tool_use"]),
    st.integers(0, 99),
)
def test_streams_and_bodies_of_an_answer_agree(
    parts: list[Part], ids: list[str], raw: str, tokens: int
) -> None:
    calls: list[Any] = [ToolCall(i or "x", f"go{n}", '{"a":1}') for n, i in enumerate(ids)]
    body = {
        "id": "msg_1",
        "model": "m",
        "content": anthropic.render_response(
            Response("", "", Message("assistant", [*parts, *calls]), "stop")
        )["content"],
        "stop_reason": raw,
        "usage": {"input_tokens": tokens, "output_tokens": tokens + 1},
    }
    response = anthropic.parse_response(body)
    streamed = fold(decode(StreamDecoder(), cut(encode(list(unfold(response))), seed=tokens)))
    again = anthropic.parse_response(anthropic.render_response(response))
    assert streamed == again
    assert streamed.message == response.message
    assert streamed.usage == response.usage
