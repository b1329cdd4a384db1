"""Token counts, both ways."""

from __future__ import annotations

import math
from typing import Any

from polycall.dialects.openai_chat.names import NAME, own
from polycall.ir import JSON, Usage

# How servers of Chat call what was read from a cache, where it does not stand in the details.
_CACHED = (
    "prompt_cache_hit_tokens",
    "cached_tokens",
    "num_cached_tokens",
    "cache_read_input_tokens",
)
# What some servers count alongside the usual fields.
_MORE = frozenset({*_CACHED, "reasoning_tokens", "cache_creation_input_tokens"})


def parse_usage(raw: Any, tier: Any = None) -> Usage:
    """The wire's counts in the one arithmetic; absent and null counts are 0.

    `tier` is the answer's own `service_tier`, which stands alongside the counts.
    """
    if not isinstance(raw, dict) or not raw:
        return Usage()
    usage: JSON = raw  # pyright: ignore[reportUnknownVariableType]
    input_tokens = _count(usage, "prompt_tokens")
    output_tokens = _count(usage, "completion_tokens")
    reasoning = cached = written = 0
    completion, prompt = usage.get("completion_tokens_details"), usage.get("prompt_tokens_details")
    if completion and isinstance(completion, dict):
        reasoning = _count(completion, "reasoning_tokens")  # pyright: ignore[reportUnknownArgumentType]
    if prompt and isinstance(prompt, dict):
        cached = _count(prompt, "cached_tokens")  # pyright: ignore[reportUnknownArgumentType]
        if "cache_write_tokens" in prompt:
            written = _count(prompt, "cache_write_tokens")  # pyright: ignore[reportUnknownArgumentType]
    if not _MORE.isdisjoint(usage):
        reasoning = reasoning or _count(usage, "reasoning_tokens")
        cached = cached or next(filter(None, (_count(usage, name) for name in _CACHED)), 0)
        written = written or _count(usage, "cache_creation_input_tokens")
    if reasoning and _count(usage, "total_tokens") >= input_tokens + output_tokens + reasoning:
        # xAI counts reasoning alongside the completion, not inside it; the total tells.
        output_tokens += reasoning
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_tokens=cached,
        cache_write_tokens=written,
        reasoning_tokens=reasoning,
        service_tier=tier if isinstance(tier, str) else "",
        metadata={NAME: usage},
    )


def merge_usage(first: JSON | None, second: JSON) -> JSON:
    """Both usage objects of one stream; the later one wins where it has a value."""
    if first is None:
        return second
    return {**first, **{key: value for key, value in second.items() if value is not None}}


def render_usage(usage: Usage) -> JSON | None:
    """OpenAI's usage object; `None` where the provider said nothing."""
    raw = own(usage.metadata)
    if raw and all(isinstance(raw.get(key), int) for key in ("prompt_tokens", "completion_tokens")):
        return {"total_tokens": raw["prompt_tokens"] + raw["completion_tokens"], **raw}
    if not usage.is_reported:
        return None
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def _count(source: JSON, key: str) -> int:
    value = source.get(key)
    if type(value) is int:
        return value if value > 0 else 0
    if value is None:
        return 0
    if isinstance(value, float) and math.isfinite(value):
        value = int(value)
    return max(value, 0) if type(value) is int else 0
