"""A tool that the model writes itself: tested in a sandbox, mended, and used in the same run."""

import asyncio

from start import start

from polycall import Agent, WrittenTools
from polycall.sandbox import Sandbox
from polycall.sim import Call, Turn

WRONG = """\
def weekdays(start: str, end: str) -> int:
    from datetime import date
    return (date.fromisoformat(end) - date.fromisoformat(start)).days
"""
RIGHT = """\
from datetime import date, timedelta

def weekdays(start: str, end: str) -> int:
    first, last = date.fromisoformat(start), date.fromisoformat(end)
    days = [first + timedelta(n) for n in range((last - first).days + 1)]
    return sum(day.weekday() < 5 for day in days)
"""
ABOUT = {
    "name": "weekdays",
    "description": "Working days from one date to another, both included.",
    "tests": "assert weekdays('2026-11-20', '2026-11-23') == 2",
}
PLAY = [
    Turn(calls=[Call("add_tool", {**ABOUT, "code": WRONG})]),
    Turn(calls=[Call("add_tool", {**ABOUT, "code": RIGHT})]),
    Turn(calls=[Call("weekdays", {"start": "2026-11-21", "end": "2026-12-31"})]),
    Turn(text="There are 29 working days left this year."),
]


async def main() -> None:
    async with Sandbox() as sandbox, start(PLAY) as (model, client):
        written = WrittenTools(sandbox)
        agent = Agent(model, tools=[written], client=client)
        run = await agent.run("It is 2026-11-21. How many working days does this year still have?")
        for step in run.steps:
            for call, result in zip(step.response.tool_calls, step.results, strict=True):
                outcome = "refused" if result.is_error else "fine"
                print(f"{call.name}: {outcome}: {result.text.splitlines()[-1]}")
        print(run.text)
        kept = [(tool.name, tool.version) for tool in written.store.in_use()]
        print("kept:", kept)


asyncio.run(main())
