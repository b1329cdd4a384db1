"""Tools that Anthropic runs or defines itself, alongside programs; one of them is simulated.

Web search has a simulated result.  The others are taken as the vendor takes them, and the simulated
model does not use them.
"""

from __future__ import annotations

from polycall.sim.script import Search
from polycall.sim.shape import JSON
from polycall.sim.shape_files import ShapeFile

SHAPES = ShapeFile("anthropic")
# What such tools leave in turns of each role.
ASSISTANT_BLOCKS = SHAPES.names("assistant_blocks")
USER_BLOCKS = SHAPES.names("user_blocks")
SYSTEM_BLOCKS = SHAPES.names("system_blocks")


def search_tool(tools: list[JSON]) -> str:
    """The name of the web search that is offered; `""` without one."""
    names = (tool["name"] for tool in tools if tool.get("type", "").startswith("web_search_"))
    return next(names, "")


def search_blocks(search: Search, nonce: str) -> list[JSON]:
    """A search and its result, as they stand in an answer."""
    tool_use_id = f"srvtoolu_{nonce}search"
    result = {
        "type": "web_search_result",
        "url": search.url,
        "title": search.title,
        "encrypted_content": "c2ltdWxhdGVk",
        "page_age": None,
    }
    return [
        {
            "type": "server_tool_use",
            "id": tool_use_id,
            "name": search.tool,
            "input": {"query": search.query},
            "caller": {"type": "direct"},
        },
        {
            "type": "web_search_tool_result",
            "tool_use_id": tool_use_id,
            "content": [result],
            "caller": {"type": "direct"},
        },
    ]
