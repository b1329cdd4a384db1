"""What is used up of a long answer is let go of before the next is made of it."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import base64
import json
import sys
import tracemalloc
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from polycall._support import event_stream
from polycall._support.json_weight import HeavyJSONError, JSONWeight, check_weight, objects_beside
from polycall.errors import PolycallError, ProtocolError
from polycall.exchange import _parse_response, _read_response
from polycall.gateway.generation.answer import _Stream
from polycall.gateway.generation.attempts import _looked_through
from polycall.gateway.generation.plain_answer import _rendered
from polycall.gateway.http.framers import ArrayEncoder, InvokeFramer, PromptFramer
from polycall.gateway.passthrough.body import usage_of
from polycall.ir import Message, PartDelta, PartStart, Request, Response, ResponseStart, Text
from polycall.providers.dialects import DIALECTS
from tests.support import peak

SIZE = 3_000_000
OLLAMA, CONVERSE = DIALECTS["ollama-chat"], DIALECTS["bedrock-converse"]


class Reading:
    """A dialect that notes what is held when it makes the parts of an answer."""

    NAME = "x"

    def __init__(self) -> None:
        self.held_bytes = 0

    def parse_response(self, body: dict[str, Any]) -> Response:
        self.held_bytes = tracemalloc.get_traced_memory()[0]
        assert len(body["text"]) == SIZE
        return Response("", "m", Message("assistant", [Text("x")]), "stop")


def body_of(size: int) -> bytes:
    return b'{"text":"%b"}' % (b"x" * size)


async def test_s16_a_whole_answer_is_let_go_of_once_it_is_read() -> None:
    async def read(**_: object) -> bytes:
        return body_of(SIZE)

    async def close() -> None: ...

    async def run(_: int, work: Callable[[], Any]) -> Any:
        return work()

    for runs in (None, run):
        dialect = Reading()
        exchange: Any = SimpleNamespace(
            dialect=dialect, provider=SimpleNamespace(whole_bytes_max=2 * SIZE)
        )
        http: Any = SimpleNamespace(status=200, headers={}, read=read, close=close)
        tracemalloc.start()
        try:
            response = await _read_response(exchange, http, runs)
        finally:
            tracemalloc.stop()
        assert response.message.parts == [Text("x")]
        assert dialect.held_bytes < 1.2 * SIZE


def test_s16_an_answer_that_is_mended_is_let_go_of_once_it_is_read() -> None:
    dialect = Reading()
    attempt: Any = SimpleNamespace(dialect=dialect, mends=True)
    http: Any = None
    tracemalloc.start()
    try:
        found = _looked_through(attempt, http, [body_of(SIZE)])
    finally:
        tracemalloc.stop()
    assert (found.body, found.size_bytes) == (b"", len(body_of(SIZE)))
    assert dialect.held_bytes < 1.2 * SIZE


@pytest.mark.parametrize(
    ("size_bytes", "objects"),
    [
        *((0, 100_000), (2_097_152, 100_000), (8_000_000, 70_486), (20_000_000, 10_486)),
        *((20_200_000, 10_000), (200_000_000, 10_000)),
    ],
)
def test_s16_a_long_answer_may_have_fewer_objects(size_bytes: int, objects: int) -> None:
    assert objects_beside(size_bytes) == objects


@pytest.mark.parametrize("thing", [b'{"a":"%b"}', b'["%b"]', b'{"a":{"b":"%b"}}'])
def test_s16_many_objects_beside_long_texts_are_too_many(thing: bytes) -> None:
    nested = thing.count(b"{") + thing.count(b"[")
    many = 30_000 // nested
    data = b"[%b]" % b",".join([thing % (b"x" * (16_500_000 // many))] * many)
    with pytest.raises(HeavyJSONError, match=r"more than 2\d{4} lists"):
        check_weight(data)
    check_weight(b"[%b]" % b",".join([thing % b"x"] * many))  # shorter ones may be as many
    check_weight(data.replace(b"{", b"(", len(data)).replace(b"[", b"("))  # none but its list


ANSWER: dict[str, Any] = {
    "model": "m",
    "created_at": "2026-11-30T00:00:00Z",
    "message": {"role": "assistant", "content": "x"},
    "done": True,
    "done_reason": "stop",
    "total_duration": 5,
    "prompt_eval_count": 3,
    "eval_count": 4,
}
CALL = {"function": {"name": "f", "arguments": {"a": "x" * 600}}}
NO_COUNTS = {name: ANSWER[name] for name in ("model", "message", "done")}


@pytest.mark.parametrize(
    "body",
    [
        *(ANSWER, NO_COUNTS, {**ANSWER, "eval_count": None}, {**ANSWER, "done_reason": "length"}),
        {**ANSWER, "message": {"role": "assistant", "content": "", "tool_calls": [CALL]}},
        *({**ANSWER, "error": None}, {**ANSWER, "message": {"content": '"error":"x"'}}),
    ],
)
def test_s16_the_counts_of_an_answer_are_those_of_its_dialect(body: dict[str, Any]) -> None:
    assert usage_of(OLLAMA, json.dumps(body).encode()) == OLLAMA.parse_response(body).usage


@pytest.mark.parametrize(
    "body",
    [
        *({**ANSWER, "error": "no"}, {**ANSWER, "message": 1}, {**ANSWER, "eval_count": "x"}),
        *({**ANSWER, "done_reason": 1}, {**ANSWER, "done_reason": "load_failed"}),
        {"error": "no"},
    ],
)
def test_s16_what_is_no_answer_is_told_as_its_dialect_tells_it(body: dict[str, Any]) -> None:
    told: list[str] = []
    for work in (
        lambda: usage_of(OLLAMA, json.dumps(body).encode()),
        lambda: OLLAMA.parse_response(body).usage,
    ):
        try:
            told.append(repr(work()))
        except PolycallError as error:
            told.append(str(error))
    assert told[0] == told[1]


@pytest.mark.parametrize(
    "message",
    [
        *({"content": "x" * SIZE}, {"content": "", "tool_calls": [CALL] * 5_000}),
        {"content": "", "images": ["x" * 60] * 50_000},
    ],
    ids=["a text", "calls", "images"],
)
def test_s16_counting_an_answer_reads_nothing_of_its_message(message: dict[str, Any]) -> None:
    body = json.dumps({**ANSWER, "message": message}).encode()
    assert peak(lambda: usage_of(OLLAMA, body)) < 100_000


def test_s16_counts_that_are_huge_are_not_read() -> None:
    body = json.dumps({**ANSWER, "eval_count": [[]] * 30_000}).encode()
    with pytest.raises(ProtocolError, match="usage has more than 65536 bytes"):
        usage_of(OLLAMA, body)


@pytest.mark.parametrize("size", [1, 2, 3, 196_608, 196_609, SIZE])
def test_s16_a_chunk_is_made_with_one_copy(size: int) -> None:
    data = b'{"type":"x","a":"%b"}' % (b"x" * size)
    frame = b"event: x\ndata: " + data + b"\n\n"
    made: list[bytes] = []
    held_bytes = peak(lambda: made.append(InvokeFramer().feed(frame)))
    (message,) = event_stream.EventStreamReader().feed(made[0])
    assert base64.b64decode(json.loads(message.payload)["bytes"]) == data
    if size == SIZE:
        assert held_bytes < 1.3 * len(made[0])
        more = frame + b"event: y\ndata: {}\n\nevent: z\n"  # which may come with its end
        framer = InvokeFramer()
        assert peak(lambda: made.append(framer.feed(more))) < 2.2 * len(made[0])
        made.append(framer.feed(b"data: 1\n\n"))
        messages = event_stream.EventStreamReader().feed(made[1] + made[2])
        told = [base64.b64decode(json.loads(each.payload)["bytes"]) for each in messages]
        assert told == [data, b"{}", b"1"]


@pytest.mark.parametrize("size", [1, SIZE])
def test_s16_a_line_is_made_with_one_copy(size: int) -> None:
    text = "x" * size
    line = json.dumps({"message": {"content": text}, "done": False}).encode() + b"\n"
    made: list[bytes] = []
    held_bytes = peak(lambda: made.append(PromptFramer().feed(line)))
    assert made[0].endswith(b"\n")
    assert json.loads(made[0]) == {"done": False, "response": text}
    if size == SIZE:
        assert held_bytes < 2 * len(line)


@pytest.mark.parametrize("more", [b"", b" ", b"\n \n"])
def test_s16_a_line_that_is_an_error_stays_as_it_is(more: bytes) -> None:
    line = b"[" + b" " * 600_000 + b"]\n"
    assert PromptFramer().feed(line + more) == line


def events_of(*deltas: dict[str, Any]) -> bytes:
    blocks = [{"contentBlockIndex": 0, "delta": {"reasoningContent": each}} for each in deltas]
    made = [event_stream.event("contentBlockDelta", json.dumps(each).encode()) for each in blocks]
    return b"".join(made) + event_stream.event("contentBlockStop", b'{"contentBlockIndex":0}')


def test_s16_redacted_thoughts_are_held_once_beside_their_event() -> None:
    data = events_of({"redactedContent": base64.b64encode(b"x" * SIZE).decode()})
    held_bytes = peak(lambda: CONVERSE.StreamDecoder().feed(data))
    assert held_bytes < 3.2 * len(data)


@pytest.mark.parametrize("pieces", [["eHk="], ["eA==", "eXo="], ["eHh4", "eQ==", "eg=="]])
def test_s16_redacted_thoughts_in_pieces_are_one(pieces: list[str]) -> None:
    decoder = CONVERSE.StreamDecoder()
    events = decoder.feed(events_of(*[{"redactedContent": each} for each in pieces]))
    whole = b"".join(map(base64.b64decode, pieces))
    end: Any = events[-1]
    assert end.metadata == {"bedrock-converse": {"redacted": base64.b64encode(whole).decode()}}


@pytest.mark.parametrize("piece", ["e", "eA=", "eA==eA==", "e A=", "\u00e9A=="])
def test_s16_redacted_thoughts_that_are_no_base64_are_refused(piece: str) -> None:
    decoder = CONVERSE.StreamDecoder()
    decoder.feed(events_of({"redactedContent": piece}))
    assert "redacted content is not base64" in str(decoder.error)


class Forgetful:
    """An encoder that lets go of its events."""

    def frames(self, event: Any) -> Any:
        del event
        yield b"x" * len("xyz")


def test_s16_events_are_let_go_of_once_they_are_encoded() -> None:
    given: Any = SimpleNamespace(dialect=DIALECTS["anthropic"], model="m")
    stream = _Stream(given, given, given, SimpleNamespace(steps=0, calls=0))  # pyright: ignore[reportArgumentType]
    stream._encoder = Forgetful()  # pyright: ignore[reportAttributeAccessIssue]
    event = PartDelta(0, "x" * 100)
    alone = sys.getrefcount(event)
    frames = stream._frames([event, PartDelta(0, "y")])
    frame = next(frames)
    assert frame == b"xxx"
    assert (sys.getrefcount(event), sys.getrefcount(frame)) == (alone, 2)


@pytest.mark.parametrize("name", ["openai-chat", "anthropic", "gemini", "ollama-chat"])
@pytest.mark.parametrize("wants_array", [False, True])
def test_s16_an_encoder_holds_no_event_while_its_frame_is_sent(
    name: str, *, wants_array: bool
) -> None:
    encoder: Any = DIALECTS[name].StreamEncoder(None)
    encoder = ArrayEncoder(encoder) if wants_array else encoder
    for event in (ResponseStart("r", "m"), PartStart(0, Text(""))):
        encoder.feed(event)
    event = PartDelta(0, "x" * 100)
    alone = sys.getrefcount(event)
    frames = encoder.frames(event)
    frame = next(frames)
    assert b"x" * 100 in frame
    assert sys.getrefcount(event) == alone
    assert sys.getrefcount(frame) == 2  # this variable, and the call


TEXT_MAX = 12 * 1024 * 1024


@pytest.mark.parametrize("escape", [b"\\n", b'\\"', b"\\\\", b"\\u0041"])
@pytest.mark.parametrize("place", [0, TEXT_MAX - 10])
def test_s16_a_text_with_an_escape_may_be_less_long(escape: bytes, place: int) -> None:
    text = b"x" * place + escape + b"x" * (TEXT_MAX + 1 - place - len(escape))
    for before in (b"[", b'["a\\\\","b",'):
        data = before + b'"' + text + b'"]'
        with pytest.raises(HeavyJSONError, match="more than 12582912 bytes and an escape"):
            check_weight(data)
        assert len(list(JSONWeight().steps(data))) > 100  # as clients may write it
        check_weight(data.replace(b"x", b"", 1))
        check_weight(data.replace(b"\\", b"_"))
    check_weight(b'["%b","%b"]' % (escape, b"x" * 20_000_000))


@pytest.mark.parametrize("number", [10_000, 10_001])
async def test_s16_an_answer_of_very_many_parts_is_refused(number: int) -> None:
    message = {"role": "assistant", "content": "", "images": ["iVBORw0KGgo"] * number}
    data = json.dumps({**ANSWER, "message": message}).encode()
    if number == 10_000:
        assert len(_parse_response(OLLAMA, [data]).message.parts) == number
        return
    with pytest.raises(ProtocolError, match="the answer has more than 10000 parts"):
        _parse_response(OLLAMA, [data])


def test_s16_parts_are_let_go_of_before_they_are_written() -> None:
    response = Response("r", "m", Message("assistant", [Text("x")]), "stop")
    asked = Request(model="m", messages=[Message("user", [Text("x")])])
    given: Any = SimpleNamespace(dialect=OLLAMA)
    rendered, data = _rendered(given, response, asked, None)
    assert json.loads(data) == rendered
    assert rendered["message"] == {"role": "assistant", "content": "x"}
    assert response.message.parts == []
