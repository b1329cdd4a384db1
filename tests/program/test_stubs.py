"""Stubs: what a model sees of the tools, the same text every time."""

from __future__ import annotations

import ast
import random
from typing import Annotated, Any, Literal, NotRequired

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import TypedDict

from polycall.errors import ToolError
from polycall.program import Catalogue, estimated_tokens
from polycall.program.stubs import StubWriter, signatures
from polycall.tools import FunctionTool, tool, tool_from_schema


class Order(TypedDict):
    id: str
    amount: Annotated[float, pydantic.Field(description="in US dollars")]
    note: NotRequired[str | None]


class Node(TypedDict):
    value: int
    children: list[Node]


@tool(allowed_callers=["code"])
async def get_orders(region: Literal["north", "south"], limit: int = 20) -> list[Order]:
    """Orders of a region.

    Newest first.

    Args:
        region: where they were made
    """
    return []


@tool(allowed_callers=["code"])
async def cheapest(of: list[Order]) -> Order | None:
    """The cheapest "one\"\"\"."""


@tool(allowed_callers=["code"])
async def tree(root: Node) -> Node:
    return root


def echo(arguments: dict[str, Any]) -> Any:
    return arguments


def by_schema(name: str, parameters: Any, output: Any = None) -> FunctionTool[..., Any]:
    return tool_from_schema(
        name, "A tool.", parameters, echo, output_schema=output, allowed_callers=["code"]
    )


def stubs(*tools: FunctionTool[..., Any]) -> str:
    writer, by_name = StubWriter(), {each.name: each for each in tools}
    return "\n".join(
        writer.stub(signature, by_name[signature.tool]) for signature in signatures(tools).values()
    )


def test_a_stub_has_types_of_parameters_and_result() -> None:
    assert stubs(get_orders) == (
        "class GetOrdersResultItem(TypedDict):\n"
        "    id: str\n"
        "    amount: float  # in US dollars\n"
        "    note: NotRequired[str | None]\n"
        "async def get_orders(\n"
        "    region: Literal['north', 'south'],  # where they were made\n"
        "    limit: int = 20,\n"
        ") -> list[GetOrdersResultItem]:\n"
        '    """Orders of a region."""'
    )


def test_shapes_that_contain_themselves_and_quotes_in_texts() -> None:
    text = stubs(tree, cheapest)
    assert "class Node(TypedDict):\n    value: int\n    children: list[Node]\n" in text
    assert "async def tree(root: Node) -> Node:\n    ..." in text
    assert text.count("class Node") == 1
    ast.parse(text)


def test_every_kind_of_schema() -> None:
    parameters = {
        "type": "object",
        "properties": {
            "from": {"type": "string", "format": "date"},
            "max-size": {"type": ["integer", "null"], "default": None},
            "any_of": {"anyOf": [{"type": "string"}, {"type": "null"}, {"type": "string"}]},
            "choice": {"enum": ["a]", "b | c", 1]},
            "free": {"type": "object"},
            "values": {"type": "object", "additionalProperties": {"type": "number"}},
            "pair": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}]},
            "unknown": {},
            "odd": {"type": "object", "properties": {"x-y": {"type": "boolean"}}},
            "whole": {"allOf": [{"type": "integer"}]},
        },
        "required": ["max-size"],
    }
    text = stubs(by_schema("class", parameters, {"const": "ok"}))
    assert text == (
        "ClassOdd = TypedDict('ClassOdd', {'x-y': NotRequired[bool]})\n"
        "async def class_(\n"
        "    max_size: int | None,\n"
        "    from_: str = ...,  # date\n"
        "    any_of: str | None = ...,\n"
        "    choice: Literal['a]', 'b | c', 1] = ...,\n"
        "    free: dict[str, Any] = ...,\n"
        "    values: dict[str, float] = ...,\n"
        "    pair: list[str | int] = ...,\n"
        "    unknown: Any = ...,\n"
        "    odd: ClassOdd = ...,\n"
        "    whole: int = ...,\n"
        ") -> Literal['ok']:\n"
        '    """A tool."""'
    )
    ast.parse(text)
    assert stubs(by_schema("b", None, {"$ref": "#/nowhere"})).startswith("async def b() -> Any:")


def test_equal_shapes_are_written_once_and_others_apart() -> None:
    def place(kind: str) -> Any:
        inner = {"title": "Place", "type": "object", "properties": {"at": {"type": kind}}}
        return {"type": "array", "items": inner}

    text = stubs(
        by_schema("a", None, place("string")),
        by_schema("b", None, place("string")),
        by_schema("c", None, place("integer")),
    )
    heads = [line for line in text.splitlines() if not line.startswith(" ")]
    assert heads == [
        "class Place(TypedDict):",
        "async def a() -> list[Place]:",
        "async def b() -> list[Place]:",
        "class Place2(TypedDict):",
        "async def c() -> list[Place2]:",
    ]


def test_functions_never_share_a_name_or_hide_what_programs_need() -> None:
    names = ["print", "a-b", "a_b", "a.b", "2fast", "", "await", "ToolError", "날씨"]
    found = signatures([by_schema(name, None) for name in names])
    assert {each.tool: name for name, each in found.items()} == {
        "": "_",
        "2fast": "_2fast",
        "ToolError": "ToolError_",
        "a-b": "a_b",
        "a.b": "a_b_",
        "a_b": "a_b_2",
        "await": "await_",
        "print": "print_",
        "날씨": "날씨",
    }


_SCHEMAS = st.recursive(
    st.sampled_from(
        [
            {},
            {"type": "string"},
            {"type": ["integer", "null"]},
            {"enum": ["x'", None, True]},
            {"const": 'a"b'},
            {"type": "array"},
            {"$ref": "#/$defs/t"},
        ]
    ),
    lambda inner: st.one_of(
        inner.map(lambda each: {"type": "array", "items": each}),
        st.lists(inner, min_size=1, max_size=3).map(lambda each: {"anyOf": each}),
        st.dictionaries(
            st.sampled_from(["a", "b-c", "def", "날", "x y", "_"]), inner, max_size=3
        ).map(lambda each: {"type": "object", "properties": each, "required": ["a", "def"]}),
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.text(max_size=6), _SCHEMAS, max_size=4), _SCHEMAS, st.text(max_size=40))
def test_stubs_are_python(properties: dict[str, Any], output: Any, description: str) -> None:
    root = {"type": "object", "properties": properties, "$defs": {"t": {"type": "object"}}}
    made = tool_from_schema("t", description, root, echo, output_schema=output)
    ast.parse(stubs(made))


def many(count: int) -> list[FunctionTool[..., Any]]:
    nouns = ["invoice", "customer", "shipment", "ticket", "payment", "branch", "report", "webhook"]
    verbs = ["create", "find", "list", "update", "delete", "archive", "export", "approve"]
    parameters = {
        "type": "object",
        "properties": {"id": {"type": "string"}, "limit": {"type": "integer", "default": 10}},
        "required": ["id"],
    }
    output = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
    made: list[FunctionTool[..., Any]] = []
    for number in range(count):
        noun, verb = nouns[number % 8], verbs[number // 8 % 8]
        made.append(
            tool_from_schema(
                f"{noun}_{verb}_{number}",
                f"{verb.title()} the {noun}s of team {number}.",
                parameters,
                echo,
                output_schema=output,
                allowed_callers=["code"],
            )
        )
    return made


def test_the_text_is_the_same_over_100_requests_in_any_order() -> None:
    for tools in ([get_orders, cheapest, tree, *many(20)], many(500)):
        texts: set[bytes] = set()
        for seed in range(100):
            random.Random(seed).shuffle(tools)
            texts.add(Catalogue(tools).description.encode())
        assert len(texts) == 1


def test_few_tools_are_listed_and_500_are_searched() -> None:
    few, lots = Catalogue(many(5)), Catalogue(many(500))
    assert not few.is_searchable
    assert few.helpers() == {}
    assert "async def invoice_create_0(id: str, limit: int = 10) -> " in few.description
    assert lots.is_searchable
    assert "There are 500 tools" in lots.description
    assert "invoice (63)" in lots.description
    assert estimated_tokens(lots.description) < 3_000


async def test_searching_and_describing() -> None:
    catalogue = Catalogue(many(500))
    found = await catalogue.search_tools("approve a payment for team 60", limit=3)
    assert found[0] == {
        "name": "payment_approve_60",
        "signature": "payment_approve_60(id: str, limit: int = 10) -> PaymentApprove60Result",
        "doc": "Approve the payments of team 60.",
    }
    assert len(found) == 3
    assert await catalogue.search_tools("zzz") == []
    with pytest.raises(ToolError, match="there is no tool 'payment_aprove_60' for programs"):
        await catalogue.describe_tool("payment_aprove_60")
    assert await catalogue.describe_tool("payment_approve_60") == (
        "class PaymentApprove60Result(TypedDict):\n"
        "    id: str\n"
        "async def payment_approve_60(id: str, limit: int = 10) -> PaymentApprove60Result:\n"
        '    """Approve the payments of team 60."""'
    )


@pytest.mark.parametrize("kind", [{"a": 1}, [{}], [["string"]], 3, None])
def test_a_result_of_no_known_type_may_be_anything(kind: Any) -> None:
    """A client's schema of results is checked by nobody."""
    root = {"type": "object", "properties": {}}
    assert stubs(by_schema("f", root, {"type": kind})).startswith("async def f() -> Any:")
