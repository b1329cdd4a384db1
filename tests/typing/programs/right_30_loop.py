from polycall import Client, Limits, ToolContext, Toolset, run_tools, tool
from polycall.ir import Message, Request, Text
from polycall.loop import RunEnd
from polycall.tools import Executor


@tool
def look(what: str) -> str:
    """Look."""
    return what


async def main() -> str:
    tools = Toolset([look])
    request = Request("a/m", [Message("user", [Text("go")])], tools.definitions, stream=True)
    executor = Executor(tools, ToolContext(deps=None))
    async with Client() as client:
        async for event in run_tools(client, request, executor, limits=Limits(steps=3)):
            if isinstance(event, RunEnd):
                return event.text
    return ""
