"""A run that is over leaves nothing that waits for the collector, however it ended."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from polycall.sandbox import Journal, Limits, Pause, Sandbox
from polycall.sandbox.tool_call_broker import ToolCallBroker

from .support import usable

LIMITS = Limits(wall_s=1.0, journal_bytes=200_000)


class LeavingError(Exception):
    leaves_run = True


async def page(size: int = 10) -> str:
    return "x" * size


async def later() -> None:
    raise Pause


async def leave() -> None:
    raise LeavingError("it is for the host")


TOOLS = {"page": page, "later": later, "leave": leave}
ENDS = {
    "finished": "x = [await page() for _ in range(3)]\nx",
    "failed": "await page()\n1 / 0",
    "timeout": "await page()\nwhile True:\n    pass",
    "paused": "await page()\nawait later()",
    "a full journal": "for _ in range(10):\n    await page(50_000)",
    "an error for the host": "await page()\nawait leave()",
}


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("tier", ["jail", "monty"])
@pytest.mark.parametrize("case", ENDS)
async def test_a20_no_run_waits_for_the_collector(
    tier: Any, case: str, monkeypatch: pytest.MonkeyPatch, no_collector: None
) -> None:
    await usable(tier)
    alive: list[weakref.ref[Any]] = []
    make = ToolCallBroker.__init__

    def made(self: ToolCallBroker, *arguments: Any, **options: Any) -> None:
        make(self, *arguments, **options)
        alive.append(weakref.ref(self))

    monkeypatch.setattr(ToolCallBroker, "__init__", made)
    async with Sandbox(tier, LIMITS, pool=0) as sandbox:
        journal = Journal()
        session = sandbox.session(journal=journal)
        try:
            status = (await session.run(ENDS[case], TOOLS)).status
        except LeavingError:
            status = "an error for the host"
        assert status == {"a full journal": "killed"}.get(case, case)
        await session.close()
        alive.append(weakref.ref(journal))
        del session, journal
        await asyncio.sleep(0.05)
        assert [each() for each in alive] == [None] * 2
