"""Counters in SQLite, Postgres and Redis: the same leases, whoever else asks at that moment."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from redis import Redis as Client

from polycall.gateway.accounts.lease import LEASE_S
from polycall.gateway.accounts.redis_counters import RedisCounters
from polycall.gateway.accounts.windows import END_OF_TIME, Window, window_at
from polycall.gateway.store import (
    Counters,
    CountersForgotError,
    Grant,
    LeaseRequest,
    Settlement,
    Store,
    open_store,
)
from polycall.gateway.store.counter_operations import NANOS, SLICES
from tests.gateway.test_store import ROW
from tests.servers import Redis

_numbers = itertools.count()


class Workers:
    """Several workers' counters on one database, and their ledger."""

    def __init__(self, stores: list[Store], counters: list[Counters]) -> None:
        self.stores = stores
        self.counters = counters
        # Another counter for each test: the servers are shared.
        self.key_id = f"key_{next(_numbers)}_{time.time()}"
        self.name = f"usd:{self.key_id}"
        self.now = time.time()
        self.span = window_at("month", self.now)

    def wish(
        self, holder: str, least: int, limit: int, *, until: float | None = None
    ) -> LeaseRequest:
        name, starts, ends = self.span
        until = self.now + LEASE_S if until is None else until
        return LeaseRequest(self.name, name, starts, ends, holder, least, limit, until)

    def settlement(self, spent: int, returned: int) -> Settlement:
        return Settlement(self.name, self.span.name, spent, returned)

    async def left(self) -> tuple[int, int]:
        """What is left of 1,000, and what is leased."""
        grant = await self.counters[0].take(self.wish("nobody.0", 10**12, 1000))
        return grant.left, grant.leased


@pytest.fixture(params=["sqlite", "postgres", "redis"])
async def workers(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Workers]:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_server").database()
    stores = [open_store(url, tmp_path) for _ in range(4)]
    counters: list[Counters] = list(stores)
    if request.param == "redis":
        server: Redis = request.getfixturevalue("redis_server")
        counters = [RedisCounters(server.url, store) for store in stores]
    yield Workers(stores, counters)
    for one in counters:
        if isinstance(one, RedisCounters):
            await one.close()
    for store in stores:
        await store.close()


async def test_never_more_is_granted_than_there_is(workers: Workers) -> None:
    granted = [0]

    async def ask(number: int) -> None:
        counters = workers.counters[number % len(workers.counters)]
        while amount := (await counters.take(workers.wish(f"w{number}.0", 7, 10_000))).amount:
            assert amount >= 7
            granted[0] += amount

    await asyncio.gather(*(ask(number) for number in range(12)))
    assert 10_000 - 7 < granted[0] <= 10_000
    assert await workers.counters[1].take(workers.wish("late.0", 7, 10_000)) == Grant(
        0, 10_000 - granted[0], granted[0]
    )


async def test_slices_shrink_to_one_request(workers: Workers) -> None:
    first = await workers.counters[0].take(workers.wish("a.0", 10, 1000))
    assert first == Grant(1000 // SLICES, 950, 0)
    second = await workers.counters[1].take(workers.wish("b.0", 900, 1000))
    assert second == Grant(900, 50, 50)
    assert (await workers.counters[2].take(workers.wish("c.0", 49, 1000))).amount == 49
    assert await workers.counters[2].take(workers.wish("c.0", 2, 1000)) == Grant(0, 1, 999)
    # A limit that was raised meanwhile counts at once.
    assert (await workers.counters[2].take(workers.wish("c.0", 2, 1010))).amount == 2


async def test_what_was_spent_stays_and_the_rest_comes_back(workers: Workers) -> None:
    await workers.counters[0].take(workers.wish("a.0", 100, 1000))
    until = workers.now + LEASE_S
    assert await workers.counters[0].settle("a.0", [workers.settlement(30, 0)], until) == []
    assert await workers.left() == (900, 70)
    assert await workers.counters[0].settle("a.0", [workers.settlement(5, 65)], until) == []
    assert await workers.left() == (965, 0)
    # Overdrawn: an answer was dearer than what had been reserved.
    await workers.counters[0].take(workers.wish("a.0", 100, 1000))
    assert await workers.counters[0].settle("a.0", [workers.settlement(120, -20)], until) == []
    assert await workers.left() == (845, 0)


async def test_a_dead_workers_lease_counts_until_the_ledger_tells(workers: Workers) -> None:
    counters, store = workers.counters[0], workers.stores[0]
    await counters.take(workers.wish("dead.0", 400, 1000, until=workers.now - 1))
    await workers.counters[1].take(workers.wish("alive.0", 100, 1000))
    assert await workers.left() == (500, 500)
    cost = f"{30 / NANOS:.9f}"
    row = replace(ROW, key_id=workers.key_id, worker="dead", created=workers.now + 1)
    for number in range(4):
        store.add_row(replace(row, id=f"{workers.key_id}-{number}", cost_usd=cost))
    store.add_row(replace(row, id=f"{workers.key_id}-x", worker="alive", cost_usd=cost))
    await asyncio.sleep(0.5)
    assert sorted(await asyncio.gather(*(one.reconcile() for one in workers.counters))) == [
        0,
        0,
        0,
        1,
    ]
    # 4 × 30 were spent of its 400; the living one's lease is as it was.
    assert await workers.left() == (780, 100)
    # It was not dead, only asleep: what it held is gone.  What it spent counts, and once: the four
    # answers that the ledger had told of, one that it had not, and one that ended afterwards.
    until = workers.now + LEASE_S
    for told, left in ((workers.settlement(100, 200), 780), (workers.settlement(70, 0), 730)):
        assert await counters.settle("dead.0", [told], until) == [told]
        assert await workers.left() == (left, 100)
    assert await counters.reconcile() == 0
    again = workers.settlement(9, 0)
    assert await counters.settle("dead.0", [again], until) == [again]
    assert await workers.left() == (721, 100)


@pytest.mark.parametrize("workers", ["redis"], indirect=True)
async def test_what_is_spent_while_others_are_settled_is_of_the_time_after(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that ends between two steps of one settlement is in neither, and is counted."""
    counters, store = workers.counters[0], workers.stores[0]
    await counters.take(workers.wish("dead.0", 400, 1000, until=workers.now - 1))
    clock = itertools.count(workers.now + 1)
    monkeypatch.setattr("polycall.gateway.accounts.redis_counters.time.time", lambda: next(clock))
    other = Settlement(f"{workers.name}-x", workers.span.name, 1, 0)
    await counters.settle("dead.0", [other, workers.settlement(100, 0)], workers.now - 1)
    row = replace(ROW, key_id=workers.key_id, worker="dead", created=workers.now + 1.5)
    store.add_row(replace(row, id=workers.key_id, cost_usd=f"{30 / NANOS:.9f}"))
    await asyncio.sleep(0.5)
    assert await counters.reconcile() == 1
    assert await workers.left() == (870, 0)


@pytest.mark.parametrize("workers", ["redis"], indirect=True)
async def test_counters_that_were_emptied_begin_with_the_ledger(
    workers: Workers, redis_server: Redis
) -> None:
    """Those who had leases, or have not told what they spent, learn that it is counted."""
    for number in range(3):
        await workers.counters[number].take(workers.wish(f"w{number}.0", 100, 1000))
        row = replace(ROW, key_id=workers.key_id, worker=f"w{number}", created=workers.now + 1)
        row = replace(row, id=f"{workers.key_id}-{number}", cost_usd=f"{40 / NANOS:.9f}")
        workers.stores[0].add_row(row)
    await asyncio.sleep(0.5)
    client: Any = Client.from_url(redis_server.url)  # pyright: ignore[reportUnknownMemberType]
    client.flushall()
    client.close()
    with pytest.raises(CountersForgotError):
        await workers.counters[0].take(workers.wish("w0.0", 200, 1000))
    with pytest.raises(CountersForgotError):
        await workers.counters[1].settle("w1.0", [workers.settlement(40, 60)], workers.now + 9)
    with pytest.raises(CountersForgotError):
        await workers.counters[2].reconcile()
    assert await workers.left() == (880, 0)
    assert (await workers.counters[2].take(workers.wish("w2.1", 80, 1000))).amount == 80
    assert await workers.left() == (800, 80)


async def test_a_limit_that_comes_later_counts_what_was_spent_before(workers: Workers) -> None:
    cost = f"{600 / NANOS:.9f}"
    row = replace(ROW, key_id=workers.key_id, cost_usd=cost, created=workers.span.starts + 1)
    workers.stores[0].add_row(replace(row, id=f"{workers.key_id}-1"))
    last_month = replace(row, id=f"{workers.key_id}-2", created=workers.span.starts - 1)
    workers.stores[0].add_row(last_month)
    await asyncio.sleep(0.5)
    assert (await workers.counters[0].take(workers.wish("a.0", 500, 1000))).amount == 0
    assert (await workers.counters[0].take(workers.wish("a.0", 400, 1000))).amount == 400


@pytest.mark.parametrize(
    ("per", "at", "span"),
    [
        ("minute", 125.5, Window("2", 120.0, 180.0)),
        ("day", 86_399.0, Window("1970-01-01", 0.0, 86_400.0)),
        ("day", 86_400.0, Window("1970-01-02", 86_400.0, 172_800.0)),
        ("week", 0.0, Window("1970-W01", -3 * 86_400.0, 4 * 86_400.0)),  # a Thursday
        ("week", 4 * 86_400.0, Window("1970-W02", 4 * 86_400.0, 11 * 86_400.0)),
        ("week", 1_609_459_200.0, Window("2020-W53", 1_609_113_600.0, 1_609_718_400.0)),
        ("total", 1_800_000_000.0, Window("total", 0.0, END_OF_TIME)),
        ("month", 31 * 86_400.0, Window("1970-02", 31 * 86_400.0, 59 * 86_400.0)),
        ("month", 334 * 86_400.0, Window("1970-12", 334 * 86_400.0, 365 * 86_400.0)),
    ],
)
def test_spans_are_in_utc(per: str, at: float, span: Window) -> None:
    assert window_at(per, at) == span
