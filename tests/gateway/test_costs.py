"""Costs: the same as the price table says, only faster; unknown is not zero."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from typing import Any, Self

import pytest
from bench import costs as beside
from genai_prices import Usage as PricedUsage
from genai_prices import calc_price

from polycall.config import parse_config
from polycall.fold import fold
from polycall.gateway.accounts.costs import Costs
from polycall.ir import Usage
from polycall.providers.catalogue import CATALOGUE
from polycall.providers.dialects import DIALECTS
from polycall.providers.prices import cost_usd
from polycall.providers.provider import DialectName

USAGES = [
    Usage(input_tokens=10, output_tokens=20),
    Usage(input_tokens=150_000, output_tokens=4_000, cached_tokens=100_000),
    Usage(input_tokens=300_000, output_tokens=4_000, cached_tokens=100_000),
    Usage(input_tokens=3_000, output_tokens=5, cached_tokens=1_000, cache_write_tokens=1_500),
    Usage(),
]
MODELS = [
    ("anthropic", "claude-sonnet-4-5"),
    ("anthropic", "claude-3-5-haiku-latest"),
    ("google", "gemini-2.5-pro"),
    ("google", "gemini-2.5-flash"),
    ("openai", "gpt-4o"),
    ("openai", "nobody-knows-this"),
]


@pytest.fixture(scope="module")
def costs() -> Costs:
    made = Costs(parse_config('[providers.openai]\napi_key = "k"\n', environment={}))
    ends_at = time.monotonic() + 20
    openai, usage = CATALOGUE["openai"], USAGES[0]
    while made.known(openai, "gpt-4o", usage) is None and time.monotonic() < ends_at:
        time.sleep(0.02)
    return made


@pytest.mark.parametrize(("name", "model"), MODELS)
def test_h04_h07_the_same_as_the_table(costs: Costs, name: str, model: str) -> None:
    provider = CATALOGUE[name]
    for usage in USAGES:
        assert costs.known(provider, model, usage) == cost_usd(provider, model, usage)


def test_h09_unknown_is_not_zero(costs: Costs) -> None:
    assert costs.known(CATALOGUE["openai"], "nobody-knows-this", USAGES[0]) is None
    assert costs.known(CATALOGUE["openai"], "gpt-4o", USAGES[0]) != Decimal(0)


def test_h07_a_price_of_the_hour_is_that_of_the_hour(
    costs: Costs, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Decimal | None] = []
    expected: list[Decimal | None] = []
    for hour in (2, 5, 7, 2):  # UTC: dear and cheap in turn
        at = datetime(2026, 11, 20, hour, 30, tzinfo=UTC)

        class Then(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None, *, at: datetime = at) -> Self:
                return cls.fromtimestamp(at.timestamp(), tz)

        monkeypatch.setattr("genai_prices.data_snapshot.datetime", Then)
        monkeypatch.setattr("time.time", at.timestamp)
        usage = USAGES[0]
        found.append(costs.known(CATALOGUE["deepseek"], "deepseek-v4-flash", usage))
        priced = PricedUsage(input_tokens=10, output_tokens=20)
        table = calc_price(
            priced, "deepseek-v4-flash", provider_id="deepseek", genai_request_timestamp=at
        )
        expected.append(table.total_price)
    assert found == expected
    assert len(set(found)) > 1


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dialect", beside.SOURCES)
def test_h04_fifty_recorded_answers_cost_what_the_table_reads(dialect: DialectName) -> None:
    if not (beside.SHARED / "corpus").is_dir():
        pytest.skip("no recorded answers: POLYCALL_SHARED is not there")
    found: dict[str, list[tuple[Decimal | None, Decimal | None]]] = {}
    for body in beside.bodies(dialect):
        read = beside.both(dialect, body)
        if read is not None:
            found.setdefault(read[0], []).append(read[1:])
    # Some of every kind of usage: cached, written to a cache, reasoning, searches, sound.
    some = [pair for pairs in found.values() for pair in pairs[: 2 + 100 // len(found)]]
    assert len(some) >= 50
    assert [pair for pair in some if pair[0] != pair[1]] == []
    assert all(ours != 0 for ours, _ in some)


def test_h08_fast_mode_has_its_own_price() -> None:
    model = "claude-opus-4-8"
    plain = Usage(1_000, 1_000, metadata={"anthropic": {"speed": "standard"}})
    fast = Usage(1_000, 1_000, metadata={"anthropic": {"speed": "fast"}})
    anthropic = CATALOGUE["anthropic"]
    prices = [cost_usd(anthropic, model, usage) for usage in (plain, fast)]
    assert prices[0] is not None
    assert prices[1] is not None
    assert prices[1] > prices[0]


def test_h05_cache_tokens_that_come_with_the_last_event_are_counted() -> None:
    """DashScope's Anthropic wire says them in `message_delta` alone."""
    events: list[dict[str, Any]] = [
        {
            "type": "message_start",
            "message": {
                "id": "m",
                "type": "message",
                "role": "assistant",
                "model": "qwen",
                "content": [],
                "usage": {"input_tokens": 0, "output_tokens": 0},
            },
        },
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"input_tokens": 10, "cache_read_input_tokens": 90, "output_tokens": 5},
        },
        {"type": "message_stop"},
    ]
    decoder = DIALECTS["anthropic"].StreamDecoder()
    lines = [f"event: {each['type']}\ndata: {json.dumps(each)}\n\n" for each in events]
    response = fold([*decoder.feed("".join(lines).encode()), *decoder.close()])
    usage = response.usage
    assert (usage.input_tokens, usage.cached_tokens, usage.output_tokens) == (100, 90, 5)
