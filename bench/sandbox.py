"""Figures of the sandbox, all from one run: starts, calls, memory, and 500 sessions in sequence.

python -m bench.sandbox [--sessions 500] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal

from polycall.sandbox import Limits, RuntimeUnavailableError, Sandbox

Tier = Literal["jail", "monty"]
TRIVIAL = "1 + 1"
SLEEPERS = "import asyncio\nlen(await asyncio.gather(*(nap() for _ in range(50))))"
CALLS = "for n in range(300):\n    await echo(n)"
LARGE = "rows = await table()\nlen(rows)"


async def echo(value: int) -> int:
    return value


async def nap() -> None:
    await asyncio.sleep(0.05)


async def table() -> list[dict[str, Any]]:
    return [{"id": n, "name": f"row {n}", "amount": n * 1.5} for n in range(10_000)]


FUNCTIONS = {"echo": echo, "nap": nap, "table": table}


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await work()
    return (time.perf_counter() - began) * 1e3


def machine() -> dict[str, int]:
    """What a leak would show in: of this process, and of the machine."""
    gc.collect()
    status = Path("/proc/self/status").read_text()
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    names = ("bwrap", "monty", "python3")
    processes = 0
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                processes += (folder / "comm").read_text().strip() in names
            except OSError:
                continue
    return {
        "resident_kib": int(resident.split()[1]),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "processes": processes,
        "temporary_files": len(os.listdir(tempfile.gettempdir())),
        "control_groups": len(list(Path("/sys/fs/cgroup").glob("*/polycall-*"))),
    }


async def starts(tier: Tier) -> dict[str, float]:
    """A cold start is all of it, from no sandbox to the result; a warm one has a process ready."""

    async def cold() -> None:
        async with Sandbox(tier, pool=0) as sandbox, sandbox.session() as session:
            await session.run(TRIVIAL)

    cold_ms = [await timed(cold) for _ in range(5)]
    warm_ms: list[float] = []
    async with Sandbox(tier, pool=3) as sandbox:
        for _ in range(15):
            # The pool has time to fill again, as between two requests.
            await asyncio.sleep(0.5)
            session = sandbox.session()
            warm_ms.append(await timed(lambda: session.run(TRIVIAL)))  # noqa: B023
            await session.close()
        async with sandbox.session() as session:
            await session.run(TRIVIAL)
            again_ms = [await timed(lambda: session.run(TRIVIAL)) for _ in range(50)]
    return {
        "cold start and run, ms": statistics.median(cold_ms),
        "warm run in a new session, ms": statistics.median(warm_ms),
        "run in a used session, ms": statistics.median(again_ms),
    }


async def calls(tier: Tier) -> dict[str, float]:
    async with Sandbox(tier, Limits(wall_s=60)) as sandbox, sandbox.session() as session:
        await session.run(CALLS, FUNCTIONS)
        calls_ms = [await timed(lambda: session.run(CALLS, FUNCTIONS)) for _ in range(3)]
        naps_ms = [await timed(lambda: session.run(SLEEPERS, FUNCTIONS)) for _ in range(5)]
        large_ms = [await timed(lambda: session.run(LARGE, FUNCTIONS)) for _ in range(3)]
    return {
        "round trip of a call, us": statistics.median(calls_ms) / 300 * 1e3,
        "50 calls of 50 ms side by side, ms": statistics.median(naps_ms),
        "a result of 10,000 rows, ms": statistics.median(large_ms),
    }


def resident_of_children() -> float:
    """MiB that the processes below this one hold alone: their proportional share."""
    parents = {os.getpid()}
    total_kib = 0
    found = True
    seen: set[int] = set()
    while found:
        found = False
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit() or int(folder.name) in seen:
                continue
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if parent not in parents:
                    continue
                shares = (folder / "smaps_rollup").read_text().splitlines()
            except OSError:
                continue
            total_kib += sum(int(line.split()[1]) for line in shares if line.startswith("Pss:"))
            seen.add(int(folder.name))
            parents.add(int(folder.name))
            found = True
    return total_kib / 1024


async def memory(tier: Tier) -> dict[str, float]:
    async with Sandbox(tier, pool=0) as sandbox:
        before = resident_of_children()
        sessions = [sandbox.session() for _ in range(10)]
        for session in sessions:
            await session.run("values = list(range(1000))")
        held = resident_of_children() - before
        for session in sessions:
            await session.close()
    return {"memory of a session, MiB": held / 10}


async def many(tier: Tier, count: int) -> dict[str, Any]:
    async with Sandbox(tier) as sandbox:

        async def one() -> None:
            async with sandbox.session() as session:
                await session.run("total = await echo(1)\nprint(total)", FUNCTIONS)

        for _ in range(20):
            await one()
        await asyncio.sleep(0.5)
        before = machine()
        took_ms = await timed(lambda: _repeat(one, count))
        await asyncio.sleep(0.5)
        after = machine()
    growth = {name: after[name] - before[name] for name in before}
    return {f"{count} sessions in sequence, ms each": took_ms / count, "growth": growth}


async def _repeat(work: Callable[[], Awaitable[None]], count: int) -> None:
    for _ in range(count):
        await work()


def bare_python_ms() -> float:
    """The same machine's bare interpreter with asyncio, to read the other figures by."""
    command = [sys.executable, "-I", "-S", "-c", "import asyncio"]
    times: list[float] = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run(command, check=True)
        times.append((time.perf_counter() - began) * 1e3)
    return statistics.median(times)


async def measured(sessions: int) -> dict[str, Any]:
    figures: dict[str, Any] = {"python -c 'import asyncio', ms": round(bare_python_ms(), 1)}
    tiers: tuple[Tier, ...] = ("jail", "monty")
    for tier in tiers:
        try:
            parts = [await starts(tier), await calls(tier), await memory(tier)]
            parts.append(await many(tier, sessions))
        except RuntimeUnavailableError as error:
            figures[tier] = {"not available": str(error)}
            continue
        figures[tier] = {name: value for part in parts for name, value in part.items()}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sessions", type=int, default=500)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = asyncio.run(measured(options.sessions))
    if options.json:
        print(json.dumps(figures, indent=1))
        return
    tiers = {name: value for name, value in figures.items() if isinstance(value, dict)}
    for name, value in figures.items():
        if name not in tiers:
            print(f"{name:<42}{value:>12}")
    print(f"{'':<42}" + "".join(f"{tier:>12}" for tier in tiers))
    rows = dict.fromkeys(name for values in tiers.values() for name in values)
    for row in rows:
        cells = [tiers[tier].get(row, "") for tier in tiers]
        if any(isinstance(cell, dict) for cell in cells):
            for name in cells[0]:
                growths = "".join(f"{cell[name]:>12}" for cell in cells)
                print(f"{row + ': ' + name:<42}{growths}")
            continue
        shown = (f"{cell:>12.3g}" if isinstance(cell, float) else f"{cell:>12}" for cell in cells)
        print(f"{row:<42}" + "".join(shown))


if __name__ == "__main__":
    main()
