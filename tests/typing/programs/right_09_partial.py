from pydantic import BaseModel

from polycall import Agent


class Story(BaseModel):
    title: str
    chapters: list[str] = []


async def main() -> Story:
    agent = Agent("a/m", output=Story)
    async with agent.stream("A story.") as stream:
        async for partial in stream.partial_output():
            print(partial)
    return stream.run.output
