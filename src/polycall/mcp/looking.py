"""A look at what servers offer, alongside what was pinned; and pinning it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Literal

from msgspec import Struct

from polycall.errors import ToolServerError
from polycall.ir import JSON
from polycall.mcp.connection import Connection
from polycall.mcp.content import definition_of
from polycall.mcp.pins import Pin, PinStore, difference, pin_of
from polycall.mcp.servers import Server


class SeenTool(Struct, frozen=True):
    """A tool as it is now.

    `unpinned` are all tools of a server that was never pinned.  A `removed` tool has its pinned
    hash, and nothing else.
    """

    name: str
    hash: str
    state: Literal["pinned", "changed", "new", "removed", "unpinned"]
    parts: tuple[str, ...] = ()
    description: str = ""
    annotations: JSON = {}


class SeenServer(Struct, frozen=True):
    """A server's tools, or why they are not known."""

    name: str
    tools: list[SeenTool] = []
    error: str = ""

    @property
    def is_as_pinned(self) -> bool:
        """Whether all is known, and nothing is other than it was pinned."""
        fine = ("pinned", "unpinned")
        return not self.error and all(tool.state in fine for tool in self.tools)


async def look(servers: Iterable[Server], store: PinStore, *, pin: bool) -> list[SeenServer]:
    """What the servers offer; with `pin`, it is kept as what they should offer from now on."""
    return await asyncio.gather(*(_looked(server, store, pin=pin) for server in servers))


async def _looked(server: Server, store: PinStore, *, pin: bool) -> SeenServer:
    known = store.load(server.name)
    try:
        wires = await listed(server)
    except ToolServerError as error:
        return SeenServer(server.name, error=str(error))
    if pin:
        store.save(server.name, {name: pin_of(wire) for name, wire in sorted(wires.items())})
    return seen_of(server.name, known, wires)


def seen_of(server: str, known: Mapping[str, Pin] | None, wires: Mapping[str, JSON]) -> SeenServer:
    """A server's definitions beside what was pinned of it, if anything was."""
    pinned = known or {}
    found = {name: pin_of(wire) for name, wire in sorted(wires.items())}
    tools: list[SeenTool] = []
    for name, each in found.items():
        parts = difference(pinned[name], each) if name in pinned else ()
        if name in pinned:
            state = "changed" if parts else "pinned"
        else:
            state = "unpinned" if known is None else "new"
        wire = wires[name]
        about = wire.get("description", "")
        shown = wire.get("annotations", {})
        tools.append(SeenTool(name, each["hash"], state, parts, about, shown))
    gone = sorted(set(pinned) - set(found))
    tools += [SeenTool(name, pinned[name]["hash"], "removed") for name in gone]
    return SeenServer(server, tools)


async def listed(server: Server) -> dict[str, JSON]:
    """The definitions of a server's tools, as they are on the wire."""

    async def ignore() -> None:
        """A list that changes meanwhile is the next look's affair."""

    connection = Connection(server, ignore)
    try:
        await connection.open()
        return {tool.name: definition_of(tool) for tool in await connection.list_tools()}
    finally:
        await connection.close()
