"""Tools that Anthropic runs or defines itself, alongside programs; one of them is simulated.

Web search has a simulated result.  The others are taken as the vendor takes them, and the simulated
model does not use them.
"""

from __future__ import annotations

from polycall.sim.script import Search
from polycall.sim.shape import JSON, OBJECT, STRING, Obj, Open

_NAMED = Open({"name!": STRING})
# The vendor's types, as its SDK 2.14 and its betas have them.
TOOLS: dict[str, Obj] = {
    **dict.fromkeys(
        (
            "web_search_20250305",
            "web_search_20260209",
            "web_search_20260318",
            "web_fetch_20250910",
            "web_fetch_20260209",
            "web_fetch_20260309",
            "web_fetch_20260318",
            "tool_search_tool_bm25",
            "tool_search_tool_bm25_20251119",
            "tool_search_tool_regex",
            "tool_search_tool_regex_20251119",
            "code_execution_20250522",
            "advisor_20260301",
            "bash_20241022",
            "bash_20250124",
            "text_editor_20241022",
            "text_editor_20250124",
            "text_editor_20250429",
            "text_editor_20250728",
            "memory_20250818",
            "computer_20241022",
            "computer_20250124",
            "computer_20251124",
        ),
        _NAMED,
    ),
    "mcp_toolset": Open({"mcp_server_name!": STRING}),
    "computer_toolset_20260801": Open({}),
    "browser_toolset_20260801": Open({}),
}
_USED = Open({"id!": STRING, "name!": STRING, "input!": OBJECT})
_RETURNED = Open({"tool_use_id!": STRING})
# What such tools leave in a turn of the assistant's.
ASSISTANT_BLOCKS: dict[str, Obj] = {
    "server_tool_use": _USED,
    "mcp_tool_use": _USED,
    **dict.fromkeys(
        (
            "web_search_tool_result",
            "web_fetch_tool_result",
            "bash_code_execution_tool_result",
            "text_editor_code_execution_tool_result",
            "tool_search_tool_result",
            "advisor_tool_result",
            "mcp_tool_result",
        ),
        _RETURNED,
    ),
    "compaction": Open({}),
    "fallback": Open({}),
}
USER_BLOCKS: dict[str, Obj] = {"container_upload": Open({"file_id!": STRING})}
_CHANGE = Obj({"tool!": Open({"type!": STRING})})
SYSTEM_BLOCKS: dict[str, Obj] = dict.fromkeys(("tool_addition", "tool_removal"), _CHANGE)


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
