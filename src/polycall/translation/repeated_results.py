"""Results that a history tells again: each call gets the first one.

Some clients tell a result twice when they resume a conversation; most vendors refuse that.
"""

from __future__ import annotations

from collections import Counter

from msgspec.structs import replace

from polycall.ir import Message, Request, ToolCall, ToolResult
from polycall.translation.conversation import like
from polycall.translation.wire import Losses


def without_repeated_results(request: Request, losses: Losses) -> Request:
    """The request without results of calls that have theirs already."""
    waiting: Counter[str] = Counter()
    answered: set[str] = set()
    repeated: set[int] = set()  # identities of parts
    for message in request.messages:
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
