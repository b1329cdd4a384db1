"""Doors of the gateway that are fields of a provider's answer, whole or streamed, on each wire.

Each field that the gateway reads is once a long text, narrow and wide, once many small values, and
where it is JSON in a text once a text of small values.  Lists have many things in them, streams
many events.  Each answer comes to its end.
"""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

from bench.answer_wires import ERRORS, WIRES, Wire
from polycall._support import event_stream

WHOLE_BYTES, EVENT_BYTES = 20_000_000, 12_000_000  # below what is read
THINGS, EVENTS = 30_000, 100_000  # in a list, in a stream
_HERE = "huge value"
_HEAD = b"HTTP/1.1 %d OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b"
# Places that have a text, JSON in a text, or an object of the model's.
_TEXTS = ("text", "content", "thinking", "delta", "signature")
_INNER = ("arguments", "partial_json", "5.delta", "toolUse.input")


class AnswerDoor(NamedTuple):
    """What is asked of which path of the gateway, and how the provider answers it."""

    name: str
    provider: str
    path: str
    body: dict[str, Any]
    answer: Callable[[], bytes]


# A client's own ways to ask for what another wire has: whole, and streamed.
_WAYS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "invoke": (
        "/model/{}/invoke",
        "/model/{}/invoke-with-response-stream",
        {**WIRES["anthropic"].body, "anthropic_version": "bedrock-2023-05-31"},
    ),
    "prompt": ("/api/generate", "/api/generate", {"prompt": "x"}),
    "array": (
        WIRES["gemini"].path,
        WIRES["gemini"].stream_path.partition("?")[0],
        dict(WIRES["gemini"].body),
    ),
    **{
        name: (wire.path, wire.stream_path or wire.path, dict(wire.body))
        for name, wire in WIRES.items()
    },
}


def _with(made: Any, field: str, value: bytes) -> bytes:
    """JSON with the value at this place."""
    made = copy.deepcopy(made)
    *way, last = [int(each) if each.isdigit() else each for each in field.split(".")]
    inner = made
    for each in way:
        inner = inner[each]
    inner[last] = _HERE
    start, _, end = json.dumps(made).partition(json.dumps(_HERE))
    return start.encode() + value + end.encode()


def _text(size: int) -> bytes:
    return b'"%b"' % (b"x" * size)


def _wide_text(size: int) -> bytes:
    """Each character of it takes four bytes, where it is read."""
    return b'"%b\xf0\x9f\x98\x80"' % (b"x" * (size // 4))


def _values(field: str, size: int) -> Iterator[tuple[str, Callable[[], bytes]]]:
    yield "a long text", lambda: _text(size)
    if field.endswith(_TEXTS):
        yield "a wide text", lambda: _wide_text(size)
    else:
        yield "values that fit", lambda: b"[%b1]" % (b"100001," * min(size // 7, 490_000))
    yield "small values", lambda: b"[%b1]" % (b"[]," * (size // 3))
    yield "many fields", lambda: b"{%b}" % b",".join(b'"%x":1' % n for n in range(size // 11))
    if field.endswith(_INNER):
        yield "values in a text", lambda: b'"{\\"a\\":[%b1]}"' % (b"[]," * (size // 3))
        yield (
            "fields in a text",
            lambda: b'"{%b}"' % b",".join(b'\\"%x\\":1' % n for n in range(size // 14)),
        )


def _many(thing: str, size: int) -> bytes:
    """A list of things with so much text that all have this size."""
    text = "x" * max(1, size // THINGS - len(thing))
    return b"[%b]" % b",".join([(thing % text).encode()] * THINGS)


def whole(status: int, body: bytes) -> bytes:
    """An answer in one piece."""
    return _HEAD % (status, b"application/json", len(body), body)


_KINDS = {
    "lines": b"application/x-ndjson",
    "messages": event_stream.CONTENT_TYPE.encode(),
}


def stream(wire: Wire, number: int, changed: bytes, times: int = 1) -> bytes:
    """The answer with another event in this place, so many times."""
    frames: list[bytes] = []
    for place, event in enumerate(wire.events):
        name = str(event.get("event_type") or event.get("type", ""))
        is_changed = place == number
        data = changed if is_changed else json.dumps(event).encode()
        match wire.form:
            case "lines":
                frame = data + b"\n"
            case "messages":
                frame = event_stream.event(wire.names[place], data)
            case "named events":
                frame = b"event: %b\ndata: %b\n\n" % (name.encode(), data)
            case "events":
                frame = b"data: %b\n\n" % data
        frames.append(frame * times if is_changed else frame)
    if wire is WIRES["chat"]:
        frames.append(b"data: [DONE]\n\n")
    body = b"".join(frames)
    return _HEAD % (200, _KINDS.get(wire.form, b"text/event-stream"), len(body), body)


def _framed(wire: Wire, number: int, changed: bytes) -> bytes:
    """The same as Bedrock wraps it."""
    data = [json.dumps(each).encode() for each in wire.events]
    data[number] = changed
    wrapped = (b'{"bytes":"%b"}' % base64.b64encode(each) for each in data)
    body = b"".join(event_stream.event("chunk", each) for each in wrapped)
    return _HEAD % (200, event_stream.CONTENT_TYPE.encode(), len(body), body)


def _answers(wire: Wire, size: int) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Whole answers, by what is odd in them."""
    for field in wire.fields:
        for kind, make in _values(field, size):
            yield (
                f"{field}: {kind}",
                lambda field=field, make=make: whole(200, _with(wire.whole, field, make())),
            )
    for field, things in wire.many.items():
        for place, thing in enumerate(things):
            yield (
                f"{field}: many things {place}",
                lambda field=field, thing=thing: whole(
                    200, _with(wire.whole, field, _many(thing, size))
                ),
            )


def _streams(
    wire: Wire, size: int, made: Callable[..., bytes] = stream
) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Streamed answers, by what is odd in them."""
    for field in wire.streamed:
        number, _, inside = field.partition(".")
        for kind, make in _values(field, size):

            def answer(
                number: int = int(number), inside: str = inside, make: Callable[[], bytes] = make
            ) -> bytes:
                return made(wire, number, _with(wire.events[number], inside, make()))

            yield f"{field}: {kind}", answer
    if made is not stream:
        return
    for number in wire.repeated:
        data = json.dumps(wire.events[number]).encode()
        yield f"{number}: many events", partial(stream, wire, number, data, EVENTS)


def answer_doors() -> Iterator[AnswerDoor]:
    """All of them; `path` and `body` have `{}` where the model's name is due."""
    for name, wire in WIRES.items():
        other = "anthropic" if name == "chat" else "chat"
        ways = {"passed": name, "translated": other}
        for kind, answer in _answers(wire, WHOLE_BYTES):
            yield from _asked(f"{name} answer, {kind}", name, answer, ways, streams=False)
        for kind, answer in _streams(wire, EVENT_BYTES):
            yield from _asked(f"{name} stream, {kind}", name, answer, ways, streams=True)
        error, fields = ERRORS[name]
        for field in fields:
            for kind, make in _values(field, 1_000_000):
                answer = partial(_refusal, error, field, make)
                label = f"{name} error, {field}: {kind}"
                yield from _asked(label, name, answer, ways, streams=False)
    ways = {"passed": "anthropic", "translated": "chat"}
    for kind, answer in _streams(WIRES["anthropic"], EVENT_BYTES, _framed):
        yield from _asked(f"framed stream, {kind}", "framed", answer, ways, streams=True)
    yield from _spoken_doors()


def _refusal(error: dict[str, Any], field: str, make: Callable[[], bytes]) -> bytes:
    return whole(400, _with(error, field, make()))


# What of an answer of Anthropic's a client may read in its own way.
_SAID = frozenset(
    {
        *("content.0.text", "content.1.input", "content.2.thinking", "content"),
        *("2.delta.text", "5.delta.partial_json", "8.delta.thinking", "2", "5", "8"),
    }
)


def _spoken_doors() -> Iterator[AnswerDoor]:
    ways = {f"to {each}": each for each in _WAYS if each not in ("anthropic", "chat")}
    wire = WIRES["anthropic"]
    for form, found in (
        ("answer", _answers(wire, WHOLE_BYTES)),
        ("stream", _streams(wire, EVENT_BYTES)),
    ):
        for kind, answer in found:
            field, _, what = kind.partition(": ")
            if field in _SAID and what not in ("small values", "many fields"):
                label = f"spoken {form}, {kind}"
                streams = form == "stream"
                yield from _asked(label, "anthropic", answer, ways, streams=streams)


def _asked(
    name: str, provider: str, answer: Callable[[], bytes], ways: dict[str, str], *, streams: bool
) -> Iterator[AnswerDoor]:
    for kind, way in ways.items():
        path, stream_path, body = _WAYS[way]
        if "{}" not in path:
            body = {"model": "{}", **body, "stream": streams}
            if not streams:
                body.pop("stream_options", None)
        where = stream_path if streams else path
        yield AnswerDoor(f"{name}, {kind}", provider, where, body, answer)
