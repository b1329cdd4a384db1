"""Streams in that are not by the book: missing, late, changed and unknown pieces."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from polycall.dialects.openai_responses import StreamDecoder, parse_response
from polycall.errors import (
    ProtocolError,
)
from polycall.ir import (
    Opaque,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
)
from tests.support import decode

from .test_decoder import CUSTOM, NAME, SEARCH, arguments, text
from .wire import added, body, call, completed, created, done, event, message, read, sse


@pytest.mark.parametrize("output", [[], None])
def test_an_empty_final_output_does_not_undo_the_stream(output: Any) -> None:
    last = completed()
    last["response"]["output"] = output
    response = read(created(), added(call("")), arguments('{"a":1}'), done(call('{"a":1}')), last)
    assert [each.arguments for each in response.tool_calls] == [{"a": 1}]
    unfinished = read(created(), added(call("")), arguments('{"a":1}'), last)
    assert [each.arguments for each in unfinished.tool_calls] == [{"a": 1}]


def test_items_in_the_final_output_only() -> None:
    streamed = call("{}", call_id="call_2")
    response = read(
        created(),
        added({**streamed, "arguments": ""}),
        done(streamed),
        completed(call('{"a":1}'), streamed, message("x")),
    )
    assert [each.id for each in response.tool_calls] == ["call_2", "call_1"]
    assert response.text == "x"


def test_ids_that_change_on_the_way() -> None:
    final = message("hi", item_id="msg_z")
    response = read(
        created(),
        added(message("", item_id="msg_x", content=[])),
        {**text("hi"), "item_id": "msg_y"},
        done(final),
        completed(message("hi", item_id="msg_zz")),
    )
    assert response == parse_response(body(final))


def test_servers_without_output_index() -> None:
    def bare(each: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in each.items() if key != "output_index"}

    item = message("hi")
    response = read(
        created(),
        bare(added(message("", content=[]))),
        {**bare(text("hi")), "item_id": "msg_1"},
        bare(done(item)),
        bare(added(call(""))),
        bare(arguments("{}")),
        bare(done(call("{}"))),
        completed(item, call("{}")),
    )
    assert response == parse_response(body(item, call("{}")))


def test_deltas_without_any_announcement() -> None:
    response = read(text("hel"), text("lo"), completed(message("hello")))
    assert response.text == "hello"
    assert replace(response, id="", model="", created=0) == response
    refused = read(created(), event("refusal.delta", output_index=0, delta="no"), completed())
    assert refused.message.parts == [Refusal("no", metadata={NAME: {"message": {}}})]


def test_a_call_whose_name_comes_late() -> None:
    response = read(
        created(),
        added({"type": "function_call", "id": "fc_1", "arguments": ""}),
        arguments('{"a":1}'),
        done(call('{"a":1}')),
        completed(),
    )
    assert [(each.name, each.arguments) for each in response.tool_calls] == [("f", {"a": 1})]


def test_what_was_told_stands() -> None:
    response = read(
        created(),
        added(call("")),
        arguments('{"path":"/tmp"}'),
        done(call('{"path":"."}')),
        completed(),
    )
    assert [each.arguments for each in response.tool_calls] == [{"path": "/tmp"}]


def test_nothing_follows_the_end() -> None:
    second = completed(call("{}"))
    assert read(created(), completed(message("x")), created(), second).text == "x"


def test_a_broken_frame_is_a_protocol_error() -> None:
    with pytest.raises(ProtocolError):
        decode(StreamDecoder(), [sse([created()]), b'data: {"type": \n\n'])
    with pytest.raises(ProtocolError):
        read(created(), event("completed"))
    with pytest.raises(ProtocolError):
        read(created(), event("output_item.done", output_index=0, item=None))


def test_items_without_their_end() -> None:
    """The response ends while items are open, and its output knows some of them."""
    search = {**SEARCH, "status": "in_progress"}
    response = read(
        created(),
        added({"type": "reasoning", "id": "rs_1", "summary": []}),
        event("reasoning_text.done", output_index=0, content_index=0, text="hm"),
        event("reasoning_text.done", output_index=0, content_index=0, text="hm"),
        added({**CUSTOM, "input": ""}, 1),
        event("custom_tool_call_input.delta", output_index=1, delta="p"),
        added(search, 2),
        added(message("", content=[]), 3),
        text("so", 3),
        added({"type": "function_call", "id": "fc_9"}, 4),
        completed(),
    )
    assert [type(part) for part in response.message.parts] == [Reasoning, ToolCall, Opaque, Text]
    assert (response.message.parts[0], response.message.parts[2]) == (
        Reasoning("hm", metadata={NAME: {"id": "rs_1"}}),
        Opaque(NAME, "web_search_call", search),
    )
    assert [each.arguments for each in response.tool_calls] == [{"input": "p"}]
    assert response.text == "so"


def test_an_open_item_ends_by_the_final_output() -> None:
    first, second = call('{"a":1}'), message("whole")
    response = read(
        created(),
        added(call("")),
        arguments('{"a"'),
        added(message("", content=[]), 1),
        text("wh", 1),
        completed(first, second),
    )
    assert response == parse_response(body(first, second))
    by_place = read(created(), text("wh"), completed(second))
    assert by_place == parse_response(body(second))


def test_an_item_that_ends_as_another_kind() -> None:
    final = message("", content=[{"type": "refusal", "refusal": "no"}])
    response = read(created(), text("yes"), done(final), completed(final))
    assert [type(part) for part in response.message.parts] == [Text]
    changed = read(created(), text("yes"), done(call("{}")), completed())
    assert [type(part) for part in changed.message.parts] == [Text, ToolCall]


def test_a_message_with_content_of_next_year() -> None:
    item = message("", content=[{"type": "output_hologram", "x": 1}])
    whole = read(created(), added({**item, "content": []}), done(item), completed(item))
    assert whole.message.parts == [Opaque(NAME, "message", item)]
    mixed = message("", content=[{"type": "output_text", "text": "a"}, *item["content"]])
    told = read(
        created(), added({**mixed, "content": []}), text("a"), done(mixed), completed(mixed)
    )
    assert told.text == "a"


def test_events_out_of_place_are_passed_over() -> None:
    item = message("x")
    response = read(
        created(),
        {"type": "response.output_text.delta", "item_id": "nobody", "delta": "lost"},
        event("output_item.added", output_index=0, item=None),
        added({**item, "content": []}),
        added({**item, "content": []}),
        event("output_text.annotation.added", output_index=0, annotation={}),
        {"type": "response.output_text.delta", "item_id": "nobody", "delta": "x"},
        done(item),
        text("late"),
        completed(item),
    )
    assert response == parse_response(body(item))


def test_arguments_as_objects_in_a_stream() -> None:
    item = call({"a": 1})
    response = read(
        created(),
        added({**item, "arguments": ""}),
        event("function_call_arguments.delta", output_index=0, delta={"a": 1}),
        event("function_call_arguments.done", output_index=0, arguments={"a": 1}),
        event("function_call.note", output_index=0),
        done(item),
        completed(item),
    )
    assert response == parse_response(body(item))


def test_a_response_without_usage() -> None:
    last = completed(message("x"))
    last["response"]["usage"] = None
    assert not read(created(), last).usage.is_reported


def test_a_freeform_call_told_otherwise_stays_json() -> None:
    response = read(
        created(),
        added({**CUSTOM, "input": ""}),
        event("custom_tool_call_input.delta", output_index=0, delta="one"),
        event("something", output_index=0),
        done({**CUSTOM, "input": "another"}),
        completed(),
    )
    assert [each.arguments for each in response.tool_calls] == [{"input": "one"}]
