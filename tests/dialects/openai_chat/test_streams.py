"""Streams inwards: one grammar, whatever the server's habits."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polycall.dialects import openai_chat
from polycall.errors import (
    InvalidRequestError,
    PolycallError,
    ProtocolError,
    RateLimitError,
    RequestTooLargeError,
    ServerError,
    TruncatedError,
    UpstreamError,
)
from polycall.fold import fold
from polycall.ir import (
    Event,
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
from tests.dialects.openai_chat.chunks import (
    DONE,
    NAME,
    answer,
    body_of,
    called,
    calls,
    chunk,
    events_of,
    function,
    piece,
    sse,
)
from tests.support import decode

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}

EVERYTHING = b"".join(
    [
        b": keep-alive\n\n",
        chunk({"role": "assistant", "content": "", "refusal": None}, service_tier="flex"),
        chunk({"reasoning_content": "음…"}),
        chunk({"content": "서울 "}),
        chunk({"content": "날씨"}),
        calls(piece(0, "a", "w", "")),
        calls(piece(0, args='{"city":'), piece(1, "b", "t", '{"tz"')),
        calls(piece(1, args=':"x"}')),
        calls(piece(0, args='"서울"}')),
        chunk({}, "tool_calls"),
        sse({"id": "c1", "choices": [], "usage": USAGE}),
        DONE,
    ]
)


def test_a_stream_event_by_event() -> None:
    start = ResponseStart("c1", "m", 7, metadata={NAME: {"body": {"service_tier": "flex"}}})
    assert events_of(EVERYTHING) == [
        start,
        PartStart(0, Reasoning(metadata={NAME: {"field": "reasoning_content"}})),
        PartDelta(0, "음…"),
        PartEnd(0),
        PartStart(1, Text("")),
        PartDelta(1, "서울 "),
        PartDelta(1, "날씨"),
        PartEnd(1),
        PartStart(2, ToolCall("a", "w", "")),
        PartDelta(2, '{"city":'),
        PartDelta(2, '"서울"}'),
        PartEnd(2),
        PartStart(3, ToolCall("b", "t", "")),
        PartDelta(3, '{"tz"'),
        PartDelta(3, ':"x"}'),
        PartEnd(3),
        ResponseEnd(
            "tool_calls",
            "tool_calls",
            Usage(3, 2, service_tier="flex", metadata={NAME: USAGE}),
            {NAME: {"body": {"service_tier": "flex"}}},
        ),
    ]


@settings(max_examples=60)
@given(st.lists(st.integers(0, len(EVERYTHING)), max_size=12))
def test_cutting_the_bytes_changes_no_event(places: list[int]) -> None:
    edges = [0, *sorted(places), len(EVERYTHING)]
    pieces = [EVERYTHING[a:b] for a, b in itertools.pairwise(edges)]
    assert decode(openai_chat.StreamDecoder(), pieces) == events_of(EVERYTHING)


def test_events_come_as_soon_as_they_are_known() -> None:
    decoder = openai_chat.StreamDecoder()
    seen: list[list[Event]] = [
        decoder.feed(data)
        for data in (
            chunk({"role": "assistant"}),
            chunk({"content": "x"}),
            calls(piece(0, "a", "f", "")),
            calls(piece(0, args="{")),
            calls(piece(1, "b", "g", "{}")),  # waits: the first may still grow
            calls(piece(0, args="}")),  # now it is whole, and the second may begin
        )
    ]
    assert seen == [
        [ResponseStart("c1", "m", 7, metadata={NAME: {}})],
        [PartStart(0, Text("")), PartDelta(0, "x")],
        [PartEnd(0), PartStart(1, ToolCall("a", "f", ""))],
        [PartDelta(1, "{")],
        [],
        [PartDelta(1, "}"), PartEnd(1), PartStart(2, ToolCall("b", "g", "")), PartDelta(2, "{}")],
    ]


# The same answer as a body and as a stream.
SAME: dict[str, tuple[dict[str, Any], list[bytes]]] = {
    "text": (
        body_of({"content": "xy"}),
        [chunk({"content": "x"}), chunk({"content": "y"}, "stop")],
    ),
    "nothing": (body_of({"content": ""}), [chunk({"content": ""}), chunk({}, "stop")]),
    "null": (body_of({"content": None}), [chunk({"content": None}), chunk({}, "stop")]),
    "refusal": (
        body_of({"content": None, "refusal": "no"}),
        [chunk({"refusal": "n"}), chunk({"refusal": "o"}), chunk({}, "stop")],
    ),
    "empty content beside calls": (
        body_of({"content": "", "tool_calls": [function("f")]}, "tool_calls"),
        [chunk({"content": ""}), calls(piece(0, "a", "f", "{}")), chunk({}, "tool_calls")],
    ),
    "object arguments": (
        body_of({"tool_calls": [function("f", {"a": [1]})]}, "tool_calls"),
        [calls(piece(0, "a", "f", {"a": [1]})), chunk({}, "tool_calls")],
    ),
    "no ids": (
        body_of(
            {"tool_calls": [{"function": {"name": n, "arguments": "{}"}} for n in "fg"]}, "stop"
        ),
        [calls(piece(0, None, "f", "{}")), calls(piece(1, None, "g", "{}")), chunk({}, "stop")],
    ),
    "function_call": (
        body_of(
            {"content": None, "function_call": {"name": "f", "arguments": "{}"}}, "function_call"
        ),
        [
            chunk({"function_call": {"name": "f", "arguments": ""}}),
            chunk({"function_call": {"arguments": "{}"}}),
            chunk({}, "function_call"),
        ],
    ),
    "signatures": (
        body_of({"tool_calls": [{**function("f"), "extra_content": {"google": {"s": 1}}}]}, "stop"),
        [
            calls({**piece(0, "a", "f", "{}"), "extra_content": {"google": {"s": 1}}}),
            chunk({}, "stop"),
        ],
    ),
    "signatures that come late": (
        body_of({"tool_calls": [{**function("f"), "extra_content": {"google": {"s": 1}}}]}, "stop"),
        [
            calls(piece(0, "a", "f", "{}")),
            calls({**piece(0), "extra_content": {"google": {"s": 1}}}),
            chunk({}, "stop"),
        ],
    ),
    "custom call": (
        body_of(
            {
                "tool_calls": [
                    {"id": "a", "type": "custom", "custom": {"name": "c", "input": '"\n\\u'}}
                ]
            },
            "tool_calls",
        ),
        [
            calls({"index": 0, "id": "a", "type": "custom", "custom": {"name": "c", "input": ""}}),
            calls({"index": 0, "type": "custom", "custom": {"input": '"\n'}}),
            calls({"index": 0, "custom": {"input": "\\u"}}),
            chunk({}, "tool_calls"),
        ],
    ),
    "reasoning in two fields": (
        body_of({"content": "x", "reasoning_content": "ab", "reasoning": "cd"}),
        [
            chunk({"reasoning_content": "a", "reasoning": "c"}),
            chunk({"reasoning_content": "b", "reasoning": "d"}),
            chunk({"content": "x"}, "stop"),
        ],
    ),
    "reasoning details": (
        body_of(
            {
                "content": "x",
                "reasoning": "ab",
                "reasoning_details": [
                    {"type": "reasoning.text", "text": "ab", "index": 0, "signature": "S"},
                    {"type": "reasoning.encrypted", "data": "E", "index": 1},
                ],
            }
        ),
        [
            chunk(
                {
                    "reasoning": "a",
                    "reasoning_details": [{"type": "reasoning.text", "text": "a", "index": 0}],
                }
            ),
            chunk(
                {
                    "reasoning": "b",
                    "reasoning_details": [{"type": "reasoning.text", "text": "b", "index": 0}],
                }
            ),
            chunk(
                {
                    "content": "",
                    "reasoning_details": [
                        {"type": "reasoning.text", "signature": "S", "text": None, "index": 0},
                        {"type": "reasoning.encrypted", "data": "E", "index": 1},
                    ],
                }
            ),
            chunk({"content": "x"}, "stop"),
        ],
    ),
    "sealed reasoning before a call": (
        body_of(
            {
                "content": "",
                "reasoning_details": [{"type": "reasoning.encrypted", "data": "E"}],
                "tool_calls": [function("f")],
            },
            "tool_calls",
        ),
        [
            chunk(
                {
                    "content": "",
                    "reasoning_details": [{"type": "reasoning.encrypted", "data": "E"}],
                    "tool_calls": [piece(0, "a", "f", "{}")],
                }
            ),
            chunk({}, "tool_calls"),
        ],
    ),
    "thinking parts": (
        body_of(
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "ab"}]},
                    {"type": "text", "text": "x"},
                ]
            }
        ),
        [
            chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "a"}]}]}),
            chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "b"}]}]}),
            chunk({"content": "x"}, "stop"),
        ],
    ),
    "logprobs, annotations and audio": (
        {
            **body_of(
                {
                    "content": "x",
                    "annotations": [{"type": "url_citation"}],
                    "audio": {"id": "a", "data": "AABB", "transcript": "xy"},
                }
            ),
            "choices": [
                {
                    **body_of(
                        {
                            "content": "x",
                            "annotations": [{"type": "url_citation"}],
                            "audio": {"id": "a", "data": "AABB", "transcript": "xy"},
                        }
                    )["choices"][0],
                    "logprobs": {"content": [{"token": "x"}, {"token": "y"}]},
                }
            ],
        },
        [
            sse(
                {
                    "id": "c1",
                    "model": "m",
                    "created": 7,
                    "choices": [
                        {
                            "index": 0,
                            "delta": {
                                "content": "x",
                                "audio": {"id": "a", "data": "AA", "transcript": "x"},
                            },
                            "logprobs": {"content": [{"token": "x"}], "refusal": None},
                        }
                    ],
                }
            ),
            sse(
                {
                    "id": "c1",
                    "choices": [
                        {
                            "index": 0,
                            "delta": {
                                "annotations": [{"type": "url_citation"}],
                                "audio": {"data": "BB", "transcript": "y"},
                            },
                            "logprobs": {"content": [{"token": "y"}]},
                            "finish_reason": "stop",
                        }
                    ],
                }
            ),
        ],
    ),
}


@pytest.mark.parametrize("case", SAME)
def test_a_stream_folds_to_what_the_body_says(case: str) -> None:
    body, pieces = SAME[case]
    streamed = answer(b"".join([*pieces, DONE]))
    whole = openai_chat.parse_response(body)
    if case.startswith("logprobs"):
        # A field that is null in a body's logprobs may stand in a stream's first chunk.
        logprobs = streamed.metadata[NAME]["choice"]["logprobs"]
        assert logprobs.pop("refusal", None) is None
    assert streamed == whole


def test_several_choices_streamed_are_the_choices_of_the_body() -> None:
    other = {
        "index": 1,
        "message": {
            "role": "assistant",
            "content": "yz",
            "reasoning_content": "hm",
            "tool_calls": [function("g", '{"a":1}')],
        },
        "finish_reason": "tool_calls",
        "logprobs": None,
    }
    body = body_of({"content": "x"})
    body["choices"].append(other)
    data = b"".join(
        [
            chunk({"role": "assistant", "content": ""}, index=1),
            chunk({"reasoning_content": "hm"}, index=1),
            chunk({"content": "x"}),
            chunk({"content": "y"}, index=1),
            chunk(
                {"content": "z", "tool_calls": [{**piece(0, "a", "g", ""), "type": "function"}]},
                index=1,
            ),
            chunk({"tool_calls": [piece(0, args='{"a"')]}, index=1),
            chunk({"tool_calls": [piece(0, None, "g", ":1}")]}, index=1),
            chunk({}, "tool_calls", index=1),
            chunk({}, "stop"),
            DONE,
        ]
    )
    assert answer(data) == openai_chat.parse_response(body)


ENDS: dict[str, tuple[list[bytes], bool]] = {
    "finish_reason": ([chunk({"content": "x"}, "stop")], True),
    "done": ([chunk({"content": "x"}), DONE], True),
    "usage chunk": ([chunk({"content": "x"}), sse({"choices": [], "usage": USAGE})], True),
    "usage before content": (
        [sse({"choices": [], "usage": USAGE}), chunk({"content": "x"})],
        False,
    ),
    "usage between contents": (
        [chunk({"content": ""}), sse({"choices": [], "usage": USAGE}), chunk({"content": "x"})],
        False,
    ),
    "usage after some content": (
        [chunk({"content": "a"}), sse({"choices": [], "usage": USAGE}), chunk({"content": "x"})],
        False,
    ),
    "usage beside content": ([chunk({"content": "x"}, usage=USAGE)], False),
    "nothing": ([chunk({"content": "x"})], False),
    "an empty reason": ([chunk({"content": "x"}, "")], False),
    "no chunk": ([], False),
    "only done": ([DONE], False),
    "a comment": ([b": hi\n\n"], False),
}


@pytest.mark.parametrize("case", ENDS)
def test_how_a_stream_may_end(case: str) -> None:
    pieces, is_whole = ENDS[case]
    if is_whole:
        assert answer(b"".join(pieces)).text == "x"
    else:
        with pytest.raises(TruncatedError):
            answer(b"".join(pieces))


ERRORS: dict[str, tuple[dict[str, Any], type[UpstreamError]]] = {
    "nested": ({"error": {"message": "m", "type": "server_error"}}, ServerError),
    "nested with a number": ({"error": {"message": "m", "code": 429}}, RateLimitError),
    "nested with a text number": ({"error": {"message": "m", "code": "400"}}, InvalidRequestError),
    "string": ({"error": "m"}, ServerError),
    "flat": ({"object": "error", "message": "m", "code": 400}, InvalidRequestError),
    "flat without object": ({"message": "m", "type": "x", "code": 429}, RateLimitError),
    "detail": ({"detail": "m", "status_code": 429}, RateLimitError),
    "beside choices": (
        {
            "error": {"message": "m", "code": "context_length_exceeded"},
            "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}],
        },
        RequestTooLargeError,
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_an_error_in_the_stream_is_raised_after_what_came_before(case: str) -> None:
    payload, expected = ERRORS[case]
    decoder = openai_chat.StreamDecoder()
    events = decoder.feed(chunk({"content": "x"}) + sse(payload) + chunk({"content": "y"}) + DONE)
    assert [event for event in events if isinstance(event, PartDelta)] == [PartDelta(0, "x")]
    with pytest.raises(expected) as caught:
        decoder.close()
    assert type(caught.value) is expected
    assert caught.value.message == "m"


def test_an_event_named_error_is_one() -> None:
    with pytest.raises(UpstreamError, match="boom"):
        answer(chunk({"content": "x"}) + b'event: error\ndata: {"reason": "boom"}\n\n')


def test_a_null_error_is_none() -> None:
    assert answer(chunk({"content": "x"}, "stop", error=None)).text == "x"


def test_events_of_another_dialect_are_named_by_their_fields() -> None:
    raw = b'data: {"type": "response.created", "response": {}}\n\ndata: {"type": "ping"}\n\n'
    with pytest.raises(TruncatedError) as caught:
        answer(raw)
    assert str(caught.value) == (
        "the stream ended before an answer began: an event has response, type and no choices, "
        "so the server may speak another dialect than 'openai-chat'"
    )


def test_one_body_instead_of_a_stream() -> None:
    body = body_of(
        {
            "content": "x",
            "refusal": "r",
            "reasoning_content": "hm",
            "tool_calls": [function("f", '{"a":1}')],
        },
        "tool_calls",
        usage=USAGE,
    )
    assert answer(json.dumps(body).encode()) == openai_chat.parse_response(body)
    assert answer(sse(body) + DONE).message == openai_chat.parse_response(body).message
    with pytest.raises(RateLimitError):
        answer(b'{"error": {"message": "m", "code": 429}}')


def test_azure_begins_with_a_chunk_of_its_own() -> None:
    first = sse({"id": "", "model": "", "created": 0, "choices": [], "prompt_filter_results": [1]})
    response = answer(first + chunk({"content": "x"}, "stop") + DONE)
    assert (response.id, response.model, response.created) == ("c1", "m", 7)
    assert response.metadata == {NAME: {"body": {"prompt_filter_results": [1]}}}


def test_what_an_early_chunk_says_of_the_answer_is_kept() -> None:
    early = sse({"id": "early", "model": "m-1", "created": 5, "choices": []})
    choice = {"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}
    response = answer(early + sse({"id": "", "choices": [choice]}))
    assert (response.id, response.model, response.created) == ("early", "m-1", 5)


def test_usage_in_many_places_and_pieces() -> None:
    many = chunk({"content": "x"}, usage={"prompt_tokens": 3, "completion_tokens": 1})
    last = chunk({}, "stop", usage={"prompt_tokens": None, "completion_tokens": 2})
    assert answer(many + last + DONE).usage + Usage() == Usage(3, 2)
    in_choice = sse(
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": USAGE}]}
    )
    assert answer(in_choice + DONE).usage + Usage() == Usage(3, 2)
    groq = chunk({}, "stop", x_groq={"id": "r", "usage": USAGE})
    assert answer(groq + DONE).usage + Usage() == Usage(3, 2)
    assert answer(chunk({"content": "x"}, "stop", usage=None) + DONE).usage == Usage()


def test_the_first_reason_that_says_something_stays() -> None:
    for words, expected in [
        (["stop", "stop"], "stop"),
        (["tool_calls", "stop"], "tool_calls"),
        (["stop", "length"], "length"),
        (["", "length", "stop"], "length"),
    ]:
        data = b"".join(chunk({"content": "x"}, word) for word in words)
        assert answer(data + DONE).raw_finish_reason == expected


def test_a_cumulative_message_beside_the_delta_is_no_news() -> None:
    def both(delta: str, message: str, finish: str | None = None) -> bytes:
        choice = {
            "index": 0,
            "delta": {"content": delta},
            "message": {"role": "assistant", "content": message},
            "finish_reason": finish,
        }
        return sse({"id": "c1", "choices": [choice]})

    assert answer(both("a", "a") + both("b", "ab") + both("", "ab", "stop")).text == "ab"


def test_details_that_come_after_the_text_do_not_cut_it() -> None:
    detail = {"type": "reasoning.encrypted", "data": "E"}
    data = b"".join(
        [
            chunk({"content": "a"}),
            chunk({"content": "b", "reasoning_details": [detail]}),
            chunk({"content": "c"}, "stop"),
        ]
    )
    assert answer(data).message.parts == [
        Text("abc"),
        Reasoning(metadata={NAME: {"details": [detail]}}),
    ]


def test_what_comes_after_done_is_not_read() -> None:
    assert answer(chunk({"content": "x"}, "stop") + DONE + chunk({"content": "y"})).text == "x"


def test_more_arguments_for_a_finished_call_are_nonsense() -> None:
    data = calls(piece(0, "a", "f", "{}")) + calls(piece(1, "b", "g", "{}"))
    assert called(answer(data + calls(piece(0, args=" ")) + DONE)) == [
        ("a", "f", "{}"),
        ("b", "g", "{}"),
    ]
    with pytest.raises(ProtocolError):
        answer(data + calls(piece(0, args="{1}")) + DONE)


def test_text_refusal_and_reasoning_wait_behind_an_open_call() -> None:
    data = b"".join(
        [
            calls(piece(0, "a", "f", '{"x"')),
            chunk({"content": "late", "refusal": "no", "reasoning": "hm"}),
            calls(piece(0, args=":1}")),
            chunk({}, "stop"),
        ]
    )
    assert answer(data).message.parts == [
        ToolCall("a", "f", '{"x":1}'),
        Reasoning("hm", {NAME: {"field": "reasoning"}}),
        Text("late"),
        Refusal("no"),
    ]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
DELTA_FIELDS = [
    "content",
    "tool_calls",
    "function_call",
    "reasoning",
    "reasoning_details",
    "refusal",
]


@given(st.lists(st.tuples(st.sampled_from([*DELTA_FIELDS, ""]), json_values), max_size=4))
def test_garbage_raises_only_polycall_errors(garbage: list[tuple[str, Any]]) -> None:
    decoder = openai_chat.StreamDecoder()
    events: list[Event] = []
    for field, value in garbage:
        events += decoder.feed(chunk({field: value}) if field else sse({"choices": value}))
    try:
        events += decoder.feed(chunk({}, "stop") + DONE)
        events += decoder.close()
    except PolycallError:
        return
    assert isinstance(fold(events), Response)


ARGUMENTS = ['{"a":1}', '{"text":"}{"}', "{}", '{"n":{"m":[1,2]}}']


@settings(max_examples=80)
@given(st.data())
def test_interleaved_calls_come_out_whole_and_in_order(data: st.DataObject) -> None:
    texts = data.draw(st.lists(st.sampled_from(ARGUMENTS), min_size=1, max_size=4))
    left = dict(enumerate(texts))
    pieces: list[bytes] = []
    begun: set[int] = set()
    while left:
        candidates = [i for i in left if i in begun or all(j in begun for j in range(i))]
        index = data.draw(st.sampled_from(candidates))
        size = data.draw(st.integers(1, len(left[index])))
        head = () if index in begun else (f"id{index}", f"f{index}")
        begun.add(index)
        pieces.append(calls(piece(index, *(head or (None, None)), left[index][:size])))
        left[index] = left[index][size:]
        if not left[index]:
            del left[index]
    expected = [(f"id{i}", f"f{i}", text) for i, text in enumerate(texts)]
    assert called(answer(b"".join([*pieces, chunk({}, "tool_calls"), DONE]))) == expected
