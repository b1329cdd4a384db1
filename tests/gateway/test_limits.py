"""Limits of keys: over workers and replicas, at the edge of a span, through dead workers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import anthropic
import openai
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types as genai_types
from msgspec.structs import replace

from polycall.errors import RateLimitError
from polycall.gateway.accounts.keys import Owner
from polycall.gateway.accounts.limits import KeyLimits
from polycall.gateway.store import open_store
from polycall.sim import Call as SimCall
from polycall.sim import Simulation, Turn
from tests.gateway.harness import KEY, OTHER_KEY, Answer, Gateway, provider_table
from tests.gateway.till import Till, open_till, till_config
from tests.sandbox.support import usable
from tests.servers import Postgres, redis

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


def spend_the_rest(gateway: Gateway) -> tuple[dict[str, str], Any]:
    """Ask until the refusal is for the rest of the span; gives that."""
    for _ in range(5):
        time.sleep(2.0)
        last = Crowd([gateway], requests_max=500)
        asyncio.run(last.come(1))
        headers, body = last.refusals[-1]
        if int(headers["Retry-After"]) > 2:
            return headers, body
    raise AssertionError("others still hold some of it")


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
    headers, body = spend_the_rest(gateways[0])
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


SETTINGS = f"""
[[keys]]
key = "{KEY}"
name = "slow"
requests_per_minute = 1000
tokens_per_minute = 1
[[keys]]
key = "{OTHER_KEY}"
name = "poor"
budget_usd = 0.3
budget_per = "day"
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with open_till(seed=5) as till:
        config = till_config(till, "[limits]\noutput_tokens = 5", SETTINGS)
        gateway = Gateway(tmp_path_factory.mktemp("limits"), config).start()
        yield gateway
        assert gateway.stop() == 0


def ask_chat(gateway: Gateway) -> None:
    url = f"{gateway.url}/v1"
    with openai.OpenAI(base_url=url, api_key=KEY, max_retries=0) as client:
        client.chat.completions.create(model="till/m", messages=[{"role": "user", "content": "hi"}])


def ask_responses(gateway: Gateway) -> None:
    url = f"{gateway.url}/v1"
    with openai.OpenAI(base_url=url, api_key=KEY, max_retries=0) as client:
        client.responses.create(model="till/m", input="hi")


def ask_anthropic(gateway: Gateway) -> None:
    with anthropic.Anthropic(base_url=gateway.url, api_key=KEY, max_retries=0) as client:
        client.messages.create(
            model="till/m", max_tokens=5, messages=[{"role": "user", "content": "hi"}]
        )


def ask_gemini(gateway: Gateway) -> None:
    options = genai_types.HttpOptions(base_url=gateway.url)
    client: Any = genai.Client(api_key=KEY, http_options=options)
    try:
        client.models.generate_content(model="till/m", contents="hi")
    finally:
        client.close()


def away_from_the_minutes_edge() -> None:
    """So that what is counted is counted within one minute."""
    if time.time() % 60 > 55:
        time.sleep(5.1)


@pytest.mark.parametrize(
    ("ask", "expected"),
    [
        (ask_chat, openai.RateLimitError),
        (ask_responses, openai.RateLimitError),
        (ask_anthropic, anthropic.RateLimitError),
        (ask_gemini, genai_errors.ClientError),
    ],
)
def test_over_the_limit_every_sdk_raises_its_own_error_with_a_time(
    served: Gateway, ask: Callable[[Gateway], None], expected: type[Exception]
) -> None:
    away_from_the_minutes_edge()
    # A request larger than the limit may have a minute for itself; the next may not.
    with pytest.raises(expected) as caught:
        for _ in range(2):
            ask(served)
    error: Any = caught.value
    headers = error.response.headers
    assert 0 < int(headers["retry-after"]) <= 60
    assert "the key 'slow' may use 1 tokens a minute; the count starts again at 20" in str(error)


def test_h09_a_budget_needs_a_price(served: Gateway, tmp_path: Path) -> None:
    answer = served.request(
        "POST", "/v1/chat/completions", {**BODY, "model": "till/other"}, key=OTHER_KEY
    )
    assert answer.status == 403
    assert answer.json()["error"]["message"] == (
        "the key 'poor' has a budget, and 'till/other' has no known price; add it under "
        "[providers.till.prices], in dollars for a million tokens: "
        '"other" = { input = 1.00, output = 5.00 }; or newer prices under [prices]: '
        'refresh = "ADDRESS"; or under [limits]: unpriced = "allow"'
    )
    with open_till(seed=1) as till:
        config = till_config(till, '[limits]\nunpriced = "allow"', SETTINGS)
        other = Gateway(tmp_path, config).start()
        answer = other.request(
            "POST", "/v1/chat/completions", {**BODY, "model": "till/other"}, key=OTHER_KEY
        )
        assert answer.status == 200
        assert other.stop() == 0


# The last of them is no way to reserve less than nothing.
@pytest.mark.parametrize(
    "more",
    [
        {"max_tokens": 100},
        {"n": 9},
        {"max_tokens": 1e300},
        {"max_tokens": 10**30},
        {"max_tokens": 100, "n": -9},
    ],
)
def test_a_request_above_the_whole_budget_is_told_what_to_do(
    served: Gateway, more: dict[str, Any]
) -> None:
    body = {**BODY, **more}
    answer = served.request("POST", "/v1/chat/completions", body, key=OTHER_KEY)
    assert answer.status == 400
    message = answer.json()["error"]["message"]
    assert "more than the whole budget of the key 'poor' ($0.3 a day)" in message
    assert message.endswith("ask for fewer max tokens")


def test_caches_that_last_an_hour_are_reserved_for_at_their_price(
    tmp_path: Path, sim: Simulation
) -> None:
    config = f"""
[providers.anthropic]
base_url = "{sim.base_url("anthropic")}"
api_key = "sk-sim"
"""
    caches: list[dict[str, Any]] = [
        {},
        {"cache_control": {"type": "ephemeral", "ttl": "5m"}},
        {"cache_control": {"type": "ephemeral", "ttl": "1h"}},
    ]
    keys = [f"{KEY}-{number}" for number in range(len(caches))]
    for key in keys:
        config += f'[[keys]]\nkey = "{key}"\nbudget_usd = 0.045\nbudget_per = "day"\n'
    gateway = Gateway(tmp_path, config).start()
    answers: list[Answer] = []
    for key, more in zip(keys, caches, strict=True):
        text = {"type": "text", "text": "소리 " * 5_000, **more}
        body = {
            "model": "anthropic/claude-sonnet-4-5",
            "max_tokens": 1,
            "messages": [{"role": "user", "content": [text]}],
        }
        answers.append(gateway.request("POST", "/v1/messages", body, key=key))
    gateway.stop()
    assert [answer.status for answer in answers] == [200, 200, 400]
    assert "more than the whole budget" in answers[-1].json()["error"]["message"]


OWNER = Owner(id="key_clock", name="clock", requests_per_minute=3)


async def test_h13_no_refusal_outlives_its_minute(tmp_path: Path) -> None:
    now = [0.0]
    store = open_store("sqlite:///store.db", tmp_path)
    limits = [KeyLimits(store, counters="", worker=f"w{n}", clock=lambda: now[0]) for n in range(2)]
    # Three seconds before the minute's end, at once when the next begins, and later.
    for now[0], left_s in ((657.0, 3.0), (660.0, 60.0), (777.5, 2.5)):
        for number in range(3):
            await limits[number % 2].count_request(OWNER)
        for one in limits:
            with pytest.raises(RateLimitError) as caught:
                await one.count_request(OWNER)
            assert caught.value.retry_after_s == left_s
    for one in limits:
        await one.close()
    await store.close()


async def test_a_worker_that_ends_while_it_tells_what_it_spent_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store("sqlite:///store.db", tmp_path)
    settle, is_telling = store.settle, asyncio.Event()

    async def slowly(*settlements: Any) -> Any:
        is_telling.set()
        await asyncio.sleep(0.2)
        return await settle(*settlements)

    monkeypatch.setattr(store, "settle", slowly)
    limits = KeyLimits(store, counters="", worker="w", clock=lambda: 4_000_000_000.0)
    await limits.count_request(replace(OWNER, requests_per_minute=1000))  # a slice of 50
    await asyncio.wait_for(is_telling.wait(), 10)
    await limits.close()
    await store.close()
    with sqlite3.connect(tmp_path / "store.db") as connection:
        assert connection.execute("SELECT taken, leased FROM counters").fetchall() == [(1, 0)]
    connection.close()


def test_a_count_that_is_none_costs_what_was_reserved(tmp_path: Path) -> None:
    keys = f'[[keys]]\nkey = "{KEY}"\nname = "team"\nbudget_usd = 5\n'
    with open_till(seed=2) as till:
        gateway = Gateway(tmp_path, till_config(till, "", keys)).start()
        for till.claims in (10**30, 10**300, 0):
            assert gateway.request("POST", "/v1/chat/completions", BODY).status == 200
        assert gateway.stop() == 0, gateway.log
        assert "Traceback" not in gateway.log
    with contextlib.closing(sqlite3.connect(tmp_path / "polycall.db")) as database:
        rows = database.execute("SELECT cost_usd FROM ledger ORDER BY created").fetchall()
        ((taken,),) = database.execute("SELECT taken FROM counters").fetchall()
    assert rows[:2] == [(None,), (None,)]
    least, most = RESERVE + Decimal(rows[2][0]), RESERVE * 3
    assert least * 1_000_000_000 < taken < most * 1_000_000_000


# Aborted and killed


def test_i06_aborted_streams_give_back_what_they_held_once(tmp_path: Path) -> None:
    keys = f'[[keys]]\nkey = "{KEY}"\nname = "team"\nbudget_usd = 5\n'
    with open_till(seed=2) as till:
        till.delay_s = 2.0
        gateway = Gateway(tmp_path, till_config(till, "", keys)).start()
        asyncio.run(leave_early(gateway))
        till.delay_s = 0.0
        answer = gateway.request("POST", "/v1/chat/completions", BODY)
        assert answer.status == 200
        assert gateway.stop() == 0
        assert "Traceback" not in gateway.log
    with contextlib.closing(sqlite3.connect(tmp_path / "polycall.db")) as database:
        outcomes = dict(database.execute("SELECT outcome, COUNT(*) FROM ledger GROUP BY 1"))
        costs = [Decimal(cost) for (cost,) in database.execute("SELECT cost_usd FROM ledger")]
        counters = database.execute("SELECT taken, leased FROM counters").fetchall()
        leases = database.execute("SELECT COUNT(*) FROM leases").fetchone()
    assert outcomes == {"cancelled": 12, "ok": 1}
    assert counters == [(int(sum(costs) * 1_000_000_000), 0)]
    assert leases == (0,)


async def leave_early(gateway: Gateway) -> None:
    async def one(session: aiohttp.ClientSession) -> None:
        headers = {"authorization": f"Bearer {KEY}"}
        url = f"{gateway.url}/v1/chat/completions"
        await session.post(url, json={**BODY, "stream": True}, headers=headers)

    async with aiohttp.ClientSession() as session:
        asking = [asyncio.ensure_future(one(session)) for _ in range(12)]
        await asyncio.to_thread(await_in_flight, gateway, 12)
        for each in asking:
            each.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    await asyncio.to_thread(await_in_flight, gateway, 0)


def await_in_flight(gateway: Gateway, number: int) -> None:
    ends_at = time.monotonic() + 10
    while f"\npolycall_in_flight {number}\n".encode() not in (
        gateway.request("GET", "/metrics").content
    ):
        assert time.monotonic() < ends_at
        time.sleep(0.05)


def test_a_killed_gateways_lease_is_reconciled_by_its_peer(tmp_path: Path) -> None:
    keys = f'[[keys]]\nkey = "{KEY}"\nname = "team"\nbudget_usd = 5\n'
    database = tmp_path / "shared.db"
    with open_till(seed=2) as till:
        config = till_config(till, f'[store]\nurl = "sqlite:///{database}"', keys)
        first, second = start_all([tmp_path / "a", tmp_path / "b"], config)
        for _ in range(5):
            assert first.request("POST", "/v1/chat/completions", BODY).status == 200
        time.sleep(0.4)
        first.kill()
        with contextlib.closing(sqlite3.connect(database, timeout=10)) as connection, connection:
            leased = connection.execute("SELECT leased FROM counters").fetchone()[0]
            # As if half a minute had gone by.
            connection.execute("UPDATE leases SET expires = expires - 60")
        assert leased > 0
        assert second.request("POST", "/v1/chat/completions", BODY).status == 200
        time.sleep(1.2)
        assert second.stop() == 0
        with contextlib.closing(sqlite3.connect(database)) as connection:
            counters = connection.execute("SELECT taken, leased FROM counters").fetchall()
        assert counters == [(int(till.spent * 1_000_000_000), 0)]


def test_counters_in_redis_hold_a_budget_and_fail_closed(
    till: Till, postgres_server: Postgres, tmp_path: Path
) -> None:
    url = postgres_server.database()
    keys = (
        f'[[keys]]\nkey = "{KEY}"\nname = "team"\nbudget_usd = 4\n'
        f'[[keys]]\nkey = "{OTHER_KEY}"\nname = "free"\n'
    )
    with redis() as server:
        store = f'[store]\nurl = "{url}"\ncounters = "{server.url}"'
        gateways = start_all([tmp_path / "a", tmp_path / "b"], till_config(till, store, keys))
        crowd = Crowd(gateways, requests_max=500)
        asyncio.run(crowd.come(20))
        spend_the_rest(gateways[0])
        assert set(crowd.statuses) == {200, 429}
        assert 4 - RESERVE < till.spent <= 4
        server.stop()
        statuses = [
            gateways[0].request("POST", "/v1/chat/completions", BODY, key=key).status
            for key in (KEY, OTHER_KEY)
        ]
        assert statuses == [503, 200]
        for gateway in gateways:
            assert gateway.stop() == 0
            assert "Traceback" not in gateway.log


async def test_a_program_reserves_for_every_answer_of_its_model(tmp_path: Path) -> None:
    await usable("jail")
    prices = 'quirks = "openai"\n[providers.priced.prices]\nm = { input = 1, output = 3000 }'
    keys = f'[[keys]]\nkey = "{KEY}"\nname = "team"\nbudget_usd = 2\n'
    turns = [Turn(calls=[SimCall("run_code", {"code": f"print({n})"})]) for n in range(4)]
    with Simulation(seed=3) as sim:
        sim.script("openai", "m", turns)
        table = provider_table("priced", sim.base_url("openai"), "openai-chat", prices)
        gateway = Gateway(tmp_path, table + keys).start()
        tool = {"name": "now", "parameters": {"type": "object"}}
        body = {
            "model": "priced/m",
            "messages": [{"role": "user", "content": "go"}],
            "tools": [{"type": "function", "function": tool}],
            "max_tokens": 300,
        }
        headers = {"polycall-calling": "code"}
        answer = await asyncio.to_thread(
            gateway.request, "POST", "/v1/chat/completions", body, headers=headers
        )
        # Two answers of up to $0.90 fit into it, and a third does not.
        assert answer.status == 429, answer.content
        assert sim.remaining("openai", "m") == 2
        assert gateway.stop() == 0
    with contextlib.closing(sqlite3.connect(tmp_path / "polycall.db")) as database:
        rows = database.execute("SELECT cost_usd, attempts, calls FROM ledger").fetchall()
        counters = database.execute("SELECT taken, leased FROM counters").fetchall()
    assert [row[1:] for row in rows] == [(2, 2)]
    assert counters == [(int(Decimal(rows[0][0]) * 1_000_000_000), 0)]
    assert counters[0][0] > 0


async def test_a_program_that_waits_again_costs_what_its_model_was_asked(tmp_path: Path) -> None:
    await usable("jail")
    prices = 'quirks = "openai"\n[providers.priced.prices]\nm = { input = 1, output = 3000 }'
    keys = f'[[keys]]\nkey = "{KEY}"\nname = "team"\nbudget_usd = 5\n'
    code = "for number in range(3):\n    await now()"
    with Simulation(seed=3) as sim:
        sim.script("openai", "m", [Turn(calls=[SimCall("run_code", {"code": code})]), Turn("done")])
        table = provider_table("priced", sim.base_url("openai"), "openai-chat", prices)
        gateway = Gateway(tmp_path, table + keys).start()
        tool = {"name": "now", "parameters": {"type": "object"}}
        messages: list[Any] = [{"role": "user", "content": "go"}]
        body = {
            "model": "priced/m",
            "messages": messages,
            "tools": [{"type": "function", "function": tool}],
            "max_tokens": 300,
        }
        for _ in range(4):
            answer = await asyncio.to_thread(
                gateway.request,
                "POST",
                "/v1/chat/completions",
                body,
                headers={"polycall-calling": "code"},
            )
            message = answer.json()["choices"][0]["message"]
            results = [
                {"role": "tool", "tool_call_id": call["id"], "content": "12:00"}
                for call in message.get("tool_calls") or ()
            ]
            messages += [message, *results]
        assert messages[-1]["content"] == "done"
        assert gateway.stop() == 0
    with contextlib.closing(sqlite3.connect(tmp_path / "polycall.db")) as database:
        rows = database.execute("SELECT attempts, cost_usd FROM ledger ORDER BY created").fetchall()
        counters = database.execute("SELECT taken, leased FROM counters").fetchall()
    assert [(attempts, cost is None) for attempts, cost in rows] == [
        (1, False), (0, True), (0, True), (1, False),
    ]  # fmt: skip
    spent = sum(Decimal(cost) for _, cost in rows if cost is not None)
    assert counters == [(int(spent * 1_000_000_000), 0)]
