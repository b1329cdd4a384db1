"""The first agent: two tools, a memory, and a colleague to hand over to."""

import asyncio

from start import start

from polycall import Agent, Memory
from polycall.sim import Call, Turn


async def opening_hours(day: str) -> str:
    """When the shop is open on a day of the week."""
    return "closed" if day.lower() == "sunday" else "9 to 18"


async def reserve(item: str, name: str) -> str:
    """Put an item aside for somebody."""
    return f"{item} is put aside for {name}"


NAME = {"text": "The user likes green tea."}
PLAY = [
    Turn(calls=[Call("opening_hours", {"day": "Saturday"}), Call("add_to_memory", NAME)]),
    Turn(text="We are open from 9 to 18 on Saturday."),
    Turn(calls=[Call("transfer_to_sales", {"reason": "wants a teapot"})]),
    Turn(calls=[Call("reserve", {"item": "blue teapot", "name": "user 17"})]),
    Turn(text="The blue teapot waits for you."),
]


async def main() -> None:
    async with start(PLAY) as (model, client):
        memory = Memory(ttl=30 * 86_400)
        sales = Agent(model, name="sales", description="Sells.", tools=[reserve], memory=memory)
        desk = Agent(
            model,
            name="desk",
            instructions="You are the front desk of a tea shop.",
            tools=[opening_hours],
            memory=memory,
            handoffs=[sales],
            client=client,
        )
        run = await desk.run("I like green tea. Are you open on Saturday?", user="user-17")
        print(run.text)
        run = await desk.run("Keep the blue teapot for me.", history=run.history, user="user-17")
        print(" > ".join(run.agents), "|", run.text)


asyncio.run(main())
