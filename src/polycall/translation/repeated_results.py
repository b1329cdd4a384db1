"""Results that a history tells again: each call gets the first one.

Some clients tell a result twice when they resume a conversation; most vendors refuse that.
"""

from __future__ import annotations

from collections import Counter

from msgspec.structs import replace

from polycall.ir import Message, Request, ToolCall, ToolResult
from polycall.translation.conversation import begun, keep_begun, known_of, last_turn, like
from polycall.translation.wire import Losses


def without_repeated_results(request: Request, losses: Losses) -> Request:
    """The request without results of calls that have theirs already."""
    known = known_of(request.messages)
    start, before = begun(known, request.messages, without_repeated_results)
    waiting: Counter[str] = Counter(before[0]) if before else Counter()
    answered: set[str] = {*before[1]} if before else set()
    repeated: set[int] = set()  # identities of parts
    end = last_turn(request.messages, start) if known is not None else start
    for place in range(start, len(request.messages)):
        message = request.messages[place]
        if place == end > start and not repeated:
            made = (+waiting, answered.copy())
            keep_begun(known, request.messages[:end], without_repeated_results, made)
        if message.role not in ("assistant", "tool"):
            continue
        for part in message.parts:
            if isinstance(part, ToolCall):
                waiting[part.id] += 1
            elif isinstance(part, ToolResult):
                if waiting[part.call_id] > 0:
                    waiting[part.call_id] -= 1
                    answered.add(part.call_id)
                elif part.call_id in answered:
                    repeated.add(id(part))
                    detail = f"the call {part.call_id[:80]!r} has its result already"
                    losses.drop("orphan_tool_result", detail)
    if not repeated:
        return request
    messages: list[Message] = []
    for message in request.messages:
        parts = [part for part in message.parts if id(part) not in repeated]
        if len(parts) == len(message.parts):
            messages.append(message)
        elif parts:
            messages.append(replace(message, parts=parts))
    return replace(request, messages=like(messages, request.messages))
