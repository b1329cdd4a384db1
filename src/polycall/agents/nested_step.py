"""A step of an agent that works as a tool of another."""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct

from polycall.ir import Response, ToolResult


class NestedStep(Struct, frozen=True, omit_defaults=True):
    """A step of an agent below: `path` are the ids of the calls that lead there."""

    path: list[str]
    number: int
    response: Response
    results: list[ToolResult] = []
    cost: Decimal | None = None
