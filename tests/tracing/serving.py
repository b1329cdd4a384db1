"""An MCP server that is traced: `python -m tests.tracing.serving COLLECTOR`."""

from __future__ import annotations

import asyncio
import sys

from polycall import tool, tracing
from polycall.mcp.serving import mcp_server, serve_stdio
from polycall.tools import Toolset


@tool
async def look_up(word: str) -> str:
    """Look a word up."""
    return f"{word}: a pot for tea"


if __name__ == "__main__":
    with tracing.enable(sys.argv[1], service="the-server"):
        asyncio.run(serve_stdio(mcp_server(Toolset([look_up]))))
