"""FastMCP's and PydanticAI's clients at the gateway: `mcp_fastmcp.py fastmcp|pydantic URL KEY`.

It runs where those packages are, and imports nothing of ours.
"""

# pyright: basic, reportMissingImports=false

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

KIND, URL, KEY = sys.argv[1:4]
seen: dict[str, str] = {}


async def feature(name: str, probe: Callable[[], Awaitable[bool]]) -> None:
    try:
        async with asyncio.timeout(40):
            seen[name] = "yes" if await probe() else "no"
    except Exception as error:
        seen[name] = f"no: {type(error).__name__}: {str(error)[:160]}"


async def with_fastmcp() -> None:
    from fastmcp import Client
    from fastmcp.client.transports import StreamableHttpTransport

    reports: list[float] = []

    async def elicited(message: str, kind: Any, params: Any, context: Any) -> Any:
        del message, kind, params, context
        return {"approve": True, "name": "영희"}

    async def progress(at: float, total: float | None, message: str | None) -> None:
        del total, message
        reports.append(at)

    transport = StreamableHttpTransport(URL, headers={"Authorization": f"Bearer {KEY}"})
    async with Client(transport, elicitation_handler=elicited, progress_handler=progress) as client:
        seen["revision"] = str(client.protocol_version)
        tools = await client.list_tools()
        named = {tool.name: tool for tool in tools}

        async def text(name: str, arguments: dict[str, Any] | None = None) -> str:
            result = await client.call_tool(name, arguments or {}, raise_on_error=False)
            return getattr(result.content[0], "text", result.content[0].type)

        async def is_(value: Any) -> bool:
            return bool(value)

        async def failed() -> bool:
            return (await client.call_tool("stock_fail", {}, raise_on_error=False)).is_error

        async def structured() -> bool:
            result = await client.call_tool("stock_add", {"a": 2, "b": 3})
            return result.structured_content == {"result": 5}

        async def progressed() -> bool:
            await text("stock_nap", {"seconds": 0.3})
            return bool(reports)

        async def cancelled() -> bool:
            calling = asyncio.ensure_future(text("stock_nap", {"seconds": 20}))
            await asyncio.sleep(0.3)
            calling.cancel()
            await asyncio.wait({calling})
            return await text("stock_add", {"a": 1, "b": 1}) == "2"

        async def prompted() -> bool:
            names = {each.name for each in await client.list_prompts()}
            made = await client.get_prompt("stock_review", {"code": "x"})
            return "stock_review" in names and "Review this: x" in str(made.messages)

        async def completed() -> bool:
            from mcp_types import PromptReference

            ref = PromptReference(name="stock_review")
            found = await client.complete(ref, {"name": "code", "value": "mon"})
            return found.values == ["monday"]

        async def resources() -> bool:
            found = {str(each.uri) for each in await client.list_resources()}
            return "polycall://stock/memo://today" in found

        async def is_read() -> bool:
            return "오늘" in str(await client.read_resource("polycall://stock/memo://today"))

        async def templates() -> bool:
            return "memo://{day}/items" in str(await client.list_resource_templates())

        async def pinged() -> bool:
            return bool(await client.ping())

        async def says(name: str, arguments: dict[str, Any], expected: str) -> bool:
            return await text(name, arguments) == expected

        add = named.get("stock_add")
        await feature("tools", lambda: is_(add))
        await feature("pages", lambda: is_(len(named) > 300))
        await feature("annotations", lambda: is_(add and add.annotations.read_only_hint))
        await feature("calls", lambda: says("stock_add", {"a": 2, "b": 3}, "5"))
        await feature("errors", failed)
        await feature("structured content", structured)
        await feature("pictures", lambda: says("stock_picture", {}, "image"))
        await feature("audio", lambda: says("stock_sound", {}, "audio"))
        await feature("progress", progressed)
        await feature("cancellation", cancelled)
        await feature("resources", resources)
        await feature("templates", templates)
        await feature("reading", is_read)
        await feature("prompts", prompted)
        await feature("completion", completed)
        await feature("forms", lambda: says("stock_ask_name", {}, "accept: 영희"))
        await feature("approval", lambda: says("stock_remove", {"path": "/x"}, "removed /x"))
        if seen["revision"] != "2026-07-28":  # the newest revision has none
            await feature("ping", pinged)


async def with_pydantic() -> None:
    from pydantic_ai import Agent
    from pydantic_ai.mcp import MCPToolset
    from pydantic_ai.models.test import TestModel

    async def elicited(*_: Any) -> Any:
        return {"approve": True, "name": "영희"}

    toolset = MCPToolset(
        URL, headers={"Authorization": f"Bearer {KEY}"}, elicitation_handler=elicited
    )
    async with toolset:
        tools = {tool.name: tool for tool in await toolset.list_tools()}

        async def says(name: str, arguments: dict[str, Any], expected: str) -> bool:
            return expected in str(await toolset.direct_call_tool(name, arguments))

        async def is_(value: Any) -> bool:
            return bool(value)

        async def failed() -> bool:
            try:
                await toolset.direct_call_tool("stock_fail", {})
            except Exception as error:
                return "nothing to see" in str(error)
            return False

        async def an_agent() -> bool:
            only = toolset.filtered(lambda _, tool: tool.name == "stock_add")
            agent = Agent(TestModel(), toolsets=[only])
            return "stock_add" in (await agent.run("add")).output

        async def templates() -> bool:
            return "memo://{day}/items" in str(await toolset.list_resource_templates())

        async def resources() -> bool:
            return any("memo://today" in str(each.uri) for each in await toolset.list_resources())

        async def is_read() -> bool:
            return "오늘" in str(await toolset.read_resource("polycall://stock/memo://today"))

        async def prompted() -> bool:
            return "Review" in str(await toolset.get_prompt("stock_review", {"code": "x"}))

        add = tools.get("stock_add")
        await feature("tools", lambda: is_(add))
        await feature("pages", lambda: is_(len(tools) > 300))
        await feature("annotations", lambda: is_(add and add.annotations.read_only_hint))
        await feature("calls", an_agent)
        await feature("errors", failed)
        await feature("structured content", lambda: says("stock_rows", {}, "서울"))
        await feature("pictures", lambda: says("stock_picture", {}, "image/png"))
        await feature("audio", lambda: says("stock_sound", {}, "audio/wav"))
        await feature("resources", resources)
        await feature("templates", templates)
        await feature("reading", is_read)
        await feature("prompts", prompted)
        await feature("forms", lambda: says("stock_ask_name", {}, "accept: 영희"))
        await feature("approval", lambda: says("stock_remove", {"path": "/x"}, "removed /x"))


asyncio.run(with_fastmcp() if KIND == "fastmcp" else with_pydantic())
print(json.dumps(seen))
