"""Tools that came later, with a result or a user's words: they are no part of the beginning.

`metadata["polycall"]["opened"]` of the result, or of the user's message, names them; a dialect
makes the vendor's own way of adding tools of it, where there is one.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from polycall.ir import Message, Part, ToolResult

_MARK = "polycall"
_OPENED = "opened"


def opened_in(message: Message) -> list[str]:
    """The tools that came with a message."""
    if message.role == "user":
        return message.metadata.get(_MARK, {}).get(_OPENED, [])
    if message.role != "tool":
        return []
    return [
        name
        for part in message.parts
        if isinstance(part, ToolResult)
        for name in part.metadata.get(_MARK, {}).get(_OPENED, [])
    ]


def with_opened(message: Message, names: list[str]) -> Message:
    """The message, its last result or itself naming these tools."""
    if message.role == "user":
        mark = {**message.metadata.get(_MARK, {}), _OPENED: names}
        return replace(message, metadata={**message.metadata, _MARK: mark})
    parts: list[Part] = list(message.parts)
    for place in range(len(parts) - 1, -1, -1):
        part: Any = parts[place]
        if isinstance(part, ToolResult) and not part.is_error:
            own = {**part.metadata.get(_MARK, {}), _OPENED: names}
            parts[place] = replace(part, metadata={**part.metadata, _MARK: own})
            return replace(message, parts=parts)
    return message
