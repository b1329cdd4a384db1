"""Thousands of rows: the model writes a program, and reads only what that prints."""

import asyncio
import random

from start import start

from polycall import Agent, tool
from polycall.sim import Call, Turn


@tool(allowed_callers=["code"])
async def sales(region: str) -> list[dict[str, str | int]]:
    """All sales of a region: 10,000 rows of customer and amount."""
    chance = random.Random(region)  # noqa: S311 - data of an example
    return [
        {"customer": f"{region}-{chance.randrange(500)}", "amount": chance.randrange(1, 100)}
        for _ in range(10_000)
    ]


PROGRAM = """\
import asyncio
from collections import Counter

totals = Counter()
for rows in await asyncio.gather(*[sales(region=name) for name in ("north", "south", "west")]):
    for row in rows:
        totals[row["customer"]] += row["amount"]
print(sum(totals.values()))
for customer, amount in totals.most_common(3):
    print(customer, amount)
"""
PLAY = [
    Turn(calls=[Call("run_code", {"code": PROGRAM})]),
    Turn(text="See the three best customers and the total above."),
]


async def main() -> None:
    async with start(PLAY) as (model, client):
        agent = Agent(model, tools=[sales], calling="code", client=client)
        run = await agent.run("Total sales of north, south and west, and the best 3 customers?")
    for step in run.steps:
        for result in step.results:
            print(result.text)
    print(run.text)
    rows = sum(len(call.result.text) for call in run.programs[0].calls if call.result)
    read = sum(len(result.text) for step in run.steps for result in step.results)
    print(f"characters of rows: {rows:,}; read by the model: {read}")


asyncio.run(main())
