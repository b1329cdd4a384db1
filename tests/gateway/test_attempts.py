"""What the operator learns of each attempt, and what a client does not."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import time
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from polycall.errors import AuthenticationError, RateLimitError, UpstreamConnectionError
from polycall.gateway.observability.attempt_report import outcome_of, words_of
from polycall.gateway.observability.metrics import Metrics, Snapshot, exposition
from tests.gateway.harness import KEY, Gateway, provider_table
from tests.gateway.test_faults import CLIENTS, ask, message_of
from tests.gateway.test_store import ROW
from tests.gateway.upstream import BadUpstream

SETTINGS = """
[server]
read_s = 3.0
attempts = 2
[models.moved]
route = ["up/status-401", "up/ok"]
[models.both]
route = ["up/status-529", "up/ok"]
"""


@pytest.fixture(scope="module")
def served(upstream: BadUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    table = provider_table("up", upstream.base_url, "openai-chat")
    config = f'{SETTINGS}\n{table}\n[[keys]]\nkey = "{KEY}"\n'
    gateway = Gateway(tmp_path_factory.mktemp("attempts"), config).start()
    yield gateway
    gateway.stop()


def entries(gateway: Gateway, request_id: str) -> list[dict[str, Any]]:
    """The log entries of attempts for one request: all that come within a moment of each other."""
    ends_at = time.monotonic() + 10
    before: list[dict[str, Any]] = []
    while True:
        found = [json.loads(line) for line in gateway.log.splitlines() if line.startswith("{")]
        found = [each for each in found if each.get("request_id") == request_id]
        if (found and found == before) or time.monotonic() > ends_at:
            return found
        before = found
        time.sleep(0.1)


def kept_error(gateway: Gateway, request_id: str) -> str:
    """What the ledger says of a request, once it is written."""
    ends_at = time.monotonic() + 10
    while time.monotonic() < ends_at:
        with contextlib.closing(sqlite3.connect(gateway.folder / "polycall.db")) as database:
            row = database.execute("select error from ledger where id = ?", (request_id,))
            if (found := row.fetchone()) is not None:
                return found[0]
        time.sleep(0.1)
    raise AssertionError(f"no row of {request_id}")


def metric(gateway: Gateway, outcome: str) -> int:
    text = gateway.request("GET", "/metrics").content.decode()
    name = re.escape(f'polycall_attempts_total{{provider="up",outcome="{outcome}"}}')
    found = re.search(rf"^{name} (\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else 0


@pytest.mark.parametrize(
    ("model", "status", "outcome", "words"),
    [
        ("status-500", 500, "server", "it is 500"),
        ("status-401", 401, "authentication", "it is 401"),
        ("garbage", None, "protocol", "does not answer with HTTP"),
        ("text", None, "protocol", "not JSON"),
        ("status-429-9", 429, "rate_limit", "it is 429"),
        ("empty", None, "protocol", ""),
        ("status-404", 404, "not_found", "it is 404"),
    ],
)
def test_n10_each_failed_attempt_is_a_warning_a_count_and_a_text_in_the_ledger(
    served: Gateway, model: str, status: int | None, outcome: str, words: str
) -> None:
    before = metric(served, outcome)
    answer = ask(served, "openai-chat", f"up/{model}")
    request_id = answer.headers["polycall-request-id"]
    found = entries(served, request_id)
    assert found
    for entry in found:
        assert entry["level"] == "warning"
        assert (entry["provider"], entry["model"]) == ("up", model)
        assert entry["error"] == outcome
        assert words in entry["message"]
        assert request_id in entry["message"]
        assert entry["status"] == status or model in ("text", "empty")
    assert metric(served, outcome) == before + len(found)
    assert words in kept_error(served, request_id)


def test_n10_attempts_are_counted_by_provider_and_outcome(served: Gateway) -> None:
    ok, overloaded = metric(served, "ok"), metric(served, "overloaded")
    assert ask(served, "openai-chat", "both").status == 200
    assert metric(served, "ok") == ok + 1
    assert metric(served, "overloaded") == overloaded + 1
    text = served.request("GET", "/metrics").content.decode()
    assert 'polycall_duration_seconds_count{provider="up",model="ok"}' in text
    assert 'polycall_first_byte_seconds_bucket{provider="up",model="ok",le="+Inf"}' in text


def test_n10_a_fallback_from_a_revoked_key_leaves_a_line(served: Gateway) -> None:
    answer = ask(served, "openai-chat", "moved")
    assert (answer.status, answer.headers["polycall-model"]) == (200, "up/ok")
    (entry,) = entries(served, answer.headers["polycall-request-id"])
    assert (entry["status"], entry["error"]) == (401, "authentication")


@pytest.mark.parametrize("model", ["cut", "miderror"])
def test_n10_an_answer_that_breaks_off_leaves_a_line(served: Gateway, model: str) -> None:
    answer = ask(served, "openai-chat", f"up/{model}", stream=True)
    assert answer.status == 200
    found = entries(served, answer.headers["polycall-request-id"])
    assert [each["model"] for each in found] == [model]


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("model", ["status-401", "status-403", "status-402"])
def test_n10_a_revoked_key_of_the_provider_is_a_502_in_the_gateways_words(
    served: Gateway, client: str, model: str
) -> None:
    answer = ask(served, client, f"up/{model}")
    assert answer.status == 502
    assert answer.headers["x-should-retry"] == "false"
    words = message_of(client, answer)
    assert "the gateway's account at the provider 'up' was refused" in words
    assert "it is 40" not in answer.content.decode()


def test_n10_words_of_an_error_are_one_bounded_line_without_keys() -> None:
    error = AuthenticationError(
        "Incorrect API key: sk-proj-abcdefghijkl\nsee\x1b[31m " + "x " * 900
    )
    words = words_of(error)
    assert "abcdefgh" not in words
    assert "c2lnbmF0" not in words_of(AuthenticationError(f"bad {'c2lnbmF0' * 6}"))
    assert "\n" not in words
    assert "\x1b" not in words
    assert len(words) == 500
    assert outcome_of(error) == "authentication"
    assert outcome_of(RateLimitError("")) == "rate_limit"
    assert words_of(UpstreamConnectionError("")) == "UpstreamConnectionError"


def test_series_of_requests_are_bounded_in_number() -> None:
    metrics = Metrics()
    for number in range(2_100):
        metrics.count(replace(ROW, provider="p", model=f"m{number}", cost_usd="0.5"))
    counts = metrics.counts
    assert len(counts.requests) == 2_001
    assert sum(counts.requests.values()) == 2_100
    assert len(counts.cost_usd) == len(counts.input_tokens) == 2_001
    assert sum(counts.cost_usd.values()) == 1_050


def test_n10_histograms_are_bounded_in_number() -> None:
    metrics = Metrics()
    for number in range(700):
        metrics.count(replace(ROW, provider="p", model=f"m{number}"))
    assert len(metrics.counts.duration) <= 402
    total = sum(each.count for each in metrics.counts.duration.values())
    assert total == 700
    assert b'model="other"' in exposition([Snapshot(metrics.counts)], workers=1, restarts=0)
