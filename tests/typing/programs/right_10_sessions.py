from pydantic import BaseModel

from polycall import Agent, Sessions
from polycall.agents import Compaction


class Note(BaseModel):
    words: str


async def main() -> tuple[str, Note]:
    with Sessions("sqlite:///chat.db", compaction=Compaction(tokens_max=50_000)) as sessions:
        session = sessions.open("mina")
        run = await session.run(Agent("a/m"), "hello", user="mina", keep="whole")
        typed = await session.run(Agent("a/m", output=Note), "a note")
        async with session.stream(Agent("a/m"), "and?") as stream:
            async for text in stream.text():
                print(text)
        if run.paused is not None:
            run = await session.resume(Agent("a/m"), run.paused)
        return run.output, typed.output
