"""Retrieval: questions about this repository's own decisions, answered with their sources."""

import asyncio
import json
from pathlib import Path

from start import start

from polycall import Agent, Knowledge
from polycall.sim import Call, Turn

DOCS = Path(__file__).parents[1] / "docs" / "adr"
PLAY = [
    Turn(calls=[Call("search_knowledge", {"query": "synchronous facade, one event loop"})]),
    Turn(text="They run on one event loop in a thread of its own (0003-sync-facade.md)."),
]


async def main() -> None:
    knowledge = Knowledge.from_paths(DOCS)
    async with start(PLAY) as (model, client):
        agent = Agent(
            model,
            instructions="Answer from the decision records alone, and name the record.",
            tools=[knowledge.tool(limit=3)],
            client=client,
        )
        run = await agent.run("How do polycall's synchronous functions work?")
    for step in run.steps:
        for result in step.results:
            found = json.loads(result.text)
            print("found first:", Path(found[0]["source"].split(",")[0]).name)
    print(run.text)
    knowledge.close()


asyncio.run(main())
