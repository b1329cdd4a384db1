"""A step of a long conversation is the same work as one of a short conversation.

`test_known_conversations.py` shows that what comes of it is the same.
"""

from __future__ import annotations

import json
import sys
from types import FrameType
from typing import Any
from unittest import mock

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polycall._support import jsontext
from polycall.exchange import prepare
from polycall.gateway.processes.heavy_work import check_items
from polycall.gateway.state.known_conversations import KnownConversations
from polycall.providers.catalogue import CATALOGUE
from polycall.providers.dialects import DIALECTS
from polycall.translation import conversation

JSON = dict[str, Any]
FIELDS = {"openai-chat": "messages", "anthropic": "messages", "openai-responses": "input"}
TARGETS = [
    ("anthropic", "claude-sonnet-4-5"),
    ("anthropic", "claude-opus-5-5"),
    ("google", "gemini-3.8-flash"),
    ("openai", "gpt-5.2"),
    ("deepseek", "deepseek-v4-flash"),
    ("mistral", "mistral-large-latest"),
]
# A request in the target's own protocol passes as it came.
OWN = {"anthropic": "anthropic", "openai-responses": "openai"}


def begin(dialect: str) -> list[JSON]:
    """What a user says first."""
    return [{"role": "user", "content": "x" * 10_000}]


def pair(dialect: str, number: int) -> list[JSON]:
    """A call and its result, as a client of the protocol sends them again."""
    call_id, text = f"p{number}", f"line {number}\n"
    if dialect == "openai-chat":
        function = {"name": "read", "arguments": "{}"}
        call: JSON = {"id": call_id, "type": "function", "function": function}
        said: JSON = {"role": "assistant", "content": None, "tool_calls": [call]}
        return [said, {"role": "tool", "tool_call_id": call_id, "content": text}]
    if dialect == "anthropic":
        block: JSON = {"type": "tool_use", "id": call_id, "name": "read", "input": {}}
        result: JSON = {"type": "tool_result", "tool_use_id": call_id, "content": text}
        said = {"role": "assistant", "content": [block]}
        return [said, {"role": "user", "content": [result]}]
    call = {"type": "function_call", "call_id": call_id, "name": "read", "arguments": "{}"}
    return [call, {"type": "function_call_output", "call_id": call_id, "output": text}]


def asked(known: KnownConversations, dialect: str, messages: list[JSON]) -> JSON:
    """The body of a request, as the gateway reads it."""
    read = known.read("o", dialect, json.dumps(messages).encode())
    return {"model": "m", FIELDS[dialect]: read, "max_tokens": 100}


def translate(dialect: str, body: JSON) -> None:
    """Parse it, and render it for all targets but the client's own vendor."""
    if dialect == "openai-responses":
        body = {name: value for name, value in body.items() if name != "max_tokens"}
    check_items(body)
    request = DIALECTS[dialect].parse_request(body, path="")
    for name, model in TARGETS:
        if name != OWN.get(dialect):
            prepare(request, CATALOGUE[name], model, "sk-x")


def work(dialect: str, turns: int) -> tuple[int, int]:
    """The opcodes that a step runs after so many turns, and the bytes of messages it writes."""
    known = KnownConversations()
    messages = begin(dialect) + [each for n in range(turns) for each in pair(dialect, 100 + n)]
    for number in range(3):
        translate(dialect, asked(known, dialect, messages))
        messages += pair(dialect, 900 + number)
    body = asked(known, dialect, messages)
    opcodes, written, plain = [0], [0], jsontext.encode_unicode

    def count(frame: FrameType, event: str, _: Any) -> Any:
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        opcodes[0] += event == "opcode"
        return count

    def encoded(value: Any) -> bytes:
        data = plain(value)
        written[0] += 0 if isinstance(value, dict) else len(data)
        return data

    before = sys.gettrace()
    with mock.patch.object(jsontext, "encode_unicode", encoded):
        sys.settrace(count)
        try:
            translate(dialect, body)
        finally:
            sys.settrace(before)
    return opcodes[0], written[0]


@pytest.mark.parametrize("dialect", FIELDS)
def test_a_step_is_the_same_work_however_much_was_said(dialect: str) -> None:
    few, few_bytes = work(dialect, 40)
    many, many_bytes = work(dialect, 160)
    assert many == pytest.approx(few, rel=0.02)
    assert many_bytes == pytest.approx(few_bytes, rel=0.02)
    assert few_bytes > 0


@settings(max_examples=50)
@given(
    steps=st.lists(st.lists(st.sampled_from(["aa", "ab", '"file"', "x"]), max_size=4), min_size=1),
    ends=st.sampled_from([(b'{"m":', b"}"), (b'{"t":"aa","m": ', b',"f":"ab"}')]),
)
def test_a_mark_is_found_as_in_the_whole_body(
    steps: list[list[str]], ends: tuple[bytes, bytes]
) -> None:
    known = KnownConversations(bytes_min=2)
    items: list[str] = []
    with mock.patch.object(conversation, "TAIL", 1):
        for new in steps:
            items += new
            raw = json.dumps(items).encode()
            body = raw.join(ends)
            text = known.in_body("o", "openai-chat", msgspec.Raw(raw), body)
            for mark in (b"aa", b"ab", b"b", b"file"):
                assert text is None or text.has(mark) == (mark in body)
            known.read("o", "openai-chat", raw)
            again = known.in_body("o", "openai-chat", msgspec.Raw(raw), body)
            assert (again is not None) == (len(items) > 1)
