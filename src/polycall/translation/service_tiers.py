"""Service tiers in the words of OpenAI and of those that copied its field."""

from __future__ import annotations

from collections.abc import Mapping

from polycall.translation.wire import Losses

# What other vendors call the same.
_WORDS = {"standard_only": "default", "standard": "default", "unspecified": "auto"}
_DEFAULTS = frozenset({"auto", "default"})  # what a request without the field has


def openai_tier(wanted: str, taken: frozenset[str] | None, losses: Losses) -> str:
    """The tier as a target that knows those `taken` calls it; `None`: unknown, "": none is sent."""
    word = _WORDS.get(wanted, wanted)
    if taken is None:
        return word
    if wanted in taken or word in taken:
        return wanted if wanted in taken else word
    if word not in _DEFAULTS:
        shown = ", ".join(sorted(taken)) or "none"
        losses.drop("service_tier", f"{wanted!r}; the model has {shown}")
    return ""


def mapped_tier(tier: str, tiers: Mapping[str, str], losses: Losses, *, is_own: bool) -> str | None:
    """The tier as this wire calls it, which says its own as they are; `None` for another's."""
    known = tier if is_own else tiers.get(tier.lower())
    if known is None:
        losses.drop("service_tier", f"{tier!r} is another vendor's")
    return known
