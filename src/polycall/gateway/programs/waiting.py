"""Clients' programs that wait for results, for the gateway's administrators.  No content."""

from __future__ import annotations

import time

import msgspec
from msgspec import Struct

from polycall.gateway.programs.records import Record
from polycall.gateway.store import Actor, Store

_HEAD = "program_"
_decoder = msgspec.msgpack.Decoder(Record)


class ProgramInfo(Struct, frozen=True):
    """One part of a conversation that a program is in.  `tools` are those it waits for."""

    id: str
    owner: str  # the id of the client's key
    state: str  # waiting, expired or ended
    created: float
    expires: float
    tools: list[str]
    messages: int


async def programs(store: Store, limit: int) -> list[ProgramInfo]:
    """The newest first, at most `limit`."""
    found: list[ProgramInfo] = []
    for owner, name, created, value in await store.recent_states(_HEAD, limit):
        try:
            record = _decoder.decode(value)
        except msgspec.DecodeError:
            continue  # of another version
        state = "ended"
        if record.waits:
            state = "waiting" if record.expires > time.time() else "expired"
        pending = [] if record.paused is None else record.paused.pending
        found.append(
            ProgramInfo(
                id=name.removeprefix(_HEAD),
                owner=owner,
                state=state,
                created=created,
                expires=record.expires,
                tools=sorted({call.name for call in pending}),
                messages=len(record.messages),
            )
        )
    return found


async def cancel(store: Store, program_id: str, limit: int, by: Actor) -> bool:
    """Give up a program that waits; false where none does."""
    for each in await programs(store, limit):
        if each.id == program_id and each.state == "waiting":
            return await store.drop_state(each.owner, _HEAD + program_id, by, "program.cancel")
    return False
