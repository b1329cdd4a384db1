"""Turns: calls matched to results, results to calls, signatures in their places."""

from __future__ import annotations

import pytest

from polycall.dialects import gemini
from polycall.ir import (
    JSON,
    Media,
    Message,
    Reasoning,
    Request,
    Text,
    ToolCall,
    ToolResult,
)
from polycall.translation.quirks import Quirks
from tests.dialects.gemini.wire import SENTINEL, ask, call, contents, result, same, turn
from tests.support import PIXEL

# ---------------------------------------------------------------------------------------------
# Turns, calls and results


def test_roles_are_kept_as_written() -> None:
    body = {
        "contents": [
            {"parts": [{"text": "a"}]},
            turn(call("f", {}), role="model"),
            turn(result("f", {"output": "1"}), role="function"),
            turn({"text": "b"}, role="tool"),
        ]
    }
    assert same(body) == body


def test_system_messages_that_come_late_are_user_text() -> None:
    request = Request(
        "m",
        [
            Message("system", [Text("a")]),
            Message("system", [Text("b")]),
            Message("user", [Text("c")]),
            Message("system", [Text("d")]),
        ],
    )
    wire = gemini.render_request(request)
    assert wire.body == {
        "contents": [turn({"text": "c"}), turn({"text": "d"})],
        "systemInstruction": {"parts": [{"text": "a"}, {"text": "b"}]},
    }
    assert [(item.kind, item.feature) for item in wire.warnings] == [("emulated", "system")]


def test_a_request_without_anything_to_say_gets_a_blank_turn() -> None:
    wire = gemini.render_request(Request("m", [Message("system", [Text("a")])]))
    assert wire.body["contents"] == [turn({"text": " "})]
    assert [(item.kind, item.feature) for item in wire.warnings] == [("adjusted", "messages")]
    empty = Request("m", [Message("user", [Text("")]), Message("user", [Text("b")])])
    assert contents(empty) == [turn({"text": "b"})]


def test_chunks_that_googles_chat_keeps_apart_are_one_turn() -> None:
    body = {
        "contents": [
            turn({"text": "hi"}),
            turn({"text": "I thi", "thought": True}, role="model"),
            turn({"text": "nk", "thought": True}, role="model"),
            turn({"text": "Let me"}, role="model"),
            turn({"text": " look"}, role="model"),
            turn(call("f", {}, "1"), role="model"),
            turn({"text": ""}, role="model"),
            turn(result("f", {"output": "x"}, "1")),
        ]
    }
    own: dict[str, JSON] = {"gemini": {}}
    assert gemini.parse_request(body).messages[1:] == [
        Message(
            "assistant",
            [Reasoning("I think", own), Text("Let me look"), ToolCall("1", "f", metadata=own)],
        ),
        Message("tool", [ToolResult("1", [Text("x")], name="f", metadata=own)]),
    ]


def test_results_are_matched_by_id_then_by_name_and_order() -> None:
    body = {
        "contents": [
            turn({"text": "hi"}),
            turn(call("f", {"a": 1}), call("g", {}, "9"), call("f", {"a": 2}), role="model"),
            turn(result("g", {"output": "g"}, "9"), result("f", {"output": "1"}), {"text": "and"}),
            turn(result("f", {"output": "2"})),
        ]
    }
    _, calls, results, text = gemini.parse_request(body).messages
    first, middle, last = calls.tool_calls
    assert middle.id == "9"
    assert len({first.id, middle.id, last.id}) == 3
    assert [part.call_id for part in results.parts if isinstance(part, ToolResult)] == [
        "9",
        first.id,
        last.id,
    ]
    assert text.parts == [Text("and")]
    # In the order of the calls, in one content, with the text that stood beside them behind.
    assert same(body)["contents"][2:] == [
        turn(
            result("f", {"output": "1"}),
            result("g", {"output": "g"}, "9"),
            result("f", {"output": "2"}),
            {"text": "and"},
        )
    ]


def test_equal_calls_without_ids_in_one_history_get_different_ids() -> None:
    pair = [turn(call("now", {}), role="model"), turn(result("now", {"output": "1"}))]
    body = {"contents": [turn({"text": "hi"}), *pair, *pair]}
    request = gemini.parse_request(body)
    ids = [item.id for message in request.messages for item in message.tool_calls]
    answered = [
        part.call_id
        for message in request.messages
        for part in message.parts
        if isinstance(part, ToolResult)
    ]
    assert len(set(ids)) == 2
    assert answered == ids
    assert gemini.parse_request(body) == request
    assert same(body) == body


@pytest.mark.parametrize(
    ("response", "text", "is_error"),
    [
        ({"output": "18C"}, "18C", False),
        ({"output": {"c": 18.0}}, '{"c":18.0}', False),
        ({"output": '{"c":18}'}, '{"c":18}', False),
        ({"output": None}, "null", False),
        ({"error": "timeout"}, "timeout", True),
        ({"error": {"code": 1}}, '{"code":1}', True),
        ({"result": "x"}, '{"result":"x"}', False),
        ({"output": "a", "more": 1}, '{"output":"a","more":1}', False),
    ],
)
def test_results_keep_their_shape(response: JSON, text: str, is_error: bool) -> None:
    body = {
        "contents": [
            turn({"text": "hi"}),
            turn(call("f", {}, "1"), role="model"),
            turn(result("f", response, "1", scheduling="SILENT", willContinue=False)),
        ]
    }
    (part,) = gemini.parse_request(body).messages[2].parts
    assert isinstance(part, ToolResult)
    assert (part.text, part.is_error) == (text, is_error)
    rendered = same(body)
    if response == {"output": None}:
        response = {"output": "null"}
    assert rendered["contents"][2] == turn(
        result("f", response, "1", scheduling="SILENT", willContinue=False)
    )


def test_an_empty_result_stays_an_object() -> None:
    body = {
        "contents": [
            turn({"text": "hi"}),
            turn(call("f", {}), role="model"),
            turn(result("f", {})),
        ]
    }
    assert same(body) == body


def test_orphans_are_repaired_and_told() -> None:
    request = ask(
        Message("assistant", [ToolCall("1", "f"), ToolCall("2", "g")]),
        Message("tool", [ToolResult("2", [Text("b")])]),
        Message("user", [Text("go on")]),
        Message("tool", [ToolResult("8", [Text("lost")])]),
        Message("assistant", [ToolCall("3", "f")]),
    )
    wire = gemini.render_request(request, quirks=Quirks(signature_sentinel=False))
    assert wire.body["contents"][1:] == [
        turn(call("f", {}, "1"), call("g", {}, "2"), role="model"),
        turn(
            result("f", {"error": "no result: the call was interrupted"}, "1"),
            result("g", {"output": "b"}, "2"),
        ),
        turn({"text": "go on"}),
        turn(call("f", {}, "3"), role="model"),
    ]
    assert [(item.kind, item.feature) for item in wire.warnings] == [
        ("emulated", "orphan_tool_call"),
        ("unsupported", "orphan_tool_result"),
    ]


def test_arguments_that_are_no_object_are_wrapped() -> None:
    wire = gemini.render_request(
        ask(Message("assistant", [ToolCall("1", "f", '{"a":')])),
        quirks=Quirks(signature_sentinel=False),
    )
    assert wire.body["contents"][1] == turn(
        call("f", {"invalid_arguments_json": '{"a":'}, "1"), role="model"
    )
    assert [(item.kind, item.feature) for item in wire.warnings] == [("adjusted", "arguments")]


def test_ids_can_be_left_out() -> None:
    request = ask(
        Message("assistant", [ToolCall("toolu_1", "f")]),
        Message("tool", [ToolResult("toolu_1", [Text("a")])]),
    )
    quirks: JSON = {"call_ids": False, "signature_sentinel": False}
    assert contents(request, **quirks)[1:] == [
        turn(call("f", {}), role="model"),
        turn(result("f", {"output": "a"})),
    ]


def test_C01_results_stand_directly_behind_their_calls() -> None:
    request = ask(
        Message("assistant", [ToolCall("1", "f")]),
        Message("user", [Text("wait")]),
        Message("tool", [ToolResult("1", [Text("a")])]),
    )
    wire = gemini.render_request(request, quirks=Quirks(signature_sentinel=False))
    assert wire.body["contents"][1:] == [
        turn(call("f", {}, "1"), role="model"),
        turn(result("f", {"output": "a"}, "1")),
        turn({"text": "wait"}),
    ]
    assert wire.warnings == []


def test_C03_parallel_results_share_one_content() -> None:
    request = ask(
        Message("assistant", [ToolCall("1", "f"), ToolCall("2", "f")]),
        Message("tool", [ToolResult("2", [Text("b")])]),
        Message("tool", [ToolResult("1", [Text("a")])]),
    )
    assert contents(request)[2:] == [
        turn(result("f", {"output": "a"}, "1"), result("f", {"output": "b"}, "2"))
    ]


def test_C04_media_in_results_never_break_the_count() -> None:
    image = Media("image", "image/png", data=PIXEL)
    request = ask(
        Message("assistant", [ToolCall("1", "f"), ToolCall("2", "g")]),
        Message("tool", [ToolResult("1", [Text("a"), image]), ToolResult("2", [Text("b")])]),
    )
    blob = {"inlineData": {"mimeType": "image/png", "data": PIXEL}}
    assert contents(request)[2:] == [
        turn(result("f", {"output": "a"}, "1", parts=[blob]), result("g", {"output": "b"}, "2"))
    ]
    wire = gemini.render_request(request, quirks=Quirks(result_media=False))
    assert wire.body["contents"][2:] == [
        turn(
            result("f", {"output": "a\n[image attached below]"}, "1"),
            result("g", {"output": "b"}, "2"),
        ),
        turn(blob),
    ]
    assert ("emulated", "tool_result.media") in [(w.kind, w.feature) for w in wire.warnings]


def test_C20_a_history_of_another_provider_is_told_whole() -> None:
    request = ask(
        Message(
            "assistant",
            [
                Reasoning("hm", {"anthropic": {"signature": "s"}}),
                Text("one moment"),
                ToolCall("toolu_1", "f", '{"a":1}'),
            ],
        ),
        Message("tool", [ToolResult("toolu_1", [Text("boom")], is_error=True)]),
    )
    wire = gemini.render_request(request)
    assert wire.body["contents"][1:] == [
        turn(
            {"text": "one moment"},
            call("f", {"a": 1}, "toolu_1", thoughtSignature=SENTINEL),
            role="model",
        ),
        turn(result("f", {"error": "boom"}, "toolu_1")),
    ]
    assert [(item.kind, item.feature) for item in wire.warnings] == [
        ("dropped_state", "reasoning"),
        ("emulated", "thought_signature"),
    ]


# ---------------------------------------------------------------------------------------------
# Signatures


def test_G03_and_G05_signatures_return_exactly_where_they_arrived() -> None:
    body = {
        "contents": [
            turn({"text": "hi"}),
            turn(
                {"text": "hm", "thought": True},
                call("f", {"a": 1}, "1", thoughtSignature="Zmly_-c3Q"),
                call("f", {"a": 2}, "2"),
                role="model",
            ),
            turn(result("f", {"output": "x"}, "1"), result("f", {"output": "y"}, "2")),
            turn({"text": "so"}, {"text": "", "thoughtSignature": "bGFzdA=="}, role="model"),
        ]
    }
    assert same(body) == body


def test_G04_only_the_first_unsigned_call_of_a_foreign_turn_gets_the_sentinel() -> None:
    request = ask(
        Message("assistant", [ToolCall("1", "f"), ToolCall("2", "f")]),
        Message("tool", [ToolResult("1"), ToolResult("2")]),
        Message("assistant", [ToolCall("3", "f")]),
        Message("tool", [ToolResult("3")]),
    )
    assert contents(request)[1] == turn(
        call("f", {}, "1", thoughtSignature=SENTINEL), call("f", {}, "2"), role="model"
    )
    assert contents(request)[3] == turn(call("f", {}, "3", thoughtSignature=SENTINEL), role="model")
    wire = gemini.render_request(request, quirks=Quirks(signature_sentinel=False))
    assert SENTINEL not in str(wire.body)
    assert wire.warnings == []


@pytest.mark.parametrize("name", ["G01", "G02"])
def test_a_carried_signature_is_replayed(name: str) -> None:
    carried = ToolCall("1", name, metadata={"gemini": {"thoughtSignature": "c2ln"}})
    request = ask(Message("assistant", [carried]), Message("tool", [ToolResult("1")]))
    wire = gemini.render_request(request)
    assert wire.body["contents"][1] == turn(
        call(name, {}, "1", thoughtSignature="c2ln"), role="model"
    )
    assert wire.warnings == []
