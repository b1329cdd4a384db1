"""Arguments and outputs of ordinary types: what fits the schema that was sent is accepted."""

# pyright: basic

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import InitVar, dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasPath,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    WrapValidator,
    field_validator,
    model_validator,
)

from polycall import tool
from polycall.agents.output import OutputError, OutputType
from polycall.errors import ArgumentsError, RequestError, ToolDefinitionError


class Kind(Enum):
    CAR = "car"
    BUS = "bus"


class Level(IntEnum):
    LOW = 1


class Number(Enum):
    ONE = 1


class Before(BaseModel):
    due: date
    at: datetime
    tags: set[str] = set()
    place: tuple[int, str] = (0, "")

    @model_validator(mode="before")
    @classmethod
    def same(cls, value: Any) -> Any:
        return value


class Wrapped(BaseModel):
    due: date
    ids: frozenset[UUID]

    @model_validator(mode="wrap")
    @classmethod
    def same(cls, value: Any, handler: Any) -> Any:
        return handler(value)


class FieldBefore(BaseModel):
    due: date
    path: Path
    price: Decimal
    kind: Kind

    @field_validator("due", "path", "price", "kind", mode="before")
    @classmethod
    def same(cls, value: Any) -> Any:
        return value


class Nested(BaseModel):
    orders: list[Before]
    by_name: dict[str, Wrapped] = {}


class Choice(BaseModel):
    kind: Literal[Kind.CAR]
    number: Literal[Number.ONE, "none"] = "none"
    level: Literal[Level.LOW] = Level.LOW


@dataclass
class Plain:
    due: Annotated[date, BeforeValidator(lambda value: value)]
    lasts: Annotated[timedelta, WrapValidator(lambda value, handler: handler(value))]
    opens: Annotated[time, BeforeValidator(lambda value: value)]


class Mixed(BaseModel):
    """A union of which one branch runs a validator before."""

    what: Before | int


class Day(Enum):
    FIRST = date(2026, 1, 1)
    LAST = date(2026, 12, 31)


class Rate(Enum):
    LOW = Decimal("1.5")
    PAIR = (1, 2)


class Dated(BaseModel):
    day: Day
    rates: list[Rate] = []
    either: Literal[Day.LAST] | None = None


FITS: list[tuple[Any, Any, Any]] = [
    (
        Before,
        {"due": "2026-12-01", "at": "2026-12-01T10:00:00Z", "tags": ["a"], "place": [1, "b"]},
        lambda value: (value.due, value.tags, value.place) == (date(2026, 12, 1), {"a"}, (1, "b")),
    ),
    (
        Wrapped,
        {"due": "2026-12-01", "ids": ["12345678-1234-5678-1234-567812345678"]},
        lambda value: len(value.ids) == 1 and isinstance(next(iter(value.ids)), UUID),
    ),
    (
        FieldBefore,
        {"due": "2026-12-01", "path": "/tmp", "price": "1.50", "kind": "bus"},
        lambda value: (value.price, value.kind) == (Decimal("1.50"), Kind.BUS),
    ),
    (
        Nested,
        {"orders": [{"due": "2026-12-01", "at": "2026-12-01T10:00:00Z"}], "by_name": {}},
        lambda value: value.orders[0].due == date(2026, 12, 1),
    ),
    (
        Choice,
        {"kind": "car", "number": 1, "level": 1},
        lambda value: (value.kind, value.number, value.level) == (Kind.CAR, Number.ONE, Level.LOW),
    ),
    (
        Plain,
        {"due": "2026-12-01", "lasts": "PT90S", "opens": "10:00:00"},
        lambda value: value.lasts == timedelta(seconds=90),
    ),
    (
        Mixed,
        {"what": {"due": "2026-12-01", "at": "2026-12-01T10:00:00Z"}},
        lambda value: isinstance(value.what, Before),
    ),
    (
        Annotated[set[date], BeforeValidator(lambda value: value)],
        ["2026-12-01", "2026-12-02"],
        lambda value: value == {date(2026, 12, 1), date(2026, 12, 2)},
    ),
    (
        Annotated[date, WithJsonSchema({"type": "integer", "description": "Unix seconds"})],
        1764547200,
        lambda value: value == date(2025, 12, 1),
    ),
    (Literal[Kind.CAR, Kind.BUS], "bus", lambda value: value is Kind.BUS),
    (
        Dated,
        {"day": "2026-01-01", "rates": ["1.5", [1, 2]], "either": "2026-12-31"},
        lambda value: (value.day, value.rates) == (Day.FIRST, [Rate.LOW, Rate.PAIR]),
    ),
    (dict[str, Day], {"a": "2026-12-31"}, lambda value: value == {"a": Day.LAST}),
]


@pytest.mark.parametrize(("kind", "given", "is_right"), FITS)
def test_l1_what_fits_the_schema_is_an_argument(kind: Any, given: Any, is_right: Any) -> None:
    def take(value: kind) -> None:  # type: ignore[valid-type]
        """Take."""

    take.__annotations__["value"] = kind
    made = tool(take)
    checked = made.check(json.dumps({"value": given}))
    assert checked.arguments == {"value": given}
    assert checked.mends == ()
    assert is_right(made.checker.load(checked.arguments)["value"])


@pytest.mark.parametrize(("kind", "given", "is_right"), FITS)
def test_l1_what_fits_the_schema_is_an_output(kind: Any, given: Any, is_right: Any) -> None:
    output: OutputType[Any] = OutputType(kind)
    assert output.format is not None
    assert output.format.schema is not None
    is_wrapped = "result" in output.format.schema.get("properties", {})
    text = json.dumps({"result": given} if is_wrapped else given)
    assert is_right(output.parse(text))
    assert is_right(output.parse(f"```json\n{text}\n```"))


@pytest.mark.parametrize(
    ("kind", "given", "words"),
    [
        (Before, {"due": 20261201, "at": "2026-12-01T10:00:00Z"}, "due"),
        (Before, {"due": "2026-12-01", "at": "2026-12-01T10:00:00Z", "tags": "a"}, "tags"),
        (Before, {"due": "soon", "at": "2026-12-01T10:00:00Z"}, "due"),
        (Wrapped, {"due": "2026-12-01", "ids": ["x"]}, "ids"),
        (FieldBefore, {"due": "2026-12-01", "path": "/", "price": True, "kind": "bus"}, "price"),
        (Nested, {"orders": [{"due": "2026-12-01", "at": 5}]}, "at"),
        (Choice, {"kind": "tram"}, "kind"),
        (Choice, {"kind": "car", "number": True}, "number"),
        (Literal[Kind.CAR, Kind.BUS], "tram", "value"),
        (Dated, {"day": "2026-01-02"}, "day"),
        (Dated, {"day": "2026-01-01", "rates": [[2, 1]]}, "rates"),
        (Annotated[int, BeforeValidator(lambda value: value)], "5 or so", "value"),
        (Annotated[int, AfterValidator(lambda value: value)], 1e300, "value"),
    ],
)
def test_l1_what_does_not_fit_is_refused_and_only_what_is_wrong_is_said(
    kind: Any, given: Any, words: str
) -> None:
    def take(value: kind) -> None:  # type: ignore[valid-type]
        """Take."""

    take.__annotations__["value"] = kind
    with pytest.raises(ArgumentsError) as caught:
        tool(take).check(json.dumps({"value": given}))
    lines = [line for line in str(caught.value).splitlines() if line.startswith("- ")]
    assert lines
    assert all(words in line for line in lines), lines


def test_l1_a_correct_field_beside_a_wrong_one_is_not_complained_of() -> None:
    output: OutputType[Before] = OutputType(Before)
    with pytest.raises(OutputError) as caught:
        output.parse('{"due": "2026-12-01", "at": "never"}')
    assert "at" in str(caught.value)
    assert "due" not in str(caught.value)


def test_l1_a_bound_that_only_pydantic_checks_still_counts() -> None:
    class Even(BaseModel):
        number: int = Field(ge=0)
        due: date

        @model_validator(mode="before")
        @classmethod
        def same(cls, value: Any) -> Any:
            return value

        @field_validator("number")
        @classmethod
        def even(cls, value: int) -> int:
            if value % 2:
                raise ValueError("is odd")
            return value

    output: OutputType[Even] = OutputType(Even)
    assert output.parse('{"number": 2, "due": "2026-12-01"}').number == 2
    with pytest.raises(OutputError, match="is odd"):
        output.parse('{"number": 3, "due": "2026-12-01"}')


class Bill(BaseModel):
    lines: list[Decimal]
    rate: float = 1.0
    note: Any = None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '{"lines": [0.1234567890123456789, 99999999999999999.99]}',
            ([Decimal("0.1234567890123456789"), Decimal("99999999999999999.99")], 1.0),
        ),
        (
            '{"lines": [12345678901234567890.123, "7.10"], "rate": 0.5}',
            ([Decimal("12345678901234567890.123"), Decimal("7.10")], 0.5),
        ),
        ('{"lines": [0.1, 3], "rate": 0.25}', ([Decimal("0.1"), Decimal(3)], 0.25)),
        # A float holds no more than it holds.
        (
            '{"lines": [0.5], "rate": 0.12345678901234567891}',
            ([Decimal("0.5")], 0.12345678901234568),
        ),
    ],
)
def test_l1_a_decimal_keeps_the_digits_of_its_number(text: str, expected: Any) -> None:
    @tool
    def pay(bill: Bill) -> None:
        """Pay."""

    loaded = pay.checker.load(pay.check(f'{{"bill": {text}}}').arguments)["bill"]
    assert (loaded.lines, loaded.rate) == expected
    read: Any = OutputType(Bill).parse(text)
    assert (read.lines, read.rate) == expected


@dataclass
class Counted:
    name: str
    count: int = field(init=False, default=0)
    seed: InitVar[int] = 1

    def __post_init__(self, seed: int) -> None:
        self.count = seed


class Aliased(Enum):
    RED = "r"
    CRIMSON = "r"
    YES = True
    ONE = 1
    NOTHING = None


def test_only_what_is_read_is_described() -> None:
    def function(x: Counted) -> None: ...
    def colour(x: Aliased) -> None: ...

    asked = OutputType(Counted).format
    assert asked is not None
    assert asked.schema is not None
    for schema in (tool(function).parameters["properties"]["x"], asked.schema):
        assert schema["properties"] == {
            "name": {"type": "string"},
            "seed": {"type": "integer", "default": 1},
        }
    assert tool(colour).parameters["properties"]["x"] == {"enum": ["r", True, None]}


class Pathed(BaseModel):
    city: str = Field("Seoul", validation_alias=AliasPath("place", 0))


class Chosen(BaseModel):
    city: str = Field("Seoul", validation_alias=AliasChoices(AliasPath("place", 0), "town"))


class ByName(Pathed):
    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)


class Populated(Pathed):
    model_config = ConfigDict(populate_by_name=True)


def test_a_field_that_no_name_reaches_is_refused_when_the_tool_is_made() -> None:
    def function(x: list[Pathed]) -> None: ...

    with pytest.raises(ToolDefinitionError) as refused:
        tool(function)
    assert str(refused.value) == (
        "function(x): parameter 'x' cannot be a tool's: list[{name}.Pathed] has no JSON "
        "schema (a field is read from 'place.0' alone, which no schema describes; give it a name "
        "too: AliasChoices('name', AliasPath(...))); use types that JSON can hold, a dataclass or "
        "a pydantic model"
    ).replace("{name}", __name__)
    with pytest.raises(RequestError) as refused_output:
        OutputType(Pathed)
    assert "a field is read from 'place.0' alone" in str(refused_output.value)


@pytest.mark.parametrize(
    ("kind", "name"), [(Chosen, "town"), (ByName, "city"), (Populated, "city")]
)
def test_a_field_with_a_name_beside_its_path_is_read_by_it(kind: Any, name: str) -> None:
    def function(x: Any) -> None: ...

    function.__annotations__["x"] = kind
    made = tool(function)
    assert list(made.parameters["properties"]["x"]["properties"]) == [name]
    loaded = made.checker.load({"x": {name: "Busan"}})
    assert loaded["x"].city == "Busan"
    answered: Any = OutputType(kind).parse(json.dumps({name: "Busan"}))
    assert answered.city == "Busan"


class Foreign:
    """Neither a dataclass nor a model."""


@pytest.mark.parametrize(
    "kind", [Foreign, list[Foreign], Callable[[int], int], dict[str, Foreign | None]]
)
def test_an_output_without_a_schema_is_refused_when_the_agent_is_made(kind: Any) -> None:
    with pytest.raises(RequestError) as refused:
        OutputType(kind)
    assert str(refused.value).startswith(f"output: {kind!r} has no JSON schema (")
    assert str(refused.value).endswith(
        "; use types that JSON can hold, a dataclass or a pydantic model"
    )
    assert "\n" not in str(refused.value)
