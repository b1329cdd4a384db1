"""Conversations between dialects: PAIN C01 to C20, by their numbers.

`accepted` asks the strict simulated vendor, and gives what it read in its own neutral words.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from msgspec.structs import replace

from polycall.errors import UnsupportedError
from polycall.ir import JSON, Message, Text, ToolResult
from polycall.sim.script import Called, Entry, Returned, Said
from polycall.translation.quirks import Quirks
from tests.pain.bodies import TURNS, gemini_body
from tests.pain.talks import IMAGES, PNG, body, calls, results, said, tools
from tests.pain.wires import (
    ALL_CROSS,
    ALL_PAIRS,
    ANTHROPIC,
    CHAT,
    GEMINI,
    NAMES,
    RESPONSES,
    UPSTREAMS,
    accepted,
    answer,
    dialect,
    features,
    parse,
    translate,
)


def told(client: str, upstream: str, given: JSON, **options: Any) -> list[Entry]:
    """What the vendor reads in a client's conversation."""
    return accepted(upstream, translate(client, upstream, given, **options)).entries


def order(entries: list[Entry]) -> list[tuple[str, str]]:
    """Who said what, with calls by their names and results by their texts."""
    shown: list[tuple[str, str]] = []
    for entry in entries:
        match entry:
            case Said():
                shown.append((entry.role, entry.text))
            case Called():
                shown.append(("call", f"{entry.name} {entry.arguments.get('x', '')}".strip()))
            case Returned():
                shown.append(("result", entry.text))
    return shown


@ALL_CROSS
def test_C01_results_follow_their_calls_whatever_stood_between(client: str, upstream: str) -> None:
    late = [
        said(client, "user", "go"),
        *calls(client, ("c1", "f", "1"), ("c2", "g", "2")),
        said(client, "user", "wait"),
        *results(client, ("c1", "f", "one"), ("c2", "g", "two")),
    ]
    entries = told(client, upstream, body(client, late, tools=tools(client, "f", "g")))
    assert order(entries) == [
        ("user", "go"),
        ("call", "f 1"),
        ("call", "g 2"),
        ("result", "one"),
        ("result", "two"),
        ("user", "wait"),
    ]


@ALL_CROSS
def test_C02_a_call_without_a_result_gets_one_that_says_so(client: str, upstream: str) -> None:
    given = [
        said(client, "user", "go"),
        *calls(client, ("c1", "f", "1"), ("c2", "f", "2")),
        *results(client, ("c1", "f", "one")),
        said(client, "user", "never mind"),
    ]
    wire = translate(client, upstream, body(client, given, tools=tools(client, "f")))
    assert ("emulated", "orphan_tool_call") in features(wire)
    entries = accepted(upstream, wire).entries
    assert [entry for entry in order(entries) if entry[0] != "result"] == [
        ("user", "go"),
        ("call", "f 1"),
        ("call", "f 2"),
        ("user", "never mind"),
    ]
    one, made_up = [entry.text for entry in entries if isinstance(entry, Returned)]
    assert one == "one"
    assert "interrupted" in made_up


@ALL_CROSS
def test_C02_a_result_without_a_call_is_left_out(client: str, upstream: str) -> None:
    given = [
        said(client, "user", "go"),
        *results(client, ("c9", "f", "nobody asked")),
        said(client, "user", "well?"),
    ]
    wire = translate(client, upstream, body(client, given, tools=tools(client, "f")))
    assert ("unsupported", "orphan_tool_result") in features(wire)
    texts = [text for _, text in order(accepted(upstream, wire).entries)]
    assert "nobody asked" not in texts


@pytest.mark.parametrize("client", [CHAT, RESPONSES, ANTHROPIC])
def test_C03_parallel_results_are_one_content_for_gemini(client: str) -> None:
    given = [
        said(client, "user", "go"),
        *calls(client, ("c1", "f", "1"), ("c2", "f", "2"), ("c3", "g", "3")),
        *results(client, ("c2", "f", "two")),
        *results(client, ("c1", "f", "one"), ("c3", "g", "three")),
    ]
    wire = translate(client, GEMINI, body(client, given, tools=tools(client, "f", "g")))
    last = wire.body["contents"][-1]
    assert [part["functionResponse"]["response"] for part in last["parts"]] == [
        {"output": "one"},
        {"output": "two"},
        {"output": "three"},
    ]
    assert len(wire.body["contents"]) == 3


WITH_IMAGE: dict[str, list[JSON]] = {
    RESPONSES: [
        {
            "type": "function_call_output",
            "call_id": "c1",
            "output": [{"type": "input_text", "text": "see"}, IMAGES[RESPONSES]],
        }
    ],
    ANTHROPIC: [
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "c1",
                    "content": [{"type": "text", "text": "see"}, IMAGES[ANTHROPIC]],
                }
            ],
        }
    ],
    GEMINI: [
        {
            "role": "user",
            "parts": [
                {
                    "functionResponse": {
                        "id": "c1",
                        "name": "f",
                        "response": {"output": "see"},
                        "parts": [IMAGES[GEMINI]],
                    }
                }
            ],
        }
    ],
}


def with_image(client: str) -> JSON:
    items = [said(client, "user", "go"), *calls(client, ("c1", "f", "1")), *WITH_IMAGE[client]]
    return body(client, items, tools=tools(client, "f"))


@pytest.mark.parametrize("client", [RESPONSES, ANTHROPIC])
def test_C04_media_of_a_result_never_break_the_count_of_older_gemini(client: str) -> None:
    wire = translate(client, GEMINI, with_image(client), quirks=Quirks(result_media=False))
    contents = wire.body["contents"]
    assert [[*part] for part in contents[2]["parts"]] == [["functionResponse"]]
    assert contents[3] == {"role": "user", "parts": [IMAGES[GEMINI]]}
    assert ("emulated", "tool_result.media") in features(wire)
    accepted(GEMINI, wire)


@ALL_CROSS
def test_C05_equal_ids_become_different_and_their_results_follow(
    client: str, upstream: str
) -> None:
    given: list[JSON] = [said(client, "user", "go")]
    for number in ("1", "2"):
        given += calls(client, ("same", "f", number))
        given += results(client, ("same", "f", f"result {number}"))
    entries = told(client, upstream, body(client, given, tools=tools(client, "f")))
    called = [entry for entry in entries if isinstance(entry, Called)]
    answered = {entry.call_id: entry.text for entry in entries if isinstance(entry, Returned)}
    if upstream in (RESPONSES, ANTHROPIC):  # there an id is one for the whole conversation
        assert len({call.id for call in called}) == 2
        assert [answered[call.id] for call in called] == ["result 1", "result 2"]
    assert order(entries)[1:] == [
        ("call", "f 1"),
        ("result", "result 1"),
        ("call", "f 2"),
        ("result", "result 2"),
    ]


@UPSTREAMS
def test_C06_ids_that_differ_by_their_beginning_stay_different(upstream: str) -> None:
    pairs = [("call_123", "f", "1"), ("fc_123", "f", "2"), ("toolu_123", "f", "3")]
    given = [
        said(CHAT, "user", "go"),
        *calls(CHAT, *pairs),
        *results(CHAT, *((call_id, name, f"r{x}") for call_id, name, x in reversed(pairs))),
    ]
    entries = told(CHAT, upstream, body(CHAT, given, tools=tools(CHAT, "f")))
    arguments = {entry.id: entry.arguments["x"] for entry in entries if isinstance(entry, Called)}
    assert len(arguments) == 3
    for entry in entries:
        if isinstance(entry, Returned):
            assert entry.text == f"r{arguments[entry.call_id]}"


@pytest.mark.parametrize("upstream", [ANTHROPIC, RESPONSES, GEMINI])
def test_C07_a_call_told_in_two_spellings_is_one_call(upstream: str) -> None:
    (turn,) = calls(CHAT, ("c1", "f", "1"))
    block = {"type": "tool_use", "id": "c1", "name": "f", "input": {"x": "1"}}
    given = [
        said(CHAT, "user", "go"),
        {**turn, "content": [{"type": "text", "text": "Looking."}, block]},
        *results(CHAT, ("c1", "f", "one")),
    ]
    entries = told(CHAT, upstream, body(CHAT, given, tools=tools(CHAT, "f")))
    assert order(entries) == [
        ("user", "go"),
        ("assistant", "Looking."),
        ("call", "f 1"),
        ("result", "one"),
    ]


MISTRAL = Quirks(call_id_pattern=r"[a-zA-Z0-9]{9}", call_id_length=9)


@pytest.mark.parametrize("client", NAMES)
def test_C08_ids_fit_mistral_and_belong_together(client: str) -> None:
    given = [
        said(client, "user", "go"),
        *calls(client, ("call_of_another_vendor", "f", "1"), ("abcdefgh9", "f", "2")),
        *results(client, ("call_of_another_vendor", "f", "one"), ("abcdefgh9", "f", "two")),
    ]
    messages = [
        translate(client, CHAT, body(client, given), quirks=MISTRAL).body["messages"]
        for _ in range(2)
    ]
    assert messages[0] == messages[1]  # the same on every replica
    ids = [call["id"] for call in messages[0][1]["tool_calls"]]
    assert all(re.fullmatch(r"[a-zA-Z0-9]{9}", call_id) for call_id in ids)
    assert ids[1] == "abcdefgh9"
    assert [message["tool_call_id"] for message in messages[0][2:]] == ids


@pytest.mark.parametrize("client", [CHAT, RESPONSES, ANTHROPIC])
def test_C09_ids_of_gemini_are_used_or_made_and_never_a_name(client: str) -> None:
    called = [{"name": "f", "args": {}}, {"name": "f", "args": {}}, {"id": "g1", "name": "f"}]
    given = gemini_body([{"functionCall": call} for call in called])
    response, shown = answer(GEMINI, client, given)
    ids = [call.id for call in response.tool_calls]
    assert ids[2] == "g1"
    assert len({*ids}) == 3
    assert "f" not in ids
    assert [call.id for call in dialect(client).parse_response(shown).tool_calls] == ids
    assert [call.id for call in answer(GEMINI, client, given)[0].tool_calls] == ids


@UPSTREAMS
def test_C10_a_call_with_an_empty_id_gets_one(upstream: str) -> None:
    given = [
        said(CHAT, "user", "go"),
        *calls(CHAT, ("", "f", "1")),
        {"role": "tool", "tool_call_id": "", "content": "one"},
    ]
    entries = told(CHAT, upstream, body(CHAT, given, tools=tools(CHAT, "f")))
    (called,) = [entry for entry in entries if isinstance(entry, Called)]
    (returned,) = [entry for entry in entries if isinstance(entry, Returned)]
    assert called.id == returned.call_id != ""


@ALL_PAIRS
def test_C11_a_history_with_calls_needs_no_tools(client: str, upstream: str) -> None:
    given = [
        said(client, "user", "go"),
        *calls(client, ("c1", "f", "1")),
        *results(client, ("c1", "f", "one")),
        said(client, "user", "thanks"),
    ]
    assert order(told(client, upstream, body(client, given))) == [
        ("user", "go"),
        ("call", "f 1"),
        ("result", "one"),
        ("user", "thanks"),
    ]


@pytest.mark.parametrize("upstream", [CHAT, ANTHROPIC, GEMINI])
def test_C12_a_follow_up_on_stored_state_is_a_clear_refusal(upstream: str) -> None:
    output = results(RESPONSES, ("c1", "f", "one"))
    given = body(RESPONSES, output, previous_response_id="resp_1")
    with pytest.raises(UnsupportedError) as caught:
        translate(RESPONSES, upstream, given)
    assert caught.value.feature == "previous_response_id"
    wire = translate(RESPONSES, upstream, given, lossy=True)
    assert features(wire) >= {
        ("unsupported", "previous_response_id"),
        ("unsupported", "orphan_tool_result"),
    }


@pytest.mark.parametrize("client", NAMES)
def test_C13_strict_upstreams_get_no_user_turn_after_results(client: str) -> None:
    given = [
        said(client, "user", "go"),
        *calls(client, ("c1", "f", "1")),
        *results(client, ("c1", "f", "one")),
        said(client, "user", "and now?"),
    ]
    wire = translate(client, CHAT, body(client, given), quirks=Quirks(user_after_tool=False))
    roles = [message["role"] for message in wire.body["messages"]]
    assert roles == ["user", "assistant", "tool", "assistant", "user"]


@pytest.mark.parametrize("client", WITH_IMAGE)
@UPSTREAMS
def test_C14_images_in_results_are_kept_or_follow(client: str, upstream: str) -> None:
    wire = translate(client, upstream, with_image(client))
    accepted(upstream, wire)
    assert str(wire.body).count(PNG) == 1
    is_moved = upstream == CHAT
    assert (("emulated", "tool_result.media") in features(wire)) == is_moved
    if is_moved:
        tool, user = wire.body["messages"][2:]
        assert tool["content"] == "see\n[image attached below]"
        assert user == {"role": "user", "content": [IMAGES[CHAT]]}


def test_C14_an_image_in_a_chat_tool_message_reaches_those_who_take_it() -> None:
    content = [{"type": "text", "text": "see"}, IMAGES[CHAT]]
    given = body(
        CHAT,
        [
            said(CHAT, "user", "go"),
            *calls(CHAT, ("c1", "f", "1")),
            {"role": "tool", "tool_call_id": "c1", "content": content},
        ],
    )
    for upstream in (RESPONSES, ANTHROPIC, GEMINI):
        wire = translate(CHAT, upstream, given)
        accepted(upstream, wire)
        assert str(wire.body).count(PNG) == 1


@ALL_PAIRS
def test_C15_images_of_users_survive(client: str, upstream: str) -> None:
    text_types = {CHAT: "text", RESPONSES: "input_text", ANTHROPIC: "text"}
    if client == GEMINI:
        turn = {"role": "user", "parts": [{"text": "what is it?"}, IMAGES[GEMINI]]}
    else:
        text = {"type": text_types[client], "text": "what is it?"}
        turn = {"role": "user", "content": [text, IMAGES[client]]}
    wire = translate(client, upstream, body(client, [turn]))
    accepted(upstream, wire)
    assert wire.warnings == []
    content = {
        CHAT: lambda: wire.body["messages"][0]["content"],
        RESPONSES: lambda: wire.body["input"][0]["content"],
        ANTHROPIC: lambda: wire.body["messages"][0]["content"],
        GEMINI: lambda: wire.body["contents"][0]["parts"],
    }[upstream]()
    assert content[1] == IMAGES[upstream]


@UPSTREAMS
def test_C16_a_list_of_texts_in_a_result_is_not_nested(upstream: str) -> None:
    """The same failure as on Bedrock, which has no dialect here."""
    texts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    given = [
        said(CHAT, "user", "go"),
        *calls(CHAT, ("c1", "f", "1")),
        {"role": "tool", "tool_call_id": "c1", "content": texts},
    ]
    entries = told(CHAT, upstream, body(CHAT, given))
    (returned,) = [entry for entry in entries if isinstance(entry, Returned)]
    assert "".join(returned.text.split()) == "onetwo"


@ALL_PAIRS
@pytest.mark.parametrize("text", ["[1,2]", "3", "null", '"a"', '{"$ref":"#/x"}', ""])
def test_C17_any_json_is_a_result_of_its_text(client: str, upstream: str, text: str) -> None:
    """Gemini wants an object, as Bedrock does; the model reads the same text everywhere."""
    given = [
        said(client, "user", "go"),
        *calls(client, ("c1", "f", "1")),
        *results(client, ("c1", "f", text)),
    ]
    if client == upstream == ANTHROPIC and not text:
        return  # its own client's affair
    entries = told(client, upstream, body(client, given))
    (returned,) = [entry for entry in entries if isinstance(entry, Returned)]
    assert returned.text == text


@pytest.mark.parametrize("client", [CHAT, RESPONSES, GEMINI])
def test_C19_empty_texts_never_reach_anthropic(client: str) -> None:
    given = [
        said(client, "user", "go"),
        said(client, "assistant", ""),
        said(client, "user", ""),
        said(client, "user", "on"),
    ]
    wire = translate(client, ANTHROPIC, body(client, given))
    accepted(ANTHROPIC, wire)
    assert wire.body["messages"] == [
        {"role": "user", "content": "go"},
        {"role": "user", "content": "on"},
    ]


def test_C19_signed_thinking_without_text_stays() -> None:
    thinking = {"type": "thinking", "thinking": "", "signature": "c2ln"}
    text = {"type": "text", "text": "hi"}
    given = body(
        ANTHROPIC,
        [
            said(ANTHROPIC, "user", "go"),
            {"role": "assistant", "content": [thinking, {"type": "text", "text": ""}, text]},
            said(ANTHROPIC, "user", "on"),
        ],
    )
    wire = translate(ANTHROPIC, ANTHROPIC, given)
    assert wire.body["messages"][1]["content"] == [thinking, text]


@pytest.mark.parametrize("upstream", NAMES)
def test_C20_one_history_of_all_providers_goes_to_each(upstream: str) -> None:
    """Every turn was answered by another provider; the next one may be any."""
    messages = [Message("user", [Text("go")])]
    for source in (GEMINI, ANTHROPIC, CHAT, RESPONSES):
        response = dialect(source).parse_response(TURNS[source])
        (call,) = response.tool_calls
        result = ToolResult(call.id, [Text(f"from {source}")], name=call.name)
        messages += [response.message, Message("tool", [result])]
    messages.append(Message("user", [Text("and now?")]))
    request = replace(parse(CHAT, body(CHAT)), messages=messages, metadata={})
    quirks = MISTRAL if upstream == CHAT else Quirks()
    wire = dialect(upstream).render_request(request, quirks=quirks)
    shown = str(wire.body)
    for state, owner in (("c2lnbmVk", (GEMINI, ANTHROPIC)), ("c2VhbGVk", (RESPONSES,))):
        assert shown.count(state) == (1 if upstream in owner else 0)
    if upstream != CHAT:
        assert "Hm." not in shown.replace("'thinking': 'Hm.'", "").replace("'text': 'Hm.'", "")
    assert ("dropped_state", "reasoning") in features(wire)
    texts = [f"from {source}" for source in (GEMINI, ANTHROPIC, CHAT, RESPONSES)]
    assert [shown.index(text) for text in texts] == sorted(shown.index(text) for text in texts)
