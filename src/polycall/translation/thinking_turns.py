"""Calls that came without thinking, to a model that demands some in front of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

_Test: TypeAlias = Callable[[dict[str, Any]], bool]

BARE = "the calls that are being answered came without thinking, which a budget demands"


def has_bare_turn(messages: list[Any], is_result: _Test, is_thinking: _Test) -> bool:
    """Whether a turn of the model's since the user last spoke does not begin with its thinking.

    `messages` are Anthropic's, on any of its wires: content in blocks.  With a fixed budget of
    thinking the vendor refuses such a turn, which another model wrote, or this one without.
    """
    for message in reversed(messages):
        blocks: Any = message["content"]
        if not isinstance(blocks, list) or not blocks:
            return message["role"] == "assistant" and message is messages[-1]
        if message["role"] == "user":
            if not all(is_result(block) for block in blocks):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
                return False
        elif message["role"] == "assistant" and not is_thinking(blocks[0]):  # pyright: ignore[reportUnknownArgumentType]
            return True
    return False
