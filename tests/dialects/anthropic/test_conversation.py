"""Turns, results, ids and reasoning: the conversations that translators are known to break."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polycall.dialects import anthropic
from polycall.dialects.anthropic.ids import decode_id, encode_id
from polycall.errors import MalformedRequestError, UnsupportedError
from polycall.ir import (
    JSON,
    Media,
    Message,
    Opaque,
    Part,
    Reasoning,
    Refusal,
    Request,
    Text,
    ToolCall,
    ToolResult,
)
from polycall.translation.quirks import Quirks
from tests.support import PIXEL

from .helps import again, assistant, body_of, render, results, user, warned

PNG = Media("image", "image/png", PIXEL)


def call(call_id: str, arguments: str = "{}") -> ToolCall:
    return ToolCall(call_id, "go", arguments)


def use(call_id: str, **given: Any) -> JSON:
    return {"type": "tool_use", "id": call_id, "name": "go", "input": given}


def result(call_id: str, text: str, **more: Any) -> JSON:
    return {"type": "tool_result", "tool_use_id": call_id, "content": text, **more}


def test_c01_results_follow_their_calls_at_once() -> None:
    wire = render(
        user(Text("a")),
        assistant(call("1"), call("2")),
        user(Text("meanwhile")),
        Message("system", [Text("be quick")]),
        results(ToolResult("2", [Text("two")])),
        assistant(Text("and?")),
        results(ToolResult("1", [Text("one")])),
    )
    assert wire.body["messages"] == [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": [use("1"), use("2")]},
        {
            "role": "user",
            "content": [
                result("2", "two"),
                result("1", "one"),
                {"type": "text", "text": "meanwhile"},
            ],
        },
        {"role": "system", "content": "be quick"},
        {"role": "assistant", "content": "and?"},
    ]
    assert wire.warnings == []


def test_c01_text_before_results_moves_behind_them() -> None:
    body = body_of(
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": [use("1")]},
        {"role": "user", "content": [{"type": "text", "text": "hm"}, result("1", "one")]},
    )
    request = anthropic.parse_request(body)
    assert request.messages[2:] == [
        results(ToolResult("1", [Text("one")], name="go")),
        user(Text("hm")),
    ]
    assert again(body)["messages"][2]["content"] == [
        result("1", "one"),
        {"type": "text", "text": "hm"},
    ]


def test_all_results_of_a_turn_are_one_message() -> None:
    request = anthropic.parse_request(
        body_of(
            {"role": "assistant", "content": [use("1")]},
            {"role": "assistant", "content": [use("2")]},
            {"role": "user", "content": [result("1", "one")]},
            {"role": "user", "content": [result("2", "two"), {"type": "text", "text": "t"}]},
        )
    )
    assert request.messages[2:] == [
        results(
            ToolResult("1", [Text("one")], name="go"), ToolResult("2", [Text("two")], name="go")
        ),
        user(Text("t")),
    ]


def test_messages_that_stood_apart_stay_apart() -> None:
    body = body_of(
        {"role": "user", "content": "a"},
        {"role": "user", "content": "b"},
        {"role": "assistant", "content": [use("1")]},
        {"role": "user", "content": [result("1", "one")]},
        {"role": "user", "content": "c"},
    )
    assert again(body) == body


def test_c02_orphans_are_repaired_and_reported() -> None:
    wire = render(
        user(Text("a")),
        results(ToolResult("lost", [Text("whose?")])),
        assistant(call("1"), call("2")),
        results(ToolResult("2", [Text("two")])),
        user(Text("b")),
        assistant(call("3")),
    )
    assert wire.body["messages"] == [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": [use("1"), use("2")]},
        {
            "role": "user",
            "content": [
                result("2", "two"),
                result(
                    "1", "no result: the call was interrupted before it gave one", is_error=True
                ),
                {"type": "text", "text": "b"},
            ],
        },
        {"role": "assistant", "content": [use("3")]},  # its result is still to come
    ]
    assert warned(wire) == [
        ("unsupported", "orphan_tool_result"),
        ("emulated", "orphan_tool_call"),
    ]


def test_c05_ids_are_unique_and_results_follow() -> None:
    wire = render(
        user(Text("a")),
        assistant(call("x", '{"n": 1}'), call("x", '{"n": 2}')),
        results(ToolResult("x", [Text("one")]), ToolResult("x", [Text("two")])),
        assistant(call("x", '{"n": 3}')),
        results(ToolResult("x", [Text("three")])),
    )
    assert [message["content"] for message in wire.body["messages"][1:]] == [
        [use("x", n=1), use("x_2", n=2)],
        [result("x", "one"), result("x_2", "two")],
        [use("x_3", n=3)],
        [result("x_3", "three")],
    ]
    assert warned(wire) == [("adjusted", "tool_call.id")]


def test_c05_an_answer_with_one_id_twice() -> None:
    body: JSON = {
        "id": "msg_1",
        "type": "message",
        "model": "m",
        "content": [use("x", n=1), use("x", n=2)],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    assert [c.id for c in anthropic.parse_response(body).tool_calls] == ["x", "x_2"]


def test_c06_ids_of_others_go_there_and_come_back() -> None:
    given = "functions.get_weather:0"
    wire = render(user(Text("a")), assistant(call(given)), results(ToolResult(given, [Text("x")])))
    (used,) = wire.body["messages"][1]["content"]
    (answered,) = wire.body["messages"][2]["content"]
    assert used["id"] == answered["tool_use_id"] == "pc64_ZnVuY3Rpb25zLmdldF93ZWF0aGVyOjA"
    back = anthropic.parse_request(wire.body)
    assert back.messages[1].tool_calls[0].id == given
    assert back.messages[2].parts[0] == ToolResult(given, [Text("x")], name="go")


@given(st.text(), st.text())
def test_c06_the_encoding_of_ids_is_injective(first: str, second: str) -> None:
    wire = encode_id(first)
    assert decode_id(wire) == first
    assert wire
    assert all(c.isascii() and (c.isalnum() or c in "_-") for c in wire)
    assert (wire == encode_id(second)) == (first == second)
    assert decode_id(encode_id(wire)) == wire


@given(st.from_regex(r"\A(pc64_)?[A-Za-z0-9_-]{1,12}\Z"))
def test_c06_ids_of_this_wire_come_back(wire_id: str) -> None:
    assert encode_id(decode_id(wire_id)) == wire_id


def test_targets_with_a_rule_for_ids() -> None:
    quirks = Quirks(call_id_pattern="[A-Za-z0-9]{9}", call_id_length=9)
    messages = [
        user(Text("a")),
        assistant(call("toolu_1"), call("abcdefghi")),
        results(ToolResult("toolu_1"), ToolResult("abcdefghi")),
    ]
    wire = render(*messages, quirks=quirks)
    first, second = (block["id"] for block in wire.body["messages"][1]["content"])
    assert (len(first), second) == (9, "abcdefghi")
    assert wire.body["messages"][2]["content"][0] == {"type": "tool_result", "tool_use_id": first}
    assert render(*messages, quirks=quirks) == wire


def test_c07_a_call_told_twice_is_one_call() -> None:
    wire = render(
        user(Text("a")), assistant(call("1"), call("1")), results(ToolResult("1", [Text("x")]))
    )
    assert wire.body["messages"][1:] == [
        {"role": "assistant", "content": [use("1")]},
        {"role": "user", "content": [result("1", "x")]},
    ]


def test_c14_images_in_results() -> None:
    messages = [
        user(Text("a")),
        assistant(call("1"), call("2")),
        results(ToolResult("1", [Text("see"), PNG]), ToolResult("2", [Text("x")])),
        user(Text("so?")),
    ]
    image = {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": PIXEL},
    }
    native = render(*messages)
    assert native.body["messages"][2]["content"][0]["content"] == [
        {"type": "text", "text": "see"},
        image,
    ]
    emulated = render(*messages, quirks=Quirks(result_media=False))
    assert emulated.body["messages"][2]["content"] == [
        {
            "type": "tool_result",
            "tool_use_id": "1",
            "content": [
                {"type": "text", "text": "see"},
                {"type": "text", "text": "[image attached below]"},
            ],
        },
        result("2", "x"),
        image,
        {"type": "text", "text": "so?"},
    ]
    assert warned(emulated) == [("emulated", "tool_result.media")]


def test_c15_images_of_users() -> None:
    request = anthropic.parse_request(
        body_of(
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "what?"},
                    {"type": "image", "source": {"type": "url", "url": "https://e.org/a.png"}},
                ],
            }
        )
    )
    assert request.messages == [user(Text("what?"), Media("image", url="https://e.org/a.png"))]


def test_c19_empty_text_goes_signed_thinking_stays() -> None:
    body = body_of(
        {"role": "user", "content": "a"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "", "signature": "sig"},
                {"type": "text", "text": ""},
                use("1"),
            ],
        },
        {"role": "user", "content": [result("1", ""), {"type": "text", "text": ""}]},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": "b"},
    )
    assert again(body)["messages"] == [
        {"role": "user", "content": "a"},
        {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "", "signature": "sig"}, use("1")],
        },
        {"role": "user", "content": [result("1", "")]},
        {"role": "user", "content": "b"},
    ]


def test_g06_g07_g08_state_comes_back_exactly_where_it_stood() -> None:
    blocks = [
        {"type": "thinking", "thinking": "first", "signature": "s1"},
        {"type": "redacted_thinking", "data": "d1"},
        {"type": "text", "text": "hm"},
        {"type": "thinking", "thinking": "", "signature": "s2"},
        use("1"),
    ]
    body = body_of(
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": blocks},
        {"role": "user", "content": [result("1", "x")]},
    )
    assert again(body) == body


def test_reasoning_of_others_is_dropped_and_reported() -> None:
    shown = Reasoning("shown to a client", {"anthropic": {"signature": ""}})
    foreign = Reasoning("secret", {"gemini": {"thoughtSignature": "x"}})
    messages = [user(Text("a")), assistant(foreign, shown, Text("b")), user(Text("c"))]
    wire = render(*messages)
    assert wire.body["messages"][1] == {
        "role": "assistant",
        "content": [{"type": "text", "text": "b"}],
    }
    assert warned(wire) == [("dropped_state", "reasoning")]
    relative = render(*messages, quirks=Quirks(reasoning_replay="always"))
    assert relative.body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "shown to a client", "signature": ""},
        {"type": "text", "text": "b"},
    ]


def test_arguments_that_are_no_object_are_wrapped_and_come_back() -> None:
    wire = render(user(Text("a")), assistant(call("1", '{"cut": "he')), results(ToolResult("1")))
    assert wire.body["messages"][1]["content"][0]["input"] == {
        "invalid_arguments_json": '{"cut": "he'
    }
    assert warned(wire) == [("adjusted", "arguments")]
    back = anthropic.parse_request(wire.body)
    assert back.messages[1].tool_calls[0].arguments_json == '{"cut": "he'
    fair = body_of({"role": "assistant", "content": [use("1", invalid_arguments_json="{}")]})
    (kept,) = anthropic.parse_request(fair).messages[0].tool_calls
    assert kept.arguments == {"invalid_arguments_json": "{}"}


def test_a_prefill_does_not_end_in_white_space() -> None:
    wire = render(user(Text("a")), assistant(Text("The answer is: ")))
    assert wire.body["messages"][1] == {"role": "assistant", "content": "The answer is:"}
    assert warned(wire) == [("adjusted", "messages")]
    blank = render(user(Text("a")), assistant(Text("So."), Text(" \n")))
    assert blank.body["messages"][1]["content"] == [{"type": "text", "text": "So."}]
    nothing = render(user(Text("a")), assistant(Text(" ")))
    assert nothing.body["messages"] == [{"role": "user", "content": "a"}]


def test_parts_of_other_vendors() -> None:
    seen = Opaque("openai-responses", "web_search_call", {"id": "ws_1"})
    wire = render(user(Text("a")), assistant(seen, Refusal("no"), Text("b")))
    assert wire.body["messages"][1]["content"] == [
        {"type": "text", "text": "no"},
        {"type": "text", "text": "b"},
    ]
    assert warned(wire) == [("unsupported", "web_search_call"), ("emulated", "refusal")]
    state = Opaque("openai-responses", "compaction", {"id": "c"})
    with pytest.raises(UnsupportedError):
        render(user(Text("a")), assistant(state))


def test_names_of_participants_have_no_slot() -> None:
    wire = render(Message("user", [Text("a")], name="mina"))
    assert wire.body["messages"] == [{"role": "user", "content": "a"}]
    assert warned(wire) == [("unsupported", "messages.name")]


_texts = st.text(max_size=5)
_own_parts: st.SearchStrategy[Part] = st.one_of(
    st.builds(Text, _texts.filter(str.strip)),
    st.builds(
        lambda t, s: Reasoning(t, {"anthropic": {"signature": s}}), _texts, _texts.filter(bool)
    ),
    st.builds(lambda d: Reasoning("", {"anthropic": {"redacted_data": d}}), _texts),
    st.builds(
        lambda d: Opaque("anthropic", "of_tomorrow", {"type": "of_tomorrow", "data": d}), _texts
    ),
)


@st.composite
def _conversations(draw: st.DrawFn) -> list[Message]:
    messages: list[Message] = []
    for turn in range(draw(st.integers(1, 4))):
        messages.append(user(Text(draw(_texts.filter(bool)))))
        parts = draw(st.lists(_own_parts, max_size=3))
        ids = [f"{turn}:{i}" for i in range(draw(st.integers(0, 3)))]
        calls = [ToolCall(i, "go", draw(st.sampled_from(["{}", '{"a":1}']))) for i in ids]
        messages.append(assistant(*parts, *calls, Text(f"end {turn}")))
        if ids:
            # An empty text of another dialect is no content here.
            texts = [draw(_texts.filter(bool)) for _ in ids]
            given_results = [
                ToolResult(i, [Text(t)], name="go") for i, t in zip(ids, texts, strict=True)
            ]
            messages.append(results(*draw(st.permutations(given_results))))
    return messages


@given(_conversations())
def test_parse_after_render_is_the_identity(messages: list[Message]) -> None:
    wire = anthropic.render_request(Request("m", messages, max_output_tokens=9))
    assert wire.warnings == []
    back = anthropic.parse_request(wire.body)
    merged = [message for message in back.messages if message.parts]
    assert _plain(merged) == _plain(messages)
    assert anthropic.render_request(back).body == wire.body


def _plain(messages: list[Message]) -> list[tuple[str, list[Part]]]:
    return [(message.role, message.parts) for message in messages]


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["role", "content", "type", "text", "id", "name", "input", "source", "tool_use_id"]
            )
            | st.text(max_size=3),
            inner
            | st.sampled_from(
                [
                    "user",
                    "assistant",
                    "system",
                    "text",
                    "tool_use",
                    "tool_result",
                    "image",
                    "thinking",
                ]
            ),
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.lists(_json, max_size=4), _json, _json)
def test_garbage_is_refused_or_read_never_a_crash(
    messages: list[Any], tools: Any, thinking: Any
) -> None:
    body = {"model": "m", "messages": messages, "tools": tools, "thinking": thinking}
    try:
        request = anthropic.parse_request(body)
    except MalformedRequestError:
        return
    assert anthropic.render_request(request).path == "/v1/messages"
