import asyncio

from polycall import Agent
from polycall.agents import ApprovalRequest


def quickly(request: ApprovalRequest) -> bool | str:
    return request.arguments.get("amount", 0) < 10 or "too much"


async def slowly(request: ApprovalRequest) -> bool:
    await asyncio.sleep(0.1)
    request.always = True
    return True


async def main(agent: Agent) -> None:
    await agent.run("pay", approve=quickly)
    await agent.run("pay", approve=slowly)
    await agent.run("pay", approve=lambda request: request.tool == "look")
