"""kill -9 under mixed traffic, with everything switched on; then the money is counted.

    python -m bench.kills                    # both stores, one and two replicas, 30 kills each
    python -m bench.kills --store sqlite --replicas 1 --kills 50 --seed 3

Gateways with budgets, limits, encryption at rest and the keeping of content serve three keys:
whole and streamed answers on two protocols, programs, hosted searches, answers in the background,
batches, MCP tools and the cache.  At random moments one of them is killed and started again.
What must hold: no answer is bought twice, every row costs what the upstream sold, what is missing
ended shortly before a kill, no key spends more than its budget, no reservation outlives the
killed, no key sees another's words or things, and nothing said lies readable in the store.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
from tests.console.conftest import first_owner, on_store
from tests.gateway.harness import Gateway
from tests.servers import postgres

from bench.kills_traffic import BUDGETS, Traffic
from bench.kills_upstream import PRICES, Upstream
from polycall.gateway.store.counter_operations import NANOS

# Rows are written four times a second; as long again for what is on its way.
LATE_S = 0.5
# A lease of the killed ends after half a minute; peers look every ten seconds.
LEASES_OVER_S = 45

Rows = list[tuple[Any, ...]]
# A server that starts at once, with one tool that writes down its calls.
TOOL_SERVER = """
import json, sys
tool = {"name": "add", "description": "Add.", "inputSchema": {"type": "object"}}
for line in sys.stdin:
    asked = json.loads(line)
    method, given = asked["method"], asked.get("params") or {}
    if "id" not in asked:
        continue
    said = {"error": {"code": -32601, "message": "no such method"}}
    if method == "initialize":
        found = {"protocolVersion": given["protocolVersion"], "capabilities": {"tools": {}}}
        said = {"result": {**found, "serverInfo": {"name": "stock", "version": "1"}}}
    elif method == "tools/list":
        said = {"result": {"tools": [tool]}}
    elif method == "tools/call":
        number = given["arguments"]["a"]
        with open(sys.argv[1], "a") as log:
            print("add", number, file=log)
        said = {"result": {"content": [{"type": "text", "text": f"sum {number}"}]}}
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **said}), flush=True)
"""


def configuration(store: str, upstream: Upstream, folder: Path) -> str:
    keys = ""
    for name, budget in BUDGETS.items():
        keys += f'[[keys]]\nkey = "sk-{name}-client-000"\nname = "{name}"\n'
        if budget is not None:
            keys += f'budget_usd = {budget}\nbudget_per = "total"\n'
            keys += "requests_per_minute = 20000\ntokens_per_minute = 5000000\n"
    return f"""
[server]
mcp_processes = true
[store]
url = "{store}"
secret = "the-secret-of-the-whole-campaign"
[admin.content]
[cache]
ttl_s = 300
file = "{folder}/answers.db"
[providers.up]
dialect = "openai-chat"
base_url = "{upstream.url}/v1"
api_key = "sk-provider-up-0001"
[providers.up.prices]
m = {{ input = {PRICES[0]}, output = {PRICES[1]} }}
[hosted_tools]
web_search = "{upstream.url}/search?q={{query}}"
[mcp.stock]
command = ["{sys.executable}", "-S", "{folder}/server.py", "{folder}/tools.log"]
handshake = true
{keys}
"""


class Campaign:
    """One setting: gateways on one store, kills, and what was wrong afterwards."""

    def __init__(self, folder: Path, store: str, replicas: int, seed: int) -> None:
        self.folder = folder
        self.store = store
        self.chance = random.Random(seed)
        self.upstream = Upstream(seed)
        text = configuration(store, self.upstream, folder)
        (folder / "server.py").write_text(TOOL_SERVER, encoding="utf-8")
        self.gateways: list[Gateway] = []
        for number in range(replicas):
            (folder / str(number)).mkdir()
            self.gateways.append(Gateway(folder / str(number), text).start())
        self.traffic = Traffic(self.gateways, seed)
        self.kills: list[float] = []
        self.admin_key = on_store(self.gateways[0], first_owner)

    async def run(self, kills: int) -> list[str]:
        """Kill so many times, wait until leases are over, stop; gives what was wrong."""
        # The API appears within two seconds after the first administrator.
        await asyncio.sleep(2.5)
        kept = self.gateways[0].request(
            "POST", "/admin/v1/content", {"for_s": 3600}, key=self.admin_key
        )
        assert kept.status == 200, kept.content
        running = asyncio.create_task(self.traffic.run())
        for _ in range(kills):
            # By what is done, not by time: a loaded machine does less of it.
            with contextlib.suppress(TimeoutError):
                enough = self.traffic.done() + self.chance.randint(5, 200)
                await asyncio.wait_for(self.traffic.reached(enough), self.chance.uniform(4, 12))
            gateway = self.chance.choice(self.gateways)
            self.kills.append(time.monotonic())
            port = gateway.port
            await asyncio.to_thread(gateway.kill)
            self.kills.append(time.monotonic())
            if len(self.gateways) > 1:
                await asyncio.sleep(self.chance.uniform(0, 0.8))
            await asyncio.to_thread(gateway.start, port)
        await asyncio.sleep(2)
        self.traffic.is_over = True
        await running
        print(f"    {dict(sorted(self.traffic.outcomes.items()))}", flush=True)
        wrong = [*self.traffic.wrong, *await self._cross()]
        wrong += [
            told
            for start, end, told in self.traffic.unless_killed
            if not any(start - LATE_S <= kill <= end for kill in self.kills)
        ]
        if not self.traffic.outcomes["cached hit"]:
            wrong.append("the cache was never hit")
        await asyncio.sleep(LEASES_OVER_S)
        for gateway in self.gateways:
            status = await asyncio.to_thread(gateway.stop)
            if status or "Traceback" in gateway.log:
                place = max(gateway.log.find("Traceback"), 0)
                wrong.append(f"a stop with {status}: {gateway.log[place : place + 2000]}")
        self.upstream.close()
        return [*wrong, *self._money(), *self._reservations(), *self._at_rest()]

    async def _cross(self) -> list[str]:
        """Ask for things of one key with another; two in three are enough."""
        wrong: list[str] = []

        def ask(key: str, path: str) -> int:
            gateway = self.chance.choice(self.gateways)
            more = {"polycall-provider": "up"}
            return gateway.request("GET", path, key=f"sk-{key}-client-000", headers=more).status

        for owner, path in self.traffic.things[::2]:
            other = self.chance.choice([name for name in BUDGETS if name != owner])
            status, own = ask(other, path), ask(owner, path)
            # A key with limits may ask for no job at all.
            if status not in (403, 404) or own not in (200, 403):
                wrong.append(f"{path}: {status} for {other}, and {own} for its owner {owner}")
        return wrong

    def _query(self, sql: str) -> Rows:
        if self.store.startswith("sqlite"):
            with contextlib.closing(sqlite3.connect(self.store.removeprefix("sqlite:///"))) as one:
                return one.execute(sql).fetchall()
        with psycopg.connect(self.store) as other:
            rows: Rows = other.execute(sql.encode()).fetchall()
            return rows

    def _is_near_kill(self, at: float) -> bool:
        return any(-LATE_S <= at - kill <= LATE_S for kill in self.kills)

    def _money(self) -> list[str]:
        """Rows beside sales."""
        wrong: list[str] = []
        sold: dict[str, list[Decimal]] = {}
        for sale in self.upstream.sales:
            sold.setdefault(sale.nonce, []).append(sale.cost)
        for nonce, costs in sold.items():
            if len(costs) > self.traffic.allowed[nonce]:
                wrong.append(f"{nonce} was sold {len(costs)} times")
        rows = self._query("SELECT id, key, cost_usd, outcome, is_estimate FROM ledger")
        costs = {row[0]: Decimal(row[2] or 0) for row in rows}
        for sent in self.traffic.sent:
            if sent.row not in costs:
                if not self._is_near_kill(sent.ended_at):
                    after = min(kill - sent.ended_at for kill in self.kills if kill > sent.ended_at)
                    wrong.append(f"{sent} has no row, {after:.2f} s before a kill")
            elif not sent.costs(costs[sent.row], sold.get(sent.nonce, [])):
                sales = sold.get(sent.nonce, "nothing")
                wrong.append(f"{sent} cost {costs[sent.row]}, and was sold for {sales}")
        for key, budget in BUDGETS.items():
            spent = sum((costs[row[0]] for row in rows if row[1] == key), Decimal(0))
            asked = sum((sale.cost for sale in self.upstream.sales if sale.key == key), Decimal(0))
            lost = sum(
                sale.cost
                for sale in self.upstream.sales
                if sale.key == key and self._is_near_kill(sale.at)
            )
            print(f"    {key}: sold {asked}, in the ledger {spent}, near kills {lost}, of {budget}")
            if asked > spent + lost:
                wrong.append(f"{key} was sold {asked}, of which {asked - spent - lost} is nowhere")
            if budget is not None and (spent > budget or asked > budget + lost):
                wrong.append(f"{key} spent {spent} (sold {asked}) of {budget}")
        self.rows = rows
        return wrong

    def _reservations(self) -> list[str]:
        """No lease of anybody is left, and counters have what was spent."""
        wrong: list[str] = []
        leases = self._query("SELECT * FROM leases WHERE holder NOT LIKE '% known'")
        wrong += [f"a lease is left: {lease}" for lease in leases]
        by_id = dict(self._query("SELECT DISTINCT key_id, key FROM ledger"))
        for name, taken, leased in self._query("SELECT name, taken, leased FROM counters"):
            kind, _, key_id = name.partition(":")
            if leased:
                wrong.append(f"{leased} of {name} are still reserved")
            if kind == "usd":
                key = by_id[key_id]
                spent = sum((Decimal(r[2] or 0) for r in self.rows if r[1] == key), Decimal(0))
                sold = sum((s.cost for s in self.upstream.sales if s.key == key), Decimal(0))
                print(f"    {key}: counted {Decimal(taken) / NANOS}")
                if not spent * NANOS <= taken <= sold * NANOS:
                    wrong.append(f"{key}: counted {taken}, in the ledger {spent}, sold {sold}")
        return wrong

    def _at_rest(self) -> list[str]:
        """What was said stands nowhere as it is."""
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        data = {path.name: path.read_bytes() for path in files}
        if not self.store.startswith("sqlite"):
            for (table,) in self._query(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            ):
                found = self._query(f"SELECT {table}::text FROM {table}")
                data[table] = "".join(row[0] for row in found).encode()
        wrong = [
            f"{name} holds what was said"
            for name, text in data.items()
            if b"mark-" in text or b"mark-".hex().encode() in text
        ]
        if not self._query("SELECT 1 FROM contents LIMIT 1"):
            wrong.append("no content was kept")
        log = self.folder / "tools.log"
        done = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        if not done:
            wrong.append("no tool ran")
        again = [line for line, times in Counter(done).items() if times > 1 and line != "add 0"]
        return [*wrong, *(f"a tool ran twice: {line}" for line in again)]


def stores(names: list[str]) -> Iterator[tuple[str, Callable[[Path], str]]]:
    """Each store's name, and a function that makes an empty one in a folder."""
    if "sqlite" in names:
        yield "sqlite", _in_file
    if "postgres" in names:
        with postgres() as server:
            yield "postgres", lambda _: server.database()


def _in_file(folder: Path) -> str:
    return f"sqlite:///{folder}/polycall.db"


def main() -> int:
    """Print what happened; 1 where something does not hold."""
    parser = argparse.ArgumentParser(description="kill gateways, and count")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--store", choices=["sqlite", "postgres"], action="append")
    parser.add_argument("--replicas", type=int, action="append")
    options = parser.parse_args()
    failed = 0
    for name, made in stores(options.store or ["sqlite", "postgres"]):
        for replicas in options.replicas or [1, 2]:
            with tempfile.TemporaryDirectory(prefix="polycall-kills-") as place:
                folder = Path(place)
                campaign = Campaign(folder, made(folder), replicas, options.seed)
                print(f"{name}, {replicas} replicas, {options.kills} kills", flush=True)
                wrong = asyncio.run(campaign.run(options.kills))
                print(f"    {len(campaign.upstream.sales)} answers sold, {len(campaign.rows)} rows")
                for each in wrong[:40]:
                    print(f"    WRONG: {each}")
                failed += len(wrong)
    print(f"{failed} did not hold")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
