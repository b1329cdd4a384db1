"""Forty functions, the schema an engineer would write for each, and a call of it."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import functools
import pathlib
import typing
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, Optional, TypeVar, Union

import pydantic
import typing_extensions
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from polycall.tools import ToolContext

ItemT = TypeVar("ItemT")


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclass
class Point:
    """A place on the map."""

    x: float
    y: float = 0.0


@dataclass
class Segment:
    start: Point
    end: Point


class Customer(BaseModel):
    """Who buys."""

    name: str = Field(description="Full name.", min_length=1)
    age: int | None = None
    tags: list[str] = []


class Node(BaseModel):
    value: int
    children: list[Node] = []


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]
    good: bool


class Page(BaseModel, Generic[ItemT]):
    items: list[ItemT]


class Options(TypedDict, total=False):
    verbose: typing.Required[bool]
    depth: int


class OldOptions(typing.TypedDict):
    verbose: bool
    depth: typing.NotRequired[int]


class Pair(NamedTuple):
    left: int
    right: str


UserId = NewType("UserId", int)


def nothing() -> None:
    """Do nothing."""


def scalars(text: str, count: int, ratio: float, flag: bool) -> str:
    """Take one of each.

    Args:
        text: Any text,
            over two lines.
        count (int): How many.
        ratio: Between them.

    Returns:
        What came of it.
    """
    return text


def numpy_style(city: str, days: int = 3) -> list[str]:
    """Forecast the weather.

    Looks at most two weeks ahead.

    Parameters
    ----------
    city : str
        Where.
    days : int, optional
        How far ahead.

    Returns
    -------
    list of str
        One line for each day.
    """
    return [city] * days


def sphinx_style(city: str, unit: Literal["celsius", "fahrenheit"] = "celsius") -> dict[str, float]:
    """Measure the temperature.

    :param city: Where.
    :param unit: In which unit.
    :returns: Degrees by station.
    """
    return {city: 1.0}


def defaults(a: int = 1, b: str = "x", c: bool = False, d: float | None = None) -> None: ...


def optional(a: Optional[int], b: int | None = None) -> None: ...  # noqa: UP045 - both spellings


def unions(a: int | str, b: Union[bool, list[int]]) -> None: ...  # noqa: UP007 - both spellings


def literals(
    mode: Literal["r", "w"], size: Literal[1, 2, 3] = 1, x: Literal["a", 1] = "a"
) -> None: ...


def enums(color: Color, level: Level = Level.LOW) -> Color:
    return color


def lists(names: list[str], grid: list[list[int]], seq: Sequence[float] = ()) -> None: ...


def maps(counts: dict[str, int], nested: Mapping[str, list[str]] | None = None) -> None: ...


def tuples(pair: tuple[int, str], many: tuple[int, ...] = ()) -> None: ...


def sets(names: set[str], codes: frozenset[int] = frozenset()) -> None: ...


def a_dataclass(point: Point) -> Point:
    """Move there.

    Args:
        point: Where to.
    """
    return point


def nested_dataclasses(segment: Segment, others: list[Segment] | None = None) -> Segment:
    return segment


def a_model(customer: Customer) -> Customer:
    return customer


def models(customers: list[Customer], by_name: dict[str, Customer]) -> int:
    return len(customers) + len(by_name)


def recursive(tree: Node) -> Node:
    return tree


def discriminated(animal: Annotated[Cat | Dog, Field(discriminator="kind")]) -> str:
    return animal.kind


def typed_dict(options: Options) -> None: ...


def old_typed_dict(options: OldOptions | None = None) -> None: ...


def named_tuple(pair: Pair) -> None: ...


def annotated(
    age: Annotated[int, Field(ge=0, le=150, description="In years.")],
    code: Annotated[str, Field(pattern="^[A-Z]{3}$")] = "ABC",
    ids: Annotated[list[int], Field(min_length=1, max_length=3)] = [1],  # noqa: B006
) -> None: ...


def field_defaults(
    count: int = Field(3, ge=1, description="How many."),
    names: list[str] = Field(default_factory=lambda: ["a"]),  # noqa: B008 - pydantic's way
    must: str = Field(..., title="Must"),
) -> tuple[int, list[str], str]:
    return count, names, must


def formats(  # noqa: PLR0917 - one of each
    day: datetime.date,
    at: datetime.datetime,
    which: uuid.UUID,
    where: pathlib.Path,
    price: decimal.Decimal,
    link: pydantic.AnyUrl,
) -> None: ...


def remarked(
    city: Annotated[str, "Where."],
    days: Annotated[int, typing_extensions.Doc("How many."), Field(ge=1)] = 1,
    note: Annotated[str, "Not this.", Field(description="This.")] = "",
) -> None:
    """Forecast.

    Args:
        city: Overruled.
    """


def pages(first: Page[int], second: Page[int], third: Page[str] | None = None) -> None: ...


def new_type(user: UserId) -> UserId:
    return user


def anything(value: Any, data: dict[str, Any]) -> Any:
    return value


def odd_names(_private: int, schema: str, model_config: bool, self_: int = 0) -> None: ...


def positional_only(a: int, b: str = "x", /, c: bool = True) -> tuple[int, str, bool]:
    return a, b, c


def keyword_only(*, a: int, b: str = "x") -> None: ...


def with_context(ctx: ToolContext[str], city: str) -> str:
    return f"{ctx.deps} {city}"


def with_optional_context(city: str, ctx: ToolContext | None = None) -> str:
    return city


async def asynchronous(query: str, limit: int = 10) -> list[dict[str, int]]:
    """Search.

    Args:
        query: What for.
        limit: At most so many.
    """
    return [{query: limit}]


class Shop:
    def __init__(self, name: str) -> None:
        self.name = name

    def order(self, item: str, amount: int = 1) -> str:
        """Order something.

        Args:
            item: What.
        """
        return f"{self.name}: {amount} {item}"

    @classmethod
    def open_at(cls, hour: int) -> bool:
        return hour > 8

    @staticmethod
    def price(item: str) -> float:
        return float(len(item))


class Counter:
    """Counts."""

    def __call__(self, up_to: int) -> list[int]:
        """Count up.

        Args:
            up_to: The last one.
        """
        return list(range(up_to))


def _add(a: int, b: int, c: int = 0) -> int:
    """Add up."""
    return a + b + c


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@functools.lru_cache
def cached(a: int) -> int:
    """Once."""
    return a


@logged
def decorated(a: int) -> int:
    """Twice."""
    return 2 * a


add_five = functools.partial(_add, 5)
add_to_c = functools.partial(_add, c=3)


@dataclasses.dataclass
class Case:
    """A function, its schema's properties by hand, and one call."""

    function: Callable[..., Any]
    properties: dict[str, Any]
    arguments: dict[str, Any]
    required: list[str] | None = None  # None: all properties without a default
    received: dict[str, Any] | None = None  # None: the arguments themselves
    definitions: dict[str, Any] = dataclasses.field(default_factory=dict)
    description: str = ""
    adaptable: bool = True  # OpenAI's strict mode has such a schema
    name: str = ""

    @property
    def label(self) -> str:
        return self.name or self.function.__name__

    @property
    def schema(self) -> dict[str, Any]:
        required = self.required
        if required is None:
            required = list(self.properties)
        schema: dict[str, Any] = {"type": "object", "properties": self.properties}
        if required:
            schema["required"] = required
        schema["additionalProperties"] = False
        if self.definitions:
            schema["$defs"] = self.definitions
        return schema


STRING = {"type": "string"}
INTEGER = {"type": "integer"}
NUMBER = {"type": "number"}
BOOLEAN = {"type": "boolean"}
NULL = {"type": "null"}


def obj(properties: dict[str, Any], required: list[str], **rest: Any) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", **rest, "properties": properties}
    if required:
        schema["required"] = required
    return schema


POINT = obj(
    {"x": NUMBER, "y": {"type": "number", "default": 0.0}},
    ["x"],
    description="A place on the map.",
    additionalProperties=False,
)
SEGMENT = obj(
    {"start": {"$ref": "#/$defs/Point"}, "end": {"$ref": "#/$defs/Point"}},
    ["start", "end"],
    additionalProperties=False,
)
CUSTOMER = obj(
    {
        "name": {"type": "string", "description": "Full name.", "minLength": 1},
        "age": {"anyOf": [INTEGER, NULL]},
        "tags": {"type": "array", "items": STRING, "default": []},
    },
    ["name"],
    description="Who buys.",
)
NODE = obj(
    {
        "value": INTEGER,
        "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}, "default": []},
    },
    ["value"],
)

CASES = [
    Case(nothing, {}, {}, description="Do nothing."),
    Case(
        scalars,
        {
            "text": {"type": "string", "description": "Any text, over two lines."},
            "count": {"type": "integer", "description": "How many."},
            "ratio": {"type": "number", "description": "Between them."},
            "flag": BOOLEAN,
        },
        {"text": "", "count": 3, "ratio": 0.5, "flag": True},
        description="Take one of each.",
    ),
    Case(
        numpy_style,
        {
            "city": {"type": "string", "description": "Where."},
            "days": {"type": "integer", "description": "How far ahead.", "default": 3},
        },
        {"city": "서울"},
        required=["city"],
        description="Forecast the weather.\n\nLooks at most two weeks ahead.",
    ),
    Case(
        sphinx_style,
        {
            "city": {"type": "string", "description": "Where."},
            "unit": {
                "type": "string",
                "description": "In which unit.",
                "enum": ["celsius", "fahrenheit"],
                "default": "celsius",
            },
        },
        {"city": "Paris", "unit": "fahrenheit"},
        required=["city"],
        description="Measure the temperature.",
    ),
    Case(
        defaults,
        {
            "a": {"type": "integer", "default": 1},
            "b": {"type": "string", "default": "x"},
            "c": {"type": "boolean", "default": False},
            "d": {"anyOf": [NUMBER, NULL]},
        },
        {"b": "", "d": None},
        required=[],
    ),
    Case(
        optional,
        {"a": {"anyOf": [INTEGER, NULL]}, "b": {"anyOf": [INTEGER, NULL]}},
        {"a": None, "b": 3},
        required=["a"],
    ),
    Case(
        unions,
        {
            "a": {"anyOf": [INTEGER, STRING]},
            "b": {"anyOf": [BOOLEAN, {"type": "array", "items": INTEGER}]},
        },
        {"a": "5", "b": [1, 2]},
    ),
    Case(
        literals,
        {
            "mode": {"type": "string", "enum": ["r", "w"]},
            "size": {"type": "integer", "enum": [1, 2, 3], "default": 1},
            "x": {"enum": ["a", 1], "default": "a"},
        },
        {"mode": "w", "size": 2, "x": 1},
        required=["mode"],
    ),
    Case(
        enums,
        {
            "color": {"type": "string", "enum": ["red", "blue"]},
            "level": {"type": "integer", "enum": [1, 2], "default": 1},
        },
        {"color": "blue", "level": 2},
        required=["color"],
        received={"color": Color.BLUE, "level": Level.HIGH},
    ),
    Case(
        lists,
        {
            "names": {"type": "array", "items": STRING},
            "grid": {"type": "array", "items": {"type": "array", "items": INTEGER}},
            "seq": {"type": "array", "items": NUMBER, "default": []},
        },
        {"names": [], "grid": [[1], []], "seq": [1.5]},
        required=["names", "grid"],
    ),
    Case(
        maps,
        {
            "counts": {"type": "object", "additionalProperties": INTEGER},
            "nested": {
                "anyOf": [
                    {
                        "type": "object",
                        "additionalProperties": {"type": "array", "items": STRING},
                    },
                    NULL,
                ]
            },
        },
        {"counts": {"a": 1, "$ref": 2}, "nested": {"x": ["y"]}},
        required=["counts"],
        adaptable=False,
    ),
    Case(
        tuples,
        {
            "pair": {
                "type": "array",
                "prefixItems": [INTEGER, STRING],
                "minItems": 2,
                "maxItems": 2,
            },
            "many": {"type": "array", "items": INTEGER, "default": []},
        },
        {"pair": [1, "a"], "many": [1, 2]},
        required=["pair"],
        received={"pair": (1, "a"), "many": (1, 2)},
        adaptable=False,
    ),
    Case(
        sets,
        {
            "names": {"type": "array", "items": STRING, "uniqueItems": True},
            "codes": {"type": "array", "items": INTEGER, "uniqueItems": True, "default": []},
        },
        {"names": ["a", "b"], "codes": [1]},
        required=["names"],
        received={"names": {"a", "b"}, "codes": frozenset({1})},
    ),
    Case(
        a_dataclass,
        {"point": {**POINT, "description": "Where to."}},
        {"point": {"x": 1.5}},
        received={"point": Point(1.5)},
        description="Move there.",
    ),
    Case(
        nested_dataclasses,
        {
            "segment": {"$ref": "#/$defs/Segment"},
            "others": {
                "anyOf": [{"type": "array", "items": {"$ref": "#/$defs/Segment"}}, NULL],
            },
        },
        {"segment": {"start": {"x": 1.0}, "end": {"x": 2.0, "y": 3.0}}, "others": []},
        required=["segment"],
        received={"segment": Segment(Point(1.0), Point(2.0, 3.0)), "others": []},
        definitions={"Point": POINT, "Segment": SEGMENT},
    ),
    Case(
        a_model,
        {"customer": CUSTOMER},
        {"customer": {"name": "Kim", "age": None}},
        received={"customer": Customer(name="Kim")},
    ),
    Case(
        models,
        {
            "customers": {"type": "array", "items": {"$ref": "#/$defs/Customer"}},
            "by_name": {
                "type": "object",
                "additionalProperties": {"$ref": "#/$defs/Customer"},
            },
        },
        {"customers": [{"name": "a", "tags": ["x"]}], "by_name": {"b": {"name": "b", "age": 3}}},
        received={
            "customers": [Customer(name="a", tags=["x"])],
            "by_name": {"b": Customer(name="b", age=3)},
        },
        definitions={"Customer": CUSTOMER},
        adaptable=False,
    ),
    Case(
        recursive,
        {"tree": {"$ref": "#/$defs/Node"}},
        {"tree": {"value": 1, "children": [{"value": 2, "children": []}]}},
        received={"tree": Node(value=1, children=[Node(value=2)])},
        definitions={"Node": NODE},
    ),
    Case(
        discriminated,
        {
            "animal": {
                "oneOf": [
                    obj(
                        {
                            "kind": {"type": "string", "const": "cat"},
                            "lives": {"type": "integer", "default": 9},
                        },
                        ["kind"],
                    ),
                    obj(
                        {"kind": {"type": "string", "const": "dog"}, "good": BOOLEAN},
                        ["kind", "good"],
                    ),
                ],
            }
        },
        {"animal": {"kind": "cat"}},
        received={"animal": Cat(kind="cat")},
    ),
    Case(
        typed_dict,
        {
            "options": obj(
                {"verbose": BOOLEAN, "depth": INTEGER}, ["verbose"], additionalProperties=False
            )
        },
        {"options": {"verbose": True}},
    ),
    Case(
        old_typed_dict,
        {
            "options": {
                "anyOf": [
                    obj(
                        {"verbose": BOOLEAN, "depth": INTEGER},
                        ["verbose"],
                        additionalProperties=False,
                    ),
                    NULL,
                ]
            }
        },
        {"options": {"verbose": False, "depth": 3}},
        required=[],
    ),
    Case(
        named_tuple,
        {
            "pair": {
                "type": "array",
                "prefixItems": [INTEGER, STRING],
                "minItems": 2,
                "maxItems": 2,
            }
        },
        {"pair": [1, "b"]},
        received={"pair": Pair(1, "b")},
        adaptable=False,
    ),
    Case(
        annotated,
        {
            "age": {
                "type": "integer",
                "description": "In years.",
                "minimum": 0,
                "maximum": 150,
            },
            "code": {"type": "string", "pattern": "^[A-Z]{3}$", "default": "ABC"},
            "ids": {
                "type": "array",
                "items": INTEGER,
                "minItems": 1,
                "maxItems": 3,
                "default": [1],
            },
        },
        {"age": 30, "code": "XYZ", "ids": [1, 2]},
        required=["age"],
    ),
    Case(
        field_defaults,
        {
            "count": {"type": "integer", "description": "How many.", "minimum": 1, "default": 3},
            "names": {"type": "array", "items": STRING, "default": ["a"]},
            "must": {"type": "string", "title": "Must"},
        },
        {"must": "m"},
        required=["must"],
        received={"must": "m", "count": 3, "names": ["a"]},
    ),
    Case(
        formats,
        {
            "day": {"type": "string", "format": "date"},
            "at": {"type": "string", "format": "date-time"},
            "which": {"type": "string", "format": "uuid"},
            "where": {"type": "string", "format": "path"},
            "price": {
                "anyOf": [
                    NUMBER,
                    STRING,
                ]
            },
            "link": {"type": "string", "format": "uri", "minLength": 1},
        },
        {
            "day": "2026-11-21",
            "at": "2026-11-21T10:00:00Z",
            "which": "12345678-1234-5678-1234-567812345678",
            "where": "/tmp/x",
            "price": "1.10",
            "link": "https://example.org/",
        },
        received={
            "day": datetime.date(2026, 11, 21),
            "at": datetime.datetime(2026, 11, 21, 10, tzinfo=datetime.UTC),
            "which": uuid.UUID("12345678-1234-5678-1234-567812345678"),
            "where": pathlib.Path("/tmp/x"),
            "price": decimal.Decimal("1.10"),
            "link": pydantic.AnyUrl("https://example.org/"),
        },
    ),
    Case(
        remarked,
        {
            "city": {"type": "string", "description": "Where."},
            "days": {"type": "integer", "description": "How many.", "minimum": 1, "default": 1},
            "note": {"type": "string", "description": "This.", "default": ""},
        },
        {"city": "a", "days": 2},
        required=["city"],
        description="Forecast.",
    ),
    Case(
        pages,
        {
            "first": {"$ref": "#/$defs/Page_int_"},
            "second": {"$ref": "#/$defs/Page_int_"},
            "third": {
                "anyOf": [obj({"items": {"type": "array", "items": STRING}}, ["items"]), NULL],
            },
        },
        {"first": {"items": [1]}, "second": {"items": []}, "third": {"items": ["a"]}},
        required=["first", "second"],
        received={
            "first": Page[int](items=[1]),
            "second": Page[int](items=[]),
            "third": Page[str](items=["a"]),
        },
        definitions={"Page_int_": obj({"items": {"type": "array", "items": INTEGER}}, ["items"])},
    ),
    Case(new_type, {"user": INTEGER}, {"user": 2**53 + 1}),
    Case(
        anything,
        {"value": {}, "data": {"type": "object", "additionalProperties": True}},
        {"value": [1, {"a": None}], "data": {"k": [None]}},
        adaptable=False,
    ),
    Case(
        odd_names,
        {
            "_private": INTEGER,
            "schema": STRING,
            "model_config": BOOLEAN,
            "self_": {"type": "integer", "default": 0},
        },
        {"_private": 1, "schema": "s", "model_config": True},
        required=["_private", "schema", "model_config"],
    ),
    Case(
        positional_only,
        {
            "a": INTEGER,
            "b": {"type": "string", "default": "x"},
            "c": {"type": "boolean", "default": True},
        },
        {"a": 1, "b": "y", "c": False},
        required=["a"],
    ),
    Case(
        keyword_only,
        {"a": INTEGER, "b": {"type": "string", "default": "x"}},
        {"a": 1},
        required=["a"],
    ),
    Case(with_context, {"city": STRING}, {"city": "Busan"}),
    Case(with_optional_context, {"city": STRING}, {"city": "Busan"}),
    Case(
        asynchronous,
        {
            "query": {"type": "string", "description": "What for."},
            "limit": {"type": "integer", "description": "At most so many.", "default": 10},
        },
        {"query": "q"},
        required=["query"],
        description="Search.",
    ),
    Case(
        Shop("corner").order,
        {
            "item": {"type": "string", "description": "What."},
            "amount": {"type": "integer", "default": 1},
        },
        {"item": "milk", "amount": 2},
        required=["item"],
        description="Order something.",
    ),
    Case(Shop.open_at, {"hour": INTEGER}, {"hour": 9}),
    Case(Shop.price, {"item": STRING}, {"item": "tea"}),
    Case(
        Counter(),
        {"up_to": {"type": "integer", "description": "The last one."}},
        {"up_to": 3},
        description="Count up.",
        name="Counter",
    ),
    Case(
        add_five,
        {"b": INTEGER, "c": {"type": "integer", "default": 0}},
        {"b": 2},
        required=["b"],
        description="Add up.",
        name="_add",
    ),
    Case(
        add_to_c,
        {"a": INTEGER, "b": INTEGER},
        {"a": 1, "b": 2},
        description="Add up.",
        name="_add",
    ),
    Case(cached, {"a": INTEGER}, {"a": 4}, description="Once."),
    Case(decorated, {"a": INTEGER}, {"a": 4}, description="Twice."),
]
