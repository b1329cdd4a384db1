"""Background tasks: two pictures are drawn while the conversation goes on; progress is told."""

import asyncio
import json

from start import start

from polycall import Agent, ToolContext, tool
from polycall.loop import CallEnd
from polycall.sim import Call, Turn

sketch_is_fine = asyncio.Event()


@tool(background=True, concurrency=2)
async def draw(what: str, context: ToolContext) -> str:
    """Draw a picture; takes long."""
    await context.report(0.5, "sketched")
    if what == "cover":
        await sketch_is_fine.wait()
    await asyncio.sleep(0.1)
    return f"{what}.png"


@tool
async def approve_sketch(what: str) -> str:
    """Let a picture be finished that is sketched."""
    sketch_is_fine.set()
    return f"the sketch of the {what} is fine"


PLAY = [
    Turn(calls=[Call("draw", {"what": "poster"}), Call("draw", {"what": "cover"})]),
    Turn(calls=[Call("wait_for_tasks", {"until": "any"})]),
    Turn(text="I look at the sketch.", calls=[Call("approve_sketch", {"what": "cover"})]),
    Turn(calls=[Call("wait_for_tasks", {"until": "all"})]),
    Turn(text="Both are drawn: poster.png and cover.png."),
]


async def main() -> None:
    async with start(PLAY) as (model, client):
        agent = Agent(model, tools=[draw, approve_sketch], client=client)
        waited = False
        async with agent.stream("I need a poster and a cover.") as stream:
            async for event in stream:
                if not isinstance(event, CallEnd) or waited:
                    continue
                print(f"{event.call.name}({event.call.arguments})")
                if event.call.name == "wait_for_tasks":
                    waited = True
                    for task in json.loads(event.result.text):
                        done = task.get("result") or f"{task['progress']:.0%}, {task['message']}"
                        print(f"  {task['tool']}: {task['state']}, {done}")
        print(stream.run.output)


asyncio.run(main())
