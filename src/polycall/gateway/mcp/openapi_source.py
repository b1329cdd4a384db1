"""An OpenAPI document as a server: its operations, pinned like any server's tools."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from polycall.config import McpServer
from polycall.errors import ToolDefinitionError
from polycall.gateway.mcp.pins import StorePins
from polycall.ir import JSON
from polycall.mcp import Notice
from polycall.mcp.comparing import Comparison, tell_new
from polycall.tool_server import OpenAPITools, load_document
from polycall.tools import Toolset
from polycall.tools.toolset import AnyTool
from polycall.transport.base import Deadlines, Transport

logger = logging.getLogger("polycall.mcp")

_DEFINITION_BYTES_MAX = 64 * 1024


class OpenAPISource:
    """The operations of a document that are as they were pinned."""

    def __init__(self, name: str, settings: McpServer, api: OpenAPITools, pins: StorePins) -> None:
        self.name = name
        self.api = api
        self.notices: list[Notice] = []
        self.version = 0
        self.toolset = Toolset()
        self._settings = settings
        inspects = settings.changed != "allow"
        self._comparison = Comparison(
            name, pins, settings.changed, is_pinned=True, inspects=inspects
        )

    @classmethod
    async def opened(
        cls,
        name: str,
        settings: McpServer,
        pins: StorePins,
        folder: Path,
        transport: Transport,
    ) -> OpenAPISource:
        """Read the document, and look at its operations alongside their pins."""
        document = await load_document(settings.openapi, folder, transport)
        # Large documents take seconds.
        api = await asyncio.to_thread(_made, document, settings, transport)
        source = cls(name, settings, api, pins)
        await source.refresh()
        return source

    async def refresh(self) -> None:
        """Look at the operations again, alongside what is pinned now."""
        wires = await asyncio.to_thread(self.definitions)
        notices = await self._comparison.notices("tool", wires, wires)
        tell_new(notices, self.notices)
        self.notices = notices
        held = {notice.tool for notice in notices if notice.withheld}
        self.toolset = await asyncio.to_thread(self._offered, held)  # thousands take a while
        self.version += 1

    def _offered(self, held: set[str]) -> Toolset:
        tools = self.api.tools.items()
        return Toolset([self._tool(name, tool) for name, tool in tools if name not in held])

    def definitions(self) -> dict[str, JSON]:
        """All operations as they are pinned."""
        return {name: self._definition(name, tool) for name, tool in self.api.tools.items()}

    def annotations(self, own_name: str) -> JSON:
        """The annotations of an operation, by its method."""
        return self.api.annotations(own_name)

    async def close(self) -> None:
        """Close the connections."""
        await self.api.close()

    def _definition(self, name: str, tool: AnyTool) -> JSON:
        return {
            "name": name,
            "description": tool.description,
            "inputSchema": tool.parameters,
            "annotations": self.api.annotations(name),
            # A call that says the same and does something else is another one.
            "request": self.api.request(name),
        }

    def _tool(self, own_name: str, tool: AnyTool) -> AnyTool:
        return replace(
            tool,
            needs_approval=self._asks(own_name),
            deadline_s=self._settings.deadline_s,
            allowed_callers=("direct", "code"),
        )

    def _asks(self, own_name: str) -> bool:
        ask_for: str | Sequence[str] = self._settings.ask_for
        hints: dict[str, Any] = self.api.annotations(own_name)
        match ask_for:
            case "nothing":
                return False
            case "destructive":
                return hints.get("destructiveHint") is True
            case "writes":
                return hints.get("readOnlyHint") is not True
            case "everything":
                return True
            case names:
                return own_name in names


def _made(document: JSON, settings: McpServer, transport: Transport) -> OpenAPITools:
    try:
        api = OpenAPITools(
            document,
            settings.address,
            headers=settings.headers,
            transport=transport,
            deadlines=Deadlines(settings.connect_s, settings.deadline_s, settings.deadline_s),
            result_bytes_max=settings.result_bytes_max,
            definition_bytes_max=_DEFINITION_BYTES_MAX,
        )
    except RecursionError:
        raise ToolDefinitionError(f"{settings.openapi} is nested too deeply") from None
    if api.left_out:
        logger.warning(
            "%d operations of %s are left out, whose parameters take more than %d bytes: %s",
            *(len(api.left_out), settings.openapi, _DEFINITION_BYTES_MAX),
            ", ".join(api.left_out[:10]),
        )
    unknown = (
        [] if isinstance(settings.ask_for, str) else sorted(set(settings.ask_for) - set(api.tools))
    )
    if unknown:
        raise ToolDefinitionError(f"ask_for names {unknown[0]!r}, which the document does not have")
    return api
