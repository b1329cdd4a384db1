from dataclasses import dataclass

from polycall import Agent, AgentContext, ToolContext, tool


@dataclass
class Shop:
    name: str


@tool
async def greet(customer: str, context: ToolContext[Shop]) -> str:
    """Greet."""
    await context.report(0.5, "greeting")
    return f"{context.deps.name}: {customer}"


@tool
async def remember(what: str, context: AgentContext[Shop]) -> None:
    """Remember."""
    context.variables["what"] = what


def instructions(context: AgentContext[Shop]) -> str:
    return f"You work for {context.deps.name}."


agent = Agent("a/m", instructions=instructions, tools=[greet, remember])


async def main() -> str:
    run = await agent.run("hello", deps=Shop("tea"), variables={"what": ""}, user="mina")
    return run.text
