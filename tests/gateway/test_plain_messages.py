"""What passes to a server that nobody named is what a translation would have sent to it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polycall.dialects import openai_chat
from polycall.gateway.passthrough.plain_messages import as_plain, read_plain_answer
from polycall.gateway.passthrough.tool_texts import tool_text
from polycall.providers.quirks import NAMED_QUIRKS

TEXTS = st.sampled_from(["hi", "물 🎉", "", 'say "content": null', '{"a": 1}', "\\u0041"])
ARGUMENTS = st.sampled_from(["{}", '{"city": "서울"}', '{"a": {"b": [1, null]}}', "[1]", "", "{"])


def _call(number: int, arguments: str, **more: Any) -> dict[str, Any]:
    function = {"name": "f", "arguments": arguments}
    return {"id": f"call_{number}", "type": "function", "function": function, **more}


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Turns of a cycle with tools; now and then something that not every server takes."""
    messages: list[dict[str, Any]] = []
    if draw(st.booleans()):
        messages.append({"role": draw(st.sampled_from(["system", "developer"])), "content": "be"})
    messages.append({"role": "user", "content": draw(TEXTS.filter(bool))})
    for number in range(draw(st.integers(0, 3))):
        odd = draw(st.sampled_from([{}, {}, {}, {"name": "x"}, {"reasoning_content": "hm"}]))
        content = draw(
            st.sampled_from([None, None, "", "I look.", [{"type": "text", "text": "a"}]])
        )
        call = _call(number, draw(ARGUMENTS))
        call["id"] += "x" * draw(st.sampled_from([0, 0, 0, 33, 34]))
        messages.append({"role": "assistant", "content": content, "tool_calls": [call], **odd})
        result = {"role": "tool", "tool_call_id": call["id"], "content": draw(TEXTS)}
        messages.append(result)
        if draw(st.booleans()):
            messages.append({"role": "user", "content": draw(TEXTS.filter(bool))})
    return messages


@settings(deadline=None, max_examples=150)
@given(conversations(), st.booleans())
def test_what_passes_is_what_a_translation_sends(
    messages: list[dict[str, Any]], spaced: bool
) -> None:
    text = json.dumps(messages, separators=None if spaced else (",", ":")).encode()
    plain = as_plain(msgspec.Raw(text), None, None)
    if plain is None:
        return
    request = openai_chat.parse_request({"model": "m", "messages": messages})
    rendered = openai_chat.render_request(request, quirks=NAMED_QUIRKS["compatible"]).body[
        "messages"
    ]
    assert json.loads(bytes(plain)) == rendered


PLAIN = [{"role": "user", "content": "hi"}]
ODD: dict[str, tuple[Any, Any, Any]] = {
    "a part": ([{"role": "user", "content": [{"type": "text", "text": "x"}]}], None, None),
    "a role": ([{"role": "developer", "content": "x"}], None, None),
    "a field": ([{"role": "user", "content": "x", "name": "kim"}], None, None),
    "null of a user": ([{"role": "user", "content": None}], None, None),
    "no content": ([{"role": "assistant", "tool_calls": [_call(1, "{}")]}], None, None),
    "no object": (
        [{"role": "assistant", "content": "", "tool_calls": [_call(1, "[]")]}],
        None,
        None,
    ),
    "a result without a call": ([{"role": "tool", "content": "x"}], None, None),
    "a custom tool": (PLAIN, [{"type": "custom", "custom": {"name": "x"}}], None),
    "a strict tool": (PLAIN, [{"type": "function", "function": {"name": "f", "strict": True}}], 0),
    "a vendor's tool": (PLAIN, [{"type": "web_search"}], None),
    "a choice by name": (PLAIN, None, {"type": "function", "function": {"name": "f"}}),
    "no messages": ([], None, None),
    "no list": ({"role": "user"}, None, None),
}


@pytest.mark.parametrize("name", ODD)
def test_what_some_servers_refuse_does_not_pass(name: str) -> None:
    fields = [
        None if each is None else msgspec.Raw(json.dumps(each).encode()) for each in ODD[name]
    ]
    messages, tools, choice = fields
    assert as_plain(messages, None if tools is None else tool_text(tools), choice) is None


def test_null_beside_calls_becomes_an_empty_text_and_nothing_else_changes() -> None:
    said = 'the key "content": null, \\"content\\":null'
    messages = [
        {"role": "user", "content": said},
        {"role": "assistant", "content": None, "tool_calls": [_call(1, '{"content":null}')]},
        {"role": "tool", "tool_call_id": "call_1", "content": '{"content": null}'},
    ]
    plain = as_plain(msgspec.Raw(json.dumps(messages).encode()), None, None)
    assert plain is not None
    assert json.loads(bytes(plain)) == [messages[0], {**messages[1], "content": ""}, messages[2]]


def _answer(calls: Any, reason: str = "tool_calls", **fields: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": None, "tool_calls": calls, **fields}
    choice = {"index": 0, "message": message, "finish_reason": reason}
    return {"id": "a", "created": 7, "model": "m", "object": "chat.completion", "choices": [choice]}


PLAIN_CALL = _call(1, '{"city": "서울"}')
ANSWERS: dict[str, tuple[dict[str, Any], bool]] = {
    "plain": (_answer([PLAIN_CALL]), True),
    "two calls": (_answer([PLAIN_CALL, _call(2, "{}")], content="I look."), True),
    "a text": (_answer(None, "stop", content="hi"), True),
    "a text that was cut": (_answer(None, "length", content="hi"), True),
    "a text that was filtered": (_answer(None, "content_filter", content="hi"), False),
    "parts": (_answer(None, "stop", content=[{"type": "text", "text": "hi"}]), False),
    "an error in the message": (_answer(None, "stop", content="", error={"message": "x"}), False),
    "usage": (_answer(None, "stop", content="hi") | {"usage": {"prompt_tokens": 7}}, True),
    "a tier": (
        _answer(None, "stop", content="hi")
        | {
            "service_tier": "flex",
            "usage": {"prompt_tokens": 7, "completion_tokens": 2, "cached_tokens": 3},
        },
        True,
    ),
    "an error": (_answer(None, "stop", content="hi") | {"error": {"message": "x"}}, False),
    "one id twice": (_answer([PLAIN_CALL, PLAIN_CALL]), False),
    "no id": (_answer([{**PLAIN_CALL, "id": ""}]), False),
    "no type": (_answer([{"id": "x", "function": PLAIN_CALL["function"]}]), False),
    "arguments that are an object": (_answer([_call(1, {"a": 1})]), False),  # type: ignore[arg-type]
    "arguments that are a list": (_answer([_call(1, "[1]")]), False),
    "arguments cut short": (_answer([_call(1, '{"a": ')]), False),
    "the end of a text": (_answer([PLAIN_CALL], "stop"), False),
    "the end of calls": (_answer([], "tool_calls"), False),
    "the older form": (_answer([PLAIN_CALL], function_call={"name": "f"}), False),
    "no index": ({"id": "a", "choices": [{"message": {"role": "assistant"}}]}, False),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_that_is_plain_is_what_a_translation_gives(name: str) -> None:
    answer, is_plain = ANSWERS[name]
    read = read_plain_answer(json.dumps(answer).encode())
    assert (read is not None) == is_plain
    if read is not None:
        calls: list[Any] = answer["choices"][0]["message"]["tool_calls"] or []
        assert read.calls == len(calls)
        assert read.usage == openai_chat.parse_response(answer).usage
        rendered = openai_chat.render_response(openai_chat.parse_response(answer))
        told = rendered["choices"][0]
        for field in ("content", "tool_calls"):
            given = answer["choices"][0]["message"][field] or None
            assert told["message"].get(field) == given
        assert told["finish_reason"] == answer["choices"][0]["finish_reason"]
