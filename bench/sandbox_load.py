"""The sandbox under load: programs at once, the round trip of a call, a journal of many calls.

    python -m bench.sandbox_load                          # 50 programs, 10,000 calls: a minute
    python -m bench.sandbox_load --tier monty --programs 200

Each program makes `--calls` calls, one after the other, and gives their sum; the figures say how
long one waits for its result beside the others, from `session()` to the value.  A round trip is
the least of 60 runs of 50 calls, alone on the machine and beside `--programs` programs that make
calls as well.  A journal is written by one program, and read by another process, which replays it.
Fails where a program gives another result than it should.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

from bench.sandbox import FUNCTIONS, resident_of_children, timed
from polycall.sandbox import Journal, Limits, RunResult, Sandbox

Tier = Literal["jail", "monty"]
SUM = "total = 0\nfor n in range({calls}):\n    total += await echo(n)\ntotal"
ROUNDS, EACH = 60, 50  # runs of a program, and its calls


class WrongResultError(Exception):
    """A program gave another result than it should."""


def checked(result: RunResult, calls: int) -> None:
    """Raise `WrongResultError` unless the program summed up all its calls."""
    expected = calls * (calls - 1) // 2
    if result.status != "finished" or result.value != expected:
        raise WrongResultError(
            f"{result.status} {result.value!r}, not {expected}: {result.stderr[:300]}"
        )


async def programs_at_once(tier: Tier, count: int, calls: int) -> dict[str, float]:
    """All programs start in one moment, on a sandbox that has its usual pool."""
    async with Sandbox(tier, Limits(wall_s=120, cpu_s=120)) as sandbox:
        took_ms: list[float] = []

        async def one() -> None:
            began = time.perf_counter()
            async with sandbox.session() as session:
                result = await session.run(SUM.format(calls=calls), FUNCTIONS)
                took_ms.append((time.perf_counter() - began) * 1e3)
                checked(result, calls)

        await one()
        took_ms.clear()
        before = resident_of_children()
        running = asyncio.gather(*(one() for _ in range(count)))
        most = 0.0
        began = time.perf_counter()
        while not running.done():
            await asyncio.wait([running], timeout=1.0)
            most = max(most, resident_of_children() - before)
        await running
        whole_s = time.perf_counter() - began
    took_ms.sort()
    return {
        f"{count} programs at once, s": whole_s,
        "one of them: p50, ms": took_ms[len(took_ms) // 2],
        "one of them: the slowest, ms": took_ms[-1],
        "memory of all of them, MiB": most,
    }


async def round_trip(tier: Tier, beside: int) -> dict[str, float]:
    """Microseconds of a call, alone and beside others."""
    limits = Limits(wall_s=120, cpu_s=120, calls=1_000_000, frames_per_s=100_000)
    async with Sandbox(tier, limits) as sandbox, sandbox.session() as session:
        program = SUM.format(calls=EACH)

        async def least() -> float:
            found = [await timed(lambda: session.run(program, FUNCTIONS)) for _ in range(ROUNDS)]
            return min(found) / EACH * 1e3

        figures = {"round trip of a call, µs": await least()}
        stopping = asyncio.Event()

        async def other() -> None:
            async with sandbox.session() as neighbour:
                while not stopping.is_set():
                    await neighbour.run(SUM.format(calls=100), FUNCTIONS)

        others = [asyncio.create_task(other()) for _ in range(beside)]
        await asyncio.sleep(2)
        figures[f"the same beside {beside} programs, µs"] = await least()
        stopping.set()
        await asyncio.gather(*others)
    return figures


async def journal(tier: Tier, calls: int, folder: Path) -> dict[str, float]:
    """What a journal of that many calls costs to write, and to replay."""
    limits = Limits(wall_s=600, cpu_s=600, calls=calls, frames_per_s=100_000)
    place = folder / f"{tier}.jsonl"
    program = SUM.format(calls=calls)
    async with Sandbox(tier, limits) as sandbox:
        written = Journal(place)
        async with sandbox.session(journal=written) as session:
            began = time.perf_counter()
            checked(await session.run(program, FUNCTIONS), calls)
            write_s = time.perf_counter() - began
        written.close()
        asked = 0

        async def echo(value: int) -> int:
            nonlocal asked
            asked += 1
            return value

        functions: dict[str, Any] = {**FUNCTIONS, "echo": echo}
        async with sandbox.session() as session:
            began = time.perf_counter()
            await session.resume(Journal.from_json(place.read_text()), functions)
            result = await session.run("total", functions)
            replay_s = time.perf_counter() - began
        checked(result, calls)
        if asked:
            raise WrongResultError(f"{asked} calls of the journal were made again")
    return {
        f"journal of {calls:,} calls: written, s": write_s,
        "its size, MiB": place.stat().st_size / 2**20,
        "replayed, s": replay_s,
    }


async def measured(tier: Tier, options: argparse.Namespace) -> dict[str, float]:
    """All figures of one tier."""
    with tempfile.TemporaryDirectory() as folder:
        return {
            **await programs_at_once(tier, options.programs, options.calls),
            **await round_trip(tier, options.beside),
            **await journal(tier, options.journal, Path(folder)),
        }


def main() -> int:
    """Print a line for each figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tier", choices=("jail", "monty"), default="jail")
    parser.add_argument("--programs", type=int, default=50)
    parser.add_argument("--calls", type=int, default=20, help="of each program")
    parser.add_argument("--beside", type=int, default=8, help="programs beside a round trip")
    parser.add_argument("--journal", type=int, default=10_000, help="calls in the journal")
    options = parser.parse_args()
    for name, value in asyncio.run(measured(options.tier, options)).items():
        print(f"{name:<40}{value:>12.3g}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
