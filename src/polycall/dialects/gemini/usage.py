"""Finish reasons and usage: the wire's words and numbers in the middle language's, and back."""

from __future__ import annotations

from typing import Any

from polycall.dialects.gemini.content import NAME
from polycall.dialects.gemini.key_case import camel_keys
from polycall.dialects.gemini.names import WORDS
from polycall.ir import JSON, FinishReason, Response, Usage
from polycall.translation.wire import Path, Reader

FINISH_BY_REASON = WORDS.finish()
# Writers of binary protos give the number of a reason.
_REASON_BY_NUMBER = {
    0: "FINISH_REASON_UNSPECIFIED",
    1: "STOP",
    2: "MAX_TOKENS",
    3: "SAFETY",
    4: "RECITATION",
    5: "OTHER",
    6: "BLOCKLIST",
    7: "PROHIBITED_CONTENT",
    8: "SPII",
    9: "MALFORMED_FUNCTION_CALL",
    10: "MODEL_ARMOR",
}
_REASON_BY_FINISH = WORDS.ends()


def reason_name(value: Any, path: Path, reader: Reader) -> str:
    """The wire's word for why it stopped; `""` where it says nothing."""
    if isinstance(value, int) and not isinstance(value, bool):
        return _REASON_BY_NUMBER.get(value, str(value))
    return "" if value is None else reader.string(value, path)


def finish_of(reason: str) -> FinishReason:
    """A reason that is not known here is not a normal end, though what the model said stands."""
    return FINISH_BY_REASON.get(reason, "error" if reason else "stop")


def render_reason(response: Response) -> str:
    """The word for a client; one that came from this wire goes back."""
    raw = response.raw_finish_reason
    if raw in FINISH_BY_REASON and raw != "CONTINUATION":
        return raw
    own = response.metadata.get(NAME, {}).get("finishReason")
    return own if isinstance(own, str) else _REASON_BY_FINISH[response.finish_reason]


# Google Cloud's kinds of traffic that have prices of their own, as the service tiers they are.
_TIERS = {"ON_DEMAND_PRIORITY": "priority", "ON_DEMAND_FLEX": "flex"}


def parse_usage(value: Any, path: Path, reader: Reader) -> Usage:
    """One arithmetic: the prompt with what tools added to it, the answer with its thoughts."""
    wire = reader.object(value, path)
    if not wire:
        return Usage()
    counts = camel_keys(wire)

    def count(key: str) -> int:
        return (reader.get_int(counts, key, path) or 0) if key in counts else 0

    thoughts = count("thoughtsTokenCount")
    return Usage(
        input_tokens=count("promptTokenCount") + count("toolUsePromptTokenCount"),
        output_tokens=count("candidatesTokenCount") + thoughts,
        cached_tokens=count("cachedContentTokenCount"),
        reasoning_tokens=thoughts,
        service_tier=_TIERS.get(str(counts.get("trafficType")), ""),
        metadata={NAME: dict(wire)},
    )


def render_usage(usage: Usage) -> JSON | None:
    """The wire's object; `None` where nobody counted."""
    own = usage.metadata.get(NAME)
    if own:
        return dict(own)
    if not usage.is_reported:
        return None
    wire: JSON = {
        "promptTokenCount": usage.input_tokens,
        "candidatesTokenCount": max(usage.output_tokens - usage.reasoning_tokens, 0),
        "totalTokenCount": usage.total_tokens,
    }
    if usage.reasoning_tokens:
        wire["thoughtsTokenCount"] = usage.reasoning_tokens
    if usage.cached_tokens:
        wire["cachedContentTokenCount"] = usage.cached_tokens
    return wire
