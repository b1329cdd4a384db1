"""Turns with their calls and results, and what was read of the beginning of a conversation.

A rendered beginning ends before an assistant's turn at which no call was open: nothing that comes
later changes what was written until there.  Its warnings and aliases are kept with it and repeated.
It is not kept where messages are marked for the cache, since marks move and are bounded over all of
a request, nor where an id of a call was changed or a result answers none.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from polycall.ir import JSON, Message, Part, ToolCall, ToolResult


class Parsed(Struct, frozen=True, eq=False):
    """The first `count` messages of a conversation, read."""

    count: int
    messages: list[Message]
    names: dict[str, str]
    results: list[Part] | None

    def resumed(self) -> tuple[list[Message], dict[str, str], list[Part] | None]:
        """The same to continue with; the results of the turn in hand live in the messages."""
        messages, results = self.messages.copy(), self.results
        if results is not None:
            places = range(len(messages) - 1, -1, -1)
            place = next(each for each in places if messages[each].parts is results)
            results = results.copy()
            messages[place] = replace(messages[place], parts=results)
        return messages, self.names.copy(), results


NOTHING = Parsed(0, [], {}, None)


class Rendered(Struct, frozen=True):
    """The result of rendering a beginning, apart from its messages.

    `offered` and `appends` are what it depended on: the tools of the request.
    """

    offered: frozenset[str]
    appends: bool
    wire_ids: frozenset[str]
    bound: dict[int, str]
    opened: frozenset[str]
    withdrawn: frozenset[str]
    is_said: bool


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
