"""Connections to the MCP servers that a request names."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

from msgspec import Struct
from msgspec.structs import replace

from polycall import errors
from polycall._support import jsontext
from polycall.config.hosted import HostedToolSettings
from polycall.gateway.hosted.protocols import McpSpec
from polycall.gateway.store import Store
from polycall.ir import JSON, Media, Opaque, Text, Tool, ToolResult, Warning
from polycall.mcp import HttpServer, McpTool
from polycall.mcp.inspection import without_tags
from polycall.mcp.pins import KINDS, Pin, place_of
from polycall.mcp.several import McpConnecting
from polycall.mcp.toolset import McpToolset
from polycall.translation.sound_results import with_sound_media

logger = logging.getLogger("polycall.hosted")

SERVERS_MAX = 8  # of one request
TOOLS_MAX = 512
RESULT_CHARS_MAX = 500_000  # of one call, for the model: about half of what the largest read
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")
_NAME_CHARS_MAX = 32


class Offered(Struct, frozen=True):
    """A tool of a server as the model knows it."""

    spec: McpSpec
    name: str  # the server's own
    toolset: McpToolset
    tool: Tool


@asynccontextmanager
async def opened(
    specs: list[McpSpec], settings: HostedToolSettings, store: Store, owner: str
) -> AsyncGenerator[tuple[dict[str, Offered], dict[str, list[JSON]], list[str]]]:
    """The tools that may be offered, by the names that the model knows; the definitions of each
    server's; and what was withheld, in words.

    Raises for a server outside of the allow-list, and for one that cannot be reached.
    """
    if len(specs) > SERVERS_MAX:
        raise errors.MalformedRequestError(f"a request names at most {SERVERS_MAX} MCP servers")
    servers: dict[str, McpSpec] = {}
    for spec in specs:
        if not settings.may_reach(spec.url):
            raise errors.PermissionDeniedError(
                f"this gateway may not connect to the MCP server {spec.label!r} at {spec.url[:200]}"
                "; its operator lists those that it may ([hosted_tools] mcp_servers)",
                status=403,
            )
        plain = _NOT_IN_NAMES.sub("_", spec.label).strip("_-")[:_NAME_CHARS_MAX] or "server"
        if plain in servers:
            raise errors.MalformedRequestError(f"two MCP servers are named {plain!r}")
        servers[plain] = spec
    pins = _Pins(store, owner, {name: spec.url for name, spec in servers.items()})
    await pins.load_all()
    made = [
        HttpServer(
            name,
            url=spec.url,
            headers=spec.headers,
            connect_s=settings.connect_s,
            deadline_s=settings.call_s,
        )
        for name, spec in servers.items()
    ]
    changed = "allow" if settings.changed_tools == "allow" else "refuse"
    try:
        looked_at = settings.changed_tools != "allow"
        toolsets = [
            McpToolset(each, pins=pins, changed=changed, inspects=looked_at) for each in made
        ]
        async with McpConnecting(toolsets) as tools:
            await pins.save_all()
            offered: dict[str, Offered] = {}
            definitions: dict[str, list[JSON]] = {}
            for plain, toolset in tools.servers.items():
                spec = servers[plain]
                definitions[spec.label] = []
                for name, tool in toolset.tools.items():
                    assert isinstance(tool, McpTool)
                    if not spec.offers(name, is_read_only=tool.is_read_only):
                        continue
                    shown = f"{spec.label}_{name}"
                    function = Tool(shown, tool.description, tool.parameters, strict=False)
                    offered[shown] = Offered(spec, name, toolset, function)
                    definitions[spec.label].append(tool.wire)
            if len(offered) > TOOLS_MAX:
                raise errors.MalformedRequestError(
                    f"the MCP servers have more than {TOOLS_MAX} tools"
                )
            yield offered, definitions, [str(each) for each in tools.notices]
    except (errors.ToolServerError, errors.ToolDefinitionError) as error:
        raise errors.InvalidRequestError(
            f"{error}"[:500], status=424, code="mcp_server_error"
        ) from None


def for_the_model(result: ToolResult) -> tuple[ToolResult, list[Warning]]:
    """A server's result for the model: no broken files, and no more than it can hold."""
    result, warnings = with_sound_media(result)
    left, cut = RESULT_CHARS_MAX, 0
    content: list[Text | Media | Opaque] = []
    for part in result.content:
        if isinstance(part, Text):
            text = without_tags(part.text)
            cut += max(0, len(text) - left)
            content.append(Text(text[:left]))
            left = max(0, left - len(text))
        else:
            content.append(part)
    if cut:
        note = f"[{cut:,} more characters are left out]"
        warnings.append(Warning("unsupported", "mcp", f"a tool's result is cut: {note}"))
        content.append(Text(note))
    return replace(result, content=content), warnings


class _Pins:
    """The pins of each server's tools from the key's first meeting, in the gateway's store."""

    def __init__(self, store: Store, owner: str, urls: dict[str, str]) -> None:
        self._store = store
        self._owner = owner
        self._states = {
            place_of(name, what): _state(place_of(url, what))
            for name, url in urls.items()
            for what in KINDS
        }
        self._known: dict[str, dict[str, Pin]] = {}
        self._new: dict[str, dict[str, Pin]] = {}

    async def load_all(self) -> None:
        """Read the pins of all servers."""
        states = list(self._states.values())
        found = await self._store.load_states(self._owner, states, may_change=True)
        for name, state in self._states.items():
            if state in found:
                self._known[name] = jsontext.decode(found[state])

    async def save_all(self) -> None:
        """Write those that are new down."""
        values = {
            self._states[name]: jsontext.encode_bytes(pins) for name, pins in self._new.items()
        }
        if values:
            await self._store.save_states(self._owner, values)

    def load(self, server: str) -> dict[str, Pin] | None:
        """A server's pins; `None` where it was never met."""
        return self._known.get(server)

    def save(self, server: str, pins: Mapping[str, Pin]) -> None:
        """Keep these for the server."""
        self._new[server] = dict(pins)


def _state(place: str) -> str:
    return f"mcp_pins_{hashlib.sha256(place.encode()).hexdigest()[:32]}"
