from polycall import Agent, Durable


async def main(agent: Agent) -> None:
    Durable("sqlite:///runs.db", agents=agent)  # wrong
    async with Durable("sqlite:///runs.db", agents=[agent]) as durable:
        await durable.start(agent, "go", runid="r")  # wrong
        handle = await durable.start(agent, "go")
        print(handle.text)  # wrong
        await durable.allow("r")  # wrong
