"""What a rendering changed in the tools is undone in what comes back."""

from __future__ import annotations

from typing import Any

import pytest

from polycall.fold import fold, unfold
from polycall.ir import (
    Event,
    Message,
    Opaque,
    Part,
    PartDelta,
    PartEnd,
    PartStart,
    Reasoning,
    Request,
    Response,
    ResponseEnd,
    ResponseStart,
    Text,
    Tool,
    ToolCall,
)
from polycall.translation.restore import RequestUndo, StopCutter
from polycall.translation.wire import ToolName, WireRequest

TOOLS = [
    Tool("get.weather", "", {"type": "object"}),
    Tool("run_sql", kind="custom"),
    Tool("plan", "", {"type": "object", "properties": {"note": {"type": "string"}}}),
]


def answer(*parts: Part) -> Response:
    return Response("r", "m", Message("assistant", list(parts)), "tool_calls")


def restored(response: Response, wire: WireRequest, **settings: object) -> Response:
    request = Request("m", [], TOOLS, **settings)  # pyright: ignore[reportArgumentType]
    whole = RequestUndo(request, wire).response(response)
    restorer = RequestUndo(request, wire)
    events = [out for event in unfold(response) for out in restorer.feed(event)]
    assert fold(events) == whole
    return whole


def test_names_kinds_and_nulls_come_back() -> None:
    wire = WireRequest(
        "/x",
        {},
        aliases={"get_weather_1a2b": ToolName("get.weather"), "ns__f": ToolName("f", "ns")},
        adapted={"plan": TOOLS[2].parameters or {}},
    )
    given = answer(
        Text("hm"),
        ToolCall("1", "get_weather_1a2b", '{"a":1}'),
        ToolCall("2", "ns__f", "{}"),
        ToolCall("3", "run_sql", '{"input":"select 1"}'),
        ToolCall("4", "plan", '{"note":null}'),
        ToolCall("5", "plan", '{"note": "keep  me"}'),
        ToolCall("6", "plan", '{"note":'),
        ToolCall("7", "other", "{}"),
    )
    assert restored(given, wire) == answer(
        Text("hm"),
        ToolCall("1", "get.weather", '{"a":1}'),
        ToolCall("2", "f", "{}", namespace="ns"),
        ToolCall("3", "run_sql", '{"input":"select 1"}', kind="custom"),
        ToolCall("4", "plan", "{}"),
        ToolCall("5", "plan", '{"note": "keep  me"}'),
        ToolCall("6", "plan", '{"note":'),
        ToolCall("7", "other", "{}"),
    )


def test_F06_one_call_at_a_time_where_the_target_has_no_switch() -> None:
    given = answer(Text("a"), ToolCall("1", "f"), ToolCall("2", "g"), Text("b"), ToolCall("3", "f"))
    kept = restored(given, WireRequest("/x", {}), parallel_tool_calls=False)
    assert kept == answer(Text("a"), ToolCall("1", "f"), Text("b"))
    assert restored(given, WireRequest("/x", {}), parallel_tool_calls=True) == given


def test_reasoning_and_summaries_alone_are_noted_with_what_they_are_bound_to() -> None:
    bound: dict[str, Any] = {"anthropic": {"bound": "x"}}
    given = answer(
        Reasoning("hm"),
        Opaque("anthropic", "compaction", {"type": "compaction"}),
        Opaque("anthropic", "container", {"type": "container"}),
        Text("a"),
        ToolCall("1", "f"),
    )
    kept = restored(given, WireRequest("/x", {}, bound=bound))
    assert [getattr(part, "metadata", None) for part in kept.message.parts] == [
        bound,
        bound,
        {},
        {},
        {},
    ]


def test_nothing_changed_is_nothing_done() -> None:
    assert RequestUndo(Request("m", []), WireRequest("/x", {})).idle


@pytest.mark.parametrize(
    ("stops", "pieces", "expected"),
    [
        (["END"], ["a EN", "D b"], "a "),
        (["\n\n"], ["one\n", "\ntwo"], "one"),
        (["xx", "yy"], ["ayyxx"], "a"),
        (["stop"], ["a sto"], "a sto"),
        (["ab"], ["aab"], "a"),
        (["END"], ["END"], ""),
    ],
)
def test_t20_a_text_ends_before_the_first_stop_however_it_is_cut(
    stops: list[str], pieces: list[str], expected: str
) -> None:
    text = "".join(pieces)
    for cuts in (pieces, [text], list(text)):
        cutter = StopCutter(stops)
        events: list[Event] = [
            ResponseStart("r", "m"),
            PartStart(0, Text("")),
            *(PartDelta(0, piece) for piece in cuts),
            PartEnd(0),
            PartStart(1, ToolCall("c", "f", "")),
            PartDelta(1, "{}"),
            PartEnd(1),
            ResponseEnd("tool_calls", "tool_calls"),
        ]
        response = fold([left for event in events for left in cutter.feed(event)])
        assert response.text == expected
        is_cut = expected != text
        assert response.finish_reason == ("stop" if is_cut else "tool_calls")
        assert bool(response.tool_calls) is not is_cut
