"""A server made with the protocol's own library, for the gateway: `python mcp_stock.py stdio`.

`LOG` names a file in which each call that ran stands on a line; `MOOD` one whose words stand in the
description of `greet`, with a tool more where it says `more`.
"""

import asyncio
import base64
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import mcp_types as types
from mcp.server import MCPServer
from mcp.server.elicitation import ElicitationResult
from mcp.server.mcpserver import Audio, Context, Image
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.prompts import Prompt
from mcp.server.mcpserver.resolve import Elicit, Resolve, Sample
from mcp.server.mcpserver.resources import FunctionResource
from pydantic import BaseModel

LOG = Path(os.environ.get("LOG", os.devnull))
MOOD = Path(os.environ.get("MOOD", "/nonexistent"))
TOKEN = os.environ.get("TOKEN", "")
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)

server = MCPServer("stock", instructions="Be polite.")


def ran(what: str) -> None:
    with LOG.open("a", encoding="utf-8") as file:
        file.write(f"{what}\n")


def mood() -> str:
    return MOOD.read_text("utf-8") if MOOD.exists() else "politely"


@server.tool(annotations=types.ToolAnnotations(read_only_hint=True))
def add(a: int, b: int) -> int:
    """Add two numbers (더하기 ➕)."""
    ran(f"add {a} {b}")
    return a + b


@server.tool(description=f"Greet somebody {mood()}.")
def greet(name: str) -> str:
    return f"안녕하세요, {name} 🎉"


class Row(BaseModel):
    city: str
    degrees: int


@server.tool()
def rows() -> list[Row]:
    """All rows of the weather table."""
    return [Row(city="서울", degrees=3), Row(city="도쿄", degrees=5)]


@server.tool()
def picture() -> Image:
    """A picture."""
    return Image(data=PIXEL, format="png")


@server.tool()
def sound() -> Audio:
    """A sound."""
    return Audio(data=b"RIFF\0\0\0\0WAVE", format="wav")


@server.tool()
async def log(context: Context[Any]) -> str:
    """Log a message."""
    await context.info("something happened")  # pyright: ignore[reportDeprecated]
    return "logged"


@server.tool()
async def log_more(count: int, context: Context[Any]) -> str:
    """Log of each level, the token, something large, and so many small messages."""
    for level in ("debug", "info", "warning", "error"):
        await context.log(level, {"was": level, "token": TOKEN})  # pyright: ignore[reportDeprecated]
    await context.log("error", "x" * 100_000, logger_name="large")  # pyright: ignore[reportDeprecated]
    for number in range(count):
        await context.log("error", number)  # pyright: ignore[reportDeprecated]
    return "logged"


@server.tool()
async def grow(name: str, context: Context[Any]) -> str:
    """Add a resource and a prompt, and tell clients."""
    server.add_resource(
        FunctionResource.from_function(lambda: "new", uri=f"memo://new/{name}", name=name)
    )
    server.add_prompt(Prompt.from_function(lambda: "new", name=f"new_{name}"))
    await context.session.send_resource_list_changed()
    await context.session.send_prompt_list_changed()
    await context.notify_resources_changed()
    await context.notify_prompts_changed()
    return "grown"


@server.tool()
async def touch(uri: str, context: Context[Any]) -> str:
    """Say that a resource was updated."""
    await context.session.send_resource_updated(uri)
    await context.notify_resource_updated(uri)
    return "touched"


@server.tool(annotations=types.ToolAnnotations(destructive_hint=True))
def remove(path: str) -> str:
    """Remove a file for good."""
    ran(f"remove {path}")
    return f"removed {path}"


@server.tool()
def fail() -> str:
    """Fail."""
    raise ToolError(f"nothing to see; the token was {TOKEN}")


@server.tool()
def tell_token() -> dict[str, str]:
    """Say what this server was given."""
    return {"token": TOKEN, "tagged": "fine\U000e0041\U000e0042", "flag": "🏴\U000e0067\U000e007f"}


@server.tool()
def huge(size: int) -> str:
    """A result of this many letters."""
    return "x" * size


@server.tool()
def die() -> str:
    """End the process."""
    ran("die")
    os._exit(3)


@server.tool()
async def slow(context: Context[Any]) -> str:
    """Take long, and say so where it is cancelled."""
    await context.report_progress(1, 4, "begun")
    ran("slow begun")
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        ran("slow cancelled")
        raise
    return "done"


@server.tool()
async def nap(seconds: float, context: Context[Any]) -> str:
    """Sleep, and say so."""
    ran(f"nap {seconds}")
    await context.report_progress(1, 2, f"asleep with {TOKEN}")
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        ran("nap cancelled")
        raise
    return "slept"


class Name(BaseModel):
    name: str


@server.tool()
async def nap_then_ask(context: Context[Any]) -> str:
    """Sleep, and then ask the person for a name on the connection."""
    await asyncio.sleep(0.5)
    found = await context.elicit("Your name?", Name)
    return f"{found.action}: {getattr(getattr(found, 'data', None), 'name', '')}"


def ask_for_name() -> Elicit[Name]:
    return Elicit("Your name?", Name)


@server.tool()
def ask_name(found: Annotated[ElicitationResult[Name], Resolve(ask_for_name)]) -> str:
    """Ask the person for a name."""
    return f"{found.action}: {getattr(getattr(found, 'data', None), 'name', '')}"


def ask_for_hello() -> Sample:
    message = types.SamplingMessage(role="user", content=types.TextContent(text="Say hello."))
    return Sample([message], max_tokens=50)


@server.tool()
def ask_model(found: Annotated[types.CreateMessageResult, Resolve(ask_for_hello)]) -> str:
    """Ask a model."""
    return f"the model said: {getattr(found.content, 'text', '')}"


@server.resource("memo://today")
def today() -> str:
    """What is to be done today."""
    return f"오늘 할 일, {TOKEN}"


@server.resource("memo://{day}/items")
def items(day: str) -> str:
    """What is to be done on a day."""
    return f"items of {day}"


@server.prompt()
def review(code: str) -> str:
    """Ask for a review."""
    return f"Review this: {code}"


@server.completion()
async def complete(ref: Any, argument: Any, context: Any) -> types.Completion | None:
    del ref, context
    found = [each for each in ("monday", "tuesday") if each.startswith(argument.value)]
    return types.Completion(values=found, total=len(found), has_more=False)


@server.tool()
async def change(word: str, context: Context[Any]) -> str:
    """Change the description of `greet`, add a tool, and tell clients."""
    server.remove_tool("greet")
    server.add_tool(greet, description=f"Greet somebody {word}.")
    server.add_tool(lambda: "new", name="brand_new", description="Not there before.")
    await context.session.send_tool_list_changed()
    await context.notify_tools_changed()
    return "changed"


for number in range(int(os.environ.get("MANY", "0"))):
    server.add_tool(lambda: "one of many", name=f"tool_{number:03}", description="One of many.")
    server.add_resource(
        FunctionResource.from_function(
            lambda: "one of many", uri=f"memo://z/{number:03}", name=f"many_{number:03}"
        )
    )


if __name__ == "__main__":
    if sys.argv[1] == "http":
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[2]))
    else:
        server.run("stdio")
