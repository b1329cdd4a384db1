"""Failures that users of other gateways reported, by their number; the rest is named in place."""

from __future__ import annotations

from typing import Any

import pytest

from polycall.dialects.openai_responses import (
    parse_request,
    parse_response,
    render_request,
    render_response,
)
from polycall.errors import UnsupportedError
from polycall.ir import (
    Media,
    Message,
    Reasoning,
    ReasoningConfig,
    Request,
    Response,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from polycall.translation.foreign_options import note_foreign_options
from polycall.translation.wire import Losses

from .wire import added, body, call, completed, created, done, message, payloads, read, written

NAME = "openai-responses"
PNG = "data:image/png;base64,aGk="


def test_b14_a_call_always_ends_the_turn_as_tool_calls() -> None:
    assert parse_response(body(call("{}"))).finish_reason == "tool_calls"
    streamed = read(created(), added(call("")), done(call("{}")), completed(call("{}")))
    assert streamed.finish_reason == "tool_calls"


def test_b16_every_stream_says_how_it_ended() -> None:
    response = Response("r", "m", Message("assistant", [Text("x")]), "stop")
    assert payloads(written(response))[-1]["response"]["status"] == "completed"


def test_b19_no_tool_calls_without_a_call() -> None:
    assert parse_response(body(message("x"))).finish_reason == "stop"


def test_c01_results_after_user_text_still_answer_their_call() -> None:
    items = [
        {"role": "user", "content": "go"},
        call("{}"),
        {"role": "user", "content": "wait"},
        {"type": "function_call_output", "call_id": "call_1", "output": "r"},
    ]
    request = parse_request({"model": "m", "input": items})
    assert [each.role for each in request.messages] == ["user", "assistant", "user", "tool"]
    assert render_request(request).body["input"] == items


def test_c05_calls_of_one_id_in_two_turns_stay_two_items() -> None:
    items: list[dict[str, Any]] = []
    for _ in range(2):
        items += [call("{}"), {"type": "function_call_output", "call_id": "call_1", "output": "r"}]
    assert render_request(parse_request({"model": "m", "input": items})).body["input"] == items


def test_c12_a_follow_up_on_stored_state_is_refused_elsewhere_with_its_field() -> None:
    """`function_call_output` alone is fine here; another dialect cannot know what it answers."""
    output = {"type": "function_call_output", "call_id": "call_1", "output": "18C"}
    given = {"model": "m", "previous_response_id": "resp_1", "input": [output]}
    request = parse_request(given)
    assert render_request(request).body == given
    with pytest.raises(UnsupportedError) as caught:
        note_foreign_options(request, "openai-chat", Losses(lossy=False))
    assert caught.value.feature == "previous_response_id"


def test_c14_images_in_results_are_kept() -> None:
    image = {"type": "input_image", "image_url": PNG, "detail": "low"}
    items = [call("{}"), {"type": "function_call_output", "call_id": "call_1", "output": [image]}]
    request = parse_request({"model": "m", "input": items})
    result = request.messages[1].parts[0]
    assert isinstance(result, ToolResult)
    part = result.content[0]
    assert isinstance(part, Media)
    assert (part.kind, part.media_type, part.data) == ("image", "image/png", "aGk=")


def test_c15_images_of_users_arrive_from_elsewhere() -> None:
    wire = render_request(Request("m", [Message("user", [Media("image", "image/png", "aGk=")])]))
    assert wire.body["input"] == [
        {"role": "user", "content": [{"type": "input_image", "image_url": PNG}]}
    ]


def test_f03_f05_every_form_of_choice() -> None:
    tools = [Tool("f"), Tool("g")]
    choices = [
        (ToolChoice("none"), "none"),
        (ToolChoice("auto"), "auto"),
        (ToolChoice("required"), "required"),
        (ToolChoice("tool", ["g"]), {"type": "function", "name": "g"}),
        (
            ToolChoice("required", ["g"]),
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": "g"}],
            },
        ),
    ]
    for choice, expected in choices:
        request = Request("m", [], tools=tools, tool_choice=choice)
        assert render_request(request).body["tool_choice"] == expected


def test_f06_one_call_at_a_time() -> None:
    request = Request("m", [], tools=[Tool("f")], parallel_tool_calls=False)
    assert render_request(request).body["parallel_tool_calls"] is False


def test_g_reasoning_survives_a_turn_over_the_wire() -> None:
    """What the client was given and sends back is what the provider gets, in its place."""
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    response = parse_response(body(reasoning, message("Hm."), call("{}")))
    output = render_response(response)["output"]
    result = {"type": "function_call_output", "call_id": "call_1", "output": "r"}
    request = parse_request({"model": "m", "store": False, "input": [*output, result]})
    assert render_request(request).body["input"] == [reasoning, message("Hm."), call("{}"), result]
    # And so it does where the turn was kept as messages, not as items.
    kept = Request("m", [response.message, Message("tool", [ToolResult("call_1", [Text("r")])])])
    assert render_request(kept).body["input"] == [reasoning, message("Hm."), call("{}"), result]


def test_g07_reasoning_without_text_is_kept() -> None:
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    parts = parse_response(body(reasoning)).message.parts
    assert parts == [
        Reasoning(
            metadata={NAME: {"id": "rs_1", "fields": {"summary": [], "encrypted_content": "gAAA"}}}
        )
    ]


def test_g10_phase_is_sent_back() -> None:
    response = parse_response(body(message("Looking.", phase="commentary"), call("{}")))
    request = Request("m", [response.message, Message("user", [Text("go on")])])
    assert render_request(request).body["input"][0]["phase"] == "commentary"


def test_g12_nothing_of_other_dialects_reaches_the_wire() -> None:
    foreign = {"anthropic": {"signature": "s"}, "gemini": {"thoughtSignature": "t"}}
    request = Request(
        "m",
        [
            Message("user", [Text("hi", metadata=foreign)], metadata=foreign),
            Message("assistant", [ToolCall("c", "f", metadata=foreign)], metadata=foreign),
            Message("tool", [ToolResult("c", [Text("r")], metadata=foreign)]),
        ],
        tools=[Tool("f", metadata=foreign)],
        reasoning=ReasoningConfig(effort="low", metadata=foreign),
        metadata=foreign,
    )
    text = str(render_request(request).body)
    assert "signature" not in text.lower()


def test_c01_results_of_other_dialects_follow_their_calls_at_once() -> None:
    wire = render_request(
        Request(
            "m",
            [
                Message("user", [Text("go")]),
                Message("assistant", [ToolCall("c", "f")]),
                Message("user", [Text("wait")]),
                Message("tool", [ToolResult("c", [Text("r")])]),
            ],
        )
    )
    assert wire.body["input"] == [
        {"role": "user", "content": "go"},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "r"},
        {"role": "user", "content": "wait"},
    ]


def test_c05_calls_of_other_dialects_have_ids_of_their_own() -> None:
    turn = [
        Message("assistant", [ToolCall("c", "f"), ToolCall("c", "g")]),
        Message("tool", [ToolResult("c", [Text("1")]), ToolResult("c", [Text("2")])]),
    ]
    wire = render_request(Request("m", [Message("user", [Text("go")]), *turn, *turn]))
    assert [(item["call_id"], item.get("output")) for item in wire.body["input"][1:]] == [
        ("c", None),
        ("c_2", None),
        ("c", "1"),
        ("c_2", "2"),
        ("c_3", None),
        ("c_4", None),
        ("c_3", "1"),
        ("c_4", "2"),
    ]
