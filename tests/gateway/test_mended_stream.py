"""Streams of servers that nobody named: passed while they are plain, translated from where not.

The law: whatever a server leaves out, and wherever its bytes are cut, the client reads the same as
of a stream that was translated from its beginning.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polycall.dialects import openai_chat
from polycall.errors import PolycallError
from polycall.gateway.passthrough import mended_stream
from polycall.gateway.passthrough.mended_stream import MendedObserver
from polycall.ir import Request, ToolCall
from polycall.providers.dialects import DIALECTS

CHAT = DIALECTS["openai-chat"]
DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}


def frame(delta: dict[str, Any], reason: str | None = None, **fields: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    body = {"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "m"}
    return b"data: " + json.dumps({**body, "choices": [choice], **fields}).encode() + b"\n\n"


def call(**fields: Any) -> dict[str, Any]:
    return {"tool_calls": [fields]}


def opened(index: int, arguments: str = "") -> dict[str, Any]:
    function = {"name": f"tool_{index}", "arguments": arguments}
    return call(index=index, id=f"id{index}", type="function", function=function)


def more(index: int, arguments: str) -> dict[str, Any]:
    return call(index=index, function={"arguments": arguments})


PLAIN = [
    frame({"role": "assistant", "content": "Looking: 물 🎉"}),
    frame(opened(0)),
    frame(more(0, '{"city": ')),
    frame(more(0, '"Busan"}')),
    frame(opened(1, "{}")),
    frame({}, "tool_calls"),
    DONE,
]
COUNTED = b"data: " + json.dumps({"id": "c1", "choices": [], "usage": USAGE}).encode() + b"\n\n"

# What servers do in their own way: the frames, each a fault of its kind.
FAULTY: dict[str, list[bytes]] = {
    "no index": [frame(call(id="a", type="function", function={"name": "f", "arguments": "{}"}))],
    "no id": [frame(call(index=0, type="function", function={"name": "f", "arguments": "{}"}))],
    "no type": [frame(call(index=0, id="a", function={"name": "f", "arguments": "{}"}))],
    "the index of another": [frame(opened(0, "{}")), frame({**opened(1, "{}"), **opened(0, "{}")})],
    "begins at one": [frame(opened(1, "{}"))],
    "the id again": [frame(opened(0)), frame({**opened(0, "{}")})],
    "arguments as an object": [
        frame(call(index=0, id="a", type="function", function={"name": "f", "arguments": {"a": 1}}))
    ],
    "no arguments": [frame(opened(0))],
    "arguments in turns": [
        *(frame(opened(0)), frame(opened(1))),
        *(frame(more(0, "{}")), frame(more(1, '{"b": 2}'))),
    ],
    "of the older form": [frame({"function_call": {"name": "f", "arguments": "{}"}})],
    "a whole message": [
        b'data: {"id":"c1","choices":[{"index":0,"message":{"role":"assistant","tool_calls":'
        b'[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]},'
        b'"finish_reason":"tool_calls"}]}\n\n'
    ],
    "comments": [b": hello\n\n", frame(opened(0, "{}")), b": still here\n\n"],
    "text after a call": [frame(opened(0, "{}")), frame({"content": "done"})],
    "nothing but text": [frame({"content": 'say "tool_calls": "finish_reason":"stop"'})],
    "content in parts": [frame({"content": [{"type": "text", "text": "hi"}]})],
    "content as an object": [frame({"content": {"a": 1}})],
    "no index of the choice": [
        b'data: {"id":"c1","choices":[{"delta":{"content":"hi"},"finish_reason":null}]}\n\n'
    ],
    # Frames that look like earlier ones, of which one says something else in the middle.
    "texts, and one with more beside": [
        *(frame({"content": text}) for text in ("a", "b", 'q"\\\n', "물", "\x7f", "", "\ud83c")),
        frame({"content": "x"}).replace(
            b'"x"', b'"x", "tool_calls": [{"index": 7}], "content": "y"'
        ),
        frame({"content": "end"}),
    ],
    "texts, and one without an index": [
        *(frame({"content": text}) for text in ("a", "b", "c")),
        frame({"content": "x"}).replace(b'"index": 0, ', b""),
    ],
    "texts with another beside": [
        frame({"content": text}).replace(b'"delta": {', b'"delta": {"note": {"content": "n"}, ')
        for text in ("a", "b", "c")
    ],
    "arguments in turns, often": [
        frame(opened(0)),
        *(frame(more(0, text)) for text in ('{"a', '": "', "b", "c")),
        frame(opened(1)),
        *(frame(more(1, text)) for text in ('{"d', '": "', "e")),
        *(frame(more(0, '"}')), frame(more(1, '"}'))),
    ],
    "arguments with a name": [
        *(frame(opened(0)), frame(more(0, '{"a"')), frame(more(0, ": "))),
        frame(more(0, "1}")).replace(b'"1}"', b'"1}", "name": "again"'),
    ],
    "arguments that are nothing but space": [
        *(frame(opened(0)), frame(more(0, " ")), frame(more(0, "\n")), frame(opened(1, "{}"))),
    ],
    "null for calls": [frame({"content": "hi", "tool_calls": None})],
}
ENDS: dict[str, list[bytes]] = {
    "tool_calls": [frame({}, "tool_calls"), DONE],
    "stop": [frame({}, "stop"), DONE],
    "a word of its own": [frame({}, "eos"), DONE],
    "none": [DONE],
    "no mark": [frame({}, "tool_calls")],
    "cut": [],
    "counted": [frame({}, "stop"), COUNTED, DONE],
    "counted with the reason": [frame({}, "tool_calls", usage=USAGE), DONE],
    "with the last piece": [frame({"content": "x"}, "stop"), DONE],
    "texts after the reason": [
        frame({"content": "a"}),
        frame({"content": "b"}),
        frame({}, "stop"),
        frame({"content": "c"}),
        DONE,
    ],
    "marked twice": [frame({}, "stop"), DONE, DONE],
    "twice": [frame({}, "stop"), frame({}, "tool_calls"), DONE],
    "goes on": [frame({}, "stop"), frame(opened(2, "{}")), DONE],
    "length": [frame({}, "length"), DONE],
    "an error": [b'data: {"error": {"message": "out of memory", "code": 500}}\n\n'],
}


def read(data: bytes) -> tuple[Any, ...]:
    """What a client makes of a stream: text, calls, reason, usage, and whether it is whole."""
    text, reasons, calls, usage = "", [], {}, None
    for line in data.split(b"\n\n"):
        if not line.startswith(b"data: {"):
            continue
        chunk = json.loads(line[6:])
        usage = chunk.get("usage") or usage
        for choice in chunk.get("choices", ()):
            delta = choice["delta"]
            text += delta.get("content") or ""
            for each in delta.get("tool_calls") or ():
                kept = calls.setdefault(each["index"], ["", "", ""])
                kept[0] += each.get("id") or ""
                kept[1] += each["function"].get("name") or ""
                kept[2] += each["function"].get("arguments") or ""
            if choice["finish_reason"]:
                reasons.append(choice["finish_reason"])
    return text, calls, reasons, usage, data.endswith(DONE)


def translated(data: bytes, *, sends_usage: bool) -> tuple[tuple[Any, ...], str, list[Any]]:
    decoder = openai_chat.StreamDecoder()
    options = {"openai-chat": {"stream_options": {"include_usage": sends_usage}}}
    request = Request(model="m", messages=[], provider_options=options)
    encoder = openai_chat.StreamEncoder(request)
    events = decoder.feed(data)
    failed = ""
    try:
        events += decoder.close()
    except PolycallError as error:
        failed = type(error).__name__
    given = b"".join(encoder.feed(event) for event in events)
    given += b"" if failed else encoder.close()
    return read(given), failed, [decoder.usage.output_tokens, _calls(events)]


def _calls(events: list[Any]) -> int:
    return sum(isinstance(getattr(event, "part", None), ToolCall) for event in events)


def passed(
    data: bytes, size: int, *, hides_usage: bool, sends_usage: bool
) -> tuple[tuple[Any, ...], str, list[Any]]:
    observer = MendedObserver(CHAT, hides_usage=hides_usage, is_sse=True, sends_usage=sends_usage)
    given, failed = b"", ""
    for at in range(0, len(data), size):
        given += observer.feed(data[at : at + size])
        if observer.is_broken:
            assert observer.error is not None
            return read(given), type(observer.error).__name__, []
    try:
        given += observer.close()
    except PolycallError as error:
        failed = type(error).__name__
    observer.break_off()
    return read(given), failed, [observer.usage.output_tokens, observer.calls]


@settings(max_examples=200)
@given(
    st.lists(st.sampled_from([PLAIN[0], PLAIN[1] + PLAIN[2] + PLAIN[3]]), max_size=2, unique=True),
    st.sampled_from(sorted(FAULTY)),
    st.sampled_from(sorted(ENDS)),
    st.integers(1, 900),
    st.sampled_from([(True, False), (False, True), (False, False)]),
)
def test_a_mended_stream_reads_as_a_translated_one(
    before: list[bytes],
    fault: str,
    end: str,
    size: int,
    usage: tuple[bool, bool],
) -> None:
    hides, sends = usage
    data = b"".join([*before, *FAULTY[fault], *ENDS[end]])
    if size % 7 == 0:
        data = data.replace(b"\n", b"\r\n")
    expected = translated(data, sends_usage=sends)
    found = passed(data, size, hides_usage=hides, sends_usage=sends)
    (text, calls, reasons, counted, is_whole), failed, noted = found
    if not (hides or sends):
        # A server that counts unasked: a stream that passes shows it as it came.
        counted = expected[0][3]
    assert failed == expected[1]
    assert (text, calls, reasons, counted, is_whole) == expected[0]
    if not failed:
        assert noted == expected[2]


@pytest.mark.parametrize("size", [1, 50, 10_000])
@pytest.mark.parametrize("name", ["plain", "text", "counted"])
def test_what_is_plain_passes_as_it_is(name: str, size: int) -> None:
    frames = {
        "plain": PLAIN,
        "text": [PLAIN[0], frame({"content": "more"}), frame({}, "stop"), DONE],
        "counted": [*PLAIN[:-1], COUNTED, DONE],
    }[name]
    data = b"".join(frames)
    observer = MendedObserver(CHAT, hides_usage=False, is_sse=True, sends_usage=True)
    given = [observer.feed(data[at : at + size]) for at in range(0, len(data), size)]
    assert b"".join([*given, observer.close()]) == data
    assert observer.ended


def test_a_frame_is_passed_when_it_is_whole() -> None:
    observer = MendedObserver(CHAT, hides_usage=False, is_sse=True, sends_usage=True)
    for each in PLAIN[:-2]:
        assert observer.feed(each[:-1]) == b""
        assert observer.feed(each[-1:]) == each
    assert observer.feed(PLAIN[-2]) == b""  # the reason may not be the last word
    assert observer.feed(DONE) == PLAIN[-2] + DONE


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mended_stream, "_REMEMBERED_BYTES_MAX", 2_000)
    observer = MendedObserver(CHAT, hides_usage=False, is_sse=True, sends_usage=True)
    data = PLAIN[0] + PLAIN[1] + b"".join(frame(more(0, "[")) for _ in range(200))
    given = b""
    for at in range(0, len(data), 100):
        given += observer.feed(data[at : at + 100])
        assert sum(map(len, observer._known)) <= 2_000
    end = frame({}, "stop") + DONE
    given += observer.feed(end) + observer.close()
    expected = translated(data + end, sends_usage=True)[0]
    assert read(given) == expected
