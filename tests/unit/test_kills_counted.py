"""`bench.kills` counts as wrong what its page says must hold."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from bench.kills_traffic import BUSY, Sent, Traffic

ONE, TWO = Decimal(1), Decimal(2)


@pytest.mark.parametrize(
    ("sent", "cost", "sales", "holds"),
    [
        (Sent("ask-wide-90", "r", 0.0), ONE, [ONE], True),
        (Sent("ask-wide-90", "r", 0.0), ONE, [], False),
        (Sent("ask-wide-90", "r", 0.0), ONE, [ONE, TWO], False),
        (Sent("ask-wide-2", "r", 0.0), TWO, [ONE, TWO], True),
        (Sent("ask-wide-2", "r", 0.0), Decimal(0), [ONE, TWO], False),
        (Sent("ask-wide-2", "r", 0.0, is_hit=True), Decimal(0), [ONE], True),
        (Sent("ask-wide-2", "r", 0.0, is_hit=True), ONE, [ONE], False),
        (Sent("ask-wide-2", "r", 0.0, is_hit=True), Decimal(0), [], False),
    ],
)
def test_a_row_costs_what_was_sold_and_a_hit_nothing(
    sent: Sent, cost: Decimal, sales: list[Decimal], *, holds: bool
) -> None:
    assert sent.costs(cost, sales) is holds


@pytest.mark.parametrize("kind", ["background", "batch", "mcp", "plain", "program"])
@pytest.mark.parametrize("status", [BUSY[0], 500])
async def test_a_refusal_of_any_kind_is_wrong_unless_a_limit_or_a_store_may_give_it(
    monkeypatch: pytest.MonkeyPatch, kind: str, status: int
) -> None:
    async def refused(*_: object, **__: object) -> tuple[int, str, dict[str, str]]:
        return status, "no", {}

    async def at_once(_: float) -> None: ...

    gateways: Any = [None]
    traffic = Traffic(gateways, 1)
    monkeypatch.setattr(traffic, "request", refused)
    monkeypatch.setattr(asyncio, "sleep", at_once)
    await traffic.ask(kind, "free", "ask-free-90")
    assert bool(traffic.wrong) is (status == 500)
