"""Tools of ours, to be served: of every kind of result."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any, Literal

from polycall import ToolContext, Toolset, tool
from polycall.ir import Media, Text

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAf"
    "FcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)

print("what a module prints must not reach the client")


@tool
def get_weather(city: str, days: int = 1) -> dict[str, str | int]:
    """The weather in a city (날씨 ☀️).

    Args:
        city: Where.
    """
    print("nor what a tool prints")
    return {"city": city, "days": days}


@tool
def picture() -> list[Any]:
    """A picture, a sound, a file and a link."""
    sound = Media("audio", media_type="audio/wav", data="UklGRg==")
    file = Media("document", media_type="application/pdf", data="JVBERg==", filename="a.pdf")
    link = Media("image", media_type="image/png", url="https://example.com/a.png")
    return [Text("look"), base64.b64decode(PIXEL), sound, file, link]


@tool
def fail() -> str:
    """Fail."""
    raise ValueError("nothing to see (없음)")


@tool
def lie() -> dict[str, int]:
    """Return what is not promised."""
    return {"a": "x"}  # pyright: ignore[reportReturnType]


@tool
def half(how: Literal["text", "data"]) -> Any:
    """Return half of a character."""
    return "cut \ud83d" if how == "text" else {"a": "cut \ud83d"}


@tool
async def slow(folder: str, context: ToolContext[Any]) -> str:
    """Take long, and leave a file if cancelled."""
    await context.report(0.25, "begun")
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        Path(folder, "cancelled").touch()
        raise
    return "done"


@tool
async def wait_for(folder: str, other: str) -> str:
    """Return when the other call has come too: two at once, or never."""
    Path(folder, other[::-1]).touch()
    while not Path(folder, other).exists():
        await asyncio.sleep(0.01)
    return f"met {other}"


@tool(needs_approval=True)
def refund(amount: int) -> str:
    """Pay back."""
    return f"{amount} paid"


@tool(allowed_callers=["code"])
def rows() -> list[int]:
    """For programs alone."""
    return [1]


tools = Toolset([get_weather, picture, fail, lie, half, slow, wait_for, refund, rows])


@tool
def more() -> str:
    """Add a tool."""
    tools.add(tool(name="brand_new")(fail.function))
    return "added"


tools.add(more)
