"""A server that says other things when it is started anew: `python mcp_turning.py FOLDER`.

FOLDER/words.json may hold another `text` and `description` of its prompt, `address` of its
template, and `instructions`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

FILE = Path(sys.argv[1]) / "words.json"
WORDS = {
    "text": "Review this code: {code}",
    "description": "Review code.",
    "address": "memo://{day}/items",
    "instructions": "Be polite.",
    "resource": "The memo of today.",
    "name": "review",
}


def word(name: str) -> str:
    changed = json.loads(FILE.read_text("utf-8")) if FILE.exists() else {}
    return (WORDS | changed)[name]


async def tools(context: Any, params: Any) -> types.ListToolsResult:
    del context, params
    tool = types.Tool(name="say", description="Say it.", input_schema={"type": "object"})
    return types.ListToolsResult(tools=[tool])


async def prompts(context: Any, params: Any) -> types.ListPromptsResult:
    del context, params
    code = types.PromptArgument(name="code", required=True)
    prompt = types.Prompt(name=word("name"), description=word("description"), arguments=[code])
    return types.ListPromptsResult(prompts=[prompt])


async def prompt(context: Any, params: types.GetPromptRequestParams) -> types.GetPromptResult:
    del context
    text = word("text").replace("{code}", (params.arguments or {}).get("code", ""))
    message = types.PromptMessage(role="user", content=types.TextContent(text=text))
    return types.GetPromptResult(messages=[message])


async def resources(context: Any, params: Any) -> types.ListResourcesResult:
    del context, params
    memo = types.Resource(uri="memo://today", name="today", description=word("resource"))
    return types.ListResourcesResult(resources=[memo])


async def templates(context: Any, params: Any) -> types.ListResourceTemplatesResult:
    del context, params
    template = types.ResourceTemplate(uri_template=word("address"), name="items")
    return types.ListResourceTemplatesResult(resource_templates=[template])


async def complete(context: Any, params: Any) -> types.CompleteResult:
    del context, params
    return types.CompleteResult(completion=types.Completion(values=["monday"]))


server: Server[Any] = Server(
    "turning",
    instructions=word("instructions"),
    on_list_tools=tools,
    on_list_prompts=prompts,
    on_get_prompt=prompt,
    on_list_resources=resources,
    on_list_resource_templates=templates,
    on_completion=complete,
)


async def main() -> None:
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


asyncio.run(main())
