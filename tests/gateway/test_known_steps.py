"""A step of a long conversation is the same work as one of a short conversation.

`test_known_conversations.py` shows that what comes of it is the same.
"""

from __future__ import annotations

import json
import sys
from copy import deepcopy
from types import FrameType
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polycall._support import jsontext
from polycall.exchange import prepare
from polycall.gateway.processes.heavy_work import check_items
from polycall.gateway.state import known_conversations
from polycall.gateway.state.known_conversations import KnownConversations
from polycall.providers.catalogue import CATALOGUE
from polycall.providers.dialects import DIALECTS
from polycall.translation import conversation
from tests.gateway.test_known_conversations import made

JSON = dict[str, Any]
FIELDS = {
    "openai-chat": "messages",
    "anthropic": "messages",
    "openai-responses": "input",
    "gemini": "contents",
}
TARGETS = [
    ("anthropic", "claude-sonnet-4-5"),
    ("anthropic", "claude-opus-5-5"),
    ("google", "gemini-3.8-flash"),
    ("openai", "gpt-5.2"),
    ("deepseek", "deepseek-v4-flash"),
    ("mistral", "mistral-large-latest"),
]
# A request in the target's own protocol passes as it came.
OWN = {"anthropic": "anthropic", "openai-responses": "openai", "gemini": "google"}


def begin(dialect: str) -> list[JSON]:
    """What a user says first."""
    text = "x" * 10_000
    if dialect == "gemini":
        return [{"role": "user", "parts": [{"text": text}]}]
    return [{"role": "user", "content": text}]


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
    if dialect == "gemini":
        call = {"functionCall": {"name": "read", "args": {"number": number}}}
        result = {"functionResponse": {"name": "read", "response": {"output": text}}}
        return [{"role": "model", "parts": [call]}, {"role": "user", "parts": [result]}]
    call = {"type": "function_call", "call_id": call_id, "name": "read", "arguments": "{}"}
    return [call, {"type": "function_call_output", "call_id": call_id, "output": text}]


def asked(known: KnownConversations, dialect: str, messages: list[JSON]) -> JSON:
    """The body of a request, as the gateway reads it."""
    read = known.read("o", dialect, json.dumps(messages).encode())
    return {"model": "m", FIELDS[dialect]: read, "max_tokens": 100}


def translate(dialect: str, body: JSON) -> None:
    """Parse it, and render it for all targets but the client's own vendor."""
    if dialect in ("openai-responses", "gemini"):
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


TEXTS = st.sampled_from(["hi", "", "물 🎉"])
NAMES = st.sampled_from(["read", "write", "a.name with spaces"])
IDS: st.SearchStrategy[JSON] = st.sampled_from([{}, {"id": "one"}, {"id": "two"}])
RESPONSES: st.SearchStrategy[JSON] = st.sampled_from(
    [{"output": "물"}, {"error": "no"}, {"some_key": [1]}]
)


def _text(text: str, more: JSON) -> JSON:
    return {"text": text, **more}


def _call(name: str, key: str, more: JSON) -> JSON:
    return {"functionCall": {"name": name, "args": {key: 1}, **more}}


def _result(form: str, name: str, value: JSON, more: JSON) -> JSON:
    return {form: {"name": name, "response": value, **more}}


def _content(role: JSON, parts: list[JSON]) -> JSON:
    return {**role, "parts": parts}


PARTS: st.SearchStrategy[JSON] = st.one_of(
    st.builds(_text, TEXTS, st.sampled_from([{}, {"thought": True}])),
    st.builds(_call, NAMES, st.sampled_from(["a", "b_c"]), IDS),
    st.builds(
        _result, st.sampled_from(["functionResponse", "function_response"]), NAMES, RESPONSES, IDS
    ),
    st.just({"inline_data": {"mime_type": "image/png", "data": "iVBORw0KGgo="}}),
    st.just({"executableCode": {"language": "PYTHON", "code": "1"}}),
)
CONTENTS: st.SearchStrategy[JSON] = st.builds(
    _content,
    st.sampled_from([{"role": "user"}, {"role": "model"}, {"role": "function"}, {}]),
    st.lists(PARTS, min_size=1, max_size=3),
)


def _rendered(body: JSON) -> list[Any]:
    """All that is made of it; warnings in any order."""
    return [
        [sorted(map(repr, part)) if isinstance(part, list) else part for part in each]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        if isinstance(each, tuple)
        else each
        for each in made("gemini", body)
    ]


@settings(max_examples=25)
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 2), st.lists(CONTENTS, max_size=4)), min_size=2, max_size=6
    ),
    tail=st.sampled_from([1, 2, 4]),
    steady=st.integers(0, 3),
)
def test_what_a_gemini_client_said_before_is_read_as_for_the_first_time(
    steps: list[tuple[int, list[JSON]]], tail: int, steady: int
) -> None:
    known = KnownConversations(bytes_min=2)
    contents = begin("gemini")
    with (
        mock.patch.object(conversation, "TAIL", tail),
        mock.patch.object(conversation, "STEADY_TAIL", 1),
        mock.patch.object(known_conversations, "STEADY_STEPS", steady),
    ):
        for taken, added in steps:
            contents = contents[: max(1, len(contents) - taken)] + added
            body = asked(known, "gemini", contents)
            assert body["contents"] == contents
            plain = {"model": "m", "contents": deepcopy(contents)}
            assert _rendered(body) == _rendered({**plain, "max_tokens": 100})
