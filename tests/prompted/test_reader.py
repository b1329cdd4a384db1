"""What is read out of a model's text, and how little of it is held back."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polycall.errors import ProtocolError, ToolDefinitionError
from polycall.fold import fold
from polycall.ir import (
    Event,
    Message,
    PartDelta,
    PartEnd,
    PartStart,
    Request,
    Response,
    ResponseEnd,
    ResponseStart,
    Text,
    Tool,
    ToolChoice,
)
from polycall.prompted import Offer, PromptReader, callable_tools

WEATHER = Tool(
    "get_weather",
    "The weather",
    {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"],
        "additionalProperties": False,
    },
)
WRITE = Tool(
    "write",
    "Writes a file",
    {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
)
NOW = Tool("now", "The time", namespace="clock")
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "서울"}}\n</tool_call>'
SPELLED = '{"name": "get_weather", "args": "{\\"city\\": \\"서울\\"}"}'
SEOUL = ("get_weather", {"city": "서울"})


def request(**settings: Any) -> Request:
    return Request("m", [Message("user", [Text("x")])], tools=[WEATHER, WRITE, NOW], **settings)


def reader(*, is_lenient: bool = False, **settings: Any) -> PromptReader:
    asked = request(**settings)
    return PromptReader(asked, Offer(callable_tools(asked), is_lenient=is_lenient))


def wire(pieces: list[str], finish: Any = "stop") -> list[Event]:
    deltas = [PartDelta(0, piece) for piece in pieces]
    end = ResponseEnd(finish)
    return [ResponseStart("r1", "m"), PartStart(0, Text("")), *deltas, PartEnd(0), end]


def read(text: str, finish: Any = "stop", **settings: Any) -> Response:
    found = reader(**settings)
    events = [out for event in wire([text], finish) for out in found.feed(event)]
    assert found.problem == ""
    return fold(events)


def calls(response: Response) -> list[tuple[str, Any]]:
    return [(call.name, call.arguments) for call in response.tool_calls]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (CALL, ""),
        (f"Let me look.\n{CALL}", "Let me look.\n"),
        (CALL.replace("\n", ""), ""),
        # A model stops before the end, or writes the results itself.
        (CALL.removesuffix("</tool_call>"), ""),
        (f"{CALL}\n<tool_result>\n30 degrees\n</tool_result>\nIt is 30.", ""),
        ('<tool_call>{"name": "get_weather", "parameters": {"city": "서울",}}</tool_call>', ""),
        ("<tool_call>{'name': 'get_weather', 'arguments': {'city': '서울'}}</tool_call>", ""),
        (f"<tool_call>```json\n{SPELLED}\n```</tool_call>", ""),
        (f'<tool_call>{{"function": {SPELLED.replace("args", "arguments")}}}</tool_call>', ""),
        ('{"name": "get_weather", "arguments": {"city": "서울"}}', ""),
        ('```json\n{"name": "get_weather", "arguments": {"city": "서울"}}\n```', ""),
        ("<function=get_weather>\n<parameter=city>\n서울\n</parameter>\n</function>", ""),
        ("<tool_call>\n<function=get_weather>\n<parameter=city>\n서울\n</parameter>\n</function>\n"
         "</tool_call>", ""),
        ('<invoke name="get_weather"><parameter name="city">서울</parameter></invoke>', ""),
        ('So:\n<function_calls>\n<invoke name="get_weather">\n<parameter name="city">서울'
         "</parameter>\n</invoke>\n</function_calls>", "So:\n"),
    ],
)  # fmt: skip
def test_E01_every_form_becomes_a_call_and_leaves_the_text(text: str, words: str) -> None:
    response = read(text)
    assert calls(response) == [SEOUL]
    assert (response.text, response.finish_reason) == (words, "tool_calls")


def test_E01_the_prefix_of_claude() -> None:
    prefix = "antml" + ":"
    text = (
        f'<{prefix}function_calls><{prefix}invoke name="get_weather">'
        f'<{prefix}parameter name="city">서울</{prefix}parameter></{prefix}invoke>'
        f"</{prefix}function_calls>"
    )
    response = read(text)
    assert (calls(response), response.text) == ([SEOUL], "")


def test_E01_several_calls_each_with_an_id() -> None:
    other = '<tool_call>{"name": "clock.now", "arguments": {}}</tool_call>'
    response = read(f"Both.\n{CALL}\n{other}{CALL}")
    assert calls(response) == [SEOUL, ("now", {}), SEOUL]
    assert [call.namespace for call in response.tool_calls] == ["", "clock", ""]
    ids = [call.id for call in response.tool_calls]
    assert len(set(ids)) == 3
    assert [call.id for call in read(f"Both.\n{CALL}\n{other}{CALL}").tool_calls] == ids


PROSE = [
    "Use the <invoke> tag, or <tool_call>, to call.",
    'In Anthropic\'s format you write <invoke name="other"> and so on.',
    "a < b and c <function= d",
    "<function=unknown><parameter=x>1</parameter></function>",
    '{"city": "Oslo", "name": "Anna"}',
    "[1, 2, 3]",
    "```json\n[]\n```",
    "  ",
    "",
    "if a <to: print(1 << 3)",
]


@pytest.mark.parametrize("text", PROSE)
def test_E02_prose_is_left_as_it_is(text: str) -> None:
    response = read(text, is_lenient=True)
    assert (response.text, response.tool_calls, response.finish_reason) == (text, [], "stop")


@pytest.mark.parametrize("text", PROSE[:3] + PROSE[4:])
def test_E02_prose_of_a_model_that_was_told_of_tools(text: str) -> None:
    response = read(text)
    assert (response.text, response.tool_calls) == (text, [])


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>{"name": "delete_all", "arguments": {}}</tool_call>',
        '<invoke name="delete_all"></invoke>',
        '<tool_call>{"name": broken</tool_call>',
    ],
)
def test_E02_only_offered_tools_are_read_where_calls_leak(text: str) -> None:
    response = read(text, is_lenient=True)
    assert (response.text, response.tool_calls) == (text, [])


HARD = [
    "if a < b && c > d:\n    print('<b>&amp;</b>')",
    "```python\nx = \"</parameter>\"\n```",
    "<parameter=text>nested</parameter> in the middle",
    '</function> is how it ends, {"json": [1]}',
    "",
    "\n\nblank lines around\n\n",
]  # fmt: skip


@pytest.mark.parametrize("value", HARD)
def test_E03_parameters_hold_what_they_like(value: str) -> None:
    text = f"<function=write>\n<parameter=text>\n{value}\n</parameter>\n</function>"
    assert calls(read(text)) == [("write", {"text": value})]
    text = f'<invoke name="write"><parameter name="text">{value}</parameter></invoke>'
    trimmed = value.removeprefix("\n").removesuffix("\n")
    assert calls(read(text)) == [("write", {"text": trimmed})]


def test_E03_values_are_read_by_their_schema() -> None:
    text = (
        "<function=get_weather><parameter=city>42</parameter><parameter=days>3</parameter>"
        "</function>"
    )
    assert calls(read(text)) == [("get_weather", {"city": "42", "days": 3})]


@pytest.mark.parametrize("is_lenient", [False, True])
def test_E03_values_of_other_types(is_lenient: bool) -> None:
    schema = {
        "type": "object",
        "properties": {
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "tags": {"type": "array", "items": {"type": "string"}},
            "deep": {"type": "object"},
            "urgent": {"type": "boolean"},
            "size": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        },
    }
    tool = Tool("file", parameters=schema)
    values = {"note": "42", "tags": '["a", "<b>"]', "deep": '{"x": 1}', "urgent": "true"}
    values["size"] = "null"
    text = "".join(f"<parameter={key}>\n{value}\n</parameter>" for key, value in values.items())
    found = Offer({"file": tool}, is_lenient=is_lenient).read(
        f"<function=file>{text}</function>", is_start=True
    )
    assert (found.text, found.problem) == ("", "")
    assert [wanted.arguments for wanted in found.calls] == [
        {"note": "42", "tags": ["a", "<b>"], "deep": {"x": 1}, "urgent": True, "size": None}
    ]


def test_the_end_tag_may_stand_in_a_string() -> None:
    text = '<tool_call>{"name": "write", "arguments": {"text": "a </tool_call> b"}}</tool_call>'
    assert calls(read(text)) == [("write", {"text": "a </tool_call> b"})]


@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_half_a_call_is_none(finish: Any) -> None:
    text = f"Look: {CALL[:-20]}"
    response = read(text, finish)
    assert (response.text, response.tool_calls, response.finish_reason) == (text, [], finish)


@pytest.mark.parametrize(
    ("text", "settings", "problem"),
    [
        (
            '<tool_call>{"name": "get_wether", "arguments": {}}</tool_call>',
            {},
            "there is no tool 'get_wether'; there are: get_weather, write, clock.now",
        ),
        ('<tool_call>{"name": "get_weather"}</tool_call>', {}, '"city" is a required property'),
        (
            '{"name": "get_weather", "arguments": {"town": "x"}}',
            {},
            '"city" is a required property',
        ),
        ("<tool_call>{</tool_call>", {}, "a <tool_call> block holds no JSON object"),
        ('{"name": "get_weather", "arguments": {', {}, "it is not JSON that can be read"),
        ('<tool_call>{"tool": 1}</tool_call>', {}, '"name" and "arguments"'),
        ('<invoke name="write"><parameter name="text">x', {}, "does not end"),
        ("Hello.", {"tool_choice": ToolChoice("required")}, "a tool must be called"),
        (CALL, {"tool_choice": ToolChoice("tool", ["write"])}, "there are: write"),
    ],
)
def test_what_cannot_be_read_is_asked_for_again(
    text: str, settings: dict[str, Any], problem: str
) -> None:
    found = reader(**settings)
    events = [out for event in wire([text]) for out in found.feed(event)]
    assert problem in found.problem
    assert found.said == text
    assert not any(isinstance(event, ResponseEnd) for event in events)


def test_the_second_answer_continues_the_first() -> None:
    found = reader()
    events = [out for event in wire(["Wait. <tool_call>{}"]) for out in found.feed(event)]
    events += [out for event in wire([f"Now: {CALL}"]) for out in found.feed(event)]
    response = fold(events)
    assert [part.text for part in response.message.parts if isinstance(part, Text)] == [
        "Wait. ",
        "Now: ",
    ]
    assert calls(response) == [SEOUL]


def test_there_is_an_end_to_asking() -> None:
    found = reader()
    for _ in range(3):
        assert found.error is None
        for event in wire(["<tool_call>{}</tool_call>"]):
            found.feed(event)
    assert isinstance(found.error, ProtocolError)
    assert "asked 3 times" in str(found.error)


def test_a_schema_that_is_none_is_told_before_anything_is_sent() -> None:
    broken = Tool("broken", parameters={"type": "objekt"})
    with pytest.raises(ToolDefinitionError, match="broken"):
        Offer({"broken": broken}, is_lenient=False)


def passed(pieces: list[str]) -> list[str]:
    """What has come out after each piece."""
    found, out = reader(), []
    for event in wire(pieces)[: len(pieces) + 2]:
        texts = [each.text for each in found.feed(event) if isinstance(each, PartDelta)]
        out.append("".join(texts))
    return out[2:]


def test_E04_text_is_held_back_only_as_needed() -> None:
    assert passed(["Hello ", "there. a <", "b and <inv", "oke> it"]) == [
        "Hello ",
        "there. a ",
        "<b and ",
        "<invoke> it",
    ]
    assert passed(["So: <tool", "_call>", "\n", "{"]) == ["So: ", "", "", ""]
    assert passed(['{"na', 'tion": 1}']) == ["", '{"nation": 1}']


ANSWERS = [f"Let me look.\n{CALL}\n{CALL}", *PROSE, f"a <b\n{CALL} and <tool_result>no"]


@given(st.sampled_from(ANSWERS), st.lists(st.integers(0, 120), max_size=6))
def test_cutting_does_not_matter(text: str, cuts: list[int]) -> None:
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    pieces = [text[a:b] for a, b in itertools.pairwise(places)]
    found = reader(is_lenient=True)
    events = [out for event in wire(pieces) for out in found.feed(event)]
    assert fold(events) == read(text, is_lenient=True)
