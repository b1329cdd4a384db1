"""What is set aside for a request, and what answers without an end cost: what was told or written
of them, and nothing where they were refused.  A key's budget, the ledger and the provider agree."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import sqlite3
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from polycall.config import Config
from polycall.gateway.accounts.costs import Costs
from polycall.ir import Usage
from polycall.providers.provider import Price, Provider
from polycall.sim import Call, Simulation, Turn
from polycall.sim.script import Tally
from polycall.sim.usage import PromptCache
from tests.gateway.drivers import DRIVERS, Result
from tests.gateway.harness import KEY, UPSTREAMS, Gateway, provider_table
from tests.gateway.test_faults import open_request
from tests.gateway.till import open_till, till_config
from tests.origins import Handler, started
from tests.sandbox.support import usable

PRICE = "{ input = 1000, output = 3000 }"
FULL_PRICE = "{ input = 1000, output = 7000, cached = 90, cache_write = 1300 }"
KEYS = f'[[keys]]\nkey = "{KEY}"\nname = "팀 🚀"\nbudget_usd = 100\n'
MESSAGES = [{"role": "user", "content": "안녕"}]
BUSY = {"error": {"message": "busy", "type": "server_error"}}
WAIT = {"retry-after": "3"}


def claude_frames() -> Iterator[bytes]:
    """A start that tells of one token, and fifty pieces."""
    usage = {"input_tokens": 25, "output_tokens": 1}
    message: dict[str, Any] = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "x",
        "content": [],
    }
    text: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**message, "usage": usage}},
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "text", "text": ""},
        },
    ]
    piece = {"type": "content_block_delta", "index": 0}
    text += [{**piece, "delta": {"type": "text_delta", "text": "말 "}} for _ in range(50)]
    for event in text:
        yield f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def gemini_frames() -> Iterator[bytes]:
    """Four chunks, each with the count so far."""
    for number in range(1, 5):
        content = {"role": "model", "parts": [{"text": "말 " * 30}]}
        usage = {"promptTokenCount": 9, "candidatesTokenCount": 30 * number}
        chunk = {"candidates": [{"content": content, "index": 0}], "usageMetadata": usage}
        yield f"data: {json.dumps(chunk)}\r\n\r\n".encode()


class Upstream(Handler):
    """By model: refuses at once or late, or cuts its stream."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.read())
        model = body.get("model", "gemini-cut")
        if model == "late":
            time.sleep(1.2)
            self.answer(BUSY, 400, **WAIT)
            return
        if model == "busy":
            self.answer(BUSY, 503, **WAIT)
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for frame in claude_frames() if model == "claude-cut" else gemini_frames():
            self.wfile.write(frame)
        self.close_connection = True


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Gateway]:
    server = started(Upstream)
    base = f"http://127.0.0.1:{server.server_port}"
    tables = [
        provider_table(name, base + path, dialect, f"[providers.{name}.prices]\n{model} = {PRICE}")
        for name, path, dialect, model in (
            ("chat", "/v1", "openai-chat", "busy"),
            ("late", "/v1", "openai-chat", "late"),
            ("claude", "", "anthropic", "claude-cut"),
            ("gemini", "", "gemini", "gemini-cut"),
        )
    ]
    settings = "[server]\nheartbeat_s = 0.5\nattempts = 2\nwait_s_max = 5\n"
    gateway = Gateway(tmp_path, "\n".join([settings, *tables, KEYS])).start()
    yield gateway
    gateway.stop()
    server.shutdown()
    server.server_close()


def spent_nanos(gateway: Gateway) -> int:
    """What the key has spent, once the gateway has stopped."""
    assert gateway.stop() == 0
    with contextlib.closing(sqlite3.connect(gateway.folder / "polycall.db")) as database:
        found = database.execute("SELECT taken FROM counters WHERE name LIKE 'usd:%'").fetchall()
    return sum(taken for (taken,) in found)


def nanos(rows: list[dict[str, Any]]) -> int:
    return int(sum(Decimal(row["cost_usd"] or 0) for row in rows) * 1_000_000_000)


def test_a_refusal_after_a_heartbeat_costs_nothing(served: Gateway) -> None:
    body: dict[str, Any] = {"model": "late/late", "messages": MESSAGES, "stream": True}
    for path in ("/v1/chat/completions", "/v1/messages"):
        answer = served.post(path, {**body, "max_tokens": 9})
        assert answer.status == 200
        assert b"busy" in answer.content
    rows = served.ledger(2)
    assert [(row["outcome"], row["input_tokens"], row["cost_usd"]) for row in rows] == [
        ("error", None, None)
    ] * 2
    assert spent_nanos(served) == 0


@pytest.mark.parametrize("streamed", [False, True])
def test_leaving_between_two_refusals_costs_nothing(served: Gateway, streamed: bool) -> None:
    body = {"model": "chat/busy", "messages": MESSAGES, "max_tokens": 9, "stream": streamed}
    peer = open_request(served, body)
    time.sleep(0.7)
    peer.close()
    (row,) = served.ledger(1)
    assert (row["outcome"], row["attempts"]) == ("cancelled", 1)
    assert (row["input_tokens"], row["cost_usd"]) == (None, None)
    assert spent_nanos(served) == 0


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
def test_a_cut_stream_costs_more_than_its_start_told(served: Gateway, path: str) -> None:
    body = {"model": "claude/claude-cut", "messages": MESSAGES, "max_tokens": 99, "stream": True}
    assert served.post(path, body).status == 200
    rows = served.ledger(1)
    assert (rows[0]["outcome"], rows[0]["is_estimate"]) == ("truncated", 1)
    assert rows[0]["input_tokens"] == 25
    assert 50 <= rows[0]["output_tokens"] <= 54
    assert spent_nanos(served) == nanos(rows) > 0


@pytest.mark.parametrize("is_own", [True, False])
def test_a_cut_stream_costs_what_its_last_chunk_told(served: Gateway, is_own: bool) -> None:
    if is_own:
        contents = [{"role": "user", "parts": [{"text": "안녕"}]}]
        limits = {"maxOutputTokens": 500}
        body: Any = {"contents": contents, "generationConfig": limits}
        path = "/v1beta/models/gemini/gemini-cut:streamGenerateContent?alt=sse"
    else:
        path = "/v1/chat/completions"
        body = {
            "model": "gemini/gemini-cut",
            "messages": MESSAGES,
            "max_tokens": 500,
            "stream": True,
        }
    assert served.post(path, body).status == 200
    rows = served.ledger(1)
    assert rows[0]["outcome"] == "truncated"
    assert (rows[0]["input_tokens"], rows[0]["output_tokens"]) == (9, 120)
    assert spent_nanos(served) == nanos(rows) > 0


LONG = "긴 말 " * 1500  # long enough for the simulated vendors' caches
TURNS = [
    Turn("a " * 30, calls=[Call("get_weather", {"city": "서울"})], reasoning="생각"),
    Turn("b " * 9),
]


def cost_of(tally: Tally, *, tells_cache: bool) -> Decimal:
    cached, written = (tally.cached, tally.cache_written) if tells_cache else (0, 0)
    total = (tally.prompt - cached - written) * 1000 + cached * 90 + written * 1300
    return Decimal(total + (tally.text + tally.reasoning) * 7000) / 1_000_000


@pytest.mark.parametrize("streamed", [False, True])
def test_h04_every_pair_is_charged_what_its_provider_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streamed: bool
) -> None:
    tallies: list[Tally] = []
    tally = PromptCache.tally

    def noted(*arguments: Any, **more: Any) -> Tally:
        tallies.append(tally(*arguments, **more))
        return tallies[-1]

    monkeypatch.setattr(PromptCache, "tally", noted)
    expected: list[Decimal] = []
    with Simulation(seed=5) as sim:
        tables = [
            provider_table(
                name,
                sim.base_url(vendor),
                dialect,
                "\n".join(
                    [more, f"[providers.{name}.prices]", *(f"{m} = {FULL_PRICE}" for m in DRIVERS)]
                ),
            )
            for name, (vendor, dialect, more) in UPSTREAMS.items()
        ]
        gateway = Gateway(tmp_path, "\n".join([*tables, KEYS.replace("100", "100000")])).start()
        for number, (client, upstream) in enumerate(itertools.product(DRIVERS, UPSTREAMS)):
            thinks = upstream not in ("up-chat", "up-compatible")
            turns = TURNS if thinks else [replace(TURNS[0], reasoning=None), TURNS[1]]
            sim.script(UPSTREAMS[upstream][0], client, turns)
            driver = DRIVERS[client](gateway.url, KEY, f"{upstream}/{client}", streamed=streamed)
            step = driver.ask(f"{number} {LONG}")
            driver.give([Result(call, "3°C") for call in step.calls])
            driver.close()
            tells = upstream != "up-compatible"
            expected += [cost_of(each, tells_cache=tells) for each in tallies]
            tallies.clear()
        rows = gateway.ledger(len(expected))
        assert [Decimal(row["cost_usd"]) for row in rows] == expected
        assert sum(row["cached_tokens"] for row in rows) > 0
        assert spent_nanos(gateway) == nanos(rows)


def program_body(model: str, *, streamed: bool) -> dict[str, Any]:
    tool = {"name": "now", "parameters": {"type": "object"}}
    return {
        "model": model,
        "messages": MESSAGES,
        "tools": [{"type": "function", "function": tool}],
        "max_tokens": 300,
        "stream": streamed,
    }


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_program_with_an_answer_of_unknown_price_has_none(
    tmp_path: Path, streamed: bool
) -> None:
    """The first answer comes from a model without a price, the second from one that has one."""
    await usable("jail")
    more = '[limits]\nunpriced = "allow"\n[models.both]\nroute = ["up/free", "up/priced"]\n'
    with Simulation(seed=4) as sim:
        sim.script("openai", "free", [Turn(calls=[Call("run_code", {"code": "print(1)"})])])
        sim.script("openai", "priced", [Turn("done")])
        prices = f'quirks = "openai"\n[providers.up.prices]\npriced = {PRICE}'
        table = provider_table("up", sim.base_url("openai"), "openai-chat", prices)
        gateway = Gateway(tmp_path, more + table + KEYS).start()
        answer = await asyncio.to_thread(
            gateway.request,
            "POST",
            "/v1/chat/completions",
            program_body("both", streamed=streamed),
            headers={"polycall-calling": "code"},
        )
        assert b"done" in answer.content, answer.content
        (row,) = gateway.ledger(1)
        gateway.stop()
    assert row["input_tokens"] > 0
    assert row["cost_usd"] is None
    assert "polycall-cost-usd" not in answer.headers


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("chat/completions", {"type": "image_url", "image_url": {"url": "https://a.b/c.png"}}),
        ("responses", {"type": "input_image", "image_url": "https://a.b/c.png"}),
        ("messages", {"type": "image", "source": {"type": "url", "url": "https://a.b/c.png"}}),
    ],
)
def test_an_image_behind_a_short_address_is_reserved_for(
    tmp_path: Path, path: str, part: dict[str, Any]
) -> None:
    keys = f'[[keys]]\nkey = "{KEY}"\nbudget_usd = 1\n'
    field = "input" if path == "responses" else "messages"
    with open_till(seed=3) as till:
        gateway = Gateway(tmp_path, till_config(till, "", keys)).start()
        body: dict[str, Any] = {
            "model": "till/m",
            "max_output_tokens" if field == "input" else "max_tokens": 16,
            field: [{"role": "user", "content": [part]}],
        }
        answer = gateway.post(f"/v1/{path}", body)
        assert answer.status == 400
        assert "more than the whole budget" in answer.json()["error"]["message"]
        assert gateway.post(f"/v1/{path}", {**body, field: MESSAGES}).status == 200
        gateway.stop()


def test_what_a_request_refers_to_is_reserved_for(tmp_path: Path) -> None:
    keys = f'[[keys]]\nkey = "{KEY}"\nbudget_usd = 5\n'
    with open_till(seed=3) as till:
        gateway = Gateway(tmp_path, till_config(till, "", keys)).start()
        body = {"model": "till/m", "max_output_tokens": 16, "input": "물" * 4000}
        first = gateway.post("/v1/responses", body)
        assert first.status == 200, first.content
        # Each of the two fits into the budget, and both together do not.
        again = gateway.post("/v1/responses", {**body, "previous_response_id": first.json()["id"]})
        assert again.status == 400, again.content
        assert "more than the whole budget" in again.json()["error"]["message"]
        assert len(till.sales) == 1
        gateway.stop()


@pytest.mark.parametrize(
    "usage", [Usage(input_tokens=-9), Usage(9, -1), Usage(9, 1, cached_tokens=-1)]
)
def test_less_than_nothing_has_no_price(usage: Usage) -> None:
    provider = Provider(
        "p", "anthropic", "https://a.b", prices={"m": Price(Decimal(1), Decimal(1))}
    )
    assert Costs(Config()).known(provider, "m", usage) is None
