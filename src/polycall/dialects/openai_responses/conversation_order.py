"""Conversations of other dialects in the order that this vendor demands.

It wants every call's output before the next message, and every call under an id of its own.
Clients of this dialect keep their order: the vendor is the judge of it.
"""

from __future__ import annotations

import itertools
from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from polycall.ir import Message, Part, ToolCall, ToolResult
from polycall.translation.calls import UniqueIds
from polycall.translation.conversation import begun, keep_begun, last_turn


def in_order(messages: list[Message], known: dict[Any, Any] | None = None) -> list[Message]:
    """The messages with results directly behind their turn, ids made unique on both sides.

    `known` has what was made of a beginning.
    """
    start, before = begun(known, messages, in_order)
    ids, ordered = _Ids(), list[Message]()
    if before is not None:
        ids.begin(before[0])
        ordered = before[1].copy()
    end = last_turn(messages, start, known) if known is not None else start
    if end > start:
        ordered += ids.ordered(messages[start:end])
        if ids.are_all_answered:
            keep_begun(known, messages[:end], in_order, (ids.taken(), ordered.copy()))
    return ordered + ids.ordered(messages[end:])


class _Ids:
    """The ids of one conversation: a call that repeats one is numbered, its result follows."""

    def __init__(self) -> None:
        self._taken = UniqueIds()
        self._waiting: dict[str, deque[str]] = defaultdict(deque)

    @property
    def are_all_answered(self) -> bool:
        return not any(self._waiting.values())

    def taken(self) -> UniqueIds:
        return self._taken.copy()

    def begin(self, taken: UniqueIds) -> None:
        self._taken = taken.copy()

    def ordered(self, messages: Sequence[Message]) -> list[Message]:
        ordered: list[Message] = []
        for is_model, group in itertools.groupby(messages, lambda each: each.role == "assistant"):
            turn = [self._renamed(message) for message in group]
            # Sorting is stable: all else keeps its order.
            ordered.extend(turn if is_model else sorted(turn, key=lambda each: each.role != "tool"))
        return ordered

    def _renamed(self, message: Message) -> Message:
        parts = [self._part(part) for part in message.parts]
        return message if parts == message.parts else replace(message, parts=parts)

    def _part(self, part: Part) -> Part:
        match part:
            case ToolCall():
                unique = self._taken.take(part.id)
                self._waiting[part.id].append(unique)
                return part if unique == part.id else replace(part, id=unique)
            case ToolResult() if self._waiting[part.call_id]:
                unique = self._waiting[part.call_id].popleft()
                return part if unique == part.call_id else replace(part, call_id=unique)
            case _:
                return part
