"""A long event of a stream is held once while it comes, and few times while it is passed on."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from typing import Any

import pytest
from msgspec.structs import replace

from polycall._support.http_exchange import HttpExchange
from polycall._support.piece_buffer import PieceBuffer
from polycall.errors import PolycallError
from polycall.fold import fold
from polycall.gateway.passthrough.mended_stream import MendedObserver
from polycall.gateway.passthrough.stream import Observer
from polycall.ir import Response
from polycall.providers.dialects import DIALECTS
from polycall.translation.failures import empty_end
from tests.support import peak

SIZE = 4_000_000
LONG = "x" * SIZE
CALL = {"index": 0, "id": "c1", "type": "function"}


def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    return {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}


CHAT: dict[str, list[dict[str, Any]]] = {
    "a text": [chunk({"content": LONG}), chunk({}, "stop")],
    "a later text": [chunk({"content": "a"}), chunk({"content": LONG}), chunk({}, "stop")],
    "an id": [
        chunk({"tool_calls": [{**CALL, "id": LONG, "function": {"name": "f", "arguments": "{}"}}]}),
        chunk({}, "tool_calls"),
    ],
    "arguments": [
        chunk({"tool_calls": [{**CALL, "function": {"name": "f", "arguments": f'"{LONG}"'}}]}),
        chunk({}, "tool_calls"),
    ],
    "a reason": [chunk({"content": "a"}), chunk({}, LONG)],
}


def stream(events: list[dict[str, Any]]) -> bytes:
    return b"".join(f"data: {json.dumps(each)}\n\n".encode() for each in events)


def read(observer: Observer, data: bytes, size: int) -> None:
    for place in range(0, len(data), size):
        observer.feed(data[place : place + size])
    observer.close()


def response(data: bytes) -> Response:
    """What a client makes of it."""
    decoder = DIALECTS["openai-chat"].StreamDecoder()
    return replace(fold(decoder.feed(data) + decoder.close()), metadata={})


def mended() -> MendedObserver:
    return MendedObserver(
        DIALECTS["openai-chat"], hides_usage=False, is_sse=True, sends_usage=False
    )


@pytest.mark.parametrize("field", CHAT)
def test_a17_a_long_event_that_is_mended_has_few_copies(field: str) -> None:
    data = stream(CHAT[field]) + b"data: [DONE]\n\n"
    assert peak(lambda: read(mended(), data, 262_144)) < 3.75 * SIZE


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("field", CHAT)
def test_law_a_long_event_says_the_same_wherever_it_is_cut(field: str, seed: int) -> None:
    events = json.loads(json.dumps(CHAT[field]).replace(LONG, "y" * 600_000))
    data = stream(events) + b"data: [DONE]\n\n"
    whole = mended()
    expected = response(whole.feed(data) + whole.close())
    chance = random.Random(seed)
    cuts = sorted({0, len(data), *(chance.randrange(len(data)) for _ in range(5))})
    observer = mended()
    given = b"".join(observer.feed(data[start:end]) for start, end in pairwise(cuts))
    assert response(given + observer.close()) == expected
    assert (observer.ended, observer.calls) == (whole.ended, whole.calls)
    assert observer.frames >= 2


@pytest.mark.parametrize("sizes", [[], [5], [200_000, 200_000], [300_000, 1, 900_000], [1] * 9])
def test_pieces_are_given_as_one_and_then_are_gone(sizes: list[int]) -> None:
    buffer = PieceBuffer()
    pieces = [bytes([n]) * size for n, size in enumerate(sizes)]
    for each in pieces:
        buffer.add(each)
    assert buffer.size == sum(sizes)
    assert buffer.take(b"end") == b"".join((*pieces, b"end"))
    assert (buffer.size, buffer.take()) == (0, b"")


def test_many_pieces_are_gathered_in_one_place() -> None:
    buffer, piece = PieceBuffer(), b"x" * 65_536

    def gather() -> None:
        for _ in range(SIZE // len(piece)):
            buffer.add(piece)
        buffer.take()

    assert peak(gather) < 1.3 * SIZE


@pytest.mark.parametrize("size", [1, 65_536, 65_537, SIZE])
@pytest.mark.parametrize("more", [True, False])
def test_a17_a_long_piece_of_an_answer_is_not_copied_to_be_sent(size: int, *, more: bool) -> None:
    class Connection:
        is_closing = False

        def __init__(self) -> None:
            self.transport: Any = self
            self.loop: Any = self
            self.sent: list[bytes] = []

        def write(self, data: bytes) -> None:
            self.sent.append(data)

        def writelines(self, pieces: Any) -> None:
            self.sent += pieces

        def drained(self) -> None: ...
        def close(self) -> None: ...
        def on_answered(self) -> None: ...

    connection: Any = Connection()
    exchange = HttpExchange(connection, {}, is_head=False, expects_continue=False)
    exchange.start(200, [])
    data = b"x" * size
    assert peak(lambda: exchange.write(data, more=more)) < 100_000 + 2 * min(size, 65_536)
    sent = b"".join(connection.sent)
    end = b"" if more else b"0\r\n\r\n"
    assert sent.partition(b"\r\n\r\n")[2] == b"%x\r\n%b\r\n%b" % (size, data, end)


@pytest.mark.parametrize("letter", ["x", "X", "긴"])
@pytest.mark.parametrize("content", ["hi", None])
def test_s16_a_reason_that_is_a_long_text_is_not_copied(letter: str, content: str | None) -> None:
    reason = letter * SIZE
    message = {"role": "assistant", "content": content}
    body = {"id": "a", "choices": [{"index": 0, "message": message, "finish_reason": reason}]}
    said: list[str] = []

    def read() -> None:
        try:
            answer = DIALECTS["openai-chat"].parse_response(body)
            said.append(answer.raw_finish_reason[:9])
            if not answer.message.parts:
                raise empty_end(answer.raw_finish_reason)
        except PolycallError as error:
            said.append(str(error)[:40])

    assert peak(read) < 500_000
    ended = ["the answer is empty and ended with 'XXXX".replace("X", letter)] * (content is None)
    assert said == [letter * 9, *ended]
