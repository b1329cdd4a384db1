"""Streams between dialects: PAIN B01 to B23, by their numbers.

What an upstream of one dialect streams, and what a client of another finds in it.  `tests.readers`
and the official SDKs read what was written; both share no code with the dialects.
"""

from __future__ import annotations

import json

import pytest

from polycall.fold import fold
from polycall.ir import (
    JSON,
    PartDelta,
)
from tests import readers, sdk
from tests.pain.bodies import (
    CALLS,
    CITY,
    STREAMS,
    anthropic_block,
    anthropic_stream,
    call_events,
    chat_chunk,
    chat_stream,
    function_call,
    gemini_chunk,
    piece,
    responses_stream,
    text_events,
    tool_block,
)
from tests.pain.reading import (
    CLIENTS,
    GROWING,
    READERS,
    chat_indexes,
    ending,
    events_of,
    found,
    ids_found,
    written,
)
from tests.pain.wires import (
    ALL_CROSS,
    ALL_PAIRS,
    ANTHROPIC,
    CHAT,
    GEMINI,
    RESPONSES,
    dialect,
    gemini_sse,
)


@pytest.mark.parametrize("upstream", [RESPONSES, ANTHROPIC, GEMINI])
def test_B01_parallel_calls_have_indexes_of_their_own(upstream: str) -> None:
    assert chat_indexes(written(upstream, CHAT, STREAMS[upstream])) == [0, 1]


@ALL_PAIRS
def test_B01_every_client_finds_both_calls_and_their_ids(client: str, upstream: str) -> None:
    ids = ids_found(upstream, client, STREAMS[upstream])
    assert [(name, arguments) for _, name, arguments in ids] == CALLS
    assert [call_id for call_id, _, _ in ids] == ["c1", "c2"]


def test_B02_text_and_thinking_before_calls_take_no_index() -> None:
    data = anthropic_stream(
        *anthropic_block(0, {"type": "thinking", "thinking": "a", "signature": "s"}),
        *anthropic_block(1, {"type": "text", "text": "b"}),
        *tool_block(2, "t1", "f", '{"a":1}'),
        *anthropic_block(3, {"type": "text", "text": "c"}),
        *tool_block(4, "t2", "g", '{"b":2}'),
    )
    text = written(ANTHROPIC, CHAT, data)
    assert chat_indexes(text) == [0, 1]
    assert sdk.read_stream(CHAT, text.encode()) == [("f", {"a": 1}), ("g", {"b": 2})]


def test_B03_parallel_calls_of_responses_stay_apart_for_chat() -> None:
    items = [function_call(f"c{n}", "f", f'{{"n":{n}}}') for n in range(3)]
    events = [e for n, item in enumerate(items) for e in call_events(n, item, [item["arguments"]])]
    text = written(RESPONSES, CHAT, responses_stream(*events, output=items))
    assert chat_indexes(text) == [0, 1, 2]
    assert sdk.read_stream(CHAT, text.encode()) == [("f", {"n": n}) for n in range(3)]


@CLIENTS
def test_B04_later_pieces_without_an_id_are_kept(client: str) -> None:
    data = chat_stream(
        piece(0, "", id="c1", type="function", name="f"),
        piece(0, '{"a"', id=None, name=None),
        piece(1, '{"b":', id="c2", type="function", name="g"),
        piece(0, ":1}", id=None, type=None, name=None),
        piece(1, "2}", id=None),
    )
    assert ids_found(CHAT, client, data) == [("c1", "f", {"a": 1}), ("c2", "g", {"b": 2})]


@CLIENTS
def test_B05_calls_without_an_index_are_not_merged(client: str) -> None:
    data = chat_stream(
        piece(None, '{"a":1}', id="c1", type="function", name="f"),
        piece(None, '{"b":2}', id="c2", type="function", name="f"),
    )
    assert ids_found(CHAT, client, data) == [("c1", "f", {"a": 1}), ("c2", "f", {"b": 2})]


@CLIENTS
def test_B06_one_index_for_all_calls_is_split_by_id(client: str) -> None:
    data = chat_stream(
        piece(0, '{"a":', id="c1", type="function", name="f"),
        piece(0, "1}", id="c1"),
        piece(0, '{"b":2}', id="c2", type="function", name="g"),
    )
    assert ids_found(CHAT, client, data) == [("c1", "f", {"a": 1}), ("c2", "g", {"b": 2})]


@CLIENTS
def test_B07_a_last_piece_with_a_name_and_no_id_is_the_same_call(client: str) -> None:
    data = chat_stream(
        piece(0, '{"a":', id="c1", type="function", name="f"),
        piece(0, "1}", id=None, name="f"),
    )
    assert ids_found(CHAT, client, data) == [("c1", "f", {"a": 1})]


@CLIENTS
def test_B08_a_first_piece_that_holds_everything_loses_no_byte(client: str) -> None:
    data = chat_stream(
        piece(0, "{", id="c1", type="function", name="f"), piece(0, '"a":1'), piece(0, "}")
    )
    assert found(CHAT, client, data) == [("f", {"a": 1})]


@CLIENTS
def test_B09_arguments_that_are_only_done_are_told_once(client: str) -> None:
    item = function_call("c1", "f", CITY)
    data = responses_stream(*call_events(0, item, []), output=[item])
    assert found(RESPONSES, client, data) == [("f", json.loads(CITY))]
    assert "".join(e.text for e in events_of(RESPONSES, data) if isinstance(e, PartDelta)) == CITY


@CLIENTS
def test_B10_an_empty_delta_is_nothing(client: str) -> None:
    item = function_call("c1", "f", CITY)
    data = responses_stream(*call_events(0, item, ["", CITY, ""]), output=[item])
    assert found(RESPONSES, client, data) == [("f", json.loads(CITY))]


def test_B11_calls_of_gemini_reach_anthropic_clients_by_deltas() -> None:
    text = written(GEMINI, ANTHROPIC, STREAMS[GEMINI])
    deltas = [
        payload["delta"]["partial_json"]
        for payload in readers.payloads(text)
        if payload.get("delta", {}).get("type") == "input_json_delta"
    ]
    assert json.loads("".join(deltas[:-1])) == json.loads(CITY)
    assert sdk.read_stream(ANTHROPIC, text.encode()) == CALLS


@ALL_CROSS
def test_B12_a_hundred_kilobytes_of_arguments_arrive(client: str, upstream: str) -> None:
    words = "가나다 " * 9000
    arguments = json.dumps({"text": words}, ensure_ascii=False)
    pieces = [arguments[n : n + 997] for n in range(0, len(arguments), 997)]
    item = function_call("c1", "f", arguments)
    call = {"functionCall": {"id": "c1", "name": "f", "args": {"text": words}}}
    head = piece(0, "", id="c1", type="function", name="f")
    data = {
        CHAT: lambda: chat_stream(head, *(piece(0, text) for text in pieces)),
        RESPONSES: lambda: responses_stream(*call_events(0, item, pieces), output=[item]),
        ANTHROPIC: lambda: anthropic_stream(*tool_block(0, "c1", "f", *pieces)),
        GEMINI: lambda: gemini_sse(gemini_chunk(call, finish="STOP")),
    }[upstream]()
    assert len(arguments.encode()) > 90_000
    assert found(upstream, client, data) == [("f", {"text": words})]


@ALL_PAIRS
def test_B13_text_and_calls_both_appear(client: str, upstream: str) -> None:
    text = written(upstream, client, STREAMS[upstream])
    response = fold(events_of(client, text.encode()))
    assert response.text == "Looking."
    assert [(call.name, call.arguments) for call in response.tool_calls] == CALLS


ENDS_WITH_CALLS = {
    CHAT: "tool_calls",
    RESPONSES: "completed",
    ANTHROPIC: "tool_use",
    GEMINI: "STOP",
}


@CLIENTS
def test_B14_a_call_ends_as_calls_end_though_the_upstream_said_stop(client: str) -> None:
    call = piece(0, "{}", id="c1", type="function", name="f")
    said_stop = {
        CHAT: chat_stream(call, finish="stop"),
        ANTHROPIC: anthropic_stream(*tool_block(0, "c1", "f"), stop="end_turn"),
        GEMINI: STREAMS[GEMINI],
    }
    for upstream, data in said_stop.items():
        assert fold(events_of(upstream, data)).finish_reason == "tool_calls"
        if (client, upstream) != (GEMINI, ANTHROPIC):
            assert ending(client, written(upstream, client, data)) == ENDS_WITH_CALLS[client]


@pytest.mark.parametrize("client", [CHAT, RESPONSES, ANTHROPIC])
def test_B15_a_stop_in_every_chunk_ends_the_answer_once(client: str) -> None:
    parts = [{"text": "a"}, {"text": "b"}, {"functionCall": {"id": "c1", "name": "f"}}]
    data = gemini_sse(*(gemini_chunk(part, finish="STOP") for part in parts))
    text = written(GEMINI, client, data)
    assert ending(client, text) == ENDS_WITH_CALLS[client]  # and nothing before it, for Chat
    assert READERS[client](text) == [("c1", "f", {})]


EMPTY = {
    CHAT: chat_stream(finish="stop"),
    RESPONSES: responses_stream(output=[]),
    ANTHROPIC: anthropic_stream(stop="end_turn"),
    GEMINI: gemini_sse(gemini_chunk(finish="STOP")),
}


@ALL_PAIRS
def test_B16_even_an_empty_answer_says_how_it_ended(client: str, upstream: str) -> None:
    text = written(upstream, client, EMPTY[upstream])
    ends = {CHAT: "stop", RESPONSES: "completed", ANTHROPIC: "end_turn", GEMINI: "STOP"}
    assert ending(client, text) == ends[client]
    assert sdk.read_stream(client, text.encode()) == []


@ALL_PAIRS
def test_B17_streamed_arguments_end_with_their_brace(client: str, upstream: str) -> None:
    text = written(upstream, client, STREAMS[upstream])
    calls = fold(events_of(client, text.encode())).tool_calls
    assert [call.arguments_json[-1] for call in calls] == ["}", "}"]


@ALL_PAIRS
def test_B19_no_calls_are_announced_without_a_call(client: str, upstream: str) -> None:
    claims = {
        CHAT: chat_stream(chat_chunk({"content": "x", "tool_calls": []})),
        RESPONSES: responses_stream(*text_events(0, "x"), output=[]),
        ANTHROPIC: anthropic_stream(*anthropic_block(0, {"type": "text", "text": "x"})),
        GEMINI: gemini_sse(gemini_chunk({"text": "x"}, finish="STOP")),
    }
    if client == upstream == ANTHROPIC:
        return  # its own word goes back as it came
    text = written(upstream, client, claims[upstream])
    assert ending(client, text) not in ("tool_calls", "tool_use")


@CLIENTS
def test_B20_unknown_events_and_items_do_not_stop_what_follows(client: str) -> None:
    search = {"type": "tool_search_call", "id": "ts_1", "arguments": {"query": ["x"]}}
    item = function_call("c1", "f", CITY)
    data = responses_stream(
        {"type": "response.of_next_year", "output_index": 0, "delta": {"a": [1]}},
        {"type": "response.output_item.added", "output_index": 0, "item": search},
        {"type": "response.tool_search_call.completed", "output_index": 0},
        {"type": "response.output_item.done", "output_index": 0, "item": search},
        *call_events(1, item, [CITY]),
        output=[search, item],
    )
    assert found(RESPONSES, client, data) == [("f", json.loads(CITY))]
    unknown = gemini_chunk({"ofNextYear": {"x": 1}})
    data = gemini_sse(unknown, {"candidates": []}, gemini_chunk({"text": "x"}, finish="STOP"))
    assert fold(events_of(client, written(GEMINI, client, data).encode())).text == "x"


@CLIENTS
def test_B21_a_call_without_arguments_is_kept_and_so_is_its_signature(client: str) -> None:
    call: JSON = {"functionCall": {"name": "now"}, "thoughtSignature": "c2ln"}
    data = gemini_sse(gemini_chunk(call, finish="STOP"))
    assert found(GEMINI, client, data) == [("now", {})]
    (kept,) = fold(events_of(GEMINI, data)).tool_calls
    assert kept.metadata[GEMINI]["thoughtSignature"] == "c2ln"


def test_B22_empty_and_repeated_calls_make_one_block() -> None:
    whole = piece(0, '{"a":1}', id="c1", type="function", name="f")
    data = chat_stream(
        chat_chunk({"tool_calls": []}),
        chat_chunk({"tool_calls": None}),
        whole,
        whole,
        chat_chunk({"function_call": {"name": "", "arguments": ""}}),
    )
    text = written(CHAT, ANTHROPIC, data)
    starts = [p for p in readers.payloads(text) if p["type"] == "content_block_start"]
    assert [block["content_block"]["type"] for block in starts] == ["tool_use"]
    assert readers.anthropic_stream(text) == [("c1", "f", {"a": 1})]


@pytest.mark.parametrize("client", [CHAT, RESPONSES, ANTHROPIC])
@pytest.mark.parametrize("upstream", GROWING)
def test_B23_fragments_are_forwarded_as_they_arrive(client: str, upstream: str) -> None:
    """Gemini's clients read whole calls only: see the page of limitations."""
    head, growing = GROWING[upstream]
    decoder, encoder = dialect(upstream).StreamDecoder(), dialect(client).StreamEncoder()
    b"".join(encoder.feed(event) for event in decoder.feed(head))
    for data in growing:
        assert b"".join(encoder.feed(event) for event in decoder.feed(data))
