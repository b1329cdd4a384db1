"""Arguments: what passes, what is mended and why that changes no meaning, what is refused."""

# pyright: basic

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polycall.errors import ArgumentsError, ToolDefinitionError
from polycall.tools import tool, tool_from_schema
from polycall.tools.validate import Checked, SchemaChecker
from tests.unit.schemas import Case, documents
from tests.unit.test_schema_laws import law

PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "count": {"type": "integer"},
        "ratio": {"type": "number"},
        "flag": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "sizes": {"type": "array", "items": {"type": "integer"}},
        "place": {
            "type": "object",
            "properties": {"x": {"type": "integer"}, "note": {"type": "string"}},
            "required": ["x"],
        },
        "either": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
        "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "shape": {
            "anyOf": [
                {"type": "object", "properties": {"r": {"type": "integer"}}, "required": ["r"]},
                {"type": "object", "properties": {"w": {"type": "integer"}}, "required": ["w"]},
            ]
        },
        "any": {},
        "referred": {"$ref": "#/$defs/Sizes"},
        "pair": {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]},
        "map": {"type": "object", "additionalProperties": {"type": "integer"}},
        "narrow": {"type": "integer", "not": {"const": 7}},
        "both": {"allOf": [{"type": "integer"}, {"minimum": 1}]},
    },
    "additionalProperties": False,
    "$defs": {"Sizes": {"type": "array", "items": {"type": "integer"}}},
}


def same(arguments: Any) -> Any:
    return arguments


def check(text: str, parameters: dict[str, Any] = PARAMETERS) -> Checked:
    return tool_from_schema("f", "", parameters, same).check(text)


def refusal(text: str, parameters: dict[str, Any] = PARAMETERS) -> str:
    with pytest.raises(ArgumentsError) as refused:
        check(text, parameters)
    return str(refused.value)


@pytest.mark.parametrize("text", ["", " ", "\n", "null", '""', "''", "None"])
def test_D01_every_spelling_of_no_arguments(text: str) -> None:
    assert check(text) == Checked({}, ("empty",))
    assert check("{}") == check(" { } ") == Checked({})
    needs_one = {**PARAMETERS, "required": ["text"]}
    assert '"text" is a required property' in refusal(text, needs_one)


@pytest.mark.parametrize(
    "text",
    ['{"text": "a', '{"text": "a"', '{"tags": ["a", "b"', '{"text"', '{"text":', "{", '{"a": tru'],
)
def test_D02_cut_off_arguments_are_not_completed(text: str) -> None:
    assert "nothing was run" in refusal(text)


def test_D02_the_model_is_told_where_the_text_ends() -> None:
    assert refusal('{"text": "the cache warmer raced the artifact uploader, then') == (
        "the arguments of 'f' are cut off, so nothing was run: they end with "
        "'warmer raced the artifact uploader, then'; "
        "call again with all of them, or with less in each call"
    )


def test_D03_brackets_in_strings_are_text() -> None:
    assert check("{'text': 'a ] } [ {', 'tags': ['}']}") == Checked(
        {"text": "a ] } [ {", "tags": ["}"]}, ("relaxed_json",)
    )


@pytest.mark.parametrize(
    ("arguments", "expected", "mends"),
    [
        # No string is allowed, and the text is JSON of the type that is.
        ({"tags": '["a", "b"]'}, {"tags": ["a", "b"]}, ["encoded_twice"]),
        ({"place": '{"x": 1}'}, {"place": {"x": 1}}, ["encoded_twice"]),
        ({"place": '{"x": "1"}'}, {"place": {"x": 1}}, ["encoded_twice", "number_as_text"]),
        ({"referred": "[1, 2]"}, {"referred": [1, 2]}, ["encoded_twice"]),
        ({"count": "5"}, {"count": 5}, ["number_as_text"]),
        ({"count": "5.0"}, {"count": 5}, ["number_as_text", "integer_as_float"]),
        ({"ratio": "2.5"}, {"ratio": 2.5}, ["number_as_text"]),
        ({"ratio": "2"}, {"ratio": 2}, ["number_as_text"]),
        ({"flag": "true"}, {"flag": True}, ["boolean_as_text"]),
        ({"maybe": "null"}, {"maybe": None}, ["null_as_text"]),
        ({"maybe": "7"}, {"maybe": 7}, ["number_as_text"]),
        ({"pair": ["1", "1"]}, {"pair": [1, "1"]}, ["number_as_text"]),
        ({"map": {"a": "1", "b": 2}}, {"map": {"a": 1, "b": 2}}, ["number_as_text"]),
        ({"sizes": ["1", 2]}, {"sizes": [1, 2]}, ["number_as_text"]),
        # The property may be absent and may not be null: null can only mean absent.
        ({"text": None, "count": 1}, {"count": 1}, ["null_for_absent"]),
        ({"place": {"x": 1, "note": None}}, {"place": {"x": 1}}, ["null_for_absent"]),
    ],
)
def test_D04_what_the_schema_leaves_no_doubt_of_is_mended(
    arguments: dict[str, Any], expected: dict[str, Any], mends: list[str]
) -> None:
    assert check(json.dumps(arguments)) == Checked(expected, tuple(mends))


@pytest.mark.parametrize(
    "arguments",
    [
        {"text": '["a"]'},
        {"text": "5"},
        {"text": "null"},
        {"either": '["a"]'},
        {"any": "[1]"},
        {"tags": ["[1]", "5", "null"]},
        {"count": 5.0},
        {"ratio": 5},
    ],
)
def test_D05_what_fits_stays_as_it_is(arguments: dict[str, Any]) -> None:
    assert check(json.dumps(arguments)) == Checked(arguments)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"count": "five"}, 'count: "five" is not of type "integer"'),
        ({"count": "5.5"}, 'count: "5.5" is not of type "integer"'),
        ({"count": "0x10"}, 'count: "0x10" is not of type "integer"'),
        ({"count": ""}, 'count: "" is not of type "integer"'),
        ({"count": 5.5}, 'count: 5.5 is not of type "integer"'),
        ({"count": True}, 'count: true is not of type "integer"'),
        ({"flag": "yes"}, 'flag: "yes" is not of type "boolean"'),
        ({"flag": 1}, 'flag: 1 is not of type "boolean"'),
        ({"text": 5}, 'text: 5 is not of type "string"'),
        ({"text": ["a"]}, 'text: ["a"] is not of type "string"'),
        ({"tags": "a, b"}, 'tags: "a, b" is not of type "array"'),
        ({"tags": '{"a": 1}'}, 'tags: "{\\"a\\": 1}" is not of type "array"'),
        ({"tags": '["a"'}, 'tags: "[\\"a\\"" is not of type "array"'),
        ({"place": '{"y": 1}'}, 'place: "{\\"y\\": 1}" is not of type "object"'),
        ({"shape": {"r": "1"}}, "shape: "),  # which of two objects is meant is not for us to say
        ({"narrow": "5"}, 'narrow: "5" is not of type "integer"'),
        ({"both": "5"}, "both: "),
        ({"place": {"x": None}}, 'place.x: null is not of type "integer"'),
        ({"sizes": [1, "a"]}, 'sizes[1]: "a" is not of type "integer"'),
        ({"txet": "a"}, "txet: there is no such parameter; did you mean 'text'?"),
        ({"zzz": "a"}, "zzz: there is no such parameter"),
    ],
)
def test_doubt_is_refused_with_words_to_act_on(arguments: dict[str, Any], told: str) -> None:
    message = refusal(json.dumps(arguments))
    assert message.startswith("the arguments do not fit 'f', so nothing was run:\n- ")
    assert f"- {told}" in message
    assert message.endswith("\ncorrect them and call again")


def test_a_tool_without_parameters_says_so() -> None:
    closed: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
    assert "- name: there is no such parameter; the tool takes none" in refusal(
        '{"name": 1}', closed
    )


def test_D06_arguments_encoded_twice_as_a_whole() -> None:
    once = json.dumps({"text": "a"})
    assert check(json.dumps(once)) == Checked({"text": "a"}, ("encoded_twice",))
    assert "are a string, and not a JSON object" in refusal(json.dumps('{"text": '))
    assert "are a JSON string, and not an object" in refusal('"text"')


def test_D07_a_huge_integer_does_not_raise() -> None:
    digits = "9" * 5_000
    assert check(f'{{"any": {digits[:100]}}}').arguments == {"any": int(digits[:100])}
    assert check(f'{{"ratio": {digits[:100]}}}').arguments == {"ratio": int(digits[:100])}
    assert "count" in refusal(f'{{"count": {digits}}}')


@pytest.mark.parametrize("number", ["1e400", "-1e400", "9" * 5_000, "-" + "9" * 5_000])
@pytest.mark.parametrize(
    ("form", "where"),
    [('{{"any": {0}}}', "any"), ('{{"any": [1, {{"in": {0}}}]}}', "any[1].in")],
)
def test_a_number_that_no_float_holds_never_becomes_null(
    number: str, form: str, where: str
) -> None:
    assert refusal(form.format(number)) == (
        "the arguments do not fit 'f', so nothing was run:\n"
        f"- {where}: the number is too large to be read; give a smaller one, or text where text is "
        "allowed\n"
        "correct them and call again"
    )

    def function(any: float | list[Any] | None) -> None: ...

    with pytest.raises(ArgumentsError, match="too large"):
        tool(function).check(form.format(number))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"text": "a"}<|call|>', {"text": "a"}),
        ('{"text": "a"} <|endoftext|>\n', {"text": "a"}),
        ('{"text": "<|call|>"}<|call|><|end|>', {"text": "<|call|>"}),
        ("{'text': 'a', 'flag': True}", {"text": "a", "flag": True}),
        ("{text: 'a', count: 3,}", {"text": "a", "count": 3}),
        ('```json\n{"text": "a"}\n```', {"text": "a"}),
        ("{'text': 'it\\'s \"so\"\\n'}", {"text": 'it\'s "so"\n'}),
        ('{"text": "two\nlines"}', {"text": "two\nlines"}),
        ("{'any': [1.5e3, -2, null, None, false,]}", {"any": [1500.0, -2, None, None, False]}),
        ("{}<|call|>", {}),
    ],
)
def test_D08_unmistakable_text_is_read(text: str, expected: dict[str, Any]) -> None:
    assert check(text) == Checked(expected, ("relaxed_json",))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{'text': 'it's'}", "not valid JSON"),
        ("{text: a}", "not valid JSON"),
        ('{"text": "a"} {"text": "b"}', "not valid JSON"),
        ('{"text": "a", "text": "b",}', "not valid JSON"),
        ('{"text" "a"}', "not valid JSON"),
        ('{"count": 01}', "not valid JSON"),
        ('{"count": 1 2}', "not valid JSON"),
        ("{, }", "not valid JSON"),
        ("city=Seoul", "not valid JSON"),
        ("{'text': '\\x'}", "not valid JSON"),
        ("[" * 300 + "]" * 300, "not an object"),
        ("{'a':" + "[" * 300 + "]" * 300 + "}", "not valid JSON"),
        ('{"any":' + "[" * 200 + "]" * 200 + "}", "nested too deeply"),
        ("[1]", "are a JSON array, and not an object"),
        ("5", "are a JSON value, and not an object"),
        ("NaN", "not valid JSON"),
    ],
)
def test_D08_anything_else_is_told_to_the_model(text: str, reason: str) -> None:
    message = refusal(text)
    assert reason in message
    assert message.endswith("so nothing was run; call again with one JSON object")


@pytest.mark.parametrize(("depth", "is_read"), [(149, True), (150, False)])
def test_D08_nesting_is_read_up_to_its_bound(depth: int, is_read: bool) -> None:
    text = '{"any":' + "[" * depth + "]" * depth + "}"
    if is_read:
        assert check(text).arguments == json.loads(text)
    else:
        assert "nested too deeply" in refusal(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [('{"count": "many"}', '"many"'), ('{"place": {"x": "far"}}', '"far"'), ('{"flag": 7}', "7")],
)
def test_D08_a_refusal_names_the_value_once(text: str, value: str) -> None:
    message = refusal(text)
    assert message.count(value) == 1
    assert "got" not in message


@law
@given(documents())
def test_D09_valid_arguments_are_left_alone(case: Case) -> None:
    text = json.dumps(case.value)
    assert check(text, case.schema) == Checked(case.value)


@law
@given(documents(), st.data())
def test_a_mended_call_fits_and_is_mended_once(case: Case, data: st.DataObject) -> None:
    value = dict(case.value)
    for name in value:
        if data.draw(st.booleans()):
            value[name] = json.dumps(value[name])
    try:
        mended = check(json.dumps(value), case.schema)
    except ArgumentsError:
        return
    assert check(json.dumps(mended.arguments), case.schema) == Checked(mended.arguments)


def test_functions_are_checked_by_their_own_types() -> None:
    @tool
    def book(city: str, nights: int, rooms: list[int], budget: float | None = None) -> None: ...

    assert book.check('{"city": "5", "nights": "2", "rooms": "[1]", "budget": "null"}') == Checked(
        {"city": "5", "nights": 2, "rooms": [1], "budget": None},
        ("number_as_text", "encoded_twice", "null_as_text"),
    )
    assert book.check('{"city": "a", "nights": 2.0, "rooms": []}') == Checked(
        {"city": "a", "nights": 2, "rooms": []}, ("integer_as_float",)
    )
    with pytest.raises(ArgumentsError) as refused:
        book.check('{"city": 5, "night": 2, "rooms": [1, "b"]}')
    assert str(refused.value) == (
        "the arguments do not fit 'book', so nothing was run:\n"
        "- city: Input should be a valid string, got 5\n"
        "- nights: Field required\n"
        '- rooms[1]: Input should be a valid integer, got "b"\n'
        "- night: there is no such parameter; did you mean 'nights'?\n"
        "correct them and call again"
    )


def test_branches_of_unions_are_no_places() -> None:
    @tool
    def f(a: int | list[int], b: dict[str, int] | None = None) -> None: ...

    with pytest.raises(ArgumentsError) as refused:
        f.check('{"a": ["x"], "b": {"k": "y"}}')
    assert str(refused.value).splitlines()[1:-1] == [
        '- a: Input should be a valid integer, got ["x"]',
        '- a[0]: Input should be a valid integer, got "x"',
        '- b.k: Input should be a valid integer, got "y"',
    ]


def test_many_problems_are_told_in_short() -> None:
    message = refusal(json.dumps({"sizes": ["x" * 900] * 15, "text": 1}))
    assert message.count("\n- ") == 11
    assert "\n- and 6 more\n" in message
    assert len(message) < 5_000


def test_a_schema_that_is_none_is_refused_when_the_tool_is_made() -> None:
    for schema in ({"type": "strin"}, {"$ref": "#/nowhere"}, {"$ref": "https://example.org/x"}):
        with pytest.raises(ToolDefinitionError, match="the schema of 'f' is not valid: "):
            check("{}", schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/properties/a"},
        {"anyOf": [{"$ref": "#/properties/a"}, {"type": "integer"}]},
        {"anyOf": [{"type": "integer"}], "items": cast("Any", {})},
        {"anyOf": [{"not": cast("Any", {})}, {"type": "integer"}]},
        {"if": True, "then": {"type": "integer"}},
    ],
)
def test_schemas_that_say_too_little_mend_nothing(schema: dict[str, Any]) -> None:
    closed = {"type": "object", "properties": {"a": schema}, "required": ["b"]}
    assert '"b" is a required property' in refusal('{"a": "1"}', closed)


def test_a_schema_that_is_none_is_refused_with_the_reason() -> None:
    with pytest.raises(ToolDefinitionError) as caught:
        SchemaChecker({"type": "nonsense"}, label="f")
    first = str(caught.value)
    assert first.startswith("the schema of 'f' is not valid: ")
    assert '"nonsense" is not valid under any of the schemas' in first
    assert "\n" not in first
