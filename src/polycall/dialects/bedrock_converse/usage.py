"""Token counts: this wire's `inputTokens` leaves out what caches read and wrote."""

from __future__ import annotations

from typing import Any

from polycall.dialects.bedrock_converse.names import NAME
from polycall.ir import JSON, Usage
from polycall.translation.wire import response_reader

_READ = "cacheReadInputTokens"
_WRITTEN = "cacheWriteInputTokens"


def parse_usage(value: Any, tier: Any = None, path: str = "usage") -> Usage:
    """A `usage` object; the object itself is kept, without nulls."""
    reader = response_reader
    if value is None:
        return Usage()
    wire = {key: count for key, count in reader.object(value, path).items() if count is not None}
    read = reader.get_int(wire, _READ, path) or 0
    written = reader.get_int(wire, _WRITTEN, path) or 0
    named: Any = tier.get("type") if isinstance(tier, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return Usage(
        input_tokens=(reader.get_int(wire, "inputTokens", path) or 0) + read + written,
        output_tokens=reader.get_int(wire, "outputTokens", path) or 0,
        cached_tokens=read,
        cache_write_tokens=written,
        service_tier=named if isinstance(named, str) else "",
        metadata={NAME: wire},
    )


def render_usage(usage: Usage) -> JSON:
    """The `usage` object of an answer."""
    own = usage.metadata.get(NAME)
    read, written = usage.cached_tokens, usage.cache_write_tokens
    wire: JSON = dict(own) if own is not None else {}
    wire["inputTokens"] = max(usage.input_tokens - read - written, 0)
    wire["outputTokens"] = usage.output_tokens
    wire["totalTokens"] = usage.total_tokens
    for key, count in ((_READ, read), (_WRITTEN, written)):
        if count or (own is not None and key in own):
            wire[key] = count
    return wire
