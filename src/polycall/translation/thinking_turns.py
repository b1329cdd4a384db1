"""Calls that came without thinking, to a model that demands some in front of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

_Test: TypeAlias = Callable[[dict[str, Any]], bool]

BARE = "the calls that are being answered came without thinking, which a budget demands"


def has_bare_turn(messages: list[Any], is_result: _Test, is_thinking: _Test) -> bool:
    """Whether the model's turn since the user last spoke does not begin with thinking.

    `messages` are Anthropic's, on any of its wires: content in blocks.  With a fixed budget of
    thinking the vendor refuses such a turn, which another model wrote, or this one without.  Later
    messages of the same turn need none: the model thinks once, and goes on after results
    (platform.claude.com/cookbook/extended-thinking-extended-thinking-with-tool-use, 2026-11-30).
    """
    is_bare = False
    for message in reversed(messages):
        blocks: Any = message["content"]
        if not isinstance(blocks, list) or not blocks:
            return is_bare or (message["role"] == "assistant" and message is messages[-1])
        if message["role"] == "user":
            if not all(is_result(block) for block in blocks):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
                break
        elif message["role"] == "assistant":
            is_bare = not is_thinking(blocks[0])  # pyright: ignore[reportUnknownArgumentType]
    return is_bare
