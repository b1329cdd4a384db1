"""The console's search on a ledger of a million rows: milliseconds for a page, by filter.

`python -m bench console [ROWS] [POSTGRES_URL]`; SQLite in a temporary folder, or that database.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import quantiles

from msgspec.structs import replace

from polycall.gateway.store import LedgerRow, Store, open_store
from polycall.gateway.store.operations import add_rows
from polycall.gateway.store.search import Search, search, series

ROWS = 1_000_000
_BATCH = 5000
_PAGES = 25
_DAY_S = 86_400.0
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


async def timed(store: Store, wanted: Search) -> list[float]:
    """Milliseconds for each of some pages, from the newest on; then of the processor for all."""
    found: list[float] = []
    cpu_s = time.process_time()
    after: tuple[float, str] | None = None
    for _ in range(_PAGES):
        began = time.perf_counter()
        page = await store.look_up_aside(search(replace(wanted, after=after)))
        found.append((time.perf_counter() - began) * 1000)
        after = page.after
    return [*found, (time.process_time() - cpu_s) * 1000 / _PAGES]


async def measure(url: str, folder: Path, number: int) -> None:
    """Fill a store, and time its questions."""
    store = open_store(url, folder, deadline_s=600)
    try:
        began = time.perf_counter()
        if number:
            await fill(store, number)
        took_s = time.perf_counter() - began
        print(f"{number:,} rows written in {took_s:.0f} s ({url.partition(':')[0]})")
        everything: list[float] = []
        print(f"{'search':<22}{'p50 ms':>9}{'p95 ms':>9}{'most':>9}{'CPU ms':>9}")
        for name, wanted in SEARCHES.items():
            *took, cpu_ms = await timed(store, wanted)
            everything += took
            cuts = quantiles(took, n=20)
            print(f"{name:<22}{cuts[9]:>9.1f}{cuts[18]:>9.1f}{max(took):>9.1f}{cpu_ms:>9.1f}")
        print(f"{'all':<22}{'':>9}{quantiles(everything, n=20)[18]:>9.1f}{max(everything):>9.1f}")
        now = time.time()
        for words, length, every in (("1 hour", 3600, 60), ("24 hours", 86_400, 900),
                                     ("7 days", 604_800, 10_800)):  # fmt: skip
            began = time.perf_counter()
            operation = series(
                ["model"], since=now - length, until=now, bucket_s=every, filters=Search()
            )
            points = await store.look_up_aside(operation)
            took_ms = (time.perf_counter() - began) * 1000
            print(f"series of {words:<12}{took_ms:>9.1f} ms, {len(points)} points")
    finally:
        await store.close()


def main() -> None:
    """Print the table."""
    words = sys.argv[2:]
    number = int(words[0]) if words else ROWS
    with tempfile.TemporaryDirectory() as folder:
        url = words[1] if len(words) > 1 else "sqlite:///ledger.db"
        asyncio.run(measure(url, Path(folder), number))
