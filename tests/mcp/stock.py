"""A server made with the protocol's own library, as its users write one: a program of its own.

`python stock.py stdio` or `python stock.py http PORT`.  The file `MOOD` names holds what changes: a
word in the description of `greet`, and whether there is a tool more.
"""

from __future__ import annotations

import asyncio
import base64
import os
import sys
from pathlib import Path
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context, Image
from mcp_types import ToolAnnotations
from pydantic import BaseModel

MOOD = Path(os.environ.get("MOOD", "/nonexistent"))
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)

server = MCPServer("stock")


def mood() -> str:
    return MOOD.read_text("utf-8") if MOOD.exists() else "politely"


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def add(a: int, b: int) -> int:
    """Add two numbers (더하기 ➕)."""
    return a + b


@server.tool(description=f"Greet somebody {mood()}.")
def greet(name: str) -> str:
    return f"안녕하세요, {name} 🎉"


class Row(BaseModel):
    city: str
    degrees: int


@server.tool()
def rows() -> list[Row]:
    """All rows."""
    return [Row(city="서울", degrees=3), Row(city="도쿄", degrees=5)]


@server.tool()
def picture() -> Image:
    """A picture."""
    return Image(data=PIXEL, format="png")


@server.tool(annotations=ToolAnnotations(destructive_hint=False))
def fail() -> str:
    """Fail."""
    raise ValueError("nothing to see")


@server.tool()
def die() -> str:
    """End the process."""
    os._exit(3)


@server.tool()
async def slow(context: Context[Any]) -> str:
    """Take long, and leave a file if cancelled."""
    await context.report_progress(1, 4, "begun")
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        MOOD.with_name("cancelled").touch()
        raise
    return "done"


@server.tool()
async def wait_for(other: str) -> str:
    """Return when the other call has come too: two at once, or never."""
    ours = MOOD.with_name(f"here-{other[::-1]}")
    ours.touch()
    while not MOOD.with_name(f"here-{other}").exists():
        await asyncio.sleep(0.01)
    return f"met {other}"


@server.tool()
async def change(word: str, context: Context[Any]) -> str:
    """Change the description of `greet`, add a tool, and tell clients."""
    server.remove_tool("greet")
    server.add_tool(greet, description=f"Greet somebody {word}.")
    server.add_tool(lambda: "new", name="brand_new", description="Not there before.")
    await context.session.send_tool_list_changed()
    await context.notify_tools_changed()
    return "changed"


if __name__ == "__main__":
    if sys.argv[1] == "http":
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[2]))
    else:
        server.run("stdio")
