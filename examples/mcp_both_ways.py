"""MCP both ways: a shop's tools are served, and an agent uses them as any client would."""

import asyncio
import sys
import tempfile
from pathlib import Path

from start import start

from polycall import Agent, tool
from polycall.mcp import StdioServer, connect
from polycall.sim import Call, Turn

STOCK = {"tea": 12, "coffee": 0}


@tool
def in_stock(item: str) -> int:
    """How much there is of an item."""
    return STOCK.get(item, 0)


@tool(needs_approval=True)
def order(item: str, amount: int) -> str:
    """Order more of an item."""
    return f"{amount} of {item} ordered"


tools = [in_stock, order]
PLAY = [
    Turn(calls=[Call("shop_in_stock", {"item": "coffee"})]),
    Turn(calls=[Call("shop_order", {"item": "coffee", "amount": 20})]),
    Turn(text="There was no coffee left; 20 are ordered."),
]


def decide(request: object) -> bool:
    print(f"a person is asked: {request}")
    return True


async def main() -> None:
    # This very file, served by `polycall mcp serve` in a process of its own.
    command = [sys.executable, "-m", "polycall", "mcp", "serve", "mcp_both_ways:tools"]
    here = Path(__file__).parent
    shop = StdioServer("shop", command=[*command, "--with-approval"], cwd=here, ask_for=["order"])
    with tempfile.TemporaryDirectory() as folder:
        async with start(PLAY) as (model, client), connect(shop, pins=f"{folder}/lock") as found:
            print(list(found.tools))
            agent = Agent(model, name="desk", tools=[found], client=client)
            run = await agent.run("Is there coffee left? If not, order 20.", approve=decide)
    print([result.text for step in run.steps for result in step.results])
    print(run.text)


if __name__ == "__main__":
    asyncio.run(main())
