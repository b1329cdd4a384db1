from polycall import Agent, Durable, Sessions
from polycall.agents import Approval
from polycall.durable import RunResult, Runs


async def main(agent: Agent) -> RunResult:
    sessions = Sessions("sqlite:///chat.db")
    async with Durable("sqlite:///runs.db", agents=[agent], sessions=sessions) as durable:
        handle = await durable.start(agent, "go", run_id="r", session="mina")
        async with durable.stream(agent, "go") as stream:
            async for event in stream:
                if isinstance(event, Approval):
                    await durable.allow(stream.run_id, event.id)
        return await handle.result()


async def watch() -> list[str]:
    async with Runs("sqlite:///runs.db") as runs:
        return [each.id for each in await runs.list(state="waiting")]
