"""Turns with their calls and results, and what was read of the beginning of a conversation.

A rendered beginning ends before an assistant's turn at which no call was open: nothing that comes
later changes what was written until there.  It is kept only where rendering it had no effect but
its messages: no warning, no alias, no mark.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from polycall.ir import JSON, Message, Part, ToolCall, ToolResult


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
