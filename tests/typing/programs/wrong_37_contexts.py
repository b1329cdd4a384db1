from dataclasses import dataclass

from polycall import AgentContext, ToolContext, tool


@dataclass
class Shop:
    name: str


@tool
async def greet(context: ToolContext[Shop]) -> int:
    """Greet."""
    await context.report("half")  # wrong
    return context.deps.name  # wrong


@tool
async def look(context: AgentContext[Shop]) -> str:
    """Look."""
    return context.deps.missing  # wrong
