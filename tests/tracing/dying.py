"""A process that works on durable runs, and dies in the middle of a program's second call.

`python -m tests.tracing.dying DATABASE COLLECTOR`
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

from polycall import Agent, tool, tracing
from polycall.durable import Durable
from polycall.testing import ScriptedModel

from .support import call

CODE = "prices = await price(item='teapot')\nawait ship(item='teapot')"
BEFORE = [call("c1", "look"), [call("c2", "run_code", code=CODE), call("c3", "draw")]]


def shop(model: Any, *, dies: bool) -> Agent[Any, Any]:
    @tool
    async def look() -> str:
        """Look around."""
        return "a teapot"

    @tool(allowed_callers=["code"])
    async def price(item: str) -> int:
        """What an item costs."""
        return 40

    @tool(allowed_callers=["code"])
    async def ship(item: str) -> str:
        """Send an item."""
        if dies:
            await asyncio.sleep(0.5)  # so that what has ended is exported
            os.kill(os.getpid(), signal.SIGKILL)
        return "sent"

    @tool(background=True)
    async def draw() -> str:
        """Draw a label."""
        return "label.png"

    clerk = Agent("test/clerk", name="clerk")
    tools = [look, price, ship, draw, clerk]
    return Agent("test/m", name="shop", tools=tools, calling="code", client=model)


async def work(database: str, collector: str) -> None:
    agent = shop(ScriptedModel(BEFORE), dies=True)
    with tracing.enable(collector, service="first"):
        async with Durable(database, agents=[agent], poll_s=0.02, lease_s=1.0) as durable:
            await durable.handle("order-7").result()


if __name__ == "__main__":
    asyncio.run(work(*sys.argv[1:]))
