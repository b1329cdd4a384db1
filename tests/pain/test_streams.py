"""Streams between dialects: PAIN B01 to B34, by their numbers.

What an upstream of one dialect streams, and what a client of another finds in it.  `tests.readers`
and the official SDKs read what was written; both share no code with the dialects.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import openai
import pytest

from polycall.client import Client
from polycall.errors import OverloadedError, ProtocolError, ServerError, TruncatedError
from polycall.fold import fold
from polycall.ir import (
    JSON,
    Event,
    PartDelta,
    PartEnd,
    PartStart,
    Response,
    Text,
    ToolCall,
)
from polycall.providers.catalogue import CATALOGUE
from polycall.providers.provider import Provider
from polycall.sim import Simulation
from polycall.transport import Retry
from tests import readers, sdk
from tests.pain.bodies import (
    BODIES,
    CALLS,
    CHAT_USAGE,
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
from tests.pain.wires import (
    ANTHROPIC,
    CHAT,
    CROSS,
    GEMINI,
    NAMES,
    PAIRS,
    RESPONSES,
    chat_sse,
    dialect,
    gemini_sse,
    named_sse,
    stream,
)

READERS: dict[str, Callable[[str], readers.Found]] = {
    CHAT: readers.chat_stream,
    RESPONSES: readers.responses_stream,
    ANTHROPIC: readers.anthropic_stream,
    GEMINI: readers.gemini_stream,
}
CLIENTS = pytest.mark.parametrize("client", NAMES)
ALL_CROSS = pytest.mark.parametrize(("client", "upstream"), CROSS)
ALL_PAIRS = pytest.mark.parametrize(("client", "upstream"), PAIRS)


def written(upstream: str, client: str, data: bytes) -> str:
    return b"".join(stream(upstream, client, data)).decode()


def found(upstream: str, client: str, data: bytes) -> list[tuple[str, Any]]:
    """Names and arguments that a client's reader finds."""
    return [(name, arguments) for _, name, arguments in ids_found(upstream, client, data)]


def ids_found(upstream: str, client: str, data: bytes) -> readers.Found:
    return READERS[client](written(upstream, client, data))


def events_of(upstream: str, data: bytes) -> list[Event]:
    decoder = dialect(upstream).StreamDecoder()
    return [*decoder.feed(data), *decoder.close()]


def chat_indexes(text: str) -> list[int]:
    """The index of every piece of a call that says its name."""
    return [
        call["index"]
        for payload in readers.payloads(text)
        for choice in payload["choices"]
        for call in choice["delta"].get("tool_calls") or []
        if call["function"].get("name")
    ]


def ending(client: str, text: str) -> Any:
    """The client's own word for why the answer ended."""
    payloads = readers.payloads(text)
    match client:
        case "openai-chat":
            reasons = [c["finish_reason"] for p in payloads for c in p["choices"]]
            assert reasons[:-1] == [None] * (len(reasons) - 1)
            return reasons[-1]
        case "openai-responses":
            return payloads[-1]["response"]["status"]
        case "anthropic":
            return next(p["delta"]["stop_reason"] for p in payloads if p["type"] == "message_delta")
        case _:
            return payloads[-1]["candidates"][0]["finishReason"]


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


FRAGMENTS = ['{"a":"', "one ", "two ", 'three"}']
GROWING: dict[str, tuple[bytes, list[bytes]]] = {
    CHAT: (
        chat_sse(piece(0, "", id="c1", type="function", name="f"), done=False),
        [chat_sse(piece(0, text), done=False) for text in FRAGMENTS],
    ),
    RESPONSES: (
        named_sse(*call_events(0, function_call("c1", "f", ""), [])[:1]),
        [named_sse(call_events(0, function_call("c1", "f", ""), [t])[1]) for t in FRAGMENTS],
    ),
    ANTHROPIC: (
        named_sse(*tool_block(0, "c1", "f")[:1]),
        [named_sse(tool_block(0, "c1", "f", text)[2]) for text in FRAGMENTS],
    ),
}


@pytest.mark.parametrize("client", [CHAT, RESPONSES, ANTHROPIC])
@pytest.mark.parametrize("upstream", GROWING)
def test_B23_fragments_are_forwarded_as_they_arrive(client: str, upstream: str) -> None:
    """Gemini's clients read whole calls only: see the page of limitations."""
    head, growing = GROWING[upstream]
    decoder, encoder = dialect(upstream).StreamDecoder(), dialect(client).StreamEncoder()
    b"".join(encoder.feed(event) for event in decoder.feed(head))
    for data in growing:
        assert b"".join(encoder.feed(event) for event in decoder.feed(data))


@ALL_PAIRS
def test_B25_a_stream_cut_at_every_byte_says_the_same(client: str, upstream: str) -> None:
    data = STREAMS[upstream]
    cut = [data[n : n + 1] for n in range(len(data))]
    assert b"".join(stream(upstream, client, cut)) == b"".join(stream(upstream, client, data))
    assert "서울 🗼" in written(upstream, client, data)


@ALL_PAIRS
@pytest.mark.parametrize("line", ["\n", "\r\n", "\r"])
def test_B26_line_ends_and_cuts_do_not_matter(client: str, upstream: str, line: str) -> None:
    text = STREAMS[upstream].decode().replace("\r\n", "\n").replace("\n", line)
    data = f": comment{line}{line}{text}".encode()
    chance = random.Random(7)
    places = sorted(chance.choices(range(len(data)), k=40))
    edges = zip([0, *places], [*places, len(data)], strict=True)
    cut = [data[start:end] for start, end in edges]
    assert b"".join(stream(upstream, client, cut)) == b"".join(
        stream(upstream, client, STREAMS[upstream])
    )


@pytest.mark.parametrize("upstream", NAMES)
def test_B26_an_event_of_several_data_lines_is_one(upstream: str) -> None:
    broken = STREAMS[upstream].replace(b',"', b',\ndata: "')
    assert broken != STREAMS[upstream]
    assert fold(events_of(upstream, broken)) == fold(events_of(upstream, STREAMS[upstream]))


@pytest.fixture(scope="module")
def simulation() -> Iterator[Simulation]:
    with Simulation() as running:
        yield running


@pytest.mark.parametrize("vendor", ["openai", "anthropic", "google", "deepseek"])
async def test_B27_a_first_event_that_is_an_error_is_never_an_answer(
    simulation: Simulation, vendor: str
) -> None:
    row = CATALOGUE[vendor]
    provider = Provider(
        name=vendor,
        dialect=row.dialect,
        base_url=simulation.base_url(vendor),
        auth=row.auth,
        headers=row.headers,
        quirks=row.quirks,
    )
    before = len(simulation.requests)
    retry = Retry(attempts=2, base_s=0.01)
    async with Client(providers=[provider], keys={vendor: "k"}, retry=retry) as client:
        with pytest.raises((OverloadedError, ServerError)):
            async for _ in client.stream(f"{vendor}/fault-error-first", "x", max_output_tokens=9):
                pass
    assert len(simulation.requests) - before == 2


FAILED_FIRST = {
    CHAT: chat_sse({"error": {"message": "busy", "type": "server_error", "code": 503}}, done=False),
    RESPONSES: named_sse(
        {"type": "error", "code": "server_is_overloaded", "message": "busy", "param": None}
    ),
    ANTHROPIC: named_sse(
        {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
    ),
    GEMINI: gemini_sse({"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}}),
}


@pytest.mark.parametrize("upstream", NAMES)
def test_B28_an_error_before_the_first_event_leaves_the_status_open(upstream: str) -> None:
    decoder = dialect(upstream).StreamDecoder()
    assert decoder.feed(FAILED_FIRST[upstream]) == []
    with pytest.raises(OverloadedError, match="busy"):
        decoder.close()
    assert isinstance(decoder.error, OverloadedError)


@ALL_PAIRS
def test_B29_a_failure_in_mid_stream_is_told_in_the_clients_protocol(
    client: str, upstream: str
) -> None:
    text = STREAMS[upstream][: len(STREAMS[upstream]) // 2]
    text = text[: text.rfind(b"\n\n" if upstream != GEMINI else b"\r\n\r\n")] + b"\r\n\r\n"
    decoder, encoder = dialect(upstream).StreamDecoder(), dialect(client).StreamEncoder()
    events = decoder.feed(text + FAILED_FIRST[upstream])
    assert events
    assert isinstance(decoder.error, OverloadedError)
    data = b"".join([*(encoder.feed(event) for event in events), encoder.fail(decoder.error)])
    with pytest.raises(
        (
            openai.APIError,
            anthropic.APIError,
            RuntimeError,  # Responses: "Didn't receive a `response.completed` event"
            sdk.genai.errors.APIError,
        )
    ):
        sdk.read_stream(client, data)
    again = dialect(client).StreamDecoder()
    again.feed(data)
    with pytest.raises((OverloadedError, ServerError), match="busy"):
        again.close()


@CLIENTS
def test_B30_null_usage_and_chunks_without_choices_change_nothing(client: str) -> None:
    data = chat_sse(
        chat_chunk(None, usage=None),
        chat_chunk({"role": "assistant"}, usage=None),
        chat_chunk({"content": "x"}, usage=None),
        {**chat_chunk(), "choices": None},
        chat_chunk({}, "stop", usage=CHAT_USAGE),
        chat_chunk(None, usage=None),
    )
    response = fold(events_of(client, written(CHAT, client, data).encode()))
    assert response.text == "x"
    usage = response.usage
    assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens) == (100, 50, 40)


CUT = {
    CHAT: chat_sse(piece(0, '{"a": "he', id="c1", type="function", name="f"), done=False),
    RESPONSES: named_sse(
        {"type": "response.created", "response": {"id": "resp_1", "model": "m", "output": []}},
        *call_events(0, function_call("c1", "f", ""), ['{"a": "he'])[:2],
    ),
    ANTHROPIC: named_sse(
        {"type": "message_start", "message": {"id": "msg_1", "model": "m", "content": []}},
        *tool_block(0, "c1", "f", '{"a": "he')[:3],
    ),
    GEMINI: gemini_sse(gemini_chunk({"functionCall": {"name": "f", "willContinue": True}})),
}


@ALL_PAIRS
def test_B31_a_stream_cut_in_its_arguments_is_no_answer(client: str, upstream: str) -> None:
    decoder, encoder = dialect(upstream).StreamDecoder(), dialect(client).StreamEncoder()
    data = b"".join(encoder.feed(event) for event in decoder.feed(CUT[upstream]))
    with pytest.raises(TruncatedError):
        decoder.close()
    data += encoder.fail(TruncatedError("the stream ended early"))
    again = dialect(client).StreamDecoder()
    events = again.feed(data)
    assert not any(isinstance(event, PartEnd) for event in events)  # no call is complete
    with pytest.raises((ServerError, ProtocolError)):
        again.close()


@pytest.mark.parametrize("upstream", GROWING)
def test_B32_a_call_is_not_complete_before_its_arguments(upstream: str) -> None:
    head, growing = GROWING[upstream]
    decoder = dialect(upstream).StreamDecoder()
    (start,) = [event for event in decoder.feed(head) if isinstance(event, PartStart)]
    assert isinstance(start.part, ToolCall)
    assert start.part.arguments_json == ""
    events = [event for data in growing for event in decoder.feed(data)]
    assert [type(event) for event in events] == [PartDelta] * len(FRAGMENTS)


def test_B33_null_and_empty_content_beside_calls_are_told_as_they_were() -> None:
    """The form returns to Chat; no other wire shows a text that is not there."""
    call = piece(0, "{}", id="c1", type="function", name="f")
    for form in (None, ""):
        data = chat_sse(
            chat_chunk({"role": "assistant", "content": form}), call, chat_chunk({}, "tool_calls")
        )
        response = fold(events_of(CHAT, data))
        assert dialect(CHAT).render_response(response)["choices"][0]["message"]["content"] == form
        assert [type(part) for part in response.message.parts] == [ToolCall]
        for client in (RESPONSES, ANTHROPIC, GEMINI):
            again = fold(events_of(client, written(CHAT, client, data).encode()))
            assert not [p for p in again.message.parts if isinstance(p, Text) and p.text]


def said(response: Response) -> tuple[Any, ...]:
    """What an answer says, whatever its ids and its vendor's extras."""
    usage = response.usage
    return (
        response.text,
        [(call.id, call.name, call.arguments) for call in response.tool_calls],
        response.finish_reason,
        (usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.reasoning_tokens),
    )


@ALL_PAIRS
def test_B34_a_stream_and_a_body_say_the_same_to_every_client(client: str, upstream: str) -> None:
    source, target = dialect(upstream), dialect(client)
    body = target.render_response(source.parse_response(BODIES[upstream]))
    whole = target.parse_response(body)
    streamed = fold(events_of(client, written(upstream, client, STREAMS[upstream]).encode()))
    assert said(whole) == said(streamed)
    assert said(whole) == (
        "Looking.",
        [("c1", *CALLS[0]), ("c2", *CALLS[1])],
        "tool_calls",
        (100, 50, 40, 20),
    )
