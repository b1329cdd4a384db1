"""Costs: the same as the price table says, only faster; unknown is not zero."""

from __future__ import annotations

import time
from decimal import Decimal

import pytest

from polycall.config import parse_config
from polycall.gateway.costs import Costs
from polycall.ir import Usage
from polycall.providers.catalogue import CATALOGUE
from polycall.providers.prices import cost_usd

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
