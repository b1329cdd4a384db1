"""How large the result of a call may be, and what becomes of a larger one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import mcp_types as types
from msgspec import Struct
from msgspec.structs import replace
from pydantic import BaseModel

from polycall._support import jsontext
from polycall.ir import JSON, Media, Opaque, Text, ToolResult

_MANY = 1_000  # values, or as much text: to look through them takes some milliseconds
_VALUE_CHARS = 4_096  # of a text take as long as one value


def takes_long(result: ToolResult, raw: types.CallToolResult | None) -> bool:
    """Whether it takes long to look through a result."""
    left = _MANY
    for text in _texts([*result.content, raw]):
        left -= 1 + len(text) // _VALUE_CHARS
        if left < 0:
            return True
    return False


def is_longer(raw: types.CallToolResult, bytes_max: int) -> bool:
    """Whether its texts and data alone are larger than allowed."""
    left = bytes_max
    for text in _texts([*raw.content, raw.structured_content]):
        left -= len(text)
        if left < 0:
            return True
    return False


def _texts(waiting: list[Any]) -> Iterator[str]:
    """Every text in these; an empty one for any other value, so that all are counted."""
    while waiting:
        here = waiting.pop()
        if isinstance(here, BaseModel):
            waiting += vars(here).values()
        elif isinstance(here, Struct):
            waiting += [getattr(here, name) for name in here.__struct_fields__]
        elif isinstance(here, dict):
            waiting += cast("JSON", here).values()
        elif isinstance(here, list):
            waiting += cast("list[Any]", here)
        yield here if isinstance(here, str) else ""


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
