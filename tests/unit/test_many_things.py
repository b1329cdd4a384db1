"""A20: many things cost each about the same, however many there are: counted, not timed."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any, ClassVar

import msgspec
import pytest

from polycall import ir
from polycall._support import jsontext
from polycall.dialects.gemini_interactions.content import parse_thought, thought_step
from polycall.fold import fold, unfold
from polycall.ir import Message, Part, Reasoning, Refusal, Request, Response, Text, ToolCall
from polycall.providers.dialects import DIALECTS
from polycall.translation.calls import OpenCalls, UniqueIds
from polycall.translation.stream import Payload
from polycall.translation.wire import Losses, response_reader, short_hash

FEW, MANY = 40, 160
OWN: ir.Metadata = {name: {"signature": "s", "field": "reasoning"} for name in DIALECTS}


def lines(work: Callable[[], object]) -> int:
    """How many lines of Python are run."""
    count = 0

    def trace(_frame: Any, event: str, _given: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def asked(said: list[Message]) -> Request:
    """A request with the conversation, whatever of it is lost."""
    return Request(model="m", messages=said, lossy=True, max_output_tokens=9)


def results(*names: str) -> Message:
    return Message("tool", [ir.ToolResult(name, [Text("r")]) for name in names])


USER = Message("user", [Text("x")])


def one_turn(count: int) -> list[Message]:
    calls: list[Part] = [ToolCall(f"c{n}", "f") for n in range(count)]
    names = [f"c{n}" for n in range(count)]
    return [USER, Message("assistant", calls), results(*names), USER]


def reversed_results(count: int) -> list[Message]:
    user, called, given, last = one_turn(count)
    return [user, called, Message("tool", given.parts[::-1]), last]


def one_id(count: int) -> list[Message]:
    calls: list[Part] = [ToolCall("c", "f", json.dumps({"n": n})) for n in range(count)]
    return [USER, Message("assistant", calls), results(*["c"] * count), USER]


def one_id_in_each_turn(count: int) -> list[Message]:
    call = ToolCall("c", "f")
    return [each for _ in range(count) for each in (USER, Message("assistant", [call]))] + [
        results(*["c"] * count),
        USER,
    ]


def unanswered(count: int) -> list[Message]:
    turns = ((USER, Message("assistant", [ToolCall(f"c{n}", "f")])) for n in range(count))
    return [*(each for turn in turns for each in turn), USER]


CONVERSATIONS = [one_turn, reversed_results, one_id, one_id_in_each_turn, unanswered]


@pytest.mark.parametrize("said", CONVERSATIONS, ids=lambda each: each.__name__)
@pytest.mark.parametrize("name", DIALECTS)
def test_a20_a_conversation_is_written_and_read_in_steps_by_its_length(
    name: str, said: Callable[[int], list[Message]]
) -> None:
    dialect = DIALECTS[name]
    written: list[int] = []
    read: list[int] = []
    for count in (2, FEW, MANY):  # the first loads what is used
        request = asked(said(count))
        written.append(lines(lambda request=request: dialect.render_request(request)))
        wire = dialect.render_request(request)
        read.append(lines(lambda wire=wire: dialect.parse_request(wire.body, path=wire.path)))
    assert written[2] < 5 * written[1]
    assert read[2] < 5 * read[1]


class Warned(ir.Warning, frozen=True, eq=False):
    """Counts how often warnings are compared."""

    compared: ClassVar[int] = 0

    def __eq__(self, other: object) -> bool:
        type(self).compared += 1
        return isinstance(other, Warned) and self.detail == other.detail

    def __hash__(self) -> int:
        return hash(self.detail)


def test_a20_each_loss_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ir, "Warning", Warned)
    losses = Losses(lossy=True)
    with losses.apart():
        for number in range(2 * MANY):
            losses.drop("orphan_tool_result", f"no call {number % MANY} waits for this result")
    assert len(losses.warnings) == MANY
    assert Warned.compared <= 2 * MANY


class Counted(str):
    """A text that counts the characters that are copied where it is put behind another."""

    copied: ClassVar[int] = 0
    __slots__ = ()

    def __add__(self, other: str) -> Counted:
        Counted.copied += len(self) + len(other)
        return Counted(str.__add__(self, other))

    def __radd__(self, other: str) -> Counted:
        Counted.copied += len(self) + len(other)
        return Counted(str.__add__(other, self))

    def __format__(self, form: str) -> str:
        Counted.copied += len(self)
        return str.__format__(self, form)


@pytest.fixture(autouse=True)
def _nothing_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    Counted.copied = Warned.compared = 0
    monkeypatch.setattr(jsontext, "_encoder", msgspec.json.Encoder(enc_hook=_plain))


def _plain(text: Counted) -> str:
    return text[:]


def piece() -> Counted:
    return Counted("x" * 50)


PARTS: dict[str, Callable[[], Part]] = {
    "texts": lambda: Text(piece()),
    "thoughts": lambda: Reasoning(piece()),
    "thoughts of its own": lambda: Reasoning(piece(), OWN),
    "refusals": lambda: Refusal(piece()),
    "two fields": lambda: Reasoning(
        piece(), {**OWN, "openai-chat": {"field": "reasoning", "also": {"thinking": piece()}}}
    ),
}


@pytest.mark.parametrize("kind", PARTS)
@pytest.mark.parametrize("name", DIALECTS)
def test_a20_many_parts_are_each_copied_once(name: str, kind: str) -> None:
    dialect = DIALECTS[name]
    parts = [PARTS[kind]() for _ in range(MANY)]
    response = Response("i", "m", Message("assistant", parts), finish_reason="stop")
    said = [USER, Message("assistant", parts), USER]
    encoder = dialect.StreamEncoder(asked([USER]))
    for event in unfold(response):
        encoder.feed(event)
    dialect.render_response(response, asked([USER]))
    dialect.render_request(asked(said))
    assert Counted.copied <= 8 * MANY * 50


def thinking(**delta: object) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": "odd", **delta}}


def second(**delta: object) -> dict[str, Any]:
    return {"id": "c", "choices": [{"index": 1, "delta": delta}]}


# Events of a stream by the place of a text, and how the answer has it in the end.
GROWING: dict[str, tuple[str, str, Callable[[Counted], list[tuple[str, Any]]]]] = {
    "a signature": (
        "bedrock-converse",
        "signature",
        lambda text: [("contentBlockDelta", _signed(text))],
    ),
    "a field that nobody knows": (
        "anthropic",
        "odd",
        lambda text: [("content_block_delta", thinking(odd=text))],
    ),
    "another choice": ("openai-chat", "content", lambda text: [("", second(content=text))]),
    "sound": (
        "openai-chat",
        "data",
        lambda text: [
            ("", {"id": "c", "choices": [{"index": 0, "delta": {"audio": {"data": text}}}]})
        ],
    ),
    "another candidate": (
        "gemini",
        "text",
        lambda text: [("", {"candidates": [{"index": 1, "content": {"parts": [{"text": text}]}}]})],
    ),
}
BEGIN: dict[str, list[tuple[str, Any]]] = {
    "anthropic": [
        ("message_start", {"type": "message_start", "message": {"usage": {}}}),
        (
            "content_block_start",
            {
                "type": "content_block_start",
                "index": 0,
                "content_block": {"type": "thinking", "thinking": "y"},
            },
        ),
    ],
    "openai-chat": [("", {"id": "c", "choices": [{"index": 0, "delta": {"content": "x"}}]})],
}
END: dict[str, list[tuple[str, Any]]] = {
    "bedrock-converse": [("messageStop", {"stopReason": "end_turn"}), ("metadata", {"usage": {}})],
    "anthropic": [
        ("content_block_stop", {"type": "content_block_stop", "index": 0}),
        (
            "message_delta",
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {}},
        ),
        ("message_stop", {"type": "message_stop"}),
    ],
    "openai-chat": [
        ("", {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    ],
    "gemini": [
        (
            "",
            {
                "candidates": [
                    {"index": 0, "content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"}
                ]
            },
        )
    ],
}


def _signed(text: str) -> dict[str, Any]:
    return {"contentBlockIndex": 0, "delta": {"reasoningContent": {"signature": text}}}


@pytest.mark.parametrize("kind", GROWING)
def test_a20_a_text_that_grows_is_copied_once(kind: str) -> None:
    name, field, event = GROWING[kind]
    decoder: Any = DIALECTS[name].StreamDecoder()

    def tell(events: list[tuple[str, Any]]) -> None:
        for event_name, data in events:
            decoder.on_payload(Payload(event_name, data))

    tell(BEGIN.get(name, []))
    for _ in range(MANY):
        tell(event(piece()))
    tell(END[name])
    if not decoder.out.ended:
        decoder.on_close()
    response = fold(decoder.out.take())
    assert Counted.copied <= 4 * MANY * 50
    assert "x" * 50 * MANY in _texts(response, field)


def _texts(value: Any, field: str) -> list[str]:
    """All texts of this field, wherever it is."""
    text = jsontext.encode(value)
    return re.findall(f'"{field}":"([^"]*)"', text)


def test_a20_a_turn_of_many_contents_is_one_text() -> None:
    contents: list[Any] = [{"role": "user", "parts": [{"text": "x"}]}]
    contents += [{"role": "model", "parts": [{"text": piece()}]} for _ in range(MANY)]
    contents.append({"role": "model", "parts": [{"text": "y", "thought": True}, {"text": "z"}]})
    read = DIALECTS["gemini"].parse_request({"contents": contents}, path="/v1beta/models/m:x")
    assert Counted.copied <= 2 * MANY * 50
    assert read.messages[1].parts == [
        Text("x" * 50 * MANY),
        Reasoning("y", {"gemini": {}}),
        Text("z"),
    ]


def test_a20_a_thought_of_many_pieces_is_cut_where_they_were() -> None:
    step = {
        "type": "thought",
        "signature": "s",
        "summary": [{"type": "text", "text": f"{n} "} for n in range(MANY)],
    }
    assert thought_step(parse_thought(step, "step", response_reader)) == step


def test_ids_are_numbered_from_where_the_last_one_stood() -> None:
    ids = UniqueIds({"a", "a_2"}, length_max=3)
    found = [ids.take(each) for each in ("a", "b", "a", "b", "a_2", "long", "long", "long", "a_3")]
    assert found == ["a_3", "b", "a_4", "b_2", "a_2_2", "long", "lon_2", "lon_3", "a_3_2"]
    other = ids.copy()
    assert [other.take("a"), ids.take("a")] == ["a_5", "a_5"]


def test_each_result_takes_one_call() -> None:
    calls = [("1", ToolCall("c1", "f")), ("2", ToolCall("c2", "g")), ("1", ToolCall("c3", "f"))]
    waiting = OpenCalls(calls)
    copied = waiting.copy()
    assert waiting.with_id("1") == calls[0][1]
    assert waiting.named("f") == calls[2][1]
    assert [waiting.with_id("1"), waiting.named("h")] == [None, None]
    assert [waiting.first(), waiting.first()] == [calls[1][1], None]
    assert waiting.answered == {"1": calls[2][1], "2": calls[1][1]}
    assert [*copied] == calls
    copied.add("4", ToolCall("c4", "h"))
    assert [copied.named("h"), copied.first()] == [ToolCall("c4", "h"), calls[0][1]]


@pytest.mark.parametrize("pieces", [(), ("",), ("a", "", "é\ud83d"), ("x" * 2_000_000 + "긴", "y")])
def test_a20_a_hash_of_long_arguments_takes_no_copy_of_them(pieces: tuple[str, ...]) -> None:
    whole = hashlib.sha256("\x1f".join(pieces).encode("utf-8", "surrogatepass"))
    tracemalloc.start()
    found = short_hash(*pieces)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == whole.hexdigest()[:12]
    assert peak < 400_000
