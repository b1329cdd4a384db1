"""Limits of keys: over workers and replicas, at the edge of a span, through dead workers."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.gateway.harness import KEY, Gateway
from tests.gateway.till import Till, open_till, till_config
from tests.servers import Postgres

MAX_TOKENS = 20
RESERVE = Decimal("0.3")  # rather more than a request may cost
MESSAGES = [{"role": "user", "content": "안녕하세요, 오늘 서울의 날씨는 어떤가요? " * 4}]
BODY = {"model": "till/m", "messages": MESSAGES, "max_tokens": MAX_TOKENS}


@pytest.fixture
def till() -> Iterator[Till]:
    with open_till(seed=5) as server:
        yield server


def start_all(folders: list[Path], config: str) -> list[Gateway]:
    for folder in folders:
        folder.mkdir()
    gateways = [Gateway(folder, config) for folder in folders]
    with ThreadPoolExecutor(len(gateways)) as pool:
        list(pool.map(Gateway.start, gateways))
    return gateways


class Crowd:
    """Clients that ask until they are refused."""

    def __init__(self, gateways: list[Gateway], requests_max: int) -> None:
        self._urls = [f"{gateway.url}/v1/chat/completions" for gateway in gateways]
        self._left = requests_max
        self.statuses: Counter[int] = Counter()
        self.refusals: list[tuple[dict[str, str], Any]] = []

    async def come(self, number: int) -> None:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            await asyncio.gather(*(self._client(session, n) for n in range(number)))

    async def _client(self, session: aiohttp.ClientSession, number: int) -> None:
        while self._left > 0:
            self._left -= 1
            number += 1
            url = self._urls[number % len(self._urls)]
            body = {**BODY, "stream": number % 3 == 0}
            headers = {"authorization": f"Bearer {KEY}"}
            async with session.post(url, json=body, headers=headers) as answer:
                data = await answer.read()
                self.statuses[answer.status] += 1
                if answer.status != 200:
                    self.refusals.append((dict(answer.headers), json.loads(data)))
                    return


def test_h13_h14_a_budget_holds_over_workers_and_replicas(
    till: Till, postgres_server: Postgres, tmp_path: Path
) -> None:
    budget = Decimal(20)
    url = postgres_server.database()
    store = f'[server]\nworkers = 4\n[store]\nurl = "{url}"'
    keys = f'[[keys]]\nkey = "{KEY}"\nname = "team"\nbudget_usd = {budget}\nbudget_per = "day"\n'
    gateways = start_all(
        [tmp_path / str(number) for number in range(2)], till_config(till, store, keys)
    )
    crowd = Crowd(gateways, requests_max=2000)
    asyncio.run(crowd.come(50))
    assert set(crowd.statuses) == {200, 429}, crowd.statuses
    first = till.spent
    assert first <= budget
    # What workers held and did not use comes back, and can be spent.
    time.sleep(2.5)
    last = Crowd(gateways[:1], requests_max=500)
    asyncio.run(last.come(1))
    headers, body = last.refusals[-1]
    assert budget - RESERVE < till.spent <= budget, (first, till.spent)
    day_s = 86_400 - int(time.time()) % 86_400
    assert day_s <= int(headers["Retry-After"]) <= day_s + 10
    assert headers["x-should-retry"] == "false"
    assert body["error"]["type"] == "rate_limit_error"
    assert "has a budget of $20 a day, and too little is left" in body["error"]["message"]
    for gateway in gateways:
        assert gateway.stop() == 0
        assert "Traceback" not in gateway.log
    summed = postgres_server.query(
        "SELECT sum(cost_usd), count(*) FROM ledger WHERE cost_usd > 0", url
    )
    assert summed == f"{till.spent:f}|{len(till.sales)}"
    counter = postgres_server.query("SELECT taken, leased FROM counters", url)
    assert counter == f"{int(till.spent * 1_000_000_000)}|0"
