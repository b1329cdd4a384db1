from polycall import Agent, Toolset, tool
from polycall.ir import JSON
from polycall.tools import AbstractToolset, FunctionTool


@tool
def search(query: str) -> list[str]:
    """Search."""
    return [query]


def plain(number: int) -> int:
    """Double."""
    return number * 2


def approve(each: FunctionTool[..., object], arguments: JSON) -> bool | str:
    return each.name == "search" or "not now"


tools: AbstractToolset = Toolset([search, plain]).prefixed("shop").limited(5).logged()
kept = tools.filtered(["shop_search"]) + Toolset([plain])
agent = Agent("a/m", tools=[kept.approved(approve)])
names: list[str] = [each.name for each in agent.toolsets[0]]
