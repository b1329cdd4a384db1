"""The console's search on a ledger of a million rows: milliseconds for a page, by filter.

`python -m bench console [ROWS] [POSTGRES_URL]`; SQLite in a temporary folder, or that database
(0 rows: it was filled before).  Then a gateway serves 200 requests a second on that ledger,
alone and while an operator searches without a pause, in turns: the p99 of its clients, and the
milliseconds of the searches.  Clients, operator and upstream are processes of their own.  Prints
whether it holds, and ends with status 1 where it does not.
"""

from __future__ import annotations

import asyncio
import http.client
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles
from urllib.parse import urlencode

from msgspec.structs import asdict, replace

from bench.doors import Upstream
from bench.strangers import KEY, p99, result, role
from polycall.admin.ledger import SEARCH_FIELDS
from polycall.gateway.store import LedgerRow, Store, open_store
from polycall.gateway.store.ledger_json import page_json, points_json, read_cursor
from polycall.gateway.store.operations import add_rows
from polycall.gateway.store.search import Search

ROWS = 1_000_000
_BATCH = 5000
_PAGES = 25
_DAY_S = 86_400.0
_A_SECOND, _TURNS, _TURN_S = 200.0, 10, 5.0
_MOVED_MAX = 0.1
_PAGE_MS_MAX = 200.0
_ERRORS = ("rate limit reached for tier 2", "the model is overloaded", "invalid image data")

SEARCHES: dict[str, Search] = {
    "newest": Search(),
    "one key": Search(key="key-7"),
    "a rare key": Search(key="key-rare"),
    "one model": Search(model="model-3"),
    "status 429": Search(status=429),
    "warned": Search(warned=True),
    "failed": Search(failed=True),
    "words of an error": Search(text="OVERLOADED"),
    "words of none": Search(text="nowhere in it"),
    "cost above all": Search(cost_min=1000.0),
    "key, status, words": Search(key="key-7", status=429, text="tier 2"),
    "provider of none": Search(provider="nobody"),
}


def rows(number: int, now: float) -> Iterator[tuple[object, ...]]:
    """Rows of the last 30 days, oldest first."""
    draw = random.Random(7)
    for place in range(number):
        fails = draw.random() < 0.03
        status = draw.choice((429, 503, 400)) if fails else 200
        row = LedgerRow(
            id=f"req_{place // 4096:012x}{place:08x}",
            created=now - 30 * _DAY_S * (1 - place / number),
            key="key-rare" if place % 100_003 == 0 else f"key-{draw.randrange(50)}",
            client="openai-chat",
            asked="fast",
            provider=f"provider-{draw.randrange(4)}",
            model=f"model-{draw.randrange(20)}",
            streamed=place % 2,
            status=status,
            outcome="error" if fails else "ok",
            attempts=1,
            input_tokens=draw.randrange(4000),
            output_tokens=draw.randrange(900),
            cached_tokens=0,
            cache_write_tokens=0,
            reasoning_tokens=0,
            is_estimate=0,
            cost_usd=f"{draw.random() / 10:.6f}",
            duration_ms=draw.expovariate(1 / 900),
            first_ms=draw.expovariate(1 / 200),
            key_id=f"id-{place % 50}",
            worker="w.0",
            calls=0,
            warnings=int(draw.random() < 0.01),
            error=draw.choice(_ERRORS) if fails else "",
        )
        yield tuple(getattr(row, name) for name in LedgerRow.__struct_fields__)


async def fill(store: Store, number: int) -> None:
    """Write the rows."""
    batch: list[tuple[object, ...]] = []
    for row in rows(number, time.time()):
        batch.append(row)
        if len(batch) == _BATCH:
            await store.change(add_rows(batch))
            batch = []
    if batch:
        await store.change(add_rows(batch))


def tidy(url: str) -> None:
    """Let Postgres note which rows everybody sees: then an index is enough to answer from."""
    import psycopg  # noqa: PLC0415 - for Postgres alone

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE ledger")


async def timed(store: Store, wanted: Search) -> list[float]:
    """Milliseconds for each of some pages, from the newest on."""
    found: list[float] = []
    after: tuple[float, str] | None = None
    for _ in range(_PAGES):
        began = time.perf_counter()
        page = json.loads(await store.ask("bench", page_json, replace(wanted, after=after)))
        found.append((time.perf_counter() - began) * 1000)
        after = None if page["next"] is None else read_cursor(page["next"])
    return found


async def measure(url: str, folder: Path, number: int) -> float:
    """Fill a store, and time its questions; gives the p95 of all pages."""
    store = open_store(url, folder, deadline_s=600)
    try:
        began = time.perf_counter()
        if number:
            await fill(store, number)
        took_s = time.perf_counter() - began
        if number and url.startswith("postgres"):
            tidy(url)  # as its own vacuum does within a minute or two
        print(f"{number:,} rows written in {took_s:.0f} s ({url.partition(':')[0]})")
        everything: list[float] = []
        print(f"{'search':<22}{'p50 ms':>9}{'p95 ms':>9}{'most':>9}")
        for name, wanted in SEARCHES.items():
            took = await timed(store, wanted)
            everything += took
            cuts = quantiles(took, n=20)
            print(f"{name:<22}{cuts[9]:>9.1f}{cuts[18]:>9.1f}{max(took):>9.1f}")
        print(f"{'all':<22}{'':>9}{quantiles(everything, n=20)[18]:>9.1f}{max(everything):>9.1f}")
        now = time.time()
        for words, length, every in (("1 hour", 3600, 60), ("24 hours", 86_400, 900),
                                     ("7 days", 604_800, 10_800)):  # fmt: skip
            began = time.perf_counter()
            found = await store.ask(
                "bench",
                points_json,
                ["model"],
                since=now - length,
                until=now,
                bucket_s=every,
                filters=Search(),
            )
            took_ms = (time.perf_counter() - began) * 1000
            points = json.loads(found)["points"]
            print(f"series of {words:<12}{took_ms:>9.1f} ms, {len(points)} points")
        return quantiles(everything, n=20)[18]
    finally:
        await store.close()


def beside_traffic(url: str, folder: Path) -> float:
    """Clients alone, and beside an operator's searches, in turns; gives how far their p99 moves."""
    with _program("upstream") as upstream:
        assert upstream.stdout is not None
        address = upstream.stdout.readline().strip()
        config = folder / "polycall.toml"
        config.write_text(
            f'[providers.up]\ndialect = "openai-chat"\nbase_url = "{address}"\n'
            f'api_key = "sk-up-aaaaaaaa"\n[store]\nurl = "{url}"\n'
            f'[[keys]]\nkey = "{KEY}"\nname = "good"\n',
            encoding="utf-8",
        )
        program = str(Path(sys.executable).with_name("polycall"))
        made = subprocess.run(
            [program, *f"admins create bench-{time.time():.0f} --role reader --key --json".split()],
            cwd=folder,
            capture_output=True,
            check=True,
        )
        key = json.loads(made.stdout)["key"]
        with subprocess.Popen(
            [program, "serve", "--config", str(config), "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as served:
            assert served.stdout is not None
            port = int(served.stdout.readline().rsplit(":", 1)[1])
            try:
                return _in_turns(port, key)
            finally:
                served.send_signal(signal.SIGTERM)
                upstream.kill()


def _in_turns(port: int, key: str) -> float:
    alone: list[float] = []
    beside: list[float] = []
    searched: list[float] = []
    turns: list[tuple[float, float]] = []
    with role("good", port, _A_SECOND, 3.0) as warming:
        result(warming)
    # One process for all turns: starting one would disturb the clients more than it does.
    with _program("operator", str(port), key) as operator:
        assert operator.stdin is not None
        assert operator.stdout is not None
        operator.stdout.readline()
        for _ in range(_TURNS):
            with role("good", port, _A_SECOND, _TURN_S) as client:
                alone += (calm := result(client))
            # It comes before the clients do, and stays longer.
            print(_TURN_S + 2, file=operator.stdin, flush=True)
            with role("good", port, _A_SECOND, _TURN_S) as client:
                beside += (busy := result(client))
            searched += json.loads(operator.stdout.readline())
            turns.append((p99(calm), p99(busy)))
        operator.stdin.close()
    shown = ", ".join(f"{before:.2f} to {after:.2f}" for before, after in turns)
    print(f"p99 of {_A_SECOND:.0f} requests a second, ms, alone to beside searches: {shown}")
    moved = p99(beside) / p99(alone) - 1
    typical = median([after / before for before, after in turns]) - 1
    for words, took in (("alone", alone), ("beside", beside)):
        cuts = quantiles(took, n=100)
        print(f"{words:<8}p50 {cuts[49]:.2f}, p90 {cuts[89]:.2f}, p99 {cuts[98]:.2f} ms")
    print(f"p99 moved by {100 * moved:+.0f} % in all, {100 * typical:+.0f} % in the median turn")
    cuts = quantiles(searched, n=20)
    print(
        f"{len(searched)} searches beside it: p50 {cuts[9]:.1f}, p95 {cuts[18]:.1f}, "
        f"most {max(searched):.1f} ms"
    )
    return moved


def _program(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bench.console", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def operate(port: int, key: str, seconds: float) -> list[float]:
    """Search over HTTP without a pause; milliseconds of each page."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    took: list[float] = []
    ends_at = time.monotonic() + seconds
    for wanted in itertools.cycle(SEARCHES.values()):
        if time.monotonic() > ends_at:
            break
        fields = {
            name: str(value).lower() if isinstance(value, bool) else value
            for name, value in asdict(wanted).items()
            if name in SEARCH_FIELDS and value not in (None, "", False)
            and name not in ("since", "until", "limit", "after")
        }  # fmt: skip
        began = time.perf_counter()
        path = f"/admin/v1/requests?{urlencode(fields)}"
        connection.request("GET", path, headers={"authorization": f"Bearer {key}"})
        answer = connection.getresponse()
        data = answer.read()
        assert answer.status == 200, data
        took.append((time.perf_counter() - began) * 1000)
    connection.close()
    return took


def main() -> int:
    """Print the tables, and the verdict."""
    words = sys.argv[2:]
    number = int(words[0]) if words else ROWS
    with tempfile.TemporaryDirectory() as folder:
        url = words[1] if len(words) > 1 else "sqlite:///ledger.db"
        p95 = asyncio.run(measure(url, Path(folder), number))
        moved = beside_traffic(url, Path(folder))
    holds = p95 < _PAGE_MS_MAX and moved <= _MOVED_MAX
    print("holds" if holds else "does not hold")
    return 0 if holds else 1


def role_of(name: str, *words: str) -> None:
    """Be the upstream, or the operator who searches for each number of seconds it reads."""
    if name == "upstream":
        print(Upstream().url, flush=True)
        signal.pause()
    port, key = words
    os.nice(19)  # an operator's browser is on another machine
    operate(int(port), key, 0.5)
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(operate(int(port), key, float(line))), flush=True)


if __name__ == "__main__":
    role_of(*sys.argv[1:])
