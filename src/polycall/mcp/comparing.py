"""A server's definitions beside what was pinned of them: what differs, and whether it is held."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import msgspec

from polycall.errors import StoreError
from polycall.ir import JSON
from polycall.mcp.inspection import suspicious
from polycall.mcp.pins import Notice, Pin, PinStore, What, difference, pin_of, place_of, plural

logger = logging.getLogger("polycall.mcp")

# Asked for each definition that is not the pinned one, before a model sees it.
Approve: TypeAlias = Callable[[Notice, JSON], "bool | Awaitable[bool]"]
# What is done with definitions that are not the pinned ones.
Changed: TypeAlias = "Literal['refuse', 'allow'] | Approve"


_TOLD_MAX = 20  # of one list: a server may have thousands


def tell_new(notices: Collection[Notice], known: Collection[Notice]) -> None:
    """Log those that are not known yet."""
    before = set(known)
    new = [notice for notice in notices if notice not in before]
    for notice in new[:_TOLD_MAX]:
        logger.warning("%s", notice)
    if len(new) > _TOLD_MAX:
        words = "MCP server %r: %d more definitions are flagged; 'polycall mcp list' shows them"
        logger.warning(words, new[0].server, len(new) - _TOLD_MAX)


@dataclass(frozen=True)
class Comparison:
    """Compares, and pins what is met first.

    Without pins of somebody's own (`is_pinned`), a list that grows is an ordinary thing.  With
    `inspects`, what was never pinned and looks like an attack is not pinned.
    """

    server: str
    pins: PinStore
    changed: Changed
    is_pinned: bool
    inspects: bool
    unwritten: dict[str, dict[str, Pin]] = field(default_factory=dict[str, dict[str, Pin]])

    async def notices(
        self, what: What, wires: Mapping[str, JSON], listed: Collection[str]
    ) -> list[Notice]:
        """The notices for a person to look at.

        `listed` are all names, also of what is not compared.
        """
        place = place_of(self.server, what)
        # Thousands of long definitions take seconds.
        found, doubts = await asyncio.to_thread(self._looked_through, what, wires)
        pinned = self.pins.load(place)
        if pinned is None:
            pinned = self.unwritten.get(place)
        kept = dict(found if pinned is None else pinned)
        if pinned is None:
            kept = {name: pin for name, pin in kept.items() if not doubts.get(name)}
        if not self.is_pinned:
            kept = {**found, **kept}
        notices: list[Notice] = []
        for name, wire in wires.items():
            notice = self._notice(what, name, kept.get(name), found[name])
            if notice is None:
                continue
            if notice.kind == "new" and doubts.get(name):
                notice = msgspec.structs.replace(notice, kind="suspicious", reason=doubts[name])
            if await self._is_approved(notice, wire):
                kept[name] = found[name]
            else:
                notices.append(notice)
        if self.is_pinned:
            gone = [name for name in kept if name not in listed]
            notices += [Notice(self.server, name, "removed", what=what) for name in gone]
        if kept != pinned:
            self._save(what, place, kept)
        return notices

    def _save(self, what: What, place: str, kept: dict[str, Pin]) -> None:
        """Keep pins; a file of a server's tools that cannot be written serves for these."""
        try:
            self.pins.save(place, kept)
        except StoreError as error:
            if what == "tool" or self.pins.load(self.server) is None:
                raise
            self.unwritten[place] = kept
            words = "MCP server %r: its %s are pinned until this process ends alone: %s"
            logger.warning(words, self.server, plural(what), error)

    def _looked_through(
        self, what: What, wires: Mapping[str, JSON]
    ) -> tuple[dict[str, Pin], dict[str, str]]:
        """The pin of each, and what looks like an attack."""
        found = {name: pin_of(wire, what) for name, wire in wires.items()}
        doubts = {name: suspicious(wire) for name, wire in wires.items()} if self.inspects else {}
        return found, doubts

    def _notice(self, what: What, name: str, pinned: Pin | None, found: Pin) -> Notice | None:
        withheld = self.changed != "allow"
        if pinned is None:
            return Notice(self.server, name, "new", withheld=withheld, what=what)
        parts = difference(pinned, found)
        if not parts:
            return None
        return Notice(self.server, name, "changed", parts, withheld, what=what)

    async def _is_approved(self, notice: Notice, wire: JSON) -> bool:
        if not callable(self.changed):
            return False
        answer = self.changed(notice, wire)
        return (await answer if inspect.isawaitable(answer) else answer) is True
