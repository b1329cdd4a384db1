"""The largest size of a call's result, and the treatment of a larger one."""

from __future__ import annotations

from msgspec.structs import replace

from polycall._support import jsontext
from polycall.ir import JSON, Media, Opaque, Text, ToolResult
from polycall.mcp.blocks import CallResult, texts_in
from polycall.mcp.content import wire_result


def is_longer(raw: CallResult, bytes_max: int) -> bool:
    """Whether its texts and data alone are larger than allowed."""
    left = bytes_max
    for text in texts_in([raw]):
        left -= len(text)
        if left < 0:
            return True
    return False


def bounded_wire(raw: CallResult, bytes_max: int) -> JSON | None:
    """The result as it is on the wire; `None` where it is larger than allowed."""
    wire = wire_result(raw)
    left = bytes_max
    for each in (*wire["content"], wire.get("structuredContent")):
        left -= len(jsontext.encode_bytes(each)) + 1
    return wire if left >= 0 else None


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
