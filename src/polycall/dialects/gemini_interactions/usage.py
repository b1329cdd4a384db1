"""Token counts: thoughts count apart from the output, and what tools fed in from the input."""

from __future__ import annotations

from typing import Any

from polycall.dialects.gemini_interactions.names import NAME
from polycall.ir import JSON, Usage
from polycall.translation.wire import response_reader


def parse_usage(value: Any, tier: Any = None, path: str = "usage") -> Usage:
    """A `usage` object; the object itself is kept, without nulls."""
    reader = response_reader
    if value is None:
        return Usage()
    wire = {key: each for key, each in reader.object(value, path).items() if each is not None}

    def count(name: str) -> int:
        return reader.get_int(wire, name, path) or 0

    thoughts = count("total_thought_tokens")
    return Usage(
        input_tokens=count("total_input_tokens") + count("total_tool_use_tokens"),
        output_tokens=count("total_output_tokens") + thoughts,
        cached_tokens=count("total_cached_tokens"),
        reasoning_tokens=thoughts,
        service_tier=tier if isinstance(tier, str) else "",
        metadata={NAME: wire},
    )


def render_usage(usage: Usage) -> JSON:
    """The `usage` object of an answer."""
    own = usage.metadata.get(NAME)
    wire: JSON = dict(own) if own is not None else {}
    fed = wire.get("total_tool_use_tokens", 0)
    wire["total_input_tokens"] = max(usage.input_tokens - fed, 0)
    wire["total_cached_tokens"] = usage.cached_tokens
    wire["total_output_tokens"] = max(usage.output_tokens - usage.reasoning_tokens, 0)
    wire["total_thought_tokens"] = usage.reasoning_tokens
    wire["total_tool_use_tokens"] = fed
    wire["total_tokens"] = usage.total_tokens
    return wire
