"""Streams in: every habit of servers, and the laws."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polycall._support import jsontext
from polycall.dialects.openai_responses import StreamDecoder, parse_response
from polycall.errors import (
    BillingError,
    InvalidRequestError,
    RateLimitError,
    ServerError,
    TruncatedError,
    UpstreamError,
)
from polycall.fold import fold
from polycall.ir import (
    Opaque,
    PartDelta,
    PartEnd,
    PartStart,
    ResponseEnd,
    ResponseStart,
    Text,
    ToolCall,
    Usage,
)
from tests.support import cut, decode

from .wire import USAGE, added, body, call, completed, created, done, event, message, read, sse

NAME = "openai-responses"


def text(delta: str, index: int = 0, content_index: int = 0) -> dict[str, Any]:
    return event("output_text.delta", output_index=index, content_index=content_index, delta=delta)


def arguments(delta: str, index: int = 0) -> dict[str, Any]:
    return event("function_call_arguments.delta", output_index=index, delta=delta)


REASONING = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "Need"}, {"type": "summary_text", "text": "more"}],
    "content": [{"type": "reasoning_text", "text": "hm"}],
    "encrypted_content": "whole",
}
TWO_PARTS = message(
    "",
    item_id="msg_3",
    content=[
        {"type": "output_text", "text": "a", "annotations": [{"type": "x"}], "logprobs": []},
        {"type": "refusal", "refusal": "no"},
    ],
)
SEARCH = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"q": 1}}
CUSTOM = {
    "type": "custom_tool_call",
    "id": "ctc_1",
    "call_id": "c9",
    "name": "calc",
    "input": 'p "q"\n',
}
OUTPUT = [REASONING, message("Looking."), SEARCH, call('{"a": 1}'), CUSTOM, TWO_PARTS]


def summary(delta: str, part: int) -> dict[str, Any]:
    return event("reasoning_summary_text.delta", output_index=0, summary_index=part, delta=delta)


FULL = [
    created(),
    event("in_progress", response=body(status="in_progress")),
    {"type": "keepalive", "sequence_number": 2},
    added({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "part"}),
    event("reasoning_summary_part.added", output_index=0, summary_index=0, part={}),
    summary("Ne", 0),
    summary("ed", 0),
    event("reasoning_summary_text.done", output_index=0, summary_index=0, text="Need"),
    event("reasoning_summary_text.done", output_index=0, summary_index=1, text="more"),
    event("reasoning_text.delta", output_index=0, content_index=0, delta="hm"),
    done(REASONING),
    added({**message(""), "content": [], "status": "in_progress"}, 1),
    event("content_part.added", output_index=1, content_index=0, part={"type": "output_text"}),
    text("Look", 1),
    text("", 1),
    event("output_text.done", output_index=1, content_index=0, text="Looking."),
    done(OUTPUT[1], 1),
    added({**SEARCH, "status": "in_progress"}, 2),
    event("web_search_call.searching", output_index=2, item_id="ws_1"),
    done(SEARCH, 2),
    added({**call(""), "status": "in_progress"}, 3),
    arguments('{"a":', 3),
    arguments(" 1}", 3),
    event("function_call_arguments.done", output_index=3, arguments='{"a": 1}'),
    done(OUTPUT[3], 3),
    added({**CUSTOM, "input": ""}, 4),
    event("custom_tool_call_input.delta", output_index=4, delta='p "'),
    event("custom_tool_call_input.delta", output_index=4, delta='q"\n'),
    event("custom_tool_call_input.done", output_index=4, input=CUSTOM["input"]),
    done(CUSTOM, 4),
    added({**TWO_PARTS, "content": [], "status": "in_progress"}, 5),
    text("a", 5, 0),
    event(
        "output_text.annotation.added", output_index=5, content_index=0, annotation={"type": "x"}
    ),
    event("content_part.done", output_index=5, content_index=0, part=TWO_PARTS["content"][0]),
    event("refusal.delta", output_index=5, content_index=1, delta="no"),
    event("refusal.done", output_index=5, content_index=1, refusal="no"),
    done(TWO_PARTS, 5),
    completed(*OUTPUT, tools=[], metadata={"k": "v"}),
]


def test_the_events_of_a_stream() -> None:
    item = message("Looking.", phase="commentary")
    known = {"message": {"id": "msg_1", "phase": "commentary"}}
    whole = {
        **known,
        "part": {"annotations": [], "logprobs": []},
        "fields": {"type": "message", "status": "completed"},
    }
    data = sse(
        [created(), added({**item, "content": []}), text("Look"), done(item), completed(item)]
    )
    assert decode(StreamDecoder(), [data]) == [
        ResponseStart("resp_1", "m", 1790000000, metadata={NAME: {}}),
        PartStart(0, Text("", metadata={NAME: known})),
        PartDelta(0, "Look"),
        PartDelta(0, "ing."),
        PartEnd(0, {NAME: whole}),
        ResponseEnd(
            "stop", "completed", Usage(80, 40, 64, 8, 16, metadata={NAME: USAGE}), {NAME: {}}
        ),
    ]


@pytest.mark.parametrize("named", [True, False])
def test_b34_a_stream_folds_to_the_body_it_ends_with(named: bool) -> None:
    folded = fold(decode(StreamDecoder(), [sse(FULL, named=named)]))
    assert folded == parse_response(FULL[-1]["response"])
    assert folded.finish_reason == "tool_calls"


def test_a_whole_body_in_place_of_a_stream() -> None:
    whole = FULL[-1]["response"]
    folded = fold(decode(StreamDecoder(), [jsontext.encode_bytes(whole)]))
    assert folded == parse_response(whole)
    with pytest.raises(ServerError):
        decode(StreamDecoder(), [b'{"error": {"message": "x"}}'])


@given(st.integers(0, 10**9), st.integers(1, 60))
def test_cutting_the_bytes_changes_nothing(seed: int, pieces: int) -> None:
    data = sse(FULL)
    assert decode(StreamDecoder(), cut(data, seed=seed, pieces=pieces)) == decode(
        StreamDecoder(), [data]
    )


@given(st.data())
def test_b34_whatever_is_missing_is_told_at_the_end(data: st.DataObject) -> None:
    """Any of the events between `created` and `completed` may be lost but an item's own two."""
    kept = [
        each
        for each in FULL[1:-1]
        if "output_item" in each["type"]
        or each["type"].endswith(("annotation.added", "content_part.done"))
        or data.draw(st.booleans())
    ]
    # A delta that is lost in the middle is no habit of servers: only whole runs are.
    lost = {each.get("output_index") for each in FULL[1:-1] if each not in kept}
    kept = [
        each
        for each in kept
        if "output_item" in each["type"] or each.get("output_index") not in lost
    ]
    assert read(created(), *kept, FULL[-1]) == parse_response(FULL[-1]["response"])


@given(st.permutations(range(len(OUTPUT))), st.data())
def test_items_that_interleave_come_out_in_order(order: list[int], data: st.DataObject) -> None:
    """Deltas of items that are open together are held back until their turn."""
    begun = [each for each in FULL if each["type"] == "response.output_item.added"]
    rest = {
        index: [each for each in FULL if each.get("output_index") == index and each not in begun]
        for index in order
    }
    mixed: list[dict[str, Any]] = []
    while any(rest.values()):
        index = data.draw(st.sampled_from([each for each in order if rest[each]]))
        mixed.append(rest[index].pop(0))
    assert read(created(), *begun, *mixed, FULL[-1]) == parse_response(FULL[-1]["response"])


def test_b03_parallel_calls_stay_apart() -> None:
    first, second = call('{"a":1}'), call('{"b":2}', call_id="call_2", name="g")
    response = read(
        created(),
        added({**first, "arguments": ""}),
        added({**second, "arguments": ""}, 1),
        arguments('{"a"', 0),
        arguments('{"b"', 1),
        arguments(":1}", 0),
        arguments(":2}", 1),
        done(second, 1),
        done(first, 0),
        completed(first, second),
    )
    assert [(each.id, each.name, each.arguments) for each in response.tool_calls] == [
        ("call_1", "f", {"a": 1}),
        ("call_2", "g", {"b": 2}),
    ]


def test_b09_arguments_done_without_deltas() -> None:
    events = decode(
        StreamDecoder(),
        [
            sse(
                [
                    created(),
                    added({**call(""), "status": "in_progress"}),
                    event("function_call_arguments.done", output_index=0, arguments='{"a":1}'),
                    done(call('{"a":1}')),
                    completed(),
                ]
            )
        ],
    )
    assert [each.text for each in events if isinstance(each, PartDelta)] == ['{"a":1}']


def test_b10_empty_deltas_are_no_events() -> None:
    with_empty = [
        created(),
        added(call("")),
        arguments(""),
        arguments("{}"),
        arguments(""),
        done(call("{}")),
        completed(),
    ]
    without = [each for each in with_empty if each.get("delta") != ""]
    assert decode(StreamDecoder(), [sse(with_empty)]) == decode(StreamDecoder(), [sse(without)])


def test_b13_text_and_call_both_appear() -> None:
    response = read(
        created(),
        added(message("", content=[])),
        text("Looking."),
        done(message("Looking.")),
        added(call(""), 1),
        arguments("{}", 1),
        done(call("{}"), 1),
        completed(),
    )
    assert [type(part) for part in response.message.parts] == [Text, ToolCall]
    assert (response.text, response.finish_reason) == ("Looking.", "tool_calls")


def test_b20_unknown_events_and_items_pass() -> None:
    search = {"type": "tool_search_call", "id": "ts_1", "arguments": {"paths": ["wx"]}}
    response = read(
        created(),
        event("something.new", output_index=0, delta={"an": "object"}),
        {"type": "billing.note", "cost": 1},
        {"no": "type"},
        added({**search, "status": "in_progress"}),
        event("tool_search_call.arguments.delta", output_index=0, delta={"paths": []}),
        done(search),
        done({"type": "item_of_next_year", "x": 1}, 1),
        added(call(""), 2),
        done(call("{}"), 2),
        completed(),
    )
    assert response.message.parts[:2] == [
        Opaque(NAME, "tool_search_call", search),
        Opaque(NAME, "item_of_next_year", {"type": "item_of_next_year", "x": 1}),
    ]
    assert len(response.tool_calls) == 1


def test_b23_arguments_are_told_as_they_come() -> None:
    decoder = StreamDecoder()
    decoder.feed(sse([created(), added(call(""))]))
    for piece in ('{"a"', ":", "1}"):
        told = decoder.feed(sse([arguments(piece)]))
        assert told == [PartDelta(0, piece)]


def test_b25_a_character_cut_between_reads_stays_whole() -> None:
    data = sse([created(), text("서울 🌧️"), done(message("서울 🌧️")), completed()])
    pieces = [data[place : place + 1] for place in range(len(data))]
    assert fold(decode(StreamDecoder(), pieces)).text == "서울 🌧️"


def test_a_surrogate_pair_cut_between_deltas_is_one_character() -> None:
    data = sse([created(), text("a\ud83c"), text("\udf27b"), text("\ud83c"), completed()])
    events = decode(StreamDecoder(), [data])
    assert [each.text for each in events if isinstance(each, PartDelta)] == [
        "a",
        "🌧b",
        "\ud83c",
    ]


@pytest.mark.parametrize(
    ("payload", "error", "message_"),
    [
        ({"type": "error", "code": "server_error", "message": "boom"}, ServerError, "boom"),
        (
            {"type": "error", "error": {"code": "rate_limit_exceeded", "message": "slow"}},
            RateLimitError,
            "slow",
        ),
        (
            {"error": {"message": "bad", "type": "invalid_request_error"}},
            InvalidRequestError,
            "bad",
        ),
        ({"error": "plain words"}, ServerError, "plain words"),
        (
            event(
                "failed",
                response=body(
                    status="failed", error={"code": "insufficient_quota", "message": "spent"}
                ),
            ),
            BillingError,
            "spent",
        ),
        (event("failed", response=body(error=None)), ServerError, "the response failed"),
    ],
)
def test_b27_b29_an_error_in_a_stream_is_raised_after_what_came(
    payload: dict[str, Any], error: type[UpstreamError], message_: str
) -> None:
    decoder = StreamDecoder()
    events = decoder.feed(sse([created(), text("so far")]))
    assert events[-1] == PartDelta(0, "so far")
    assert decoder.feed(sse_unnamed(payload)) == []
    assert decoder.feed(sse([completed()])) == []
    with pytest.raises(error) as caught:
        decoder.close()
    assert caught.value.message == message_


def sse_unnamed(payload: dict[str, Any]) -> bytes:
    return sse([{"type": "x", **payload}] if "type" in payload else [payload], named=False)


@pytest.mark.parametrize("length", range(1, len(FULL) - 1, 3))
def test_b31_a_stream_without_its_end_is_truncated(length: int) -> None:
    with pytest.raises(TruncatedError):
        decode(StreamDecoder(), [sse(FULL[:length]), b"data: [DONE]\n\n"])


def test_incomplete_leaves_the_call_cut() -> None:
    cut_call = call('{"city": "Se', status="incomplete")
    response = read(
        created(),
        added(call("")),
        arguments('{"city": "Se'),
        event(
            "incomplete",
            response=body(
                cut_call, status="incomplete", incomplete_details={"reason": "max_output_tokens"}
            ),
        ),
    )
    assert response.finish_reason == "length"
    assert [each.arguments for each in response.tool_calls] == [None]
