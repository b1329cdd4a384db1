"""N16: budgets for a week and for a key's whole life, and usage by hour."""

from __future__ import annotations

import re
import sqlite3
import time
from pathlib import Path

import pytest

from polycall.cli import main
from polycall.gateway.accounts.keys import Owner
from polycall.gateway.accounts.limits import KeyLimits
from polycall.gateway.store import open_store
from polycall.sim import Simulation

from .harness import Gateway

KEYS = """
[providers.anthropic]
base_url = "{url}"
api_key = "any"
[[keys]]
key = "sk-key-of-a-week-0001"
name = "weekly"
budget_usd = 5
budget_per = "week"
[[keys]]
key = "sk-key-for-ever-00001"
name = "ever"
budget_usd = 0.000001
budget_per = "total"
"""


def test_n16_budgets_of_a_week_and_in_total_and_usage_by_hour(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Simulation() as simulation:
        gateway = Gateway(tmp_path, KEYS.format(url=simulation.base_url("anthropic"))).start()
        body = {
            "model": "anthropic/claude-sonnet-4-6",
            "max_tokens": 20,
            "messages": [{"role": "user", "content": "hello"}],
        }
        answers = [
            gateway.request("POST", "/v1/messages", body, key=key)
            for key in ("sk-key-of-a-week-0001", "sk-key-for-ever-00001")
        ]
        assert gateway.stop() == 0
    assert [each.status for each in answers] == [200, 400]
    assert "($0.000001 in total)" in answers[1].json()["error"]["message"]
    store = ["--store", f"sqlite:///{tmp_path / 'polycall.db'}"]
    assert main(["usage", "--by", "hour,key", "--csv", "-", *store]) == 0
    hour = time.strftime("%Y-%m-%d %H:", time.gmtime())
    assert re.search(rf'^"{hour}00","weekly",1,0,', capsys.readouterr().out, re.MULTILINE)
    for name, budget, shown in (("a", "5/week", "$5.00 a week"), ("b", "100/total", "in total")):
        assert main(["keys", "create", name, "--budget", budget, *store]) == 0
        assert main(["keys", "show", name, *store]) == 0
        assert shown in capsys.readouterr().out


async def test_n16_a_budget_in_total_never_begins_again(tmp_path: Path) -> None:
    now = [1_800_000_000.0]
    store = open_store("sqlite:///store.db", tmp_path)
    limits = KeyLimits(store, counters="", worker="w", clock=lambda: now[0])
    owner = Owner(id="key_total", name="ever", budget_per="total")
    lease, is_held = await limits.leased("usd", owner, "total", 100, 100)
    assert is_held
    assert lease.span.starts == 0
    for years in (1, 50):
        now[0] += years * 366 * 86_400
        _, is_held = await limits.leased("usd", owner, "total", 100, 1)
        assert not is_held
    week, is_held = await limits.leased("usd", owner, "week", 100, 100)
    assert is_held
    now[0] = week.span.ends
    assert (await limits.leased("usd", owner, "week", 100, 100))[1]
    await limits.close()
    await store.close()
    with sqlite3.connect(tmp_path / "store.db") as connection:
        spans = {row[0] for row in connection.execute("SELECT span FROM counters")}
    connection.close()
    assert "total" in spans
