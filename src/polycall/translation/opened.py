"""Tools that came later, with a result or a user's words: they are no part of the beginning.

`metadata["polycall"]["opened"]` of the result, or of the user's message, names them; a dialect
makes the vendor's own way of adding tools of it, where there is one.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from polycall.ir import Message, Metadata, Part, ToolResult

_MARK = "polycall"
_OPENED = "opened"


def opened_in(message: Message) -> list[str]:
    """The tools that came with a message."""
    if message.role not in ("user", "tool"):
        return []
    marked = [message, *(part for part in message.parts if isinstance(part, ToolResult))]
    return [name for each in marked for name in each.metadata.get(_MARK, {}).get(_OPENED, [])]


def with_opened(message: Message, names: list[str]) -> Message:
    """The message, its last result naming these tools, or itself where no result can."""
    parts: list[Part] = list(message.parts)
    for place in range(len(parts) - 1, -1, -1):
        part: Any = parts[place]
        if message.role == "tool" and isinstance(part, ToolResult) and not part.is_error:
            parts[place] = replace(part, metadata=_marked(part.metadata, names))
            return replace(message, parts=parts)
    return replace(message, metadata=_marked(message.metadata, names))


def _marked(metadata: Metadata, names: list[str]) -> Metadata:
    return {**metadata, _MARK: {**metadata.get(_MARK, {}), _OPENED: names}}
