"""15.4: a budget over replicas, where a faster tier is asked for and prices change meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.gateway.harness import KEY, Gateway
from tests.gateway.test_limits import BODY, start_all
from tests.gateway.till import INPUT_USD, OUTPUT_USD, Till, open_till
from tests.servers import Postgres

BUDGET = Decimal(20)
# Of the usual rates: the faster tier, before and after the change.
FACTORS = (2, 5)


def write_prices(path: Path, factor: int) -> None:
    """A price table of `genai-prices`, in one step."""

    def rates(times: int) -> dict[str, float]:
        return {"input_mtok": float(INPUT_USD * times), "output_mtok": float(OUTPUT_USD * times)}

    variant = {"when": {"service_tier": "priority"}, "prices": rates(factor)}
    model = {"id": "m", "match": {"equals": "m"}, "prices": rates(1), "price_variants": [variant]}
    provider = {"id": "openai", "name": "OpenAI", "api_pattern": "x", "models": [model]}
    new = path.with_suffix(".new")
    new.write_text(json.dumps([provider]), encoding="utf-8")
    later = time.time() + factor
    os.utime(new, (later, later))
    new.replace(path)


def configured(till: Till, url: str, prices: Path) -> str:
    return f"""
[server]
workers = 2
[store]
url = "{url}"
[prices]
refresh = "{prices}"
every_s = 1
[providers.till]
dialect = "openai-chat"
base_url = "{till.base_url}"
api_key = "sk-provider-till"
price_id = "openai"
[[keys]]
key = "{KEY}"
name = "team"
budget_usd = {BUDGET}
budget_per = "day"
"""


async def spend(gateways: list[Gateway], clients: int) -> Counter[int]:
    """Ask for the faster tier until the budget is spent."""
    statuses: Counter[int] = Counter()

    async def client(session: aiohttp.ClientSession, number: int) -> None:
        while True:
            number += 1
            url = f"{gateways[number % len(gateways)].url}/v1/chat/completions"
            body = {**BODY, "service_tier": "priority", "stream": number % 3 == 0}
            headers = {"authorization": f"Bearer {KEY}"}
            async with session.post(url, json=body, headers=headers) as answer:
                await answer.read()
                statuses[answer.status] += 1
                if answer.status != 200:
                    return

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(client(session, number) for number in range(clients)))
    return statuses


@pytest.mark.slow
def test_a_budget_holds_where_tiers_cost_more_and_prices_change(
    postgres_server: Postgres, tmp_path: Path
) -> None:
    prices = tmp_path / "prices.json"
    write_prices(prices, FACTORS[0])
    url = postgres_server.database()
    with open_till(seed=9) as till:
        till.delay_s = 0.05
        folders = [tmp_path / "one", tmp_path / "two"]
        gateways = start_all(folders, configured(till, url, prices))

        def change_prices() -> None:
            while len(till.sales) < 80:
                time.sleep(0.02)
            write_prices(prices, FACTORS[1])

        change = threading.Thread(target=change_prices)
        change.start()
        statuses = asyncio.run(spend(gateways, 8))
        change.join()
        assert set(statuses) == {200, 429}, statuses
        sold = sorted((sale.input_tokens, sale.output_tokens) for sale in till.sales)
        for gateway in gateways:
            assert gateway.stop() == 0
            assert "Traceback" not in gateway.log
    rows = postgres_server.query(
        "SELECT input_tokens, output_tokens, cost_usd FROM ledger WHERE cost_usd > 0", url
    )
    paid = [line.split("|") for line in rows.splitlines()]
    assert sorted((int(read), int(said)) for read, said, _ in paid) == sold
    found: Counter[Any] = Counter()
    for read, said, cost in paid:
        usual = (int(read) * INPUT_USD + int(said) * OUTPUT_USD) / 1_000_000
        found[Decimal(cost) / usual] += 1
    # Each at the tier's rate, of before or of after the change, and at no other.
    assert set(found) == set(map(Decimal, FACTORS)), found
    total = sum((Decimal(cost) for _, _, cost in paid), Decimal(0))
    # Clients leave at their first refusal, while other workers still hold a part.
    assert BUDGET / 2 < total <= BUDGET, (total, found)
    counter = postgres_server.query("SELECT taken, leased FROM counters", url)
    assert counter == f"{int(total * 1_000_000_000)}|0"
