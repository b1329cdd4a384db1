"""What is odd and legal, through the gateway to a stock client: names, schemas, blocks, links."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from tests.gateway.harness import KEY, Gateway
from tests.gateway.mcp_support import REVISIONS, mcp_client, text_of
from tests.mcp.odd_server import ICON
from tests.mcp.test_odd_servers import LEGAL, SERVER

SCHEME = "polycall://odd/"


async def seen(client: Client, start: str) -> None:
    """`start` is what the addresses of resources begin with."""
    listed = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert set(listed) == {f"odd_{name}" for name in [*LEGAL, "list"]}
    shown = listed["odd_trees"].model_dump(by_alias=True, exclude_none=True)
    assert shown["outputSchema"] == shown["inputSchema"]
    assert shown["outputSchema"]["properties"]["tree"] == {"$ref": "#/$defs/Tree"}
    # Of older revisions data is an object: a list is text there.
    is_older = client.protocol_version != "2026-07-28"
    assert (listed["odd_list"].output_schema is None) == is_older
    found = await client.call_tool("odd_list", {})
    data = [1, None, "x"]
    assert (found.structured_content == data) == (not is_older)
    assert json.loads(text_of(found) or "[]") == (data if is_older else [])
    icons = listed["odd_blocks"].icons or []
    assert [icon.model_dump(by_alias=True, exclude_none=True) for icon in icons] == [ICON]
    for name in LEGAL:
        given = {"tree": {"x": 1}} if name == "trees" else {}
        assert not (await client.call_tool(f"odd_{name}", given)).is_error
    assert text_of(await client.call_tool("odd_도구", {"a": None})) == '도구 {"a": null}'
    blocks: Any = (await client.call_tool("odd_blocks", {})).content
    assert [block.type for block in blocks] == KINDS
    assert [blocks[3].uri, blocks[4].resource.uri] == [f"{start}memo://a", f"{start}memo://b"]
    (prompt,) = (await client.list_prompts()).prompts
    messages: Any = (await client.get_prompt(prompt.name, {"a": "1"})).messages
    content = [each.content for each in messages]
    assert [each.type for each in content] == KINDS
    assert [content[3].uri, content[4].resource.uri] == [f"{start}memo://a", f"{start}memo://b"]


KINDS = ["text", "image", "audio", "resource_link", "resource"]


@pytest.mark.parametrize("revision", REVISIONS)
async def test_what_is_odd_and_legal_reaches_a_client(tmp_path: Path, revision: str) -> None:
    text = (
        f'[server]\nmcp_processes = true\n[mcp.odd]\ncommand = ["{sys.executable}", "{SERVER}"]\n'
        f'[[keys]]\nkey = "{KEY}"\nname = "first"\n'
    )
    gateway = await asyncio.to_thread(Gateway(tmp_path, text).start)
    try:
        async with mcp_client(gateway, "/mcp", mode=revision) as client:
            await seen(client, SCHEME)
        async with mcp_client(gateway, "/mcp/odd", mode=revision) as client:
            await seen(client, "")
    finally:
        await asyncio.to_thread(gateway.stop)
