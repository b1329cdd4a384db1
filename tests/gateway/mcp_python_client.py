"""The Python library as a client of the gateway: `python mcp_python_client.py MODE URL KEY`."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import mcp_types as types
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.gateway.mcp_features import (
    Plan,
    Probe,
    Side,
    cancelled,
    changes,
    logging,
    progress,
    updated,
)

MODE, URL, KEY = sys.argv[1:4]
seen: dict[str, str] = {}


async def feature(name: str, probe: Callable[[], Awaitable[bool]]) -> None:
    try:
        async with asyncio.timeout(40):
            seen[name] = "yes" if await probe() else "no"
    except Exception as error:
        seen[name] = f"no: {type(error).__name__}: {str(error)[:160]}"


async def elicited(context: Any, params: Any) -> types.ElicitResult:
    del context, params
    return types.ElicitResult(action="accept", content={"approve": True, "name": "영희"})


async def main() -> None:
    side = Side("stock", "stock_")
    options: dict[str, Any] = {**side.options, "elicitation_callback": elicited}
    async with httpx2.AsyncClient(headers={"authorization": f"Bearer {KEY}"}, timeout=60) as http:
        transport = streamable_http_client(URL, http_client=http)
        async with Client(transport, mode=MODE, cache=None, **options) as client:
            await look(client, side)


async def look(client: Client, side: Side) -> None:
    seen["revision"] = str(client.protocol_version)
    watched = "memo://today"
    plan = Plan(
        ("add", {"a": 1, "b": 1}),
        slow=("nap", {"seconds": 0.6}),
        logging=("log", {}),
        changes=("grow", {"name": f"python-{MODE}"}),
        template_uri=watched,
        updates=("touch", {"uri": watched}),
    )
    named = {tool.name: tool for tool in (await client.list_tools()).tools}

    async def result(name: str, **arguments: Any) -> types.CallToolResult:
        return await client.call_tool(f"stock_{name}", arguments)

    async def says(name: str, expected: str, **arguments: Any) -> bool:
        block = (await result(name, **arguments)).content[0]
        return getattr(block, "text", block.type) == expected

    async def pages() -> bool:
        names, cursor = set(named), (await client.list_tools()).next_cursor
        while cursor is not None:
            page = await client.list_tools(cursor=cursor)
            names |= {tool.name for tool in page.tools}
            cursor = page.next_cursor
        return len(names) > 300

    async def hinted() -> bool:
        found = named["stock_add"].annotations
        return found is not None and found.read_only_hint is True

    async def failed() -> bool:
        return (await result("fail")).is_error is True

    async def structured() -> bool:
        return (await result("add", a=2, b=3)).structured_content == {"result": 5}

    async def resources() -> bool:
        uris = {each.uri for each in (await client.list_resources()).resources}
        return "polycall://stock/memo://today" in uris

    async def templates() -> bool:
        found = (await client.list_resource_templates()).resource_templates
        return "polycall://stock/memo://{day}/items" in {each.uri_template for each in found}

    async def is_read() -> bool:
        return "오늘" in str(await client.read_resource("polycall://stock/memo://today"))

    async def prompted() -> bool:
        return "Review this: x" in str(await client.get_prompt("stock_review", {"code": "x"}))

    async def completed() -> bool:
        ref = types.PromptReference(name="stock_review")
        found = await client.complete(ref, {"name": "code", "value": "mon"})
        return found.completion.values == ["monday"]

    async def progressed() -> bool:
        return await progress(client, side, plan) == (True, False)

    async def resource_pages() -> bool:
        uris, cursor = set[str](), None
        while True:
            page = await client.list_resources(cursor=cursor)
            uris |= {each.uri for each in page.resources}
            cursor = page.next_cursor
            if cursor is None:
                return len(uris) > 300

    async def heard(probe: Probe) -> bool:
        return await probe(client, side, plan) is True

    async def stopped() -> bool:
        long = plan._replace(slow=("nap", {"seconds": 60}))
        return await cancelled(client, side, long) == (["text"], False)

    async def pinged() -> bool:
        return bool(await client.session.send_ping())

    async def there() -> bool:
        return "stock_add" in named

    await feature("tools", there)
    await feature("pages", pages)
    await feature("annotations", hinted)
    await feature("calls", lambda: says("add", "5", a=2, b=3))
    await feature("errors", failed)
    await feature("structured content", structured)
    await feature("pictures", lambda: says("picture", "image"))
    await feature("audio", lambda: says("sound", "audio"))
    await feature("progress", progressed)
    await feature("cancellation", stopped)
    await feature("logging", lambda: heard(logging))
    await feature("resources", resources)
    await feature("pages of resources", resource_pages)
    await feature("templates", templates)
    await feature("reading", is_read)
    await feature("updates of resources", lambda: heard(updated))
    await feature("changes of lists", lambda: heard(changes))
    await feature("prompts", prompted)
    await feature("completion", completed)
    await feature("forms", lambda: says("ask_name", "accept: 영희"))
    await feature("approval", lambda: says("remove", "removed /x", path="/x"))
    if MODE == "auto":
        await feature("tasks", lambda: says("nap", "slept", seconds=6))
    else:  # the newest revision has none
        await feature("ping", pinged)


asyncio.run(main())
print(json.dumps(seen))
