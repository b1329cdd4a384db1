from typing import Any

from polycall import Agent, ToolTree, tool
from polycall.ir import JSON


@tool
async def send(to: str) -> str:
    """Send."""
    return to


async def call(method: str, path: str, arguments: JSON) -> Any:
    return {"path": path}


tree = ToolTree({"email": [send], "calendar": {"events": [send]}}, about={"email": "Mail"})
agent = Agent("a/m", tools=[tree])
