from polycall import Agent, ToolContext, tool


@tool(background="optional", concurrency=2)
async def render(scene: str, context: ToolContext) -> bytes:
    """Render."""
    await context.report(0.5)
    return scene.encode()


@tool(raises=[ValueError], concurrency=1)
async def check(scene: str) -> None:
    """Check."""
    if not scene:
        raise ValueError(scene)


async def main() -> str:
    agent = Agent("a/m", tools=[render, check])
    run = await agent.run("go", tasks="leave")
    return (await agent.run("and?", history=run.history)).output
