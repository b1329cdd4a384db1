"""What the rules call, with which arguments, and what they say afterwards."""

from __future__ import annotations

import json
from typing import Any, Literal

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polycall.sim import rules
from polycall.sim.script import Called, Entry, Prompt, Returned, Said, ToolSpec
from tests.sim.conftest import WEATHER


def obj(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


TOOLS = [
    ToolSpec("get_weather", "Current weather", WEATHER),
    ToolSpec("get_time", "Local time of a city", obj("tz", tz={"type": "string"})),
    ToolSpec(
        "order_status",
        "Look up the delivery status of an order",
        obj("order_id", order_id={"type": "string"}),
    ),
    ToolSpec(
        "add_numbers",
        "Calculate the sum of two numbers",
        obj("a", "b", a={"type": "number"}, b={"type": "number"}),
    ),
    ToolSpec(
        "query_sales",
        "Sales rows of one region",
        obj(
            "region",
            region={"type": "string", "enum": ["north", "south", "east"]},
            limit={"type": "integer", "minimum": 1, "maximum": 100},
        ),
    ),
    ToolSpec(
        "send_email",
        "Send an email",
        obj(
            "to",
            "body",
            to={"type": "string", "format": "email"},
            body={"type": "string"},
            urgent={"type": "boolean"},
        ),
    ),
    ToolSpec("list_files", "List all files", obj()),
]


def prompt_of(text: str, *after: Entry, **fields: Any) -> Prompt:
    entries: list[Entry] = [Said("user", text), *after]
    return Prompt("sim-1", entries, fields.pop("tools", TOOLS), {}, **fields)


def calls_of(prompt: Prompt) -> list[tuple[str, dict[str, Any]]]:
    return [(call.name, call.arguments) for call in rules.answer(prompt).calls]


CASES: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "서울 날씨 알려줘": [("get_weather", {"city": "서울"})],
    "weather in Seoul, Tokyo and Paris": [
        ("get_weather", {"city": "Seoul"}),
        ("get_weather", {"city": "Tokyo"}),
        ("get_weather", {"city": "Paris"}),
    ],
    "What is the weather in Paris and the time in Tokyo?": [
        ("get_weather", {"city": "Paris"}),
        ("get_time", {"tz": "Asia/Tokyo"}),
    ],
    "파리 날씨와 도쿄 시간 알려줘": [
        ("get_weather", {"city": "파리"}),
        ("get_time", {"tz": "Asia/Tokyo"}),
    ],
    "부산 날씨와 시간": [("get_weather", {"city": "부산"}), ("get_time", {"tz": "Asia/Seoul"})],
    "Weather in Oslo in fahrenheit": [("get_weather", {"city": "Oslo", "unit": "fahrenheit"})],
    "Where is my order A-1042?": [("order_status", {"order_id": "A-1042"})],
    "주문 A-1042 배송 어디까지 왔어?": [("order_status", {"order_id": "A-1042"})],
    "Add 12 and 30.5": [("add_numbers", {"a": 12, "b": 30.5})],
    "Compare sales of the north and the south": [
        ("query_sales", {"region": "north"}),
        ("query_sales", {"region": "south"}),
    ],
    'Send an urgent email to kim@example.com: "see you"': [
        ("send_email", {"to": "kim@example.com", "body": "see you", "urgent": True})
    ],
    "which files are there?": [("list_files", {})],
    "Tell me a joke": [],
    "": [],
}


@pytest.mark.parametrize("text", CASES)
def test_calls(text: str) -> None:
    assert calls_of(prompt_of(text)) == CASES[text]


@pytest.mark.parametrize(
    ("choice", "allowed", "names"),
    [
        ("auto", None, ["get_weather"]),
        ("none", None, []),
        ("required", None, ["get_weather"]),
        ("required", {"get_time"}, ["get_time"]),
        ("auto", {"get_time"}, []),
        ("required", {"list_files", "get_time"}, ["get_time"]),
    ],
)
def test_choice(
    choice: Literal["auto", "none", "required"], allowed: set[str] | None, names: list[str]
) -> None:
    prompt = prompt_of("Seoul weather", choice=choice)
    prompt.allowed = None if allowed is None else frozenset(allowed)
    assert [name for name, _ in calls_of(prompt)] == names


def test_required_calls_something_whatever_is_said() -> None:
    [(name, arguments)] = calls_of(prompt_of("Tell me a joke", choice="required"))
    assert (name, arguments) == ("get_weather", {"city": "Tell me a joke"})


def test_one_at_a_time_where_parallel_calls_are_off() -> None:
    prompt = prompt_of("weather in Seoul and Tokyo", parallel=False)
    assert calls_of(prompt) == [("get_weather", {"city": "Seoul"})]
    prompt.entries += [
        Called("1", "get_weather", {"city": "Seoul"}),
        Returned("1", "get_weather", "18C"),
    ]
    assert calls_of(prompt) == [("get_weather", {"city": "Tokyo"})]
    prompt.entries += [
        Called("2", "get_weather", {"city": "Tokyo"}),
        Returned("2", "get_weather", "21C"),
    ]
    assert rules.answer(prompt).text == (
        "Here is what the tools returned.\n- get_weather(Seoul): 18C\n- get_weather(Tokyo): 21C"
    )


@pytest.mark.parametrize(
    ("text", "result", "is_error", "answer"),
    [
        (
            "Seoul weather",
            "18C",
            False,
            "Here is what the tools returned.\n- get_weather(Seoul): 18C",
        ),
        (
            "서울 날씨",
            '{"temp": 18, "sky": "맑음"}',
            False,
            "확인한 결과입니다.\n- get_weather(서울): temp: 18, sky: 맑음",
        ),
        (
            "서울 날씨",
            "timeout",
            True,
            "도구 호출이 실패했습니다.\n- get_weather(서울): 오류: timeout",
        ),
        (
            "Seoul weather",
            '{"error": "no such city"}',
            False,
            "Some tools failed.\n- get_weather(Seoul): error: no such city",
        ),
    ],
)
def test_reports(text: str, result: str, is_error: bool, answer: str) -> None:
    city = "서울" if "서울" in text else "Seoul"
    after: list[Entry] = [
        Called("1", "get_weather", {"city": city}),
        Returned("1", "get_weather", result, is_error),
    ]
    assert rules.answer(prompt_of(text, *after)).text == answer


def test_says_what_it_is() -> None:
    assert rules.answer(prompt_of("hello")).text == (
        "This is a simulation: there is no language model here, and no tool fits your words."
    )
    assert rules.answer(prompt_of("안녕")).text.startswith("시뮬레이션입니다.")


SCHEMAS: list[dict[str, Any]] = [
    obj("city", "temp", city={"type": "string"}, temp={"type": "integer", "minimum": 5}),
    obj("tags", tags={"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 2}),
    obj("when", when={"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]}),
    {
        "$defs": {"Node": obj("name", name={"type": "string"}, next={"$ref": "#/$defs/Node"})},
        "$ref": "#/$defs/Node",
    },
    obj("x", x=obj("y", y=obj("z", z={"type": "boolean"}))),
    obj("code", code={"type": "string", "maxLength": 4}, n={"type": "number", "multipleOf": 3}),
    {"type": "array", "items": {"type": "integer"}, "minItems": 1},
    {"type": "object", "properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}},
]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_structured_answers_fit(schema: dict[str, Any]) -> None:
    turn = rules.answer(prompt_of("서울 날씨 12도", tools=[], schema=schema))
    assert jsonschema_rs.is_valid(schema, json.loads(turn.text))


def test_json_without_a_schema() -> None:
    turn = rules.answer(prompt_of("say something in json", tools=[], schema={}))
    assert json.loads(turn.text) == {"answer": "say something in json"}


@given(st.text(max_size=60), st.sampled_from(["auto", "required"]))
def test_arguments_are_valid_whatever_the_text(
    text: str, choice: Literal["auto", "required"]
) -> None:
    schemas = {tool.name: tool.parameters for tool in TOOLS}
    for name, arguments in calls_of(prompt_of(text, choice=choice)):
        assert jsonschema_rs.is_valid(schemas[name], arguments)
