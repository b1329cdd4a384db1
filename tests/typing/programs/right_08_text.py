from polycall import Agent

agent = Agent("a/m")


async def main() -> str:
    pieces: list[str] = []
    async with agent.stream("hello", approve=lambda request: request.tool != "pay") as stream:
        async for text in stream.text():
            pieces.append(text)
    return "".join(pieces)


with agent.stream_sync("hello") as plain:
    for text in plain.text():
        print(text.upper())
    print(plain.run.text)
