"""A run that moves: its process is killed in the middle of a step, and another one goes on."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile

from start import start

from polycall import Agent, tool
from polycall.durable import Durable
from polycall.sim import Call, Turn

DYING = os.environ.get("MOVED_DATABASE")  # where the runs are, for the process that will die


@tool
async def pack(order_id: str) -> str:
    """Pack an order."""
    print(f"  packing {order_id}", flush=True)
    return "packed"


@tool
async def ship(order_id: str) -> str:
    """Send a packed order."""
    print(f"  shipping {order_id}", flush=True)
    if DYING:
        os.kill(os.getpid(), signal.SIGKILL)
    return "on its way"


PLAY = [
    Turn(calls=[Call("pack", {"order_id": "A17"})]),
    Turn(calls=[Call("ship", {"order_id": "A17"})]),
    Turn(text="A17 is packed and on its way."),
]


async def work(database: str, play: list[Turn]) -> None:
    async with start(play) as (model, client):
        clerk = Agent(model, name="clerk", tools=[pack, ship], client=client)
        async with Durable(database, agents=[clerk]) as durable:
            run = await durable.start(clerk, "Send A17.", run_id="order-A17")
            print((await run.result()).output)


if DYING:
    asyncio.run(work(DYING, PLAY))
else:
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/runs.db"
        words = ["env", f"MOVED_DATABASE={url}", sys.executable, __file__, *sys.argv[1:]]
        died = subprocess.Popen(words, stdout=subprocess.PIPE)  # noqa: S603
        said = died.communicate()[0].decode()
        print(f"{said}killed by signal {-died.returncode}; another process:")
        asyncio.run(work(url, PLAY[2:]))
