"""What `polycall mcp serve` serves: modules' tools, other servers' tools, an OpenAPI document."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from polycall.cli.running import pins_beside
from polycall.errors import RequestError

if TYPE_CHECKING:
    from polycall.sandbox import Sandbox
    from polycall.tool_server import OpenAPITools
    from polycall.tools import AbstractToolset


class Served(NamedTuple):
    """What clients see, and what is behind it."""

    toolset: AbstractToolset
    inner: AbstractToolset


@asynccontextmanager
async def served_toolset(
    library: Any, options: argparse.Namespace, toolset: AbstractToolset | None
) -> AsyncGenerator[Served]:
    """All that the options name as one toolset; with `--code` two tools stand for it."""
    from polycall.tools.toolset import CombinedToolset  # noqa: PLC0415 - `--help` needs none of it

    async with AsyncExitStack() as stack:
        found = [] if toolset is None else [toolset]
        spaces: dict[str, str] = {}
        api: OpenAPITools | None = None
        if options.file is not None:
            servers = library.load_servers(options.file)
            pins = pins_beside(options.file)
            tools = await stack.enter_async_context(library.connect(*servers, pins=pins))
            for name, each in tools.servers.items():
                spaces |= {f"{each.server.names_start}{own}": name for own in each.tools}
            found.append(tools)
        if options.openapi is not None:
            api = await _api(options)
            stack.push_async_callback(api.close)
            spaces |= {name: api.namespace(name) for name in api.tools}
            found.append(api)
        inner = found[0] if len(found) == 1 else CombinedToolset(found)
        if not options.code:
            yield Served(inner, inner)
            return
        from polycall.sandbox import Limits, Sandbox  # noqa: PLC0415
        from polycall.tool_server import CodeToolset  # noqa: PLC0415

        sandbox = await stack.enter_async_context(Sandbox(limits=Limits(wall_s=120.0)))

        async def opened() -> Sandbox:
            return sandbox

        open_tools = (
            inner.approved(lambda _tool, _arguments: True)
            if options.with_approval
            else inner.filtered(lambda tool: not tool.needs_approval)
        )
        code = CodeToolset(
            open_tools,
            opened,
            implicit=library.serving.connection.get,
            namespaces=spaces,
            result_schema=api.result_schema if api is not None and len(found) == 1 else _unknown,
        )
        stack.push_async_callback(code.close)
        yield Served(code, inner)


def _unknown(_name: str) -> None:
    return None


async def _api(options: argparse.Namespace) -> OpenAPITools:
    from polycall.tool_server import OpenAPITools, load_document  # noqa: PLC0415
    from polycall.transport.http1 import HTTP1Transport  # noqa: PLC0415

    if not options.address:
        raise RequestError("--address URL is missing: where the document's operations are sent")
    transport = HTTP1Transport()
    try:
        document = await load_document(options.openapi, Path(), transport)
    finally:
        await transport.close()
    return OpenAPITools(document, options.address, headers=_headers(options.header, os.environ))


def _headers(words: list[str], environment: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words:
        name, equals, variable = word.partition("=")
        value = environment.get(variable)
        if not equals or value is None:
            raise RequestError(
                f"--header is NAME=VARIABLE, and the variable is set; not {json.dumps(word)}"
            )
        found[name] = value
    return found
