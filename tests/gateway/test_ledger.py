"""The ledger beside what the upstream counted: kills, clean stops, a database that goes away."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import resource
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest

from polycall.config import parse_config
from polycall.errors import StoreError
from polycall.gateway.accounts.keys import Owner
from polycall.gateway.accounts.limits import KeyLimits
from polycall.gateway.app import Gateway as Application
from polycall.gateway.store import open_store
from polycall.sim import Call, Simulation, Turn
from tests.gateway.drivers import DRIVERS, Result
from tests.gateway.harness import KEY, UPSTREAMS, Gateway
from tests.gateway.till import Till, open_till, till_config
from tests.servers import Postgres, postgres

CLIENTS = 12
MESSAGES = [{"role": "user", "content": "hi"}]
KEYS = f'[[keys]]\nkey = "{KEY}"\nname = "team"\n'
FLUSH_S = 0.25
PATIENCE_S = 0.5  # while an outage has not been noticed
# What a loaded machine adds to it: the timer is late, and so is the commit.
LATE_S = 0.5
CALL, OTHER = Call("get_weather", {"city": '"name": "서울"'}), Call("now", {})
ANSWER_S_MAX = 10


@pytest.fixture
def till() -> Iterator[Till]:
    with open_till(seed=8, numbered=True) as server:
        yield server


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[Postgres]:
    """A cluster that these tests may stop."""
    with postgres() as server:
        yield server


@pytest.mark.parametrize("streamed", [False, True])
def test_every_request_has_its_row(sim: Simulation, gateway: Gateway, streamed: bool) -> None:
    asked: dict[str, tuple[str, str]] = {}
    turns = [Turn(text='a "name": "x"', calls=[CALL, CALL, OTHER]), Turn(text="done")]
    for client, upstream in itertools.product(DRIVERS, list(UPSTREAMS)[:4]):
        model = f"ledger-{streamed}-{client}-{upstream}"
        sim.script(UPSTREAMS[upstream][0], model, turns)
        driver = DRIVERS[client](gateway.url, KEY, f"{upstream}/{model}", streamed=streamed)
        step = driver.ask("weather?")
        assert driver.give([Result(call, "ok") for call in step.calls]).text == "done"
        driver.close()
        asked[f"{upstream}/{model}"] = (client, upstream)
    written = [(name, number) for name in asked for number in (3, 0)]
    ends_at = time.monotonic() + 10
    while True:
        rows = [row for row in gateway.ledger(1) if row["asked"] in asked]
        if len(rows) >= len(written) or time.monotonic() > ends_at:
            break
        time.sleep(FLUSH_S)
    assert [(row["asked"], row["calls"]) for row in rows] == written
    for row in rows:
        client, upstream = asked[row["asked"]]
        model = row["asked"].partition("/")[2]
        expected = {
            "key": "first",
            "provider": upstream,
            "model": model,
            "streamed": int(streamed),
            "status": 200,
            "outcome": "ok",
            "attempts": 1,
            "is_estimate": 0,
            "cost_usd": None,
        }
        assert {name: row[name] for name in expected} == expected
        assert row["input_tokens"] > 0
        assert row["output_tokens"] > 0
        assert 0 < row["first_ms"] <= row["duration_ms"]
        assert row["key_id"] == rows[0]["key_id"] != ""
        assert row["worker"] == rows[0]["worker"] != ""


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"include_usage": None}])
@pytest.mark.parametrize("upstream", ["up-chat", "up-deepseek", "up-compatible"])
def test_who_does_not_ask_for_usage_is_counted_too(
    sim: Simulation, gateway: Gateway, upstream: str, options: Any
) -> None:
    sim.script(UPSTREAMS[upstream][0], "uncounted", [Turn(text="안녕 🍞")])
    body = {"model": f"{upstream}/uncounted", "messages": MESSAGES, "stream": True}
    before = len(gateway.ledger(0))
    answer = gateway.post("/v1/chat/completions", {**body, "stream_options": options})
    assert answer.status == 200
    assert "🍞" in answer.content.decode()
    assert b'"usage":{' not in answer.content
    row = gateway.ledger(before + 1)[-1]
    assert (row["model"], row["outcome"], row["is_estimate"]) == ("uncounted", "ok", 0)
    assert row["input_tokens"] > 0
    assert row["output_tokens"] > 0


REFUSED: dict[str, Any] = {
    "options": {"stream_options": {"include_usage": "x"}},
    "other-options": {"stream_options": {"include_usage": True, "other": 1}},
    "not-options": {"stream_options": [True]},
    "no-text": {"stream_options": {"include_usage": "\ud83d"}},
    "quoted": {"tool_choice": "stream_options"},
    "escaped": {"tool_choice": {"type": "stream_options"}},
    "translated": {"max_tokens": 8, "stop": [], "stream_options": {"include_obfuscation": 3}},
}


@pytest.mark.parametrize("wrong", REFUSED)
def test_a_mistake_of_one_client_does_not_end_the_counting(
    sim: Simulation, gateway: Gateway, wrong: str
) -> None:
    """OpenAI's refusal names what was said wrongly; it does not mean that nobody may say it."""
    sim.script("openai", "counted", [Turn(text="안녕")])
    body = {"model": "up-chat/counted", "messages": MESSAGES, "stream": True}
    before = len(gateway.ledger(0))
    refused = gateway.post("/v1/chat/completions", {**body, **REFUSED[wrong]})
    assert (refused.status, sim.remaining("openai", "counted")) == (400, 1)
    assert gateway.post("/v1/chat/completions", body).status == 200
    row = gateway.ledger(before + 2)[-1]
    assert row["model"] == "counted"
    assert row["output_tokens"] > 0


class Load:
    """Clients that ask one after the other, in a thread, until told to end."""

    def __init__(self, gateway: Gateway) -> None:
        self._url = f"{gateway.url}/v1/chat/completions"
        self._ends = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self.statuses: Counter[int] = Counter()
        self.slowest_s = 0.0

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def mark(self) -> Counter[int]:
        """The statuses so far, which are forgotten, like those of requests under way."""
        seen, self.statuses = self.statuses, Counter()
        return seen

    async def _run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=30)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            await asyncio.gather(*(self._client(session, n) for n in range(CLIENTS)))

    async def _client(self, session: aiohttp.ClientSession, number: int) -> None:
        headers = {"authorization": f"Bearer {KEY}"}
        while not self._ends.is_set():
            body = {"model": "till/m", "messages": MESSAGES, "max_tokens": 5}
            body["stream"] = number % 2 == 0
            began, statuses = time.monotonic(), self.statuses
            try:
                async with session.post(self._url, json=body, headers=headers) as answer:
                    await answer.read()
                    statuses[answer.status] += 1
                    self.slowest_s = max(self.slowest_s, time.monotonic() - began)
                    if answer.status != 200:
                        await asyncio.sleep(0.05)
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)  # the gateway is gone


def await_ready(gateway: Gateway, status: int) -> None:
    ends_at = time.monotonic() + 15
    while gateway.request("GET", "/readyz").status != status:
        assert time.monotonic() < ends_at
        time.sleep(0.1)


def written(url: str) -> list[int]:
    """The numbers of the answers in the ledger."""
    query = "SELECT input_tokens FROM ledger WHERE input_tokens IS NOT NULL ORDER BY 1"
    if url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
            return [number for (number,) in database.execute(query)]
    with psycopg.connect(url) as database:
        return [number for (number,) in database.execute(query)]


def sold(till: Till) -> list[int]:
    return [sale.input_tokens for sale in till.sales]


def start(till: Till, folder: Path, url: str, when_down: str = "refuse") -> Gateway:
    store = f'[store]\nurl = "{url}"\nwhen_down = "{when_down}"'
    return Gateway(folder, till_config(till, store, KEYS)).start()


def test_killed_under_load_loses_a_quarter_second_and_a_clean_stop_nothing(
    till: Till, store_url: str, tmp_path: Path
) -> None:
    gateway = start(till, tmp_path, store_url)
    with Load(gateway):
        time.sleep(1.5)
        killed_at = time.monotonic()
        gateway.kill()
    counted = len(till.sales)
    assert counted > 50
    # What is missing was in flight, or had ended too shortly before.
    missing = set(sold(till)) - set(written(store_url))
    at = {sale.input_tokens: sale.at for sale in till.sales}
    assert [n for n in missing if at[n] < killed_at - FLUSH_S - LATE_S] == []
    before = written(store_url)
    gateway.start(gateway.port)
    with Load(gateway):
        time.sleep(1.0)
        assert gateway.stop() == 0  # while they still ask
    assert sorted({*written(store_url)} - {*before}) == sold(till)[counted:]
    assert len(written(store_url)) == len(before) + len(till.sales) - counted


@pytest.mark.parametrize(
    ("when_down", "how"),
    [pytest.param("refuse", "stop", marks=pytest.mark.slow), ("serve", "kill")],
)
def test_i09_the_database_goes_away_and_comes_back_under_load(
    till: Till, own_postgres: Postgres, tmp_path: Path, when_down: str, how: str
) -> None:
    url = own_postgres.database()
    gateway = start(till, tmp_path, url, when_down)
    with Load(gateway) as load:
        time.sleep(0.7)
        assert set(load.mark()) == {200}
        own_postgres.stop() if how == "stop" else own_postgres.kill()
        await_ready(gateway, 503)
        time.sleep(0.3)
        load.mark()
        time.sleep(0.5)
        assert set(load.mark()) == ({503} if when_down == "refuse" else {200})
        own_postgres.start()
        await_ready(gateway, 200)
        time.sleep(0.7)
        load.mark()
        time.sleep(0.3)
        assert set(load.mark()) == {200}
    assert load.slowest_s < ANSWER_S_MAX
    assert gateway.stop() == 0
    assert "Traceback" not in gateway.log
    # Every answer is in the ledger once, those of the outage too.
    assert written(url) == sold(till)
    assert list(tmp_path.glob("polycall-spool*")) == []


@pytest.mark.slow
async def test_a_long_outage_is_over_when_the_database_is_back(
    own_postgres: Postgres, tmp_path: Path
) -> None:
    """And not when a pool, which waits twice as long each time, looks again."""
    store = open_store(own_postgres.database(), tmp_path)
    await store.look()
    own_postgres.stop()
    stopped_at = time.monotonic()
    while time.monotonic() < stopped_at + 8:
        with pytest.raises(StoreError):
            await store.look()
        await asyncio.sleep(0.1)
    own_postgres.start()
    back_at = time.monotonic()
    while not store.is_up:
        with contextlib.suppress(StoreError):
            await store.look()
        await asyncio.sleep(0.1)
    assert time.monotonic() < back_at + 3.5
    await store.close()


def test_a_gateway_that_dies_in_an_outage_leaves_its_rows_for_the_next(
    till: Till, own_postgres: Postgres, tmp_path: Path
) -> None:
    url = own_postgres.database()
    gateway = start(till, tmp_path, url, "serve")
    own_postgres.stop()
    with Load(gateway) as load:
        time.sleep(2.0)
        assert set(load.mark()) == {200}
        killed_at = time.monotonic()
        gateway.kill()
    own_postgres.start()
    gateway.start()
    ends_at = time.monotonic() + 5
    while list(tmp_path.glob("polycall-spool*")) and time.monotonic() < ends_at:
        time.sleep(0.1)
    at = {sale.input_tokens: sale.at for sale in till.sales}
    missing = set(sold(till)) - set(written(url))
    assert [n for n in missing if at[n] < killed_at - FLUSH_S - PATIENCE_S - LATE_S] == []
    assert gateway.stop() == 0


def test_a_database_that_hangs_holds_nobody_up(
    till: Till, own_postgres: Postgres, tmp_path: Path
) -> None:
    url = own_postgres.database()
    gateway = start(till, tmp_path, url, "serve")
    with Load(gateway) as load:
        time.sleep(0.5)
        own_postgres.freeze()
        try:
            time.sleep(2.5)
            load.mark()
            time.sleep(0.5)
            assert set(load.mark()) == {200}
        finally:
            own_postgres.thaw()
        time.sleep(1.0)
    assert load.slowest_s < 4
    assert gateway.stop() == 0
    assert written(url) == sold(till)


def test_a_full_disk_is_an_outage_and_loses_nothing(till: Till, tmp_path: Path) -> None:
    gateway = start(till, tmp_path, f"sqlite:///{tmp_path / 'store.db'}")
    with Load(gateway) as load:
        time.sleep(0.5)
        limits = resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE)
        # No file takes another byte: neither the database's nor the spool's.
        resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (1, limits[1]))
        await_ready(gateway, 503)
        load.mark()
        time.sleep(1.5)
        assert set(load.mark()) == {503}
        resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, limits)
        await_ready(gateway, 200)
        time.sleep(0.5)
    assert gateway.stop() == 0
    assert "are lost" not in gateway.log.replace("and 0 are lost", "")
    assert written(f"sqlite:///{tmp_path / 'store.db'}") == sold(till)


@pytest.mark.slow
def test_a_store_whose_file_is_removed_is_away(till: Till, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    gateway = start(till, tmp_path, url)
    (tmp_path / "store.db").unlink()
    with Load(gateway) as load:
        await_ready(gateway, 503)
        load.mark()
        time.sleep(0.7)
        assert set(load.mark()) == {503}
    assert gateway.stop() == 0
    # The next one begins a new file with the rows that waited.
    gateway.start()
    await_ready(gateway, 200)
    assert gateway.stop() == 0
    assert written(url) == sold(till) != []


@pytest.mark.parametrize("when_down", ["refuse", "serve"])
async def test_limits_fail_closed_or_are_overdrawn_and_settled(
    own_postgres: Postgres, tmp_path: Path, when_down: str
) -> None:
    url = own_postgres.database()
    text = f'[store]\nurl = "{url}"\nwhen_down = "{when_down}"'
    application = Application(parse_config(text, folder=tmp_path, environment={}))
    store = application.store
    # Always the same minute, and none that is over.
    limits = KeyLimits(store, counters="", worker="w", clock=lambda: 4_000_000_000.0)
    limits.configure(application.config, application.services)
    owner = Owner(id="key_limited", name="limited", requests_per_minute=1000)
    await limits.count_request(owner)  # a slice of 50
    own_postgres.stop()
    try:
        assert not await store.is_writable()
        asked = [limits.count_request(owner) for _ in range(70)]
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
    finally:
        own_postgres.start()
    refused = [outcome for outcome in outcomes if isinstance(outcome, StoreError)]
    assert len(refused) == (70 - 49 if when_down == "refuse" else 0)
    await store.look()
    await limits.close()
    taken = own_postgres.query("SELECT taken, leased FROM counters WHERE taken > 0", url)
    assert taken == f"{71 - len(refused)}|0"
    await application.close()
