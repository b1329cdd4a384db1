"""Records between two requests of a client, and the ids that name them.

A record is one part of the conversation that the client does not see as the model does: the
model's `run_code` calls, their output and, while a program waits for the client's tools, its
journal.  The ids of the calls that the client is shown name the record.  An id is 96 random bits
and is looked up among its owner's records alone, so one that was made up, or is another's, names
nothing.
"""

from __future__ import annotations

import re
import secrets
import time

import msgspec
from msgspec import Struct

from polycall.errors import InvalidRequestError, ProtocolError
from polycall.gateway.store import Store
from polycall.ir import Message, Opaque, Part, ToolCall, ToolResult
from polycall.program import PausedProgram

# Stands in every id of ours, and in nobody else's.
_ID = re.compile(r"[a-z]{2,10}_pgm_([0-9a-f]{24})(?:_(\d{1,6}))?")


class Shown(Struct, frozen=True, array_like=True):
    """A call that the client was asked to run: its number in the record, and its own id."""

    number: int
    call_id: str


class Record(Struct, frozen=True):
    """One such part of a conversation.

    `messages` is what the model said and received.  `waits` are calls of the client whose results
    have not come; with a `paused` program some of them are the program's.  `ended` is what the
    client is shown of the program's end, for one that did not get it.
    """

    messages: list[Message]
    waits: list[Shown] = []
    paused: PausedProgram | None = None
    expires: float = 0.0  # when a waiting record is given up; seconds since the epoch
    container: str = ""
    ended: list[Part] = []


class Container(Struct, frozen=True):
    """A place whose variables outlive a program: the journal of what ran there."""

    id: str
    expires: float = 0.0
    journal: str = ""


_encoder = msgspec.msgpack.Encoder()
_record_decoder = msgspec.msgpack.Decoder(Record)
_container_decoder = msgspec.msgpack.Decoder(Container)


def new_id() -> str:
    """The name of a new record."""
    return secrets.token_hex(12)


def shown_id(head: str, record_id: str, number: int | None = None) -> str:
    """The id of a call or of a program as the client sees it."""
    return f"{head}_pgm_{record_id}" + ("" if number is None else f"_{number}")


def read_id(text: str) -> tuple[str, int | None] | None:
    """The record, and the number of the call in it; `None` for anybody else's ids."""
    found = _ID.fullmatch(text)
    if found is None:
        return None
    return found.group(1), None if found.group(2) is None else int(found.group(2))


def record_of(part: Part) -> str:
    """The record that a part of a client's history belongs to; empty for none."""
    match part:
        case ToolCall():
            found = read_id(part.id)
        case ToolResult():
            found = read_id(part.call_id)
        case Opaque():
            named = (part.data.get(key) for key in ("id", "tool_use_id", "call_id"))
            texts = (each for each in named if isinstance(each, str))
            found = next((each for text in texts if (each := read_id(text))), None)
        case _:
            found = None
    return "" if found is None else found[0]


class Records:
    """The records of all owners."""

    def __init__(self, store: Store, expiry_s: float) -> None:
        self._store = store
        self._expiry_s = expiry_s

    def expires_at(self) -> float:
        """When a record that begins to wait now is given up."""
        return time.time() + self._expiry_s

    async def load(self, owner: str, ids: list[str]) -> dict[str, Record]:
        """Those that there are, of this owner only."""
        found = await self._store.load_states(
            owner, [_state_id(each) for each in ids], may_change=True
        )
        return {
            name.removeprefix("program_"): _record_decoder.decode(v) for name, v in found.items()
        }

    async def save(self, owner: str, record_id: str, record: Record) -> None:
        """Keep it; it is committed when this returns."""
        await self._store.save_state(owner, _state_id(record_id), _packed(record))

    async def change(self, owner: str, record_id: str, old: Record, new: Record) -> Record:
        """Put `new` in the place of `old`, and give the record that is there then.

        It is another one where another request was faster; its results are those that count.
        """

        def changed(value: bytes) -> bytes | None:
            return _packed(new) if _record_decoder.decode(value) == old else None

        found = await self._store.change_state(owner, _state_id(record_id), changed)
        if found is None:
            raise InvalidRequestError(
                f"the program {record_id!r} is gone; ask again from before its calls"
            )
        return _record_decoder.decode(found)

    async def load_container(self, owner: str, container_id: str) -> Container | None:
        """The container, if it is this owner's and alive."""
        found = await self._store.load_states(owner, [f"container_{container_id}"], may_change=True)
        for value in found.values():
            container = _container_decoder.decode(value)
            return container if container.expires > time.time() else None
        return None

    async def save_container(self, owner: str, container: Container) -> None:
        """Keep it; it is committed when this returns."""
        name = f"container_{container.id}"
        await self._store.save_state(owner, name, _packed(container))


def _packed(value: Record | Container) -> bytes:
    try:
        return _encoder.encode(value)
    except (OverflowError, UnicodeEncodeError) as error:
        raise ProtocolError(
            f"the model wrote what cannot be kept for its program: {error}"
        ) from None


def _state_id(record_id: str) -> str:
    return f"program_{record_id}"
