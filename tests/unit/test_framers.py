"""Streams and answers in the envelopes of some clients: each long text is copied, not read."""

from __future__ import annotations

import base64
import json

import pytest

from polycall._support import event_stream
from polycall._support.event_stream import EventStreamReader
from polycall.gateway.http.framers import ArrayEncoder, InvokeFramer, PromptFramer
from polycall.ir import PartDelta, PartEnd, PartStart, ResponseEnd, ResponseStart, Text
from polycall.providers.dialects import DIALECTS
from tests.support import peak

SIZE = 2_000_000
LINES = {
    '{"model":"m","message":{"role":"assistant","content":"x"},"done":false}': {
        "model": "m",
        "done": False,
        "response": "x",
    },
    '{"message":{"content":"","thinking":"y"},"done":false}': {
        "done": False,
        "response": "",
        "thinking": "y",
    },
    '{"message":{"content":null,"thinking":null},"done":true}': {"done": True, "response": ""},
    '{"message":{},"a":"\\ud83d"}': {"a": "\ud83d", "response": ""},
    '{"error":"x"}': {"error": "x"},
    '{"message":null}': {"message": None},
    '{"message":"x"}': {"message": "x"},
}


@pytest.mark.parametrize("line", LINES)
def test_a_line_of_a_chat_is_one_of_a_completion(line: str) -> None:
    framer = PromptFramer()
    data = line.encode() + b"\n"
    assert json.loads(framer.whole(data[:-1])) == LINES[line]
    for cut in (1, 7, len(data)):
        pieces = [framer.feed(data[n : n + cut]) for n in range(0, len(data), cut)]
        assert json.loads(b"".join(pieces)) == LINES[line]


def test_what_is_no_object_stays_as_it_is() -> None:
    framer = PromptFramer()
    assert framer.feed(b"[1]\n \n\nnothing\n{") == b"[1]\nnothing\n"
    assert framer.feed(b'"message":{}}\n') == b'{"response":""}\n'


def test_a20_a_long_line_is_copied_and_not_read() -> None:
    line = b'{"message":{"content":"%b"},"done":false}' % (b"x" * SIZE)
    assert peak(lambda: PromptFramer().whole(line)) < 2.2 * SIZE
    values = b'{"message":{"content":"x"},"a":[%b1]}' % (b"[]," * (SIZE // 3))
    assert peak(lambda: PromptFramer().whole(values)) < 2.2 * SIZE


def test_a20_a_long_event_is_wrapped_in_few_copies() -> None:
    data = b"event: x\ndata: " + b"x" * SIZE + b"\n\n"
    made: list[bytes] = []
    assert peak(lambda: made.append(InvokeFramer().feed(data))) < 7 * SIZE
    (message,) = EventStreamReader().feed(made[0])
    assert json.loads(message.payload) == {"bytes": base64.b64encode(b"x" * SIZE).decode()}


LONG = "x" * SIZE


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (f"event: a\ndata: {LONG}\nid: 5\n\n", [LONG]),
        (f"event: a\ndata: {LONG}\n: a comment\n\n", [LONG]),
        (f"event: a\ndata: {LONG}\ndata: y\n\n", [f"{LONG}\ny"]),
        (f"event: a\ndata: y\ndata: {LONG}\n\n", [f"y\n{LONG}"]),
        (f"event: a\ndata: {LONG}\rdata: y\n\n", [f"{LONG}\ny"]),
        (f"event: a\rdata: y\ndata: {LONG}\n\n", [f"y\n{LONG}"]),
        (f"event: a\r\ndata: {LONG}\r\n\r\n", [LONG]),
        (f"event: a\ndata: {LONG}\n\nevent: b\ndata: y\n\n", [LONG, "y"]),
        (f"event: a\ndata: {LONG}\n", []),
    ],
    ids=lambda each: repr(each.replace(LONG, "LONG")) if isinstance(each, str) else "",
)
def test_a_long_event_of_other_lines_is_read(data: str, said: list[str]) -> None:
    made = InvokeFramer().feed(data.encode())
    assert [json.loads(each.payload) for each in EventStreamReader().feed(made)] == [
        {"bytes": base64.b64encode(each.encode()).decode()} for each in said
    ]


def test_a_message_of_pieces_is_that_of_the_whole() -> None:
    headers = {"a": "b"}
    whole = event_stream.encode_message(headers, b"xyz")
    assert event_stream.encode_message(headers, b"x", b"", b"yz") == whole


def test_elements_are_the_events() -> None:
    encoder = ArrayEncoder(DIALECTS["gemini"].StreamEncoder())
    events = [
        ResponseStart("r", "m"),
        PartStart(0, Text("")),
        PartDelta(0, "x\r\n\r\ny"),
        PartEnd(0),
        ResponseEnd("stop"),
    ]
    data = b"".join(encoder.feed(each) for each in events) + encoder.close()
    parts = [each["candidates"][0]["content"]["parts"] for each in json.loads(data)]
    assert parts == [[{"text": "x\r\n\r\ny"}], [{"text": ""}]]


def test_a20_a_repeated_text_is_said_an_event_at_a_time() -> None:
    encoder = DIALECTS["openai-responses"].StreamEncoder()
    text = "x" * SIZE
    events = [ResponseStart("r", "m"), PartStart(0, Text("")), PartDelta(0, text)]
    first = b"".join(frame for each in events for frame in encoder.frames(each))
    assert encoder.repeated_bytes == SIZE

    def end() -> None:
        for event in (PartEnd(0), ResponseEnd("stop")):
            for frame in encoder.frames(event):
                kinds.append(frame[: frame.index(b"\n")])
                del frame  # as it was sent

    kinds: list[bytes] = []
    assert peak(end) < 3 * SIZE
    assert kinds == [
        b"event: response.output_text.done",
        b"event: response.content_part.done",
        b"event: response.output_item.done",
        b"event: response.completed",
    ]
    other = DIALECTS["openai-responses"].StreamEncoder()
    assert b"".join(other.feed(each) for each in events) == first


def test_a_whole_answer_is_said_in_the_words_of_a_completion() -> None:
    said = {"model": "m", "message": {"role": "assistant", "content": "x", "thinking": "y"}}
    made = {"model": "m", "response": "x", "thinking": "y"}
    assert PromptFramer.reshaped(said) == made
    assert json.loads(PromptFramer().whole(json.dumps(said).encode())) == made
