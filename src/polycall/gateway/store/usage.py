"""Sums of the ledger, by whatever somebody wants to know."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import msgspec
from msgspec import Struct

from polycall.gateway.store.base import Operation, Query

# What can be summed by, as the ledger's columns say it.
GROUPS = {
    "key": "key",
    "model": "CASE provider WHEN '' THEN asked ELSE provider || '/' || model END",
    "day": "utc_day(created)",
    "hour": "utc_hour(created)",
    "provider": "provider",
    "outcome": "outcome",
    "team": "team_id",
}
_SUMS = (
    "COUNT(*), SUM(CASE WHEN outcome IN ('ok', 'cached') THEN 0 ELSE 1 END), "
    "SUM(COALESCE(input_tokens, 0)), SUM(COALESCE(cached_tokens, 0)), "
    "SUM(COALESCE(cache_write_tokens, 0)), SUM(COALESCE(output_tokens, 0)), "
    "SUM(COALESCE(reasoning_tokens, 0)), SUM(COALESCE(calls, 0)), "
    "exact_sum(cost_usd), "
    "SUM(CASE WHEN cost_usd IS NULL AND input_tokens IS NOT NULL THEN 1 ELSE 0 END)"
)


class UsageRow(Struct, frozen=True):
    """A sum.  `unpriced` is how many of the requests used tokens that have no known price."""

    group: tuple[str, ...]
    requests: int
    not_ok: int
    input_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    calls: int
    cost_usd: Decimal
    unpriced: int


def usage(
    by: Sequence[str], *, since: float, until: float, key: str | None
) -> Operation[list[UsageRow]]:
    """One row for each combination of `by`, in their order; `until` is not included."""
    columns = [GROUPS[name] for name in by]
    numbers = ", ".join(str(place) for place in range(1, len(by) + 1))
    head = "".join(f"{column}, " for column in columns)
    tail = f" GROUP BY {numbers} ORDER BY {numbers}" if by else ""
    rows = yield Query(
        f"SELECT {head}{_SUMS} FROM ledger "  # noqa: S608 - constant names
        f"WHERE created >= ? AND created < ? AND key = COALESCE(?, key){tail}",
        (since, until, key),
    )
    return [
        sum_row(
            tuple(str(value) for value in row[: len(by)]),
            [Decimal(str(value or 0)) for value in row[len(by) :]],
        )
        for row in rows
    ]


def sum_row(group: tuple[str, ...], numbers: Sequence[Decimal]) -> UsageRow:
    """A sum of these numbers, in the order of the fields."""
    named = zip(UsageRow.__struct_fields__[1:], numbers, strict=True)
    return msgspec.convert(
        {"group": group, **{k: n if k == "cost_usd" else int(n) for k, n in named}}, UsageRow
    )
