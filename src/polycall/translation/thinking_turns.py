"""Calls that came without thinking, to a model that demands some in front of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from polycall.ir import JSON
from polycall.translation.wire import Losses

_Test: TypeAlias = Callable[[dict[str, Any]], bool]

BARE = "the calls that are being answered came without thinking, which a budget demands"


def has_bare_turn(messages: list[Any], is_result: _Test, is_thinking: _Test) -> bool:
    """Whether the model's turn since the user last spoke does not begin with thinking.

    `messages` are Anthropic's, on any of its wires: content in blocks.  With a fixed budget of
    thinking the vendor refuses such a turn, which another model wrote, or this one without.  Later
    messages of the same turn need none: the model thinks once, and continues after results
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


def without_budget(
    thinking: JSON,
    messages: list[Any],
    is_result: _Test,
    is_thinking: _Test,
    losses: Losses,
    *,
    adapts: bool,
) -> JSON:
    """The thinking to ask for: no fixed budget where the turn that continues began without any.

    `adapts`: the model can choose how much it thinks; else it does not think.
    """
    if thinking.get("type") != "enabled" or not has_bare_turn(messages, is_result, is_thinking):
        return thinking
    if not adapts:
        losses.adjust("reasoning", f"off: {BARE}")
        return {"type": "disabled"}
    losses.adjust("reasoning.budget_tokens", f"left to the model: {BARE}")
    shown = {name: thinking[name] for name in ("display",) if name in thinking}
    return {"type": "adaptive", **shown}
