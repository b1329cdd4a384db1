"""A refund that waits for a person: the run is written to a file, and goes on the next morning."""

import asyncio
import tempfile
from pathlib import Path

from start import start

from polycall import Agent, Client, tool
from polycall.agents import PausedRun
from polycall.sim import Call, Turn


@tool
async def find_order(order_id: str) -> str:
    """Look an order up."""
    print(f"  looking {order_id} up")
    return "a teapot for 40, broken"


@tool(needs_approval=True)
async def refund(order_id: str, amount: int) -> str:
    """Pay money back; a person must agree."""
    print(f"  paying {amount} back")
    return f"{amount} paid back for {order_id}"


def desk(model: str, client: Client) -> Agent:
    refunds = Agent(model, name="refunds", tools=[find_order, refund])
    return Agent(model, name="desk", handoffs=[refunds], client=client)


PLAY = [
    Turn(calls=[Call("transfer_to_refunds", {"reason": "a teapot arrived broken"})]),
    Turn(calls=[Call("find_order", {"order_id": "A17"})]),
    Turn(calls=[Call("refund", {"order_id": "A17", "amount": 40})]),
    Turn(text="The 40 are on their way back to you."),
]


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "paused.json"
        async with start(PLAY[:3]) as (model, client):
            run = await desk(model, client).run("My teapot (A17) came broken", approve="pause")
            print(run.reason)
            file.write_text(run.paused.to_json())
        # The next morning, in another process.
        paused = PausedRun.from_json(file.read_text())
        for approval in paused.waiting:
            print(f"{' > '.join(approval.agents)} asks: {approval.tool}({approval.arguments})")
            paused.allow(approval.id)
        async with start(PLAY[3:]) as (model, client):
            run = await desk(model, client).resume(paused)
            print(run.output)


asyncio.run(main())
