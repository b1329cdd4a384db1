"""Pins of definitions and tokens of servers, in the gateway's store: one for all replicas."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from polycall._support import jsontext
from polycall.config.mcp import OAuthSettings
from polycall.gateway.store import Store
from polycall.mcp.pins import KINDS, Pin, What, place_of

_OWNER = "mcp"
_TURN_S = 60.0  # more than a renewal can take
_LOOK_S = 0.1


class StorePins:
    """Pins as `PinStore` wants them: read before they are asked for, written when they changed.

    `fetch` before a server is listed, `flush` afterwards.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, dict[str, Pin] | None] = {}
        self._changed: dict[str, dict[str, Pin]] = {}  # that are not written yet

    async def fetch(self, server: str) -> bool:
        """Read what the store has of a server now, of all kinds; whether that is something else."""
        places = [place_of(server, what) for what in KINDS]
        before = [self._known.get(place) for place in places]
        for place in places:
            if place not in self._changed:
                await self._fetch(place)
        return before != [self._known.get(place) for place in places]

    async def _fetch(self, place: str) -> None:
        found = await self._store.kept(_OWNER, f"pins:{place}")
        if place in self._changed:
            return  # another request pinned them meanwhile
        self._known[place] = (
            None if found is None else msgspec.json.decode(found, type=dict[str, Pin])
        )

    async def flush(self, server: str) -> bool:
        """Write what was pinned at the first meeting.

        Of two replicas that meet a server first at once, one pins it; false where that is another,
        whose pins are known then: the server is to be looked at again.
        """
        is_ours = True
        for what in KINDS:
            place = place_of(server, what)
            if (pins := self._changed.get(place)) is not None:
                value = jsontext.encode_bytes(pins)
                is_new = await self._store.keep_new(_OWNER, f"pins:{place}", value)
                self._changed.pop(place, None)  # only now: what could not be written is tried again
                if not is_new:
                    await self._fetch(place)
                    is_ours = False
        return is_ours

    def is_unwritten(self, server: str, what: What) -> bool:
        """Whether pins of the first meeting are not in the store yet, where others may be."""
        return place_of(server, what) in self._changed

    async def take(self, server: str, what: What, pins: Mapping[str, Pin]) -> None:
        """Pin these by a person's word, in the place of others."""
        server = place_of(server, what)
        self._changed.pop(server, None)
        self._known[server] = dict(pins)
        value = jsontext.encode_bytes(self._known[server])
        await self._store.keep(_OWNER, f"pins:{server}", value)

    def load(self, server: str) -> dict[str, Pin] | None:
        return self._known.get(server)

    def save(self, server: str, pins: Mapping[str, Pin]) -> None:
        self._known[server] = self._changed[server] = dict(pins)


class StoreTokens:
    """A server's tokens in the store, where they are encrypted (`polycall.mcp.TokenStore`)."""

    def __init__(self, store: Store, server: str) -> None:
        self._store = store
        self._server = server

    async def load(self, name: str) -> str | None:
        found = await self._store.kept(_OWNER, f"{name}:{self._server}")
        return None if found is None else found.decode()

    async def save(self, name: str, value: str) -> None:
        await self._store.keep(_OWNER, f"{name}:{self._server}", value.encode())

    @asynccontextmanager
    async def alone(self) -> AsyncGenerator[None]:
        """Held by one of all processes; one that was killed has it for a minute."""
        place, mine = f"renewing:{self._server}", f"{secrets.token_hex(8)} "

        def take(value: bytes) -> bytes | None:
            until = float(value.decode().rpartition(" ")[2])
            return None if until > time.time() else f"{mine}{time.time() + _TURN_S}".encode()

        def leave(value: bytes) -> bytes | None:
            return b"0" if value.startswith(mine.encode()) else None

        await self._store.add_states(_OWNER, {place: b"0"}, has_age=False)
        while True:
            value = await self._store.change_state(_OWNER, place, take)
            if value is None or value.startswith(mine.encode()):
                break
            await asyncio.sleep(_LOOK_S)
        try:
            yield
        finally:
            await asyncio.shield(self._store.change_state(_OWNER, place, leave))


def options_of(settings: OAuthSettings) -> dict[str, Any]:
    """The options of `polycall.mcp.OAuth` in a table `[mcp.NAME.oauth]`."""
    options = msgspec.structs.asdict(settings)
    return {**options, "scopes": tuple(settings.scopes)}
