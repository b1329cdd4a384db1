"""A tree of email and calendar tools: the model looks for what it needs."""

import asyncio

from start import start

from polycall import Agent, ToolTree
from polycall.sim import Call, Turn


async def send(to: str, text: str) -> str:
    """Send an email."""
    return f"sent to {to}"


async def inbox() -> list[str]:
    """The newest emails."""
    return ["Kim: can we meet on Friday at 10?"]


async def create(title: str, day: str, time: str) -> str:
    """Put an appointment into the calendar."""
    return f"{title}: {day}, {time}"


async def free(day: str) -> list[str]:
    """The hours that are still free on a day."""
    return ["10:00", "15:00"]


MEETING = {"title": "Kim", "day": "Friday", "time": "10:00"}
ANSWER = {"to": "Kim", "text": "Friday at 10 it is."}
PLAY = [
    Turn(calls=[Call("open_namespace", {"namespace": "email"})]),
    Turn(calls=[Call("email.inbox"), Call("search_tools", {"query": "free hours of a day"})]),
    Turn(calls=[Call("calendar.days.free", {"day": "Friday"})]),
    Turn(calls=[Call("search_tools", {"query": "put an appointment into the calendar"})]),
    Turn(calls=[Call("calendar.events.create", MEETING), Call("email.send", ANSWER)]),
    Turn(text="You meet Kim on Friday at 10:00; I answered the email."),
]


async def main() -> None:
    branches = {"email": [send, inbox], "calendar": {"events": [create], "days": [free]}}
    async with start(PLAY) as (model, client):
        agent = Agent(model, tools=[ToolTree(branches, found_max=1)], client=client)
        run = await agent.run("Answer my emails, and plan what they ask for.")
    for step in run.steps:
        for call, result in zip(step.response.tool_calls, step.results, strict=True):
            print(f"{call.name} -> {result.text}")
    print(run.text)


asyncio.run(main())
