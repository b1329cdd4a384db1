"""What was read and rendered of the beginning of a conversation, and when it may be used again.

A beginning ends before an assistant's turn at which no call was open: nothing that comes later
changes what was written until there.  It is kept only where rendering it had no effect but its
messages: no warning, no alias, no mark.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from msgspec import Struct

from polycall.ir import JSON, Message, Part, ToolCall, ToolResult
from polycall.translation.quirks import Quirks

_EMPTY = frozenset[str]()


class Parsed(Struct, frozen=True, eq=False):
    """The first `count` messages of a conversation, read."""

    count: int
    messages: list[Message]
    names: dict[str, str]
    results: list[Part] | None


class Slot(Struct, eq=False):
    """One tool call, as the wire will name it."""

    call: ToolCall
    wire_id: str
    is_answered: bool = False


class Turn(Struct, eq=False):
    """A run of assistant messages, what came after it, and the results of its calls."""

    assistants: list[Message]
    follow: list[Message]
    slots: list[Slot]
    results: list[tuple[Slot, ToolResult]]
    start: int = 0  # messages before it
    is_settled: bool = True  # no call before it waits for its result


class Beginning(Struct, frozen=True, eq=False):
    """Messages, what they are on the wire, and the ids of calls in them."""

    quirks: Quirks
    messages: list[Message] = []
    wire: list[JSON] = []
    wire_ids: frozenset[str] = _EMPTY


class Beginnings:
    """The rendered beginning of one conversation, for one target."""

    def __init__(self, known: dict[Any, Any] | None, quirks: Quirks, *, is_lossy: bool) -> None:
        # A model that checks its own turns reads marks and ids that depend on the whole request.
        self._known = None if quirks.prefix_bound else known
        self._key: Hashable = (Beginning, id(quirks), is_lossy)
        self._quirks = quirks

    def of(self, messages: list[Message]) -> Beginning:
        """The longest that these messages begin with."""
        found: Beginning | None = None if self._known is None else self._known.get(self._key)
        if found is None or found.quirks is not self._quirks:
            return Beginning(self._quirks)
        size = len(found.messages)
        # A user's message would join the turn before it.
        if size >= len(messages) or messages[size].role != "assistant":
            return Beginning(self._quirks)
        return found if messages[:size] == found.messages else Beginning(self._quirks)

    def keep(self, messages: list[Message], wire: list[JSON], wire_ids: frozenset[str]) -> None:
        """Keep a beginning, where conversations are remembered."""
        if self._known is not None and wire and wire[-1]["role"] == "user":
            beginning = Beginning(self._quirks, messages, wire, wire_ids)
            self._known[self._key] = beginning


def has_marks(wire: list[JSON]) -> bool:
    """Whether something in these messages is marked for the cache."""
    return any(_is_marked(message["content"]) for message in wire)


def _is_marked(blocks: Any) -> bool:
    if not isinstance(blocks, list):
        return False
    return any(
        isinstance(block, dict) and ("cache_control" in block or _is_marked(block.get("content")))  # pyright: ignore[reportUnknownMemberType]
        for block in blocks  # pyright: ignore[reportUnknownVariableType]
    )
