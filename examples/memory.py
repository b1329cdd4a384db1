"""Memory: what one conversation tells, the next one knows; and what has expired is gone."""

import asyncio
import tempfile
import time
from pathlib import Path

from start import start

from polycall import Agent, Memory
from polycall.sim import Call, Turn

PLAY = [
    Turn(
        calls=[
            Call("add_to_memory", {"text": "The user is allergic to nuts."}),
            Call("add_to_memory", {"text": "The user is in Busan this week.", "days": 7}),
        ]
    ),
    Turn(text="I will keep that in mind."),
    Turn(calls=[Call("get_memory", {"query": "food allergy"})]),
    Turn(text="Tteokbokki, without nuts. Enjoy Busan!"),
    Turn(calls=[Call("get_memory", {})]),
    Turn(text="You are allergic to nuts. I do not know where you are."),
]


async def main() -> None:
    shift_s = 0.0
    with tempfile.TemporaryDirectory() as folder:
        memory = Memory(Path(folder) / "memory.db", clock=lambda: time.time() + shift_s)
        async with start(PLAY) as (model, client):
            agent = Agent(model, memory=memory, client=client)
            for days, words in [
                (0, "I am allergic to nuts, and in Busan this week."),
                (1, "What should I eat today?"),
                (30, "What do you know of me?"),
            ]:
                shift_s = days * 86_400
                run = await agent.run(words, user="min")
                print(f"day {days}: {run.text}")
                known = [entry.text for entry in memory.search("", scopes=["user:min"])]
                print(f"  remembered: {known}")
        memory.close()


asyncio.run(main())
