from polycall import Agent, Sandbox, tool


@tool(allowed_callers=["code"])
async def sales(region: str) -> list[int]:
    """Sales."""
    return [len(region)]


async def main() -> int:
    async with Sandbox() as sandbox:
        agent = Agent("a/m", tools=[sales], calling="code", sandbox=sandbox, output=int)
        run = await agent.run("How much?")
        for program in run.programs:
            print(program.status, program.code)
        return run.output
