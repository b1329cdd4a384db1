"""A long program in a process of its own, to be killed in the middle and resumed in another.

    python -m tests.sandbox.journey run JOURNAL LOG PLACE      stops at the call PLACE
    python -m tests.sandbox.journey resume JOURNAL LOG TIER

With PLACE 0 it runs to its end.  The log gets a line whenever a tool is really called.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from polycall.sandbox import Journal, Limits, Pause, Sandbox

PROGRAM = """
import asyncio, random, time, uuid, datetime, os

orders = []
for page in range(4):
    orders += await page_of(page)
ids = [order["id"] for order in orders]
random.shuffle(ids)
stock = await asyncio.gather(*(stock_of(i) for i in ids[:8]))
late = []
for i in ids[:3]:
    try:
        async with asyncio.timeout(0.02):
            await slow_stock(i)
    except TimeoutError:
        late.append(i)
first = []
for answer in asyncio.as_completed([stock_of(i) for i in ids[8:12]]):
    first.append(await answer)
started = time.monotonic()
receipt = await approve(sum(stock))
token = uuid.uuid4()
print(ids, stock, sorted(late), sorted(first), receipt)
print(random.random(), token, os.urandom(4).hex(), hash("x"))
print(datetime.datetime.now() > datetime.datetime(2026, 1, 1), {"b", "a", "c"})
for last in range(3):
    print(await stock_of(last))
sum(stock)
"""
CALLS = 4 + 8 + 3 + 4 + 1 + 3


class Tools:
    """Tools that leave a trace when they are called, and stop at one call."""

    def __init__(self, log: Path, stop: str, place: int) -> None:
        self._log = log
        self._stop = stop
        self._place = place
        self._made = 0

    async def _arrive(self, text: str) -> None:
        self._made += 1
        if self._made == self._place:
            if self._stop == "pause":
                raise Pause
            os.kill(os.getpid(), signal.SIGKILL)
        with self._log.open("a") as log:
            log.write(f"{text}\n")
        await asyncio.sleep(0.001 * (self._made % 3))

    async def page_of(self, page: int) -> list[dict[str, Any]]:
        await self._arrive(f"page_of {page}")
        return [{"id": page * 4 + n, "page": page} for n in range(4)]

    async def stock_of(self, order: int) -> int:
        await self._arrive(f"stock_of {order}")
        return order * 7 % 11

    async def slow_stock(self, order: int) -> int:
        await self._arrive(f"slow_stock {order}")
        await asyncio.sleep(5)
        return order

    async def approve(self, total: int) -> str:
        await self._arrive(f"approve {total}")
        return f"approved {total}"

    def functions(self) -> dict[str, Any]:
        names = ("page_of", "stock_of", "slow_stock", "approve")
        return {name: getattr(self, name) for name in names}


def opened(tier: str) -> Sandbox:
    return Sandbox(tier, Limits(wall_s=20), pool=0)  # pyright: ignore[reportArgumentType]


async def run(tier: str, journal: Path, log: Path, stop: str, place: int) -> dict[str, Any]:
    tools = Tools(log, stop, place)
    async with (
        opened(tier) as sandbox,
        sandbox.session(seed=11, journal=Journal(journal)) as session,
    ):
        result = await session.run(PROGRAM, tools.functions())
        if result.status == "paused":
            # The host dies while the program stands at its call.
            os.kill(os.getpid(), signal.SIGKILL)
        return {"status": result.status, "stdout": result.stdout, "value": result.value}


async def resume(tier: str, journal: Path, log: Path) -> dict[str, Any]:
    tools = Tools(log, "never", 0)
    recorded = Journal(journal)
    in_doubt = [run.in_doubt() for run in recorded.runs()][-1]
    async with opened(tier) as sandbox, sandbox.session(journal=recorded) as session:
        result = await session.resume(recorded, tools.functions(), retry=tuple(tools.functions()))
        assert result is not None
        return {
            "status": result.status,
            "stdout": result.stdout,
            "value": result.value,
            "error": str(result.error),
            "calls": len(result.calls),
            "in_doubt": [f"{call['name']} {call['args'][0]}" for call in in_doubt.values()],
        }


def main() -> None:
    command, tier, journal, log, *rest = sys.argv[1:]
    if command == "run":
        outcome = run(tier, Path(journal), Path(log), rest[0], int(rest[1]))
    else:
        outcome = resume(tier, Path(journal), Path(log))
    print(json.dumps(asyncio.run(outcome)))


if __name__ == "__main__":
    main()
