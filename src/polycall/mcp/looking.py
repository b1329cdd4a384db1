"""A look at what servers offer, alongside what was pinned; and pinning it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias

from msgspec import Struct

from polycall.errors import ToolServerError
from polycall.ir import JSON
from polycall.mcp.comparing import Comparison
from polycall.mcp.connection import Connection
from polycall.mcp.content import definition_of
from polycall.mcp.others import OtherOffers, instructions_wires, template_names, wire_of
from polycall.mcp.pins import KINDS, MemoryPins, Pin, PinStore, What, difference, pin_of, place_of
from polycall.mcp.servers import Server

# By name, of each kind.
Definitions: TypeAlias = Mapping[What, Mapping[str, JSON]]


class SeenTool(Struct, frozen=True):
    """A tool as it is now, or `what` else the server has.

    `unpinned` are all tools of a server that was never pinned.  A `removed` tool has its pinned
    hash, and nothing else.
    """

    name: str
    hash: str
    state: Literal["pinned", "changed", "new", "removed", "unpinned"]
    parts: tuple[str, ...] = ()
    description: str = ""
    annotations: JSON = {}
    what: What = "tool"


class SeenServer(Struct, frozen=True):
    """A server's tools and what else it has, or why they are not known."""

    name: str
    tools: list[SeenTool] = []
    error: str = ""
    others: list[SeenTool] = []

    @property
    def is_as_pinned(self) -> bool:
        """Whether all is known, and nothing is other than it was pinned."""
        fine = ("pinned", "unpinned")
        return not self.error and all(tool.state in fine for tool in [*self.tools, *self.others])


async def look(servers: Iterable[Server], store: PinStore, *, pin: bool) -> list[SeenServer]:
    """The servers' offers; with `pin`, they are kept as what to expect from now on."""
    return await asyncio.gather(*(_looked(server, store, pin=pin) for server in servers))


async def _looked(server: Server, store: PinStore, *, pin: bool) -> SeenServer:
    known = known_pins(store, server.name)
    try:
        found = await listed(server)
    except ToolServerError as error:
        return SeenServer(server.name, error=str(error))
    if pin:
        for what, pins in pins_of(found).items():
            store.save(place_of(server.name, what), pins)
    return seen_of(server.name, known, found)


def known_pins(store: PinStore, server: str) -> dict[What, Mapping[str, Pin] | None]:
    """The pins of a server, by kind."""
    return {what: store.load(place_of(server, what)) for what in KINDS}


def pins_of(found: Definitions) -> dict[What, dict[str, Pin]]:
    """The pins of definitions as they are."""
    return {
        what: {name: pin_of(wire, what) for name, wire in sorted(wires.items())}
        for what, wires in found.items()
    }


def seen_of(
    server: str, known: Mapping[What, Mapping[str, Pin] | None], found: Definitions
) -> SeenServer:
    """A server's definitions alongside what was pinned of it, if anything was."""
    seen = {what: _seen(what, known.get(what), wires) for what, wires in found.items()}
    others = [each for what in seen if what != "tool" for each in seen[what]]
    return SeenServer(server, seen["tool"], others=others)


def _seen(what: What, known: Mapping[str, Pin] | None, wires: Mapping[str, JSON]) -> list[SeenTool]:
    pinned = known or {}
    found = {name: pin_of(wire, what) for name, wire in sorted(wires.items())}
    seen: list[SeenTool] = []
    for name, each in found.items():
        parts = difference(pinned[name], each) if name in pinned else ()
        if name in pinned:
            state = "changed" if parts else "pinned"
        else:
            state = "unpinned" if known is None else "new"
        wire = wires[name]
        about = wire.get("description", "")
        shown = wire.get("annotations", {})
        seen.append(SeenTool(name, each["hash"], state, parts, about, shown, what))
    gone = sorted(set(pinned) - set(found))
    return seen + [SeenTool(name, pinned[name]["hash"], "removed", what=what) for name in gone]


async def listed(server: Server) -> Definitions:
    """The definitions of a server, as they are on the wire."""

    async def ignore() -> None:
        """A list that changes meanwhile is the next look's affair."""

    connection = Connection(server, ignore)
    try:
        await connection.open()
        comparison = Comparison(server.name, MemoryPins(), "allow", is_pinned=False, inspects=False)
        others = OtherOffers(comparison, connection.ask, server.list_bounds)
        found: dict[What, dict[str, JSON]] = {
            "tool": {tool.name: definition_of(tool) for tool in await connection.list_tools()},
            "prompt": {},
            "template": {},
            "instructions": instructions_wires(connection.instructions),
        }
        if connection.capabilities.prompts is not None:
            prompts = await others.listed_prompts()
            found["prompt"] = {each.name: wire_of(each) for each in prompts}
        if connection.capabilities.resources is not None:
            templates = template_names(await others.listed_templates())
            found["template"] = {name: wire_of(each) for name, each in templates.items()}
        return found
    finally:
        await connection.close()
