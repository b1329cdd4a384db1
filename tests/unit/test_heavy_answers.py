"""What a provider writes costs about its bytes, in room and in time, whichever field is huge."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from polycall.embeddings import calls
from polycall.errors import PolycallError, ProtocolError
from polycall.exchange import _parse_response
from polycall.gateway.passthrough.body import usage_of
from polycall.gateway.passthrough.call_counter import CallCounter
from polycall.gateway.passthrough.model_name import NamedStream, named_as_asked
from polycall.gateway.passthrough.plain_messages import read_plain_answer
from polycall.ir import parse_arguments
from polycall.providers.catalogue import CATALOGUE
from polycall.providers.dialects import DIALECTS

CHAT = DIALECTS["openai-chat"]
SIZE = 600_000
LISTS = b"[" + b"[]," * (SIZE // 3) + b"1]"
FIELDS = b"{" + b",".join(b'"%x":1' % n for n in range(SIZE // 9)) + b"}"
ESCAPED = b'"' + b'\\"' * 100_000 + b'model":"x"'
OTHERS = b"{" + b'"":1,' * 501_000 + b'"a":1}'
HUGE_NAMES = {
    "a long name": b'{"model":"' + b"x" * SIZE + b'"}',
    "escaped quotes": b'{"a":' + ESCAPED + b"}",
    "many names": b'{"a":[' + b'{"model":"x"},' * 15_000 + b"1]}",
    "a name in a text": b'{"a":"' + b'\\"model":' * 20_000 + b'"}',
    "brackets": b'{"a":' + b"[]," * 80_000 + b'1,"model":"x"}',
}


def cost(work: Callable[[], object]) -> tuple[float, int]:
    """Seconds of work, and the most bytes that it held."""
    began = time.process_time()
    work()
    took = time.process_time() - began
    tracemalloc.start()
    try:
        work()
        return took, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("data", "words"),
    [(LISTS, "too heavy"), (b'{"data":' + LISTS + b"}", "too heavy"), (b"{", "JSON")],
)
async def test_s16_a_heavy_answer_beside_the_chat_is_called_heavy(
    monkeypatch: pytest.MonkeyPatch, data: bytes, words: str
) -> None:
    async def send(*_: object) -> Any:
        async def read(**_: object) -> bytes:
            return data

        async def close() -> None: ...

        return SimpleNamespace(status=200, headers={}, read=read, close=close)

    monkeypatch.setattr(calls, "send", send)
    given: Any = None
    with pytest.raises(ProtocolError, match=words):
        provider = CATALOGUE["openai"]
        await calls.post(given, given, provider, "k", "/embeddings", {}, "m", read=dict)


@pytest.mark.parametrize("kind", HUGE_NAMES)
def test_s16_finding_a_models_name_costs_no_more_than_the_bytes(kind: str) -> None:
    body = HUGE_NAMES[kind]
    frame = b"data: " + body + b"\n\n"
    for work in (
        lambda: named_as_asked(body, b'"model"', b'"a/b"'),
        lambda: NamedStream(b'"model"', b'"a/b"').feed(frame),
    ):
        took_s, held_bytes = cost(work)
        assert took_s < 0.4
        assert held_bytes < 14_000_000


def test_s16_a_field_that_ends_a_text_is_no_name() -> None:
    said = {"a": 'say "model', "b": 1}
    text = json.dumps(said).encode().replace(b', "b"', b': "x", "b"')
    assert named_as_asked(text, b'"model"', b'"a/b"') == text


@pytest.mark.parametrize("value", [LISTS, FIELDS], ids=["lists", "fields"])
def test_s16_a_usage_is_not_read_where_it_is_huge(value: bytes) -> None:
    end = b'"choices":[{"index":0,"message":{"role":"assistant","content":"x"},"finish_reason":'
    for field in (b"usage", b"service_tier"):
        body = b'{"id":"c",' + end + b'"stop"}],"usage":{},"%b":' % field + value + b"}"

        def read(body: bytes = body) -> None:
            assert read_plain_answer(body) is None
            with pytest.raises(ProtocolError, match="usage has more"):
                usage_of(CHAT, body)

        assert cost(read)[1] < 1_000_000


@pytest.mark.parametrize("name", ["openai-chat", "anthropic", "openai-responses", "gemini"])
@pytest.mark.parametrize("value", [LISTS, OTHERS], ids=["lists", "fields"])
def test_s16_an_event_is_not_read_where_it_would_take_many_times_its_room(
    name: str, value: bytes
) -> None:
    event = b'data: {"type":"x","a":' + value + b"}\n\n"
    for cut in (len(event), 100_000):
        decoder = DIALECTS[name].StreamDecoder()
        for place in range(0, len(event), cut):
            decoder.feed(event[place : place + cut])
        assert isinstance(decoder.error, PolycallError)
        assert "too heavy" in str(decoder.error)


@pytest.mark.parametrize("value", [LISTS, OTHERS], ids=["lists", "fields"])
def test_s16_arguments_are_not_read_where_they_would_take_many_times_their_room(
    value: bytes,
) -> None:
    text = '{"a":' + value.decode() + "}"
    assert parse_arguments(text) is None
    assert parse_arguments(json.dumps({"a": "x" * SIZE})) == {"a": "x" * SIZE}


@pytest.mark.parametrize("name", ["openai-chat", "anthropic", "openai-responses", "gemini"])
def test_s16_calls_are_counted_in_one_pass_over_a_frame(name: str) -> None:
    facts = DIALECTS[name].FACTS
    one = {
        "openai-chat": b'{"name":"f"}',
        "anthropic": b'{"type":"tool_use"}',
        "openai-responses": b'{"type":"function_call"}',
        "gemini": b'{"functionCall":{}}',
    }[name]
    mark = facts.counted_frames or facts.call_mark
    frame = b"data: {" + mark + b":[" + one * 4 + b"," + b"x" * 300 + b"]}\n\n"
    counter = CallCounter(DIALECTS[name])
    inside = len(facts.call_pattern.findall(frame))
    assert counter.in_frames(b"data: " + one + b"\n\n" + frame * 3, b"\n\n") in (
        3 * inside,
        3 * inside + (mark in one),
    )
    many = b"data: {" + mark + b":[" + (one + b"x" * 300) * 20_000 + b"]}\n\n"
    began = time.process_time()
    assert counter.in_frames(many, b"\n\n") >= 20_000
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize("field", ["id", "model"])
@pytest.mark.parametrize("name", ["openai-chat", "anthropic", "openai-responses", "gemini"])
def test_s16_an_answer_is_not_named_by_a_long_text(name: str, field: str) -> None:
    named = {"id": "a", "model": "m", field: "x" * 100_000}
    events: dict[str, dict[str, object]] = {
        "openai-chat": {**named, "choices": [{"index": 0, "delta": {"content": "x"}}]},
        "anthropic": {"type": "message_start", "message": {**named, "usage": {}}},
        "openai-responses": {"type": "response.created", "response": {**named, "output": []}},
        "gemini": {"responseId": named["id"], "modelVersion": named["model"], "candidates": []},
    }
    decoder = DIALECTS[name].StreamDecoder()
    decoder.feed(b"data: " + json.dumps(events[name]).encode() + b"\n\n")
    assert isinstance(decoder.error, ProtocolError)
    assert f"the answer's {field} has 100000 characters" in str(decoder.error)


@pytest.mark.parametrize("field", ["id", "model"])
@pytest.mark.parametrize("dialect", ["openai-chat", "anthropic"])
def test_s16_a_whole_answer_is_not_named_by_a_long_text(dialect: str, field: str) -> None:
    named = {"id": "a", "model": "m", field: "x" * 100_000}
    said = {"role": "assistant", "content": "hi"}
    bodies: dict[str, dict[str, object]] = {
        "openai-chat": {**named, "choices": [{"index": 0, "message": said}]},
        "anthropic": {**named, "content": [{"type": "text", "text": "hi"}]},
    }
    with pytest.raises(ProtocolError, match=f"the answer's {field} has 100000 characters"):
        _parse_response(DIALECTS[dialect], [json.dumps(bodies[dialect]).encode()])
