"""The search of the ledger gives what looking at every row gives, in SQLite and in Postgres."""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import astuple, replace

from polycall.errors import RequestError
from polycall.gateway.store import Actor, LedgerRow, Store, open_store
from polycall.gateway.store import admin_operations as people
from polycall.gateway.store import search as module
from polycall.gateway.store.audit_operations import check, entries, record
from polycall.gateway.store.base import AdminRow
from polycall.gateway.store.ledger_json import quantile
from polycall.gateway.store.operations import add_rows
from polycall.gateway.store.search import BOUNDS_MS, Search, one, search, series

START = 1_790_000_000.0
ROWS = 1500


def rows() -> list[LedgerRow]:
    draw = random.Random(3)
    made: list[LedgerRow] = []
    for number in range(ROWS):
        outcome = draw.choice(["ok"] * 8 + ["error", "cancelled"])
        status = 200 if outcome == "ok" else draw.choice([429, 503, 499, 200])
        made.append(
            LedgerRow(
                id=f"req_{draw.getrandbits(40):010x}{number}",
                created=START + number // 3,  # several at one moment
                key=draw.choice(["alice", "김민수", "x'; --"]),
                client="openai-chat",
                asked="fast",
                provider=draw.choice(["a", "b"]),
                model=draw.choice(["m-1", "m_1", "m%1"]),
                streamed=0,
                status=status,
                outcome=outcome,
                attempts=1,
                input_tokens=None if outcome == "error" else 10,
                output_tokens=5,
                cached_tokens=0,
                cache_write_tokens=0,
                reasoning_tokens=0,
                is_estimate=0,
                cost_usd=draw.choice([None, "0", "0.000000001", "0.25", "3"]),
                duration_ms=draw.choice([1.0, 150.0, 70_000.0]),
                first_ms=draw.choice([None, 20.0]),
                warnings=draw.choice([0, 0, 0, 2]),
                error="" if outcome == "ok" else draw.choice(["Rate 100% LIMIT", "a_b 날씨!", ""]),
                team_id=draw.choice(["", "team_1"]),
                details='{"attempts": []}' if number == 7 else "",
            )
        )
    return made


def is_wanted(row: LedgerRow, wanted: Search) -> bool:
    """What the search means, said another way."""
    names = ("key", "team_id", "model", "provider", "client", "outcome")
    cost = None if row.cost_usd is None else float(row.cost_usd)
    return (
        all(getattr(wanted, name) in ("", getattr(row, name)) for name in names)
        and wanted.status in (None, row.status)
        and (not wanted.warned or row.warnings > 0)
        and (not wanted.failed or row.outcome not in ("ok", "cached"))
        and (wanted.cost_min is None or (cost is not None and cost >= wanted.cost_min))
        and wanted.text.lower() in row.error.lower()
        and (not wanted.text or row.error != "")
        and wanted.since <= row.created < wanted.until
    )


SEARCHES = [
    Search(),
    Search(key="김민수"),
    Search(key="x'; --", status=429),
    Search(model="m_1"),
    Search(model="m%1", provider="b", outcome="ok"),
    Search(status=200, key="alice"),
    Search(status=499, failed=True, warned=True),
    Search(failed=True),
    Search(warned=True, team_id="team_1"),
    Search(text="100% limit"),
    Search(text="a_b"),
    Search(text="a%b"),
    Search(text="날씨!", key="alice", status=503),
    Search(cost_min=0.25),
    Search(cost_min=0.0, key="alice"),
    Search(since=START + 100, until=START + 101),
    Search(client="none"),
]


@pytest.fixture
async def store(store_url: str, tmp_path: Path) -> AsyncIterator[Store]:
    made = open_store(store_url, tmp_path)
    yield made
    await made.close()


async def test_each_search_finds_the_same_rows_page_by_page(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So that pages end between their rows, and at the bound of what is examined.
    monkeypatch.setattr(module, "SCANNED_MAX", 70)
    monkeypatch.setattr(module, "_COVERED_MAX", 90)
    all_rows = rows()
    await store.change(add_rows([astuple(row) for row in all_rows]))
    newest = sorted(all_rows, key=lambda row: (row.created, row.id), reverse=True)
    for wanted in SEARCHES:
        found: list[LedgerRow] = []
        after: Any = None
        for _ in range(ROWS):
            operation = search(replace(wanted, after=after, limit=23))
            page = await store.look_up(operation)
            assert len(page.rows) <= 23
            found += page.rows
            after = page.after
            if after is None:
                break
        expected = [row.id for row in newest if is_wanted(row, wanted)]
        assert [row.id for row in found] == expected, wanted
    whole = await store.look_up(one(all_rows[7].id))
    assert whole is not None
    assert whole.details == '{"attempts": []}'
    assert Decimal(whole.cost_usd or 0) == Decimal(all_rows[7].cost_usd or 0)
    assert await store.look_up(one("' OR 1=1")) is None


async def test_sums_over_time_are_exact(store: Store) -> None:
    all_rows = rows()
    await store.change(add_rows([astuple(row) for row in all_rows]))
    points = await store.look_up(
        series(["key"], since=START, until=START + 500, bucket_s=100, filters=Search(provider="a"))
    )
    mine = [row for row in all_rows if row.provider == "a"]
    assert sum(point.requests for point in points) == len(mine)
    for point in points:
        here = [
            row
            for row in mine
            if row.key == point.group[0] and row.created // 100 == point.at // 100
        ]
        cost = sum((Decimal(row.cost_usd or 0) for row in here), Decimal(0))
        assert point.nanodollars == cost * 10**9
        assert point.requests == len(here)
        assert point.unpriced == sum(
            row.cost_usd is None and row.input_tokens is not None for row in here
        )
        assert point.not_ok == sum(row.outcome != "ok" for row in here)
        assert point.duration_ms[BOUNDS_MS.index(200)] == sum(r.duration_ms <= 200 for r in here)
        assert point.duration_ms[-1] == len(here)
        assert point.first_ms[-1] == sum(row.first_ms is not None for row in here)
        took = [row.duration_ms for row in here]
        assert point.duration_range == (min(took), max(took))
    with pytest.raises(RequestError, match="1 to 500 points"):
        await store.look_up(series([], since=0, until=START, bucket_s=1, filters=Search()))


@pytest.mark.parametrize(
    "took",
    [[900.0], [123_456.0], [3.0, 4.0], [70_000.0, 80_000.0, 700_000.0], [30.0] * 99 + [61_000.0],
     [25.0, 50.0, 100.0], [0.0, 0.0], [float(n * n) for n in range(1, 400)]],
    ids=lambda took: f"{len(took)} from {took[0]:.0f} ms",
)  # fmt: skip
def test_a_quantile_is_in_its_class_and_in_the_range_of_what_was_measured(
    took: list[float],
) -> None:
    counts = [*(sum(each <= bound for each in took) for bound in BOUNDS_MS), len(took)]
    edges = (0.0, *map(float, BOUNDS_MS), max(took))
    for share in (0.5, 0.95):
        found = quantile(counts, (min(took), max(took)), share)
        true = sorted(took)[max(0, math.ceil(share * len(took)) - 1)]
        low = max(edge for edge in edges if edge < true or edge == 0)
        high = min(edge for edge in edges if edge >= true)
        assert found is not None
        assert min(took) <= found <= max(took)
        assert low <= found <= high
    if len(set(took)) == 1:
        assert found == took[0]


async def test_administrators_and_their_acts_are_kept(store: Store) -> None:
    by = Actor("me \0 \ud800", "owner", "command")
    row = AdminRow("adm_1", "첫째", "owner", created=START)
    await store.act(people.create_admin(row), by, "admin.create", "첫째", {"x": "\ud800"})
    with pytest.raises(RequestError, match="there is, or was"):
        await store.act(people.create_admin(row), by, "admin.create", "첫째", {})
    await store.act(people.set_admin_key("첫째", b"digest", "sk-pca-1"), by, "admin.key", "x", {})
    found = await store.look_up(people.admin_by_key(b"digest"))
    assert found == replace(row, digest=b"digest", prefix="sk-pca-1")
    now = START + 10
    await store.change(people.add_token(b"link", "adm_1", "link", now, now + 10))
    assert await store.change(people.take_link(b"link", b"session", now + 11, now + 99)) is None
    taken = await store.change(people.take_link(b"link", b"session", now + 1, now + 99))
    assert taken == found
    assert await store.change(people.take_link(b"link", b"other", now + 1, now + 99)) is None
    assert await store.look_up(people.admin_by_session(b"session", now + 50)) == found
    assert await store.look_up(people.admin_by_session(b"session", now + 100)) is None
    assert await store.look_up(people.admin_by_session(b"link", now)) is None
    await store.change(record(by, "long", "x" * 10_000, {"text": "y" * 100_000}, now=now))
    acts = await store.look_up(entries(None, 10))
    assert [act.number for act in acts] == [3, 2, 1]
    assert [act.action for act in acts] == ["long", "admin.key", "admin.create"]
    assert len(acts[0].detail) < 5000
    assert await store.look_up(check()) == ""
