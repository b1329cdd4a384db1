"""The journal of a run: what its models said and its tools gave, each under a name of its own.

A run that is started again with its journal comes to the same place without asking or doing
anything twice.  That is how a run pauses for a person, moves to another process, and survives one.
Calls run side by side, in nested agents and in programs; so an entry is known by where the call
stands, `call/2/ID/model/1`, and never by when it was made.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from msgspec import Struct

from polycall._support import jsontext
from polycall.agents.compaction import Shortened
from polycall.agents.events import HandoffEvent
from polycall.agents.task import TaskNote
from polycall.errors import RequestError
from polycall.instrumentation import TraceContext
from polycall.ir import JSON, Message, Response, ToolCall, ToolResult, Usage
from polycall.loop import EndReason


class RunDivergenceError(RequestError):
    """A run that is replayed asks for something else than its journal holds: its code changed."""


class Change(Struct, frozen=True, omit_defaults=True):
    """The changes that a call made to its run, apart from its result."""

    variables: dict[str, Any] = {}
    removed: list[str] = []
    opened: list[str] = []
    transfer: HandoffEvent | None = None
    handoffs: int = 0
    end: EndReason | None = None
    ended_with: str | None = None
    tasks: dict[str, TaskNote] = {}
    injected: dict[str, str] = {}
    shortened: dict[str, Shortened] = {}


class Entry(Struct, frozen=True, omit_defaults=True):
    """One answer of a model, or one result of a tool.

    `name` is the agent's or the tool's.  `added` are messages that came into the conversation just
    before a model was asked.  `usage` and `cost` were spent by agents below a call.  `carried` says
    to those who watch which process's part of the run it belongs to.
    """

    name: str
    response: Response | None = None
    result: ToolResult | None = None
    is_text: bool = True
    change: Change = Change()
    added: list[Message] = []
    usage: Usage = Usage()
    cost: Decimal | None = Decimal(0)
    carried: TraceContext = {}


Work = Callable[[], Awaitable[Entry]]


class Journal:
    """A journal in memory.  Subclasses keep each entry somewhere before it counts."""

    is_kept = True

    def __init__(self, run_id: str, entries: dict[str, Entry] | None = None) -> None:
        self.run_id = run_id
        self.entries: dict[str, Entry] = dict(entries or {})
        self.carried: TraceContext = {}  # of the run as it is under way here

    def known(self, key: str, name: str) -> Entry | None:
        """The entry under this key; `RunDivergenceError` where it is of something else."""
        entry = self.entries.get(key)
        if entry is not None and entry.name != name:
            raise RunDivergenceError(
                f"the journal of {self.run_id!r} has {entry.name!r} at {key!r}, where {name!r} is "
                "asked for now; the agents are not those that the run began with"
            )
        return entry

    async def perform(self, key: str, work: Work, *, has_steps: bool = False) -> Entry:
        """Do the work and keep what it gave.  `has_steps`: it makes entries of its own."""
        entry = await self.done(key, work, has_steps=has_steps)
        self.entries[key] = entry
        return entry

    async def done(self, key: str, work: Work, *, has_steps: bool) -> Entry:
        """Do the work, and keep its entry for good; here there is nowhere to keep it."""
        return await work()


class NoJournal(Journal):
    """Keeps nothing."""

    is_kept = False

    async def perform(self, key: str, work: Work, *, has_steps: bool = False) -> Entry:
        return await work()


@dataclass
class Place:
    """The call that runs here: where it stands in the journal, and what is spent below it."""

    key: str
    usage: Usage = field(default_factory=Usage)
    cost: Decimal | None = Decimal(0)
    is_suspended: bool = False
    made: Counter[str] = field(default_factory=Counter[str])  # by programs, equal calls

    def spend(self, usage: Usage, cost: Decimal | None) -> None:
        """Count what an agent below has spent."""
        self.usage += usage
        self.cost = None if cost is None or self.cost is None else self.cost + cost

    def inner_key(self, call: ToolCall) -> str:
        """The key of a program's call: made of its contents, since programs call in any order."""
        text = jsontext.encode_bytes([call.name, call.arguments])
        return f"{self.key}/{call.name}:{hashlib.sha256(text).hexdigest()[:16]}"


_place: ContextVar[Place | None] = ContextVar("polycall_place", default=None)


def current_place() -> Place | None:
    """The call that this code works for, in a run with a journal."""
    return _place.get()


def enter(place: Place) -> None:
    """Say that this task works for the call there from now on."""
    _place.set(place)


def check_variables(variables: JSON) -> None:
    """`RequestError` where a run with these could not be kept."""
    for name, value in variables.items():
        encoded(name, value)


def encoded(name: str, value: Any) -> bytes:
    """A variable as it is kept; `RequestError` where it cannot be."""
    try:
        return jsontext.encode_bytes(value)
    except (TypeError, ValueError) as error:
        raise RequestError(
            f"the variable {name!r} is not plain JSON, so a run with it cannot be kept: {error}"
        ) from None
