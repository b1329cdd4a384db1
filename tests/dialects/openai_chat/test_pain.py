"""Failures that users of other gateways reported, by their number."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from polycall.dialects.openai_chat import (
    StreamEncoder,
    parse_request,
    parse_response,
    render_request,
    render_response,
)
from polycall.errors import RateLimitError, TruncatedError, UnsupportedError
from polycall.fold import unfold
from polycall.ir import (
    Message,
    PartDelta,
    Reasoning,
    Request,
    Response,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from polycall.providers.quirks import NAMED_QUIRKS
from tests.dialects.openai_chat.chunks import (
    DONE,
    NAME,
    USER,
    answer,
    body_of,
    called,
    calls,
    chunk,
    events_of,
    function,
    piece,
    request,
    sse,
    tool,
)
from tests.readers import payloads


def encoded(response: Response, asked: Request | None = None) -> list[dict[str, Any]]:
    """The chunks that a client reads."""
    encoder = StreamEncoder(asked)
    data = b"".join(encoder.feed(event) for event in unfold(response)) + encoder.close()
    return payloads(data.decode())


def indexes(chunks: list[dict[str, Any]]) -> list[int]:
    deltas = [choice["delta"] for payload in chunks for choice in payload["choices"]]
    return [call["index"] for delta in deltas for call in delta.get("tool_calls", ())]


TWO_CALLS = Response(
    "i",
    "m",
    Message(
        "assistant",
        [Reasoning("hm"), Text("x"), ToolCall("a", "f", '{"a":1}'), ToolCall("b", "g", "")],
    ),
    "tool_calls",
)
WHOLE = [("a", "f", '{"a":1}')]
TWICE = [("a", "f", '{"a":1}'), ("b", "f", '{"a":2}')]


def streamed(*pieces: bytes) -> list[tuple[str, str, str]]:
    return called(answer(b"".join([*pieces, chunk({}, "tool_calls"), DONE])))


def test_A19_flat_tools_are_accepted() -> None:
    flat = {"type": "function", "name": "f", "description": "d", "parameters": {}, "strict": False}
    custom = {
        "type": "custom",
        "name": "c",
        "format": {"type": "grammar", "syntax": "lark", "definition": "x"},
    }
    body = request(USER, tools=[flat, custom], tool_choice={"type": "function", "name": "f"})
    rendered = render_request(parse_request(body)).body
    assert rendered["tools"] == [
        tool("f", description="d", parameters={}, strict=False),
        {
            "type": "custom",
            "custom": {
                "name": "c",
                "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "x"}},
            },
        },
    ]
    assert rendered["tool_choice"] == {"type": "function", "function": {"name": "f"}}


def test_B01_B02_parallel_calls_are_numbered_from_0_whatever_comes_before() -> None:
    assert indexes(encoded(TWO_CALLS)) == [0, 0, 1, 1]


def test_B04_later_pieces_with_a_null_id_belong_to_their_index() -> None:
    nulled = {"index": 0, "id": None, "function": {"name": None, "arguments": '{"a"'}}
    empty = {"index": 0, "id": "", "type": "function", "function": {"name": "", "arguments": ":1}"}}
    assert streamed(calls(piece(0, "a", "f", "")), calls(nulled), calls(empty)) == WHOLE


def test_B05_pieces_without_an_index_are_told_apart_by_id() -> None:
    assert (
        streamed(calls(piece(None, "a", "f", '{"a":1}')), calls(piece(None, "b", "f", '{"a":2}')))
        == TWICE
    )
    both = calls(piece(None, "a", "f", '{"a":1}'), piece(None, "b", "f", '{"a":2}'))
    assert streamed(both) == TWICE
    begun = calls(piece(None, "a", "f", '{"a"'))
    assert streamed(begun, calls(piece(None, "a", args=":1}"))) == WHOLE
    assert streamed(begun, calls(piece(None, None, args=":1}"))) == WHOLE


def test_B06_one_index_for_all_calls() -> None:
    first, second = piece(0, "a", "f", '{"a":1}'), piece(0, "b", "f", '{"a":2}')
    assert streamed(calls(first), calls(second)) == TWICE
    assert streamed(calls(first, second)) == TWICE


def test_B07_the_last_piece_has_a_name_and_no_id() -> None:
    last = {"index": 0, "id": None, "function": {"name": "f", "arguments": "1}"}}
    assert streamed(calls(piece(0, "a", "f", '{"a":')), calls(last)) == WHOLE


def test_B07_id_and_name_in_every_piece() -> None:
    pieces = [calls(piece(0, "a", "f", text)) for text in ('{"a"', ":", "1}")]
    assert streamed(*pieces) == WHOLE


def test_B08_the_first_piece_has_arguments_already() -> None:
    assert streamed(calls(piece(0, "a", "f", "{")), calls(piece(0, args='"a":1}'))) == WHOLE


def test_B14_the_reason_is_tool_calls_whenever_there_was_one() -> None:
    data = calls(piece(0, "a", "f", "{}")) + chunk({}, "stop") + DONE
    response = answer(data)
    assert (response.finish_reason, response.raw_finish_reason) == ("tool_calls", "stop")
    reasons = [c["finish_reason"] for p in encoded(response) for c in p["choices"]]
    assert reasons[-1] == "tool_calls"


def test_B15_a_reason_in_every_chunk_does_not_cut_the_text() -> None:
    data = chunk({"content": "a"}, "stop") + chunk({"content": "b"}, "stop") + DONE
    assert answer(data).message.parts == [Text("ab")]
    reasons = [c["finish_reason"] for p in encoded(answer(data)) for c in p["choices"]]
    assert reasons == [*[None] * (len(reasons) - 1), "stop"]


def test_B16_the_last_chunk_has_a_reason() -> None:
    silent = answer(chunk({"content": "x"}) + DONE)
    assert encoded(silent)[-1]["choices"][0]["finish_reason"] == "stop"


def test_B19_tool_calls_without_calls_is_a_stop() -> None:
    assert (
        answer(chunk({"content": "x", "tool_calls": []}, "tool_calls") + DONE).finish_reason
        == "stop"
    )
    assert (
        parse_response(body_of({"content": "x", "tool_calls": []}, "tool_calls")).finish_reason
        == "stop"
    )


def test_B22_a_call_that_is_repeated_whole_is_one_call() -> None:
    assert (
        streamed(calls(piece(0, "a", "f", '{"a":1}')), calls(piece(0, "a", "f", '{"a":1}')))
        == WHOLE
    )
    assert (
        streamed(calls(piece(0, "a", "f", '{"a":1}')), calls(piece(0, None, None, '{"a":1}')))
        == WHOLE
    )


def test_B23_pieces_are_forwarded_as_they_come() -> None:
    data = calls(piece(0, "a", "f", '{"a"')) + calls(piece(0, args=":1}"))
    deltas = [event.text for event in events_of(data + DONE) if isinstance(event, PartDelta)]
    assert deltas == ['{"a"', ":1}"]


def test_B27_an_error_first_is_an_error() -> None:
    with pytest.raises(RateLimitError):
        answer(sse({"error": {"message": "m", "code": 429}}) + DONE)


def test_B29_a_failure_looks_like_one() -> None:
    encoder = StreamEncoder()
    begun = b"".join(encoder.feed(event) for event in list(unfold(TWO_CALLS))[:3])
    failed = begun + encoder.fail(RateLimitError("m", status=429))
    assert payloads(failed.decode())[-1]["error"]["message"] == "m"
    assert encoder.close() == b""
    assert StreamEncoder().close() == b""


def test_B30_null_usage_and_empty_choices_do_no_harm() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    data = chunk({"content": "x"}, "stop", usage=None) + sse({"choices": [], "usage": usage})
    later = sse({"choices": [], "usage": None}) + sse({"choices": None})
    assert answer(data + later + DONE).usage.total_tokens == 5


def test_B31_a_stream_cut_in_mid_arguments_is_no_answer() -> None:
    with pytest.raises(TruncatedError):
        answer(calls(piece(0, "a", "f", '{"a"')))


def test_B33_null_and_empty_content_stay_apart() -> None:
    for content in (None, ""):
        body = body_of({"content": content, "tool_calls": [function("f")]}, "tool_calls")
        assert render_response(parse_response(body))["choices"][0]["message"]["content"] == content


def test_B34_stream_and_body_give_one_message() -> None:
    body = body_of(
        {"content": "x", "reasoning_content": "hm", "tool_calls": [function("f", '{"a":1}')]},
        "tool_calls",
    )
    data = b"".join(
        [
            chunk({"role": "assistant", "reasoning_content": "h"}),
            chunk({"reasoning_content": "m"}),
            chunk({"content": "x"}),
            calls(piece(0, "a", "f", '{"a"')),
            calls(piece(0, args=":1}")),
            chunk({}, "tool_calls"),
            DONE,
        ]
    )
    assert answer(data) == parse_response(body)


def test_C01_results_are_moved_to_their_call() -> None:
    call = {
        "role": "assistant",
        "content": None,
        "tool_calls": [function("f"), function("g", id="b")],
    }
    one = {"role": "tool", "tool_call_id": "a", "content": "1"}
    two = {"role": "tool", "tool_call_id": "b", "content": "2"}
    wire = render_request(parse_request(request(USER, call, one, USER, two)))
    assert wire.body["messages"] == [USER, call, one, two, USER]


def test_C02_orphans_are_mended_with_a_warning() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [function("f")]}
    wire = render_request(parse_request(request(USER, call, USER)))
    interrupted = '{"error":"no result: the call was interrupted"}'
    answered = {"role": "tool", "tool_call_id": "a", "content": interrupted}
    assert wire.body["messages"] == [USER, call, answered, USER]
    assert ("emulated", "orphan_tool_call") in {(w.kind, w.feature) for w in wire.warnings}
    lonely = {"role": "tool", "tool_call_id": "zz", "content": "1"}
    wire = render_request(parse_request(request(USER, lonely, USER)))
    assert wire.body["messages"] == [USER, USER]
    assert [(w.kind, w.feature) for w in wire.warnings] == [("unsupported", "orphan_tool_result")]


def test_C02_an_open_turn_at_the_end_is_left_alone() -> None:
    body = request(USER, {"role": "assistant", "content": None, "tool_calls": [function("f")]})
    assert render_request(parse_request(body)).body == body


def test_C05_one_id_for_several_calls_becomes_several() -> None:
    turn = [
        {"role": "assistant", "content": None, "tool_calls": [function("f"), function("g")]},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "a", "content": "2"},
    ]
    parsed = parse_request(request(USER, *turn, *turn))
    ids = [call.id for message in parsed.messages for call in message.tool_calls]
    results = [
        (part.call_id, part.text)
        for message in parsed.messages
        for part in message.parts
        if isinstance(part, ToolResult)
    ]
    assert ids == ["a", "a_2", "a_3", "a_4"]
    assert results == [("a", "1"), ("a_2", "2"), ("a_3", "1"), ("a_4", "2")]
    answered = parse_response(body_of({"tool_calls": [function("f"), function("g")]}, "tool_calls"))
    assert [call.id for call in answered.tool_calls] == ["a", "a_2"]
    assert streamed(calls(piece(0, "a", "f", "{}")), calls(piece(1, "a", "g", "{}"))) == [
        ("a", "f", "{}"),
        ("a_2", "g", "{}"),
    ]


def test_C07_calls_and_tool_use_parts_of_one_message_are_one_call_each() -> None:
    copy = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
    alone = {"type": "tool_use", "id": "b", "name": "g", "input": {"x": 1}}
    message = {
        "role": "assistant",
        "content": [{"type": "text", "text": "x"}, copy, alone],
        "tool_calls": [function("f")],
    }
    parsed = parse_request(request(USER, message))
    assert [(c.id, c.name, c.arguments) for c in parsed.messages[1].tool_calls] == [
        ("b", "g", {"x": 1}),
        ("a", "f", {}),
    ]


def test_C08_mistral_ids_both_ways() -> None:
    quirks = NAMED_QUIRKS["mistral"]
    foreign, own = "toolu_01A", "D681PevKs"
    body = request(
        USER,
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [function("f", id=foreign), function("g", id=own)],
        },
        {"role": "tool", "tool_call_id": own, "content": "2"},
        {"role": "tool", "tool_call_id": foreign, "content": "1"},
    )
    messages = render_request(parse_request(body), quirks=quirks).body["messages"]
    mapped, kept = (call["id"] for call in messages[1]["tool_calls"])
    assert kept == own
    assert len(mapped) == 9
    assert mapped.isalnum()
    assert [message["tool_call_id"] for message in messages[2:]] == [own, mapped]
    again = render_request(parse_request(body), quirks=quirks).body["messages"]
    assert again == messages


def test_C10_an_empty_id_gets_one_that_its_result_follows() -> None:
    message = {
        "role": "assistant",
        "content": None,
        "tool_calls": [function("f", id=""), function("g", id="")],
    }
    results = [{"role": "tool", "tool_call_id": "", "content": text} for text in "12"]
    wire = render_request(parse_request(request(USER, message, *results)))
    ids = [call["id"] for call in wire.body["messages"][1]["tool_calls"]]
    assert len(set(ids)) == 2
    assert all(ids)
    assert [m["tool_call_id"] for m in wire.body["messages"][2:]] == ids


def test_C13_strict_servers_get_no_user_right_after_tool() -> None:
    body = request(
        USER,
        {"role": "assistant", "content": "", "tool_calls": [function("f")]},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        USER,
    )
    messages = render_request(parse_request(body), quirks=NAMED_QUIRKS["mistral"]).body["messages"]
    roles = [message["role"] for message in messages]
    assert ("tool", "user") not in set(itertools.pairwise(roles))


def test_C20_a_history_of_another_provider_goes_out_whole() -> None:
    given = Request(
        "m",
        [
            Message("user", [Text("hi")]),
            Message(
                "assistant",
                [
                    Reasoning("hm", {"gemini": {"thoughtSignature": "S"}}),
                    ToolCall("t", "f", '{"a":1}', metadata={"gemini": {"thoughtSignature": "S"}}),
                ],
            ),
            Message("tool", [ToolResult("t", [Text("1")], name="f")]),
        ],
    )
    wire = render_request(given)
    assert wire.body["messages"] == [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [function("f", '{"a":1}', "t")]},
        {"role": "tool", "tool_call_id": "t", "content": "1"},
    ]
    assert [(w.kind, w.feature) for w in wire.warnings] == [("dropped_state", "reasoning")]


@pytest.mark.parametrize("spelling", ["", " ", '""', "null", None, "{}"])
def test_D01_no_arguments_are_an_empty_object(spelling: str | None) -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": spelling}}
    response = parse_response(body_of({"content": None, "tool_calls": [call]}, "tool_calls"))
    assert response.tool_calls[0].arguments == {}
    data = calls(piece(0, "a", "f", "")) + calls(piece(0, args=spelling)) + chunk({}, "stop")
    assert answer(data).tool_calls[0].arguments == {}
    history = request(
        USER,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
    )
    rendered = render_request(parse_request(history)).body["messages"][1]["tool_calls"][0]
    assert rendered["function"]["arguments"] == "{}"
    said = render_response(response)["choices"][0]["message"]["tool_calls"][0]
    assert said["function"]["arguments"] == "{}"


def test_D02_cut_arguments_are_not_repaired() -> None:
    response = answer(calls(piece(0, "a", "f", '{"a":')) + chunk({}, "length") + DONE)
    assert (response.finish_reason, response.tool_calls[0].arguments) == ("length", None)
    assert response.tool_calls[0].arguments_json == '{"a":'


def test_F01_F02_a_forced_choice_never_silently_loses_to_thinking() -> None:
    forced = Request("m", [Message("user", [Text("hi")])], [Tool("f")], ToolChoice("tool", ["f"]))
    wire = render_request(forced, quirks=NAMED_QUIRKS["deepseek"])
    assert wire.body["thinking"] == {"type": "disabled"}
    assert wire.body["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert [(w.kind, w.feature) for w in wire.warnings] == [("adjusted", "reasoning")]
    body = request(USER, tools=[tool("f")], tool_choice="required", reasoning_effort="high")
    with pytest.raises(UnsupportedError) as caught:
        render_request(parse_request(body), quirks=NAMED_QUIRKS["deepseek"])
    assert caught.value.feature == "tool_choice"


def test_F04_a_choice_that_cannot_be_honoured_is_refused() -> None:
    body = request(
        USER, tools=[tool("f")], tool_choice={"type": "function", "function": {"name": "f"}}
    )
    with pytest.raises(UnsupportedError) as caught:
        render_request(parse_request(body), quirks=NAMED_QUIRKS["deepseek-reasoner"])
    assert caught.value.feature == "tool_choice"


def test_F06_parallel_off_is_sent_or_warned_about() -> None:
    body = request(USER, tools=[tool("f")], parallel_tool_calls=False)
    assert render_request(parse_request(body)).body == body
    wire = render_request(parse_request(body), quirks=NAMED_QUIRKS["compatible"])
    assert "parallel_tool_calls" not in wire.body
    assert [w.feature for w in wire.warnings] == ["parallel_tool_calls"]


def test_G10_reasoning_is_replayed_with_its_calls() -> None:
    body = request(
        USER,
        {
            "role": "assistant",
            "content": "",
            "reasoning_content": "hm",
            "tool_calls": [function("f")],
        },
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        tools=[tool("f")],
    )
    for name in ("deepseek", "moonshot", "zai"):
        rendered = render_request(parse_request(body), quirks=NAMED_QUIRKS[name]).body
        assert rendered["messages"][1]["reasoning_content"] == "hm", name
    assert render_request(parse_request(body)).body == body


def test_G11_reasoning_of_a_compatible_server_is_a_part() -> None:
    data = chunk({"reasoning_content": "hm"}) + chunk({"content": "x"}, "stop") + DONE
    notes = {NAME: {"field": "reasoning_content"}}
    assert answer(data).message.parts == [Reasoning("hm", notes), Text("x")]


def test_G12_no_reasoning_fields_where_there_was_none() -> None:
    plain = Response("i", "m", Message("assistant", [Text("x")]), "stop")
    assert set(render_response(plain)["choices"][0]["message"]) == {
        "role",
        "content",
        "refusal",
        "annotations",
    }


def test_H01_H02_usage_is_sent_to_those_who_asked() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    response = answer(chunk({"content": "x"}, "stop") + sse({"choices": [], "usage": usage}))
    asked = parse_request(request(USER, stream=True, stream_options={"include_usage": True}))
    for given in (None, asked):
        *others, last = encoded(response, given)
        assert (last["choices"], last["usage"]) == ([], usage)
        assert all(payload["usage"] is None for payload in others)
    silent = parse_request(request(USER, stream=True))
    assert all("usage" not in payload for payload in encoded(response, silent))
