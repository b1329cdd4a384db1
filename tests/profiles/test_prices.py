"""What answers cost: service tiers (M3), and prices newer than the table (M5)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from genai_prices import Usage as PricedUsage
from genai_prices import calc_price, data_snapshot

from polycall.config import parse_config
from polycall.dialects import gemini, openai_chat, openai_responses
from polycall.errors import ConfigError, RequestError
from polycall.gateway.accounts.costs import Costs
from polycall.gateway.passthrough.body import usage_of
from polycall.ir import Usage
from polycall.providers.catalogue import CATALOGUE
from polycall.providers.late_prices import complete_table
from polycall.providers.prices import cost_usd
from polycall.providers.refresh import PriceRefresh
from tests.origins import Handler, serving

MILLION = Usage(input_tokens=1_000_000, output_tokens=1_000_000)
OPENAI = CATALOGUE["openai"]


def tiered(tier: str) -> Usage:
    return Usage(input_tokens=1_000_000, output_tokens=1_000_000, service_tier=tier)


@pytest.mark.parametrize(
    ("model", "tier", "dollars"),
    [
        ("gpt-5.6-sol", "", "38"),
        ("gpt-5.6-sol", "default", "38"),
        ("gpt-5.6-sol", "priority", "76"),
        ("gpt-5.6-sol", "flex", "19"),
        ("gpt-5.4", "priority", "35"),
        ("gpt-4o", "priority", "21.25"),
    ],
)
def test_m03_a_service_tier_has_its_own_price(model: str, tier: str, dollars: str) -> None:
    assert cost_usd(OPENAI, model, tiered(tier)) == Decimal(dollars)


def of(tokens: int, tier: str = "", **more: Any) -> Usage:
    return Usage(input_tokens=tokens, output_tokens=tokens, service_tier=tier, **more)


@pytest.mark.parametrize(
    ("name", "usage", "dollars"),
    [
        ("openai/gpt-6.2-sol", of(100_000), "1.2"),
        ("openai/gpt-6.2-sol", of(1_000_000), "19"),
        ("openai/gpt-6.2-astra", of(100_000, "priority"), "9.6"),
        ("openai/gpt-6.2-astra", of(100_000, "batch"), "2.4"),
        ("openai/gpt-6.2-astra", of(100_000, cached_tokens=50_000), "4.42"),
        ("openai/gpt-6-astra", of(100_000, "ultrafast"), "36"),
        ("openai/gpt-6.1-sol", of(100_000, "priority"), "2.4"),  # the table's own
        ("google/gemini-4-hydrogen", of(100_000), "0.9"),
        ("google/gemini-4-neon", of(100_000, "priority"), "3.24"),
        ("google/gemini-3.8-flash", of(100_000, "priority"), "0.81"),
        ("google/gemini-3.8-flash", of(100_000, "flex"), "0.225"),
        ("google/gemini-3.8-flash", of(100_000, "batch"), "0.225"),  # the table's own
    ],
)
def test_m05_models_and_tiers_of_the_last_weeks_are_priced(
    name: str, usage: Usage, dollars: str
) -> None:
    provider, _, model = name.partition("/")
    cost = cost_usd(CATALOGUE[provider], model, usage)
    assert cost is not None
    assert cost == Decimal(dollars)


def test_m05_a_price_that_is_announced_holds_from_its_day() -> None:
    complete_table()
    days = [datetime(2026, 11, 30, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)]
    costs = [
        calc_price(
            PricedUsage(input_tokens=1_000_000, output_tokens=1_000_000),
            "gemini-4-carbon",
            provider_id="google",
            genai_request_timestamp=day,
        ).total_price
        for day in days
    ]
    assert costs == [12, 24]


def test_m05_what_the_table_has_itself_counts() -> None:
    complete_table()
    snapshot = data_snapshot.get_snapshot()
    (openai,) = [each for each in snapshot.providers if each.id == "openai"]
    names = [model.id for model in openai.models]
    assert len(names) == len(set(names))


async def test_m03_the_gateway_prices_and_reserves_by_tier() -> None:
    costs = Costs(parse_config('[providers.openai]\napi_key = "k"\n', environment={}))
    most = await costs.at_most(OPENAI, "gpt-5.6-sol", tiered("priority"))
    assert most is not None
    assert most >= Decimal(76)
    assert costs.known(OPENAI, "gpt-5.6-sol", tiered("priority")) == Decimal(76)
    assert costs.known(OPENAI, "gpt-5.6-sol", tiered("flex")) == Decimal(19)
    assert costs.known(OPENAI, "gpt-5.6-sol", tiered("default")) == Decimal(38)


CHAT: dict[str, Any] = {
    "id": "c",
    "object": "chat.completion",
    "model": "gpt-5.6-sol",
    "choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1_000_000, "completion_tokens": 1_000_000},
    "service_tier": "priority",
}
RESPONSE: dict[str, Any] = {
    "id": "r",
    "object": "response",
    "status": "completed",
    "model": "gpt-5.6-sol",
    "output": [],
    "usage": {"input_tokens": 1_000_000, "output_tokens": 1_000_000},
    "service_tier": "flex",
}


def test_m03_the_answer_says_which_tier_it_was() -> None:
    assert openai_chat.parse_response(CHAT).usage.service_tier == "priority"
    assert openai_responses.parse_response(RESPONSE).usage.service_tier == "flex"
    counts = {"promptTokenCount": 1, "candidatesTokenCount": 1, "trafficType": "ON_DEMAND_FLEX"}
    told = gemini.parse_response({"candidates": [{}], "usageMetadata": counts})
    assert told.usage.service_tier == "flex"
    for dialect, body in ((openai_chat, CHAT), (openai_responses, RESPONSE)):
        whole = usage_of(dialect, json.dumps(body).encode())  # pyright: ignore[reportArgumentType]
        assert whole.service_tier == body["service_tier"]


def test_m03_a_stream_says_which_tier_it_was() -> None:
    head = {"id": "c", "object": "chat.completion.chunk", "model": "m", "service_tier": "priority"}
    delta = {"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}
    chunks: list[dict[str, Any]] = [
        {**head, "choices": [delta]},
        {**head, "choices": [], "usage": CHAT["usage"]},
    ]
    decoder = openai_chat.StreamDecoder()
    for chunk in chunks:
        decoder.feed(b"data: " + json.dumps(chunk).encode() + b"\n\n")
    decoder.feed(b"data: [DONE]\n\n")
    decoder.close()
    assert decoder.usage.service_tier == "priority"
    assert cost_usd(OPENAI, "gpt-5.6-sol", decoder.usage) == Decimal(76)


def test_m03_a_sum_of_tiers_is_of_none() -> None:
    assert (tiered("flex") + tiered("flex")).service_tier == "flex"
    assert (tiered("flex") + tiered("priority")).service_tier == ""


# ---------------------------------------------------------------------------------------------
# Newer prices


@pytest.fixture(autouse=True)
def _same_table() -> Iterator[None]:
    complete_table()
    before = data_snapshot._custom_snapshot  # pyright: ignore[reportPrivateUsage]
    yield
    data_snapshot.set_custom_snapshot(before)


def table(model: str, dollars: float, *, start: str | None = None) -> bytes:
    prices: Any = {"input_mtok": dollars, "output_mtok": dollars}
    if start is not None:
        prices = [
            {"prices": {"input_mtok": 1, "output_mtok": 1}},
            {"constraint": {"type": "start_date", "start_date": start}, "prices": prices},
        ]
    provider = {
        "id": "openai",
        "name": "OpenAI",
        "api_pattern": "https://api\\.openai\\.com",
        "models": [{"id": model, "match": {"equals": model}, "prices": prices}],
    }
    return json.dumps([provider]).encode()


def test_m05_a_model_of_last_week_has_a_price_after_a_refresh(tmp_path: Path) -> None:
    assert cost_usd(OPENAI, "gpt-7-sol", MILLION) is None
    (tmp_path / "prices.json").write_bytes(table("gpt-7-sol", 3))
    assert PriceRefresh("prices.json", folder=tmp_path).refresh() == 1
    assert cost_usd(OPENAI, "gpt-7-sol", MILLION) == Decimal(6)
    assert cost_usd(OPENAI, "gpt-5.6-sol", MILLION) == Decimal(38), "the others stay"
    assert cost_usd(CATALOGUE["anthropic"], "claude-opus-5-5", MILLION) == Decimal(24)


def test_m05_prices_never_go_back_in_time(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    refresh = PriceRefresh(str(path))
    path.write_bytes(table("gpt-7-sol", 5, start="2026-11-20"))
    assert refresh.refresh() == 1
    assert cost_usd(OPENAI, "gpt-7-sol", MILLION) == Decimal(10)
    path.write_bytes(table("gpt-7-sol", 1, start="2026-10-01"))
    assert refresh.refresh() == 0, "the latest price of that table begins earlier"
    path.write_bytes(table("gpt-7-sol", 1, start="2026-11-21"))
    os.utime(path, (1_000_000_000, 1_000_000_000))
    assert refresh.refresh() == 0, "the file is older than the one before"
    assert cost_usd(OPENAI, "gpt-7-sol", MILLION) == Decimal(10)


@pytest.mark.parametrize(
    "data", [b"", b"<html>", b"{}", b'[{"id": "x"}]', b'[1, "two"]', table("m", 1)[:-20]]
)
def test_m05_what_is_no_price_table_changes_nothing(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "prices.json"
    path.write_bytes(data)
    with pytest.raises(RequestError, match=r"prices\.json"):
        PriceRefresh(str(path)).refresh()
    assert cost_usd(OPENAI, "gpt-5.6-sol", MILLION) == Decimal(38)


def test_m05_what_cannot_be_reached_changes_nothing(tmp_path: Path) -> None:
    for source in (str(tmp_path / "none.json"), "http://127.0.0.1:9/prices.json"):
        with pytest.raises(RequestError, match="cannot be read"):
            PriceRefresh(source).refresh()


class _Table(Handler):
    def do_GET(self) -> None:
        self.answer(table("gpt-7-luna", 2))


async def test_m05_the_gateway_refreshes_before_it_says_that_there_is_no_price() -> None:
    with serving(_Table) as url:
        text = f'[providers.openai]\napi_key = "k"\n[prices]\nrefresh = "{url}/prices.json"\n'
        with closing(Costs(parse_config(text, environment={}))) as costs:
            assert await costs.at_most(OPENAI, "gpt-7-luna", MILLION) == Decimal(4)


def test_m05_a_wrong_setting_is_reported_with_its_line() -> None:
    with pytest.raises(ConfigError, match=r":2: prices\.refresh_every"):
        parse_config("[prices]\nrefresh_every = 5\n", environment={})


def test_m05_prices_that_cannot_be_laid_under_the_table_are_missed_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr("genai_prices.types._providers_from_raw")
    complete_table.__wrapped__()
    assert "late_prices.toml are not used" in caplog.text
