"""Guards, trees, branches and results of runs, joined."""

from typing import Any

from pydantic import BaseModel

from polycall import Agent, Limits, Toolset, ToolTree, tool
from polycall.agents import Guarded, PausedRun, Run, Sessions
from polycall.durable import Durable
from polycall.ir import ToolCall
from polycall.tools import execute


class Order(BaseModel):
    item: str


@tool(background=True)
async def ship(what: str) -> str:
    """Ship something."""
    return what


def secret(run: Run[Any]) -> str | None:
    return "a secret" if "secret" in run.text else None


tree = ToolTree({"mail": [ship]})
around = (tree + Toolset([ship])).logged().limited(3)
agent = Agent("a/m", tools=[around], output=Order, limits=Limits(wall_s=2.5))
guarded = Guarded(agent, outputs=[secret])


async def main(sessions: Sessions) -> list[Order]:
    session = sessions.open("a", user="mina")
    run = await session.run(guarded, "go", approve="pause")
    if run.paused is not None:
        again = PausedRun.from_json(run.paused.to_json("s"), "s")
        run = await session.resume(guarded, again)
    other = sessions.branch("a", "b", at=sessions.turns("a")[0])
    async with other.stream(guarded, "more") as stream:
        words = [word async for word in stream.text()]
    partial: Run[Order] = stream.partial
    return [run.output, stream.run.output, partial.output, Order(item="".join(words))]


async def kept(durable: Durable, sessions: Sessions) -> tuple[str, str, float, str]:
    await execute(ToolCall("1", "mail.ship", "{}"), tree)
    asked = (await durable.approvals("r"))[0]
    name, seconds = (await durable.steps("r"))[0]
    return asked.tool, name, seconds, sessions.list(user="mina")[0]
