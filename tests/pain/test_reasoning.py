"""Reasoning and its state between dialects: PAIN G03 to G12, by their numbers.

What a client's wire has no slot for is carried by the gateway (G01, G02); here is what the
dialects do by themselves.
"""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from polycall._support import jsontext
from polycall.fold import fold
from polycall.ir import JSON, Message, Reasoning, Request, Response, Text, ToolResult
from polycall.translation.quirks import Quirks
from tests import readers
from tests.pain.bodies import (
    BODIES,
    STREAMS,
    anthropic_block,
    anthropic_body,
    anthropic_stream,
    chat_body,
    chat_call,
    chat_chunk,
    chat_stream,
    gemini_body,
)
from tests.pain.talks import body, calls, results, said, tools
from tests.pain.wires import (
    ANTHROPIC,
    CHAT,
    CROSS,
    GEMINI,
    NAMES,
    PAIRS,
    RESPONSES,
    accepted,
    answer,
    dialect,
    features,
    stream,
    translate,
)

SENTINEL = "skip_thought_signature_validator"


def continued(response: Response, *more: Message) -> Request:
    """The next turn of a caller that keeps what it got."""
    results_of = [
        ToolResult(call.id, [Text("18C")], name=call.name) for call in response.tool_calls
    ]
    messages = [Message("user", [Text("go")]), response.message]
    if results_of:
        messages.append(Message("tool", [*results_of]))
    return Request("m", [*messages, *more], max_output_tokens=4000)


@pytest.mark.parametrize("client", [CHAT, RESPONSES, ANTHROPIC])
def test_G03_G04_the_first_call_of_another_model_has_the_sentinel_beside_it(client: str) -> None:
    given = [
        said(client, "user", "go"),
        *calls(client, ("c1", "f", "1"), ("c2", "f", "2")),
        *results(client, ("c1", "f", "one"), ("c2", "f", "two")),
        *calls(client, ("c3", "f", "3")),
        *results(client, ("c3", "f", "three")),
    ]
    wire = translate(client, GEMINI, body(client, given, tools=tools(client, "f")))
    model = [content["parts"] for content in wire.body["contents"] if content["role"] == "model"]
    assert [[part.get("thoughtSignature") for part in parts] for parts in model] == [
        [SENTINEL, None],
        [SENTINEL],
    ]
    inside = [part["functionCall"] for parts in model for part in parts]
    assert not any("thoughtSignature" in call for call in inside)
    assert ("emulated", "thought_signature") in features(wire)
    accepted(GEMINI, wire)


def test_G05_one_signature_of_parallel_calls_stays_where_it_was() -> None:
    response = dialect(GEMINI).parse_response(BODIES[GEMINI])
    wire = dialect(GEMINI).render_request(continued(response))
    parts = wire.body["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in parts if "functionCall" in part] == [
        "c2lnbmVk",
        None,
    ]
    assert wire.warnings == []


THINKING: list[JSON] = [
    {"type": "thinking", "thinking": "Hm.", "signature": "c2lnbmVk"},
    {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}},
]


def test_G06_signed_thinking_goes_back_first_and_unchanged() -> None:
    response = dialect(ANTHROPIC).parse_response(anthropic_body(THINKING, "tool_use"))
    wire = dialect(ANTHROPIC).render_request(continued(response))
    assert wire.body["messages"][1] == {"role": "assistant", "content": THINKING}
    assert wire.warnings == []


@pytest.mark.parametrize("client", [CHAT, RESPONSES, GEMINI])
def test_G06_through_another_client_it_is_never_sent_as_text(client: str) -> None:
    """Without a carrier the state is lost, and said to be; the thought is not made speech."""
    response, shown = answer(ANTHROPIC, client, anthropic_body(THINKING, "tool_use"))
    assert "Hm." in jsontext.encode(shown)
    again = dialect(client).parse_response(shown)
    assert again.text == ""
    wire = dialect(ANTHROPIC).render_request(continued(again))
    assert [block["type"] for block in wire.body["messages"][1]["content"]] == ["tool_use"]
    assert ("dropped_state", "reasoning") in features(wire)
    assert again.tool_calls[0].id == response.tool_calls[0].id


SILENT: list[JSON] = [
    {"type": "thinking", "thinking": "", "signature": "c2lnbmVk"},
    {"type": "redacted_thinking", "data": "cmVkYWN0ZWQ="},
    {"type": "text", "text": "hi"},
]


def silent_stream() -> bytes:
    deltas = {"type": "signature_delta", "signature": "c2lnbmVk"}
    return anthropic_stream(
        *anthropic_block(0, {"type": "thinking", "thinking": "", "signature": ""}, deltas),
        *anthropic_block(1, SILENT[1]),
        *anthropic_block(2, {"type": "text", "text": ""}, {"type": "text_delta", "text": "hi"}),
        stop="end_turn",
    )


def test_G07_G08_state_without_text_is_kept_in_bodies_and_streams() -> None:
    decoder = dialect(ANTHROPIC).StreamDecoder()
    streamed = fold([*decoder.feed(silent_stream()), *decoder.close()])
    whole = dialect(ANTHROPIC).parse_response(anthropic_body(SILENT))
    assert streamed.message == whole.message
    wire = dialect(ANTHROPIC).render_request(continued(whole, Message("user", [Text("on")])))
    assert wire.body["messages"][1]["content"] == SILENT
    assert dialect(ANTHROPIC).render_response(whole)["content"] == SILENT


@pytest.mark.parametrize("client", [CHAT, RESPONSES, GEMINI])
def test_G07_G08_other_clients_see_an_answer_and_no_riddle(client: str) -> None:
    _, shown = answer(ANTHROPIC, client, anthropic_body(SILENT))
    text = b"".join(stream(ANTHROPIC, client, silent_stream())).decode()
    for told in (jsontext.encode(shown), text):
        assert "c2lnbmVk" not in told  # another vendor's state
        assert "cmVkYWN0ZWQ" not in told
    assert dialect(client).parse_response(shown).text == "hi"


LONG: list[tuple[str, str]] = [("1", "one"), ("2", "two"), ("3", "three")]


@pytest.mark.parametrize(("client", "upstream"), PAIRS)
def test_G09_earlier_turns_are_sent_the_same_in_every_request(client: str, upstream: str) -> None:
    """Prompt caches live by the prefix: a new turn changes nothing before it."""
    place = {CHAT: "messages", RESPONSES: "input", ANTHROPIC: "messages", GEMINI: "contents"}
    items: list[JSON] = [said(client, "user", "go")]
    before: list[JSON] = []
    for x, text in LONG:
        items += calls(client, (f"c{x}", "f", x))
        items += results(client, (f"c{x}", "f", text))
        given = body(client, list(items), tools=tools(client, "f"))
        wire = translate(client, upstream, given)
        sent = wire.body[place[upstream]]
        assert sent[: len(before)] == before
        assert jsontext.encode(sent) == jsontext.encode(
            translate(client, upstream, given).body[place[upstream]]
        )
        before = sent


@pytest.mark.parametrize("source", NAMES)
def test_G09_dropped_thoughts_leave_the_same_prefix(source: str) -> None:
    response = dialect(source).parse_response(BODIES[source])
    for upstream in NAMES:
        first = dialect(upstream).render_request(continued(response)).body
        longer = continued(
            response, Message("assistant", [Text("18C")]), Message("user", [Text("?")])
        )
        second = dialect(upstream).render_request(longer).body
        key = next(key for key in ("messages", "input", "contents") if key in first)
        assert second[key][: len(first[key])] == first[key]


@pytest.mark.parametrize(
    ("quirks", "expected"),
    [
        (Quirks(reasoning_field="reasoning_content", reasoning_replay="with_calls"), ["Hm.", None]),
        (Quirks(reasoning_field="reasoning_content", reasoning_replay="always"), ["Hm.", "Ah."]),
        (Quirks(reasoning_field="reasoning_content", reasoning_replay="never"), [None, None]),
        (Quirks(reasoning_field="reasoning", reasoning_replay="with_calls"), [None, None]),
    ],
)
def test_G10_reasoning_returns_by_the_providers_own_rule(
    quirks: Quirks, expected: list[str | None]
) -> None:
    first = chat_body(
        {"reasoning_content": "Hm.", "tool_calls": [chat_call("c1", "f", "{}")]}, "tool_calls"
    )
    second = chat_body({"reasoning_content": "Ah.", "content": "18C"})
    turn, last = (dialect(CHAT).parse_response(each) for each in (first, second))
    request = continued(turn, last.message, Message("user", [Text("thanks")]))
    wire = dialect(CHAT).render_request(request, quirks=quirks)
    assistants = [each for each in wire.body["messages"] if each["role"] == "assistant"]
    assert [each.get("reasoning_content") for each in assistants] == expected
    if quirks.reasoning_field == "reasoning":
        assert assistants[0]["reasoning"] == "Hm."


def thoughts(client: str, text: str) -> str:
    """The reasoning that a client finds in its own slot of a stream."""
    shown: list[str] = []
    for payload in readers.payloads(text):
        delta: Any = payload.get("delta")
        match client:
            case "openai-chat":
                shown += [
                    choice["delta"].get("reasoning_content") or "" for choice in payload["choices"]
                ]
            case "openai-responses" if payload["type"] == "response.reasoning_summary_text.delta":
                shown.append(delta)
            case "anthropic" if isinstance(delta, dict) and delta.get("type") == "thinking_delta":
                shown.append(delta["thinking"])
            case "gemini":
                shown += [
                    part["text"]
                    for candidate in payload["candidates"]
                    for part in candidate["content"]["parts"]
                    if part.get("thought")
                ]
            case _:
                pass
    return "".join(shown)


@pytest.mark.parametrize(("client", "upstream"), CROSS)
def test_G11_reasoning_is_shown_in_the_clients_own_slot(client: str, upstream: str) -> None:
    text = b"".join(stream(upstream, client, STREAMS[upstream])).decode()
    assert thoughts(client, text) == "Hm."
    whole = dialect(client).parse_response(answer(upstream, client, BODIES[upstream])[1])
    assert [part.text for part in whole.message.parts if isinstance(part, Reasoning)] == ["Hm."]
    assert whole.text == "Looking."


def test_G11_reasoning_alone_is_no_blank_screen() -> None:
    data = chat_stream(chat_chunk({"reasoning_content": "Hm."}), finish="length")
    text = b"".join(stream(CHAT, ANTHROPIC, data)).decode()
    assert thoughts(ANTHROPIC, text) == "Hm."
    blocks = [p for p in readers.payloads(text) if p["type"] == "content_block_start"]
    assert [block["content_block"] for block in blocks] == [
        {"type": "thinking", "thinking": "", "signature": ""}
    ]


PLAIN = {
    ANTHROPIC: anthropic_body([{"type": "text", "text": "hi"}]),
    GEMINI: gemini_body([{"text": "hi", "thoughtSignature": "c2ln"}]),
}


@pytest.mark.parametrize("upstream", PLAIN)
def test_G12_chat_clients_get_openais_fields_and_no_others(upstream: str) -> None:
    _, shown = answer(upstream, CHAT, PLAIN[upstream])
    completion = ChatCompletion.model_validate(shown)
    assert completion.model_extra == {}
    assert completion.choices[0].message.model_extra == {}
    assert completion.choices[0].message.content == "hi"


@pytest.mark.parametrize("upstream", [RESPONSES, ANTHROPIC, GEMINI])
def test_G12_streamed_calls_have_openais_fields_and_no_others(upstream: str) -> None:
    text = b"".join(stream(upstream, CHAT, STREAMS[upstream])).decode()
    for payload in readers.payloads(text):
        chunk = ChatCompletionChunk.model_validate(payload)
        assert chunk.model_extra == {}
        for choice in chunk.choices:
            assert {*(choice.delta.model_extra or {})} <= {"reasoning_content"}
            for call in choice.delta.tool_calls or []:
                assert not call.model_extra


@pytest.mark.parametrize(("client", "upstream"), CROSS)
def test_G12_no_provider_sees_another_dialects_state(client: str, upstream: str) -> None:
    response = dialect(client).parse_response(BODIES[client])
    wire = dialect(upstream).render_request(continued(response))
    shown = jsontext.encode(wire.body)
    for state in ("c2lnbmVk", "c2VhbGVk", "rs_1", "Hm."):
        assert state not in shown
    assert ("dropped_state", "reasoning") in features(wire)
    accepted(upstream, wire)
