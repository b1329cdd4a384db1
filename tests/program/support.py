"""What the tests of programs share: a sandbox or a reason to skip, tools, scripted runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated, Any, Literal

import pydantic
from typing_extensions import TypedDict

from polycall._support import jsontext
from polycall.ir import Message, Request, Text, ToolCall, ToolResult
from polycall.loop import LoopEvent, RunEnd
from polycall.tools import FunctionTool, ToolContext, tool

BOTH = ["direct", "code"]


class Order(TypedDict):
    id: str
    amount: float
    month: int


def request(text: str = "go", **settings: Any) -> Request:
    return Request(model="test/scripted", messages=[Message("user", [Text(text)])], **settings)


def program(code: str, call_id: str = "p1") -> ToolCall:
    return ToolCall(call_id, "run_code", jsontext.encode({"code": code}))


def call(name: str, call_id: str = "c1", **arguments: Any) -> ToolCall:
    return ToolCall(call_id, name, jsontext.encode(arguments))


async def collect(events: AsyncGenerator[LoopEvent]) -> tuple[list[LoopEvent], RunEnd]:
    seen = [event async for event in events]
    end = seen[-1]
    assert isinstance(end, RunEnd)
    return seen, end


def results(end: RunEnd) -> list[ToolResult]:
    return [result for step in end.steps for result in step.results]


def shop(calls: list[str] | None = None) -> list[FunctionTool[..., Any]]:
    """Tools of a shop; their calls are noted in `calls`."""
    noted = [] if calls is None else calls

    @tool(allowed_callers=BOTH)
    async def get_orders(region: Literal["north", "south"], limit: int = 3) -> list[Order]:
        """Orders of a region."""
        noted.append(f"get_orders {region}")
        return [Order(id=f"{region[0]}{i}", amount=i * 10.0, month=i % 12) for i in range(limit)]

    @tool(allowed_callers=["code"])
    async def charge(order: str, amount: Annotated[float, pydantic.Field(gt=0)]) -> str:
        """Charge an order."""
        noted.append(f"charge {order}")
        return f"charged {order}"

    @tool
    async def delete_shop() -> str:
        """Deletes everything."""
        noted.append("delete_shop")
        return "gone"

    @tool(allowed_callers=BOTH)
    async def find(order: str, context: ToolContext[Any]) -> str:
        """Finds an order."""
        noted.append(f"find {order} for {context.deps}")
        if order == "none":
            raise LookupError(f"no order {order!r}")
        return "7"

    @tool(allowed_callers=BOTH, deadline_s=0.05)
    async def slow() -> str:
        """Takes long."""
        await asyncio.sleep(5)
        return "late"

    return [get_orders, charge, delete_shop, find, slow]
