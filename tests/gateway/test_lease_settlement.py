"""What a worker's lease reports to the counters, also if it spent more than it had."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from polycall.config import parse_config
from polycall.errors import RateLimitError, StoreError
from polycall.gateway.accounts.keys import Owner
from polycall.gateway.accounts.lease import IDLE_S, Lease, spend_held
from polycall.gateway.accounts.limits import KeyLimits, Reservation
from polycall.gateway.accounts.windows import window_at
from polycall.gateway.store import Settlement, Store, open_store
from polycall.gateway.store.counter_operations import slice_of
from polycall.ir import Metadata
from tests.gateway.test_store import ROW

NOW = 1_000_000.0


def lease(amount: int, free: int) -> Lease:
    made = Lease("tokens:k", window_at("day", NOW), "w.0")
    made.amount, made.free, made.used_at, made.renew_at = amount, free, NOW, NOW + 10
    return made


def report(made: Lease, now: float = NOW, *, is_last: bool = False) -> tuple[int, int] | None:
    settlement = made.settlement(now, is_last=is_last)
    if settlement is None:
        return None
    assert settlement == Settlement("tokens:k", made.span.name, *settlement[2:])
    made.reported(settlement)
    return settlement[2:]


def test_what_is_spent_is_reported_and_what_is_free_stays() -> None:
    made = lease(100, 70)
    made.spent = 30
    assert report(made) == (30, 0)
    assert (made.amount, made.free, made.spent) == (70, 70, 0)
    assert report(made) is None


def test_what_is_free_goes_back_once_the_lease_is_idle() -> None:
    made = lease(100, 100)
    assert report(made, NOW + IDLE_S) is None
    assert report(made, NOW + IDLE_S + 0.5) == (0, 100)
    assert (made.amount, made.free) == (0, 0)
    assert report(made, NOW + 100) is None


def test_all_that_is_free_goes_back_at_the_end() -> None:
    made = lease(100, 40)
    assert report(made, is_last=True) == (0, 40)


def test_a_lease_is_renewed_in_time() -> None:
    made = lease(100, 100)
    made.used_at = NOW + 10
    assert report(made, NOW + 9.9) is None
    assert report(made, NOW + 10) == (0, 0)


def test_an_overdrawn_lease_takes_the_difference_at_once() -> None:
    """The answer cost 120 of a lease of 100: the counter pays 20 more, without waiting for idle."""
    made = lease(100, 0)
    made.held = 100
    spend_held([(made, 100)], 120)
    assert (made.held, made.spent, made.free) == (0, 120, -20)
    assert report(made) == (120, -20)
    assert (made.amount, made.free, made.spent) == (0, 0, 0)


def test_a_report_that_failed_is_made_again() -> None:
    made = lease(100, 70)
    made.spent = 30
    first = made.settlement(NOW, is_last=True)
    assert first is not None
    made.reported(first)
    made.reported(first, -1)
    assert made.settlement(NOW, is_last=True) == first
    assert (made.amount, made.free, made.spent) == (100, 70, 30)


@pytest.mark.parametrize(
    ("left", "least", "granted"),
    [(1000, 10, 50), (1000, 50, 50), (1000, 51, 51), (100, 10, 10), (10, 10, 10), (9, 10, 0)],
)
def test_the_size_of_a_slice(left: int, least: int, granted: int) -> None:
    assert slice_of(left, least) == granted


def test_one_sum_for_several_reservations_is_counted_once() -> None:
    first, second = lease(100, 0), lease(100, 0)
    first.held = second.held = 100
    spend_held([(first, 100), (second, 100)], 30)
    assert (first.spent, first.free, first.held) == (30, 70, 0)
    assert (second.spent, second.free, second.held) == (0, 100, 0)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    made = open_store("sqlite:///store.db", tmp_path)
    yield made
    await made.close()


async def test_settling_replaces_what_was_reserved_by_what_was_used(store: Store) -> None:
    limits = KeyLimits(store, counters="", worker="w", clock=lambda: NOW)
    owner = Owner(id="k", name="k")
    hold = Reservation()
    taken, is_held = await limits.leased("usd", owner, "day", 1000, 400)
    assert is_held
    hold.money.append((taken, 400))
    row = replace(ROW, input_tokens=10, output_tokens=20)
    limits.settle(hold, row, Decimal("0.00000045"), is_answer=True)
    assert (taken.spent, taken.held, taken.free) == (450, 0, -50)
    await limits.close()
    again = KeyLimits(store, counters="", worker="v", clock=lambda: NOW)
    assert (await again.leased("usd", owner, "day", 1000, 551))[1] is False
    later = KeyLimits(store, counters="", worker="u", clock=lambda: NOW)
    assert (await later.leased("usd", owner, "day", 1000, 550))[1] is True
    await again.close()
    await later.close()


async def test_what_a_dead_process_owes_is_counted_for_its_key_and_team(store: Store) -> None:
    """Where nobody has asked for a limit yet, its counter begins with the ledger anyway."""
    team = Owner(id="team_t", name="t", budget_usd=Decimal("0.000001"), budget_per="day")
    owner = Owner(id="k", name="k", budget_usd=Decimal("0.000001"), budget_per="day", team=team)
    limits = KeyLimits(store, counters="", worker="w", clock=lambda: NOW)
    taken, _ = await limits.leased("usd", owner, "day", 1000, 100)
    of_team, _ = await limits.leased("usd", team, "day", 1000, 100)
    spend_held([(taken, 100), (of_team, 100)], 10)
    limits.charge(owner, Decimal("0.0000004"))
    await limits.close()
    later = KeyLimits(store, counters="", worker="u", clock=lambda: NOW)
    for each, left in ((owner, 590), (team, 590)):
        assert (await later.leased("usd", each, "day", 1000, left + 1))[1] is False
    more = KeyLimits(store, counters="", worker="v", clock=lambda: NOW)
    for each, left in ((owner, 590), (team, 590)):
        assert (await more.leased("usd", each, "day", 1000, left))[1] is True
    await later.close()
    await more.close()


@pytest.mark.parametrize(
    ("tokens", "is_answer", "spent"),
    [(None, True, 400), (None, False, 0), (30, True, 30), (30, False, 30)],
)
async def test_an_answer_of_unknown_use_costs_what_was_reserved(
    store: Store, tokens: int | None, is_answer: bool, spent: int
) -> None:
    limits = KeyLimits(store, counters="", worker="w", clock=lambda: NOW)
    hold = Reservation()
    taken, _ = await limits.leased("tokens", Owner(id="k", name="k"), "day", 1000, 400)
    hold.tokens.append((taken, 400))
    row = replace(ROW, input_tokens=tokens, output_tokens=None if tokens is None else 0)
    limits.settle(hold, row, None, is_answer=is_answer)
    assert taken.spent == spent
    await limits.close()


async def test_a_refusal_says_when_to_ask_again(store: Store) -> None:
    limits = KeyLimits(store, counters="", worker="w", clock=lambda: NOW)
    owner = Owner(id="k", name="k", requests_per_minute=1)
    await limits.count_request(owner)
    with pytest.raises(RateLimitError) as caught:
        await limits.count_request(owner)
    assert caught.value.retry_after_s == window_at("minute", NOW).ends - NOW
    await limits.close()


class SizedRequest:
    """A request of known size, for `Sized`."""

    model = "m"
    service_tier = ""
    output_reserved: int | None = None

    def __init__(
        self, input_tokens: int, output: int | None, candidates: int, readings: int
    ) -> None:
        self._sizes = input_tokens, output, candidates, readings

    async def size_tokens(self, services: Any) -> int:
        return self._sizes[0]

    def output_tokens_max(self) -> int | None:
        return self._sizes[1]

    def candidates_max(self) -> int:
        return self._sizes[2]

    def readings_max(self) -> int:
        return self._sizes[3]

    def premium_usage_hints(self, input_tokens: int, output_tokens: int) -> Metadata:
        return {}


@pytest.mark.parametrize(
    ("sizes", "reserved"),
    [
        ((10, 20, 1, 1), 30),
        ((10, 20, 3, 1), 70),
        ((10, 20, 1, 4), 120),
        ((10, 20, 3, 4), 280),
        ((999, 20, 1, 1), 1000),  # a larger one may have a minute for itself
    ],
)
async def test_every_candidate_and_every_reading_is_reserved_for(
    store: Store, sizes: tuple[int, int, int, int], reserved: int
) -> None:
    limits = KeyLimits(store, counters="", worker="w", clock=lambda: NOW)
    services: Any = None  # this request knows its sizes
    limits.configure(parse_config("", environment={}), services)
    hold = Reservation()
    owner = Owner(id="k", name="k", tokens_per_minute=1000)
    await limits.reserve(hold, owner, SizedRequest(*sizes))
    assert [amount for _, amount in hold.tokens] == [reserved]
    await limits.close()


@pytest.mark.parametrize(
    ("known", "reserved"), [([20], 30), ([20, 50], 60), ([None], 110), ([20, None], 110), ([], 10)]
)
async def test_a_request_without_a_bound_reserves_what_its_models_may_write(
    store: Store, known: list[int | None], reserved: int
) -> None:
    """At most: of several targets the longest, and of a model that nobody knows the setting."""
    limits = KeyLimits(store, counters="", worker="w", clock=lambda: NOW)
    targets = [
        SimpleNamespace(
            model="m",
            provider=SimpleNamespace(capabilities={"m": SimpleNamespace(output_tokens=number)}),
        )
        for number in known
    ]

    def possible(model: str) -> list[SimpleNamespace]:
        return targets

    services: Any = SimpleNamespace(router=SimpleNamespace(possible=possible))
    limits.configure(parse_config("[limits]\noutput_tokens = 100\n", environment={}), services)
    hold, request = Reservation(), SizedRequest(10, None, 1, 1)
    await limits.reserve(hold, Owner(id="k", name="k", tokens_per_minute=1000), request)
    assert [amount for _, amount in hold.tokens] == [reserved]
    assert request.output_reserved == (reserved - 10 or None)
    await limits.close()


async def test_nothing_is_left_of_a_lease_that_the_counters_forgot(store: Store) -> None:
    limits = KeyLimits(store, counters="", worker="w", clock=lambda: NOW)
    owner = Owner(id="k", name="k")
    lost, is_held = await limits.leased("tokens", owner, "day", 1000, 40)
    assert is_held
    limits._forget()
    assert (lost.is_lost, lost.free, lost.amount, lost.spent) == (True, 0, 0, 0)
    new, is_held = await limits.leased("tokens", owner, "day", 1000, 40)
    assert is_held
    assert new is not lost
    assert new.holder != lost.holder
    await limits.close()


@pytest.mark.parametrize(("when_down", "serves"), [("serve", True), ("refuse", False)])
async def test_while_the_store_is_unreachable_the_configuration_decides(
    store: Store, monkeypatch: pytest.MonkeyPatch, when_down: str, serves: bool
) -> None:
    limits = KeyLimits(store, counters="", worker="w", clock=lambda: NOW)
    config = parse_config(f'[store]\nwhen_down = "{when_down}"\n', environment={})
    services: Any = None  # counting requests needs none of them
    limits.configure(config, services)
    owner = Owner(id="k", name="k", requests_per_minute=1)
    await limits.count_request(owner)

    async def down(*_: object) -> Any:
        raise StoreError("unreachable")

    monkeypatch.setattr(store, "take", down)
    monkeypatch.setattr(store, "is_up", False)
    if serves:
        limits.check_store()
        await limits.count_request(owner)
        (lease,) = limits._leases  # pyright: ignore[reportPrivateUsage]
        assert lease.free == -1  # overdrawn, until the store is back
    else:
        with pytest.raises(StoreError):
            limits.check_store()
        with pytest.raises(StoreError):
            await limits.count_request(owner)
    await limits.close()
