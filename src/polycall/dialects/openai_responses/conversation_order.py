"""Conversations of other dialects in the order that this vendor demands.

It wants every call's output before the next message, and every call under an id of its own.
Clients of this dialect keep their order: the vendor is the judge of it.
"""

from __future__ import annotations

import itertools
from collections import defaultdict, deque
from collections.abc import Sequence

from msgspec.structs import replace

from polycall.ir import Message, Part, ToolCall, ToolResult


def in_order(messages: Sequence[Message]) -> list[Message]:
    """The messages with results directly behind their turn, ids made unique on both sides."""
    ids = _Ids()
    ordered: list[Message] = []
    for is_model, group in itertools.groupby(messages, lambda each: each.role == "assistant"):
        turn = [ids.renamed(message) for message in group]
        # Sorting is stable: all else keeps its order.
        ordered.extend(turn if is_model else sorted(turn, key=lambda each: each.role != "tool"))
    return ordered


class _Ids:
    """The ids of one conversation: a call that repeats one is numbered, its result follows."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._waiting: dict[str, deque[str]] = defaultdict(deque)

    def renamed(self, message: Message) -> Message:
        parts = [self._part(part) for part in message.parts]
        return message if parts == message.parts else replace(message, parts=parts)

    def _part(self, part: Part) -> Part:
        match part:
            case ToolCall():
                unique, number = part.id, 2
                while unique in self._taken:
                    unique, number = f"{part.id}_{number}", number + 1
                self._taken.add(unique)
                self._waiting[part.id].append(unique)
                return part if unique == part.id else replace(part, id=unique)
            case ToolResult() if self._waiting[part.call_id]:
                unique = self._waiting[part.call_id].popleft()
                return part if unique == part.call_id else replace(part, call_id=unique)
            case _:
                return part
