"""How large the result of a call may be, and what becomes of a larger one."""

from __future__ import annotations

from typing import Any, cast

import mcp_types as types
from msgspec.structs import replace
from pydantic import BaseModel

from polycall._support import jsontext
from polycall.ir import JSON, Media, Opaque, Text, ToolResult


def is_longer(raw: types.CallToolResult, bytes_max: int) -> bool:
    """Whether its texts and data alone are larger than allowed."""
    left, waiting = bytes_max, [*raw.content, raw.structured_content]
    while waiting and left >= 0:
        here: Any = waiting.pop()
        if isinstance(here, str):
            left -= len(here)
        elif isinstance(here, BaseModel):
            waiting += vars(here).values()
        elif isinstance(here, dict):
            waiting += cast("JSON", here).values()
        elif isinstance(here, list):
            waiting += cast("list[Any]", here)
    return left < 0


def bounded_raw(raw: types.CallToolResult, bytes_max: int) -> types.CallToolResult | None:
    """The result; `None` where it is larger than allowed."""
    size = len(raw.model_dump_json(by_alias=True, exclude_none=True))
    return raw if size <= bytes_max else None


def bounded(result: ToolResult, bytes_max: int) -> ToolResult:
    """The result within a bound; what was left out is said in it."""
    left = bytes_max
    content: list[Text | Media | Opaque] = []
    dropped = 0
    for part in result.content:
        size = _size(part)
        if size <= left:
            content.append(part)
            left -= size
        elif isinstance(part, Text):
            # Each character has a byte at least.
            kept = part.text[:left].encode("utf-8", "replace")[:left].decode("utf-8", "ignore")
            note = f"\n... (cut: {size:,} bytes in all, at most {bytes_max:,} are passed on)"
            content.append(replace(part, text=kept + note))
            left = 0
        else:
            dropped += 1
    if dropped:
        content.append(Text(f"({dropped} parts were left out: larger than {bytes_max:,} bytes)"))
    return replace(result, content=content)


def _size(part: Text | Media | Opaque) -> int:
    match part:
        case Text():
            is_narrow = part.text.isascii()
            return len(part.text if is_narrow else part.text.encode("utf-8", "surrogatepass"))
        case Media():
            return len(part.data) + len(part.text) + len(part.url)
        case Opaque():
            return len(jsontext.encode_bytes(part.data))
