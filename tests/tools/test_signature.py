"""Schemas from signatures: as written by hand, or an error that says which parameter and why."""

from __future__ import annotations

import dataclasses
import re
import sys
import typing
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import jsonschema_rs
import pytest

from polycall import schema
from polycall._support import jsontext
from polycall.errors import ToolDefinitionError
from polycall.ir import Media
from polycall.tools import ToolContext, tool
from tests.tools.cases import CASES, Case


def order_of_keys(value: Any) -> Any:
    """Keys in a fixed order, so that whole schemas compare whatever their order."""
    if isinstance(value, dict):
        return {key: order_of_keys(value[key]) for key in sorted(value)}
    return [order_of_keys(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_the_schema_is_what_one_would_write(case: Case) -> None:
    made = tool(case.function)
    assert made.name == case.label
    assert made.description == case.description
    assert order_of_keys(made.parameters) == order_of_keys(case.schema)
    assert list(made.parameters["properties"]) == list(case.properties)
    assert jsonschema_rs.validator_for(made.parameters).is_valid(case.arguments)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
async def test_the_function_receives_its_own_types(case: Case) -> None:
    made = tool(case.function)
    received: dict[str, Any] = {}

    def record(*args: Any, **kwargs: Any) -> None:
        received.update(kwargs)
        received.update(zip(made.positional, args, strict=False))

    spy = dataclasses.replace(made, function=record)
    await spy.run(case.arguments, ToolContext(deps=None))
    received.pop(made.context_parameter, None)
    assert received == (case.arguments if case.received is None else case.received)


def named(function: Callable[..., Any]) -> Any:
    return pytest.param(function, id=function.__name__)


def star_args(*names: str) -> None: ...
def star_kwargs(**options: int) -> None: ...
def unannotated(city, days: int = 3) -> None: ...
def unannotated_default(days=3) -> None: ...
def takes_callable(a: int, then: Callable[[int], int]) -> None: ...
def takes_object_of_a_class(thing: ForeignThing) -> None: ...
def takes_unknown_name(city: NoSuchType) -> None: ...  # noqa: F821 - there is none
def returns_unknown_name(city: str) -> NoSuchType: ...  # noqa: F821 - there is none
def takes_iterator_of_things(things: list[ForeignThing]) -> None: ...


class ForeignThing:
    """Neither a dataclass nor a model."""


def generator(n: int) -> Iterator[int]:
    yield n


async def async_generator(n: int) -> AsyncIterator[int]:
    yield n


def returns_iterator(n: int) -> Iterator[int]:
    return iter([n])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            star_args,
            "star_args(*names): parameter '*names' cannot be a tool's: "
            "a model gives arguments by name; take a list instead",
        ),
        (
            star_kwargs,
            "star_kwargs(**options): parameter '**options' cannot be a tool's: "
            "a model must know the names; write them out",
        ),
        (
            unannotated,
            "unannotated(city): parameter 'city' cannot be a tool's: "
            "it has no annotation, and a model must know its type",
        ),
        (
            unannotated_default,
            "unannotated_default(days): parameter 'days' cannot be a tool's: "
            "it has no annotation, and a model must know its type",
        ),
        (
            takes_callable,
            "takes_callable(then): parameter 'then' cannot be a tool's: "
            "collections.abc.Callable[[int], int] has no JSON schema (Cannot generate a "
            "JsonSchema for core_schema.CallableSchema); use types that JSON can hold, "
            "a dataclass or a pydantic model",
        ),
        (
            takes_object_of_a_class,
            re.compile(
                r"takes_object_of_a_class\(thing\): parameter 'thing' cannot be a tool's: "
                r"ForeignThing has no JSON schema \(Unable to generate .*ForeignThing.*\); use .*"
            ),
        ),
        (
            takes_iterator_of_things,
            re.compile(r"takes_iterator_of_things\(things\): parameter 'things' .*ForeignThing.*"),
        ),
        (
            takes_unknown_name,
            "takes_unknown_name(city): parameter 'city' cannot be a tool's: its annotation "
            "'NoSuchType' cannot be read (name 'NoSuchType' is not defined)",
        ),
        (
            returns_unknown_name,
            "'returns_unknown_name' cannot be a tool: the annotation of its result cannot be read "
            "(name 'NoSuchType' is not defined)",
        ),
        (
            generator,
            "'generator' cannot be a tool: "
            "it is a generator, which has no single result; return a list",
        ),
        (
            async_generator,
            "'async_generator' cannot be a tool: "
            "it is a generator, which has no single result; return a list",
        ),
        (
            returns_iterator,
            "'returns_iterator' cannot be a tool: "
            "it returns an iterator, which has no single result; return a list",
        ),
        (
            ForeignThing,
            "'ForeignThing' cannot be a tool: "
            "it is a class; make a tool of a function or a method",
        ),
        (
            lambda city: city,
            "'<lambda>' is not a name that a model could call; give the tool one with name=...",
        ),
        (max, "'max' cannot be a tool: it has no signature that Python could read; "
         "wrap it in a function"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_tool_is_refused(function: Any, message: str | re.Pattern[str]) -> None:
    with pytest.raises(ToolDefinitionError) as refusal:
        tool(function)
    if isinstance(message, str):
        assert str(refusal.value) == message
    else:
        assert message.fullmatch(str(refusal.value))


def test_names_of_the_enclosing_function_are_known() -> None:
    @dataclass
    class Local:
        size: int

    @tool
    def measure(thing: Local) -> int:
        return thing.size

    @tool(name="other")
    def measure_again(thing: Local) -> int:
        return thing.size

    for made in (measure, measure_again):
        assert made.parameters["properties"]["thing"]["properties"] == {"size": {"type": "integer"}}
    assert measure(Local(3)) == 3


def a(n: int) -> dict[str, int]:
    """Do.

    Returns:
        Counts by name.
    """
    return {}


def b(n: int) -> list[bytes]: ...
def c(n: int) -> Media | str: ...
def d(n: int) -> Any: ...
def e(n: int): ...
def f(n: int) -> Awaitable[int]: ...
def g(n: int) -> ForeignThing: ...
def h(n: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (a, {"type": "object", "additionalProperties": {"type": "integer"},
             "description": "Counts by name."}),
        (b, None),
        (c, None),
        (d, None),
        (e, None),
        (f, {"type": "integer"}),
        (g, None),
        (h, {"type": "null"}),
    ],
)  # fmt: skip
def test_the_return_schema(function: Any, expected: Any) -> None:
    assert tool(function).output_schema == expected


class Inner(typing.TypedDict, total=False):
    size: typing.Required[int]
    tree: Tree


class Outer(Inner):
    """What is wanted."""

    names: Annotated[list[Inner], "plain remark"]
    either: Inner | None


class Tree(typing.TypedDict):
    leaf: int


def takes_typed_dicts(
    outer: Outer,
    twice: dict[str, Inner],
    both: typing.Union[Inner, int],  # noqa: UP007
) -> Outer:
    return outer


def test_typed_dictionaries_of_typing_inside_each_other() -> None:
    made = tool(takes_typed_dicts)
    properties = made.parameters["properties"]
    inner = {
        "type": "object",
        "properties": {
            "size": {"type": "integer"},
            "tree": {
                "type": "object",
                "properties": {"leaf": {"type": "integer"}},
                "required": ["leaf"],
                "additionalProperties": False,
            },
        },
        "required": ["size"],
        "additionalProperties": False,
    }
    flat = {key: value for key, value in made.parameters.items() if key != "$defs"}
    shared = made.parameters["$defs"]
    assert shared["Inner"]["required"] == ["size"]
    assert list(properties["outer"]["properties"]) == ["size", "tree", "names", "either"]
    assert properties["outer"]["required"] == ["size", "names", "either"]
    assert properties["outer"]["description"] == "What is wanted."
    assert properties["both"] == {"anyOf": [{"$ref": "#/$defs/Inner"}, {"type": "integer"}]}
    assert schema.inline_refs(made.parameters)["properties"]["twice"] == {
        "type": "object",
        "additionalProperties": inner,
    }
    assert flat["required"] == ["outer", "twice", "both"]


class Looped(typing.TypedDict):
    again: list[Looped]


def takes_loop(loop: Looped) -> None: ...


def test_a_typed_dictionary_that_contains_itself() -> None:
    if sys.version_info >= (3, 12):
        assert "Looped" in tool(takes_loop).parameters["$defs"]
    else:
        with pytest.raises(ToolDefinitionError, match="use `typing_extensions.TypedDict`"):
            tool(takes_loop)


def test_a_default_without_json_is_left_out() -> None:
    def search(query: str, page: Any = object(), tail: float = float("nan")) -> None: ...  # noqa: B008

    made = tool(search)
    assert made.parameters["properties"] == {
        "query": {"type": "string"},
        "page": {},
        "tail": {"type": "number"},
    }
    jsontext.decode(jsontext.encode(made.parameters))
