"""The tools of several MCP servers at once: `connect`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from polycall._support.blocking import runs_a_loop, shared_portal
from polycall.errors import RequestError, ToolDefinitionError, ToolServerError
from polycall.ir import JSON
from polycall.mcp.asking import Elicit, Sample
from polycall.mcp.pins import Notice, PinFile, PinStore
from polycall.mcp.servers import Server
from polycall.mcp.toolset import Changed, McpToolset
from polycall.tools import AbstractToolset, ToolContext
from polycall.tools.toolset import AnyTool

logger = logging.getLogger("polycall.mcp")


class McpTools(AbstractToolset):
    """The tools of several servers, each under its server's name: `files_read`.

    `servers` are the toolsets of each alone, under the tools' own names: branches for a
    `ToolTree`, for instance.
    """

    def __init__(self, toolsets: list[McpToolset]) -> None:
        self.servers: dict[str, McpToolset] = {each.server.name: each for each in toolsets}
        self._seen: tuple[int, ...] = ()
        self._owners: dict[str, tuple[McpToolset, str]] = {}
        self._tools: dict[str, AnyTool] = {}
        twice = self._merge()
        if twice:
            raise ToolDefinitionError(
                f"two MCP servers have a tool named {twice[0]!r}; let them have their prefixes"
            )

    @property
    def tools(self) -> Mapping[str, AnyTool]:
        if self._seen != tuple(each.version for each in self.servers.values()):
            for name in self._merge():
                logger.warning("a second tool is named %r now; it is left out", name)
        return self._tools

    @property
    def notices(self) -> list[Notice]:
        """The latest notices, of all servers."""
        return [notice for each in self.servers.values() for notice in each.notices]

    def __getitem__(self, name: str) -> AnyTool:
        if name not in self.tools:
            for each in self.servers.values():
                start = each.server.names_start
                for notice in each.notices:
                    if (
                        notice.withheld
                        and notice.what == "tool"
                        and name == f"{start}{notice.tool}"
                    ):
                        return each[notice.tool]  # raises, and says why
        return super().__getitem__(name)

    async def run(self, name: str, arguments: JSON, context: ToolContext[Any]) -> Any:
        toolset, own_name = self._owners[self[name].name]
        return await toolset.run(own_name, arguments, context)

    def _merge(self) -> list[str]:
        """Take the tools of all; those whose names are taken already are given back."""
        self._seen = tuple(each.version for each in self.servers.values())
        self._owners = {}
        self._tools = {}
        twice: list[str] = []
        for toolset in self.servers.values():
            for own_name, tool in toolset.tools.items():
                name = f"{toolset.server.names_start}{own_name}"
                if name in self._owners:
                    twice.append(name)
                    continue
                self._owners[name] = (toolset, own_name)
                self._tools[name] = replace(tool, name=name)
        return twice


class McpConnecting:
    """The result of `connect`: use `async with` in an event loop, `with` for `run_sync`."""

    def __init__(self, toolsets: list[McpToolset]) -> None:
        self._toolsets = toolsets

    async def __aenter__(self) -> McpTools:
        async with AsyncExitStack() as closing:
            closing.push_async_exit(self.__aexit__)
            opened = await asyncio.gather(*map(_opened, self._toolsets), return_exceptions=True)
            for outcome in opened:
                if outcome is not None:
                    raise outcome
            tools = McpTools(self._toolsets)
            closing.pop_all()
        return tools

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(toolset.close() for toolset in self._toolsets))

    def __enter__(self) -> McpTools:
        if runs_a_loop():
            raise RequestError(
                "this thread runs an event loop: write 'async with connect(...)' in an async "
                "function"
            )
        return shared_portal().run(self.__aenter__())

    def __exit__(self, *_: object) -> None:
        shared_portal().run(self.__aexit__())


def connect(
    *servers: Server,
    pins: str | Path | PinStore | None = None,
    changed: Changed = "refuse",
    elicit: Elicit | None = None,
    sample: Sample | None = None,
) -> McpConnecting:
    """The tools of MCP servers, as long as the `async with` block lasts; `with` for `run_sync`.

    `pins` is a file (or a store) of what the tools' definitions were: it is written when a server
    is first met, and what differs later is warned about and, by `changed`, withheld (`"refuse"`),
    offered all the same (`"allow"`), or shown to a function that says whether to take it.
    `elicit` answers what servers ask a person in the middle of a call, `sample` what they ask a
    model; without these, servers learn that nobody answers.
    The block raises `ToolServerError` where a required server cannot be reached or its tools not be
    listed.
    """
    names = [server.name for server in servers]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ToolDefinitionError(f"there are two MCP servers named {twice[0]!r}")
    store = PinFile(pins) if isinstance(pins, str | Path) else pins
    return McpConnecting(
        [
            McpToolset(server, pins=store, changed=changed, elicit=elicit, sample=sample)
            for server in servers
        ]
    )


async def _opened(toolset: McpToolset) -> None:
    try:
        await toolset.open()
    except ToolServerError as error:
        if toolset.server.required:
            raise
        logger.warning("%s; the others are used without it", error)
