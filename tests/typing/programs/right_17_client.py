from polycall import Client
from polycall.ir import Message, Response, Text, ToolCall


def look(what: str) -> str:
    """Look."""
    return what


async def main() -> list[ToolCall]:
    async with Client() as client:
        response: Response = await client.generate("a/m", "hello", tools=[look], effort="low")
        messages = [Message("user", [Text("hello")]), response.message]
        async with client.stream("a/m", messages, temperature=0.2) as stream:
            async for text in stream.text():
                print(text)
        return stream.response.tool_calls


with Client() as plain:
    print(plain.generate_sync("a/m", "hello").text)
    with plain.stream_sync("a/m", "hello") as answer:
        for text in answer.text():
            print(text)
        print(answer.response.usage.total_tokens)
