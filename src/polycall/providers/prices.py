"""The cost of a generation in US dollars; `None` where no price is known, never 0.

Prices come from the provider's own rows first (configuration), then from the snapshot inside
`genai-prices`, which is imported on the first question (it costs a third of a second) and completed
by `late_prices.py`.
"""

from __future__ import annotations

import sys
from decimal import Decimal
from typing import Any, cast

from polycall.ir import JSON, Usage
from polycall.providers.late_prices import complete_table, tier_factor
from polycall.providers.provider import Price, Provider

_MILLION = Decimal(1_000_000)


def cost_usd(provider: Provider, model: str, usage: Usage) -> Decimal | None:
    """The price of one answer; `None` where the model's price or the usage is unknown."""
    if not usage.is_reported:
        return None
    own = provider.prices.get(model)
    if own is not None:
        return _own_cost(own, usage)
    found = (
        _table_cost(price_id, name, usage)
        for price_id, name in provider.pricings(model)
        if price_id
    )
    cost = next((each for each in found if each is not None), None)
    for other, apart in _by_others(usage):
        more = cost_usd(provider, other, apart)
        cost = None if cost is None or more is None else cost + more
    return cost


def _own_cost(price: Price, usage: Usage) -> Decimal:
    cached_price = price.input if price.cached is None else price.cached
    write_price = price.input if price.cache_write is None else price.cache_write
    plain = usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens
    total = (
        max(plain, 0) * price.input
        + usage.cached_tokens * cached_price
        + usage.cache_write_tokens * write_price
        + usage.output_tokens * price.output
    )
    return total / _MILLION


def _table_cost(price_id: str, model: str, usage: Usage) -> Decimal | None:
    from genai_prices import Usage as PricedUsage  # noqa: PLC0415 - costs 0.3 s at import
    from genai_prices import calc_price  # noqa: PLC0415

    complete_table()
    context = _price_context(usage)
    counts = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cached_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        **special_kinds(usage),
    }
    # The table warns of kinds of tokens that a model has no price for, even if the answer has none.
    priced = PricedUsage(**{kind: count for kind, count in counts.items() if count})
    try:
        found = calc_price(priced, model, provider_id=price_id, price_context=context)
    except LookupError:
        return None
    return found.total_price * _place_factor(usage) * tier_factor(price_id, found.model, context)


def price_of(provider: Provider, model: str) -> Price | None:
    """The price for a million tokens, as far as it is the same for any number of them.

    `None` where it is unknown, or the table has not been loaded by anybody yet: it costs a third
    of a second.
    """
    own = provider.prices.get(model)
    if own is not None or "genai_prices" not in sys.modules:
        return own

    def ask(usage: Usage) -> Decimal | None:
        return cost_usd(provider, model, usage)

    many = 1000  # below the first tier of any table
    given, said = ask(Usage(input_tokens=many)), ask(Usage(output_tokens=many))
    if given is None or said is None:
        return None
    read, written = (
        ask(Usage(input_tokens=many, cached_tokens=many)),
        ask(Usage(input_tokens=many, cache_write_tokens=many)),
    )
    scale = _MILLION / many
    return Price(
        given * scale,
        said * scale,
        None if read is None else read * scale,
        None if written is None else written * scale,
    )


def special_kinds(usage: Usage) -> dict[str, int]:
    """Tokens and deeds that have prices of their own, by the price table's names for them.

    They stand in the wire's own object: Anthropic's caches that last an hour and its searches,
    sound at OpenAI, sound and images at Google.
    """
    found: dict[str, int] = {}
    for dialect, wire in usage.metadata.items():
        match dialect:
            case "anthropic":
                one_hour = _number(wire, "cache_creation", "ephemeral_1h_input_tokens")
                found["cache_write_1h_tokens"] = min(one_hour, usage.cache_write_tokens)
                found["web_searches"] = _number(wire, "server_tool_use", "web_search_requests")
            case "openai-chat":
                found["input_audio_tokens"] = _number(wire, "prompt_tokens_details", "audio_tokens")
                found["output_audio_tokens"] = _number(
                    wire, "completion_tokens_details", "audio_tokens"
                )
            case "gemini":
                found["input_audio_tokens"] = _of_kind(wire, "promptTokensDetails", "AUDIO")
                found["cache_audio_read_tokens"] = _of_kind(wire, "cacheTokensDetails", "AUDIO")
                found["output_audio_tokens"] = _of_kind(wire, "candidatesTokensDetails", "AUDIO")
                found["output_image_tokens"] = _of_kind(wire, "candidatesTokensDetails", "IMAGE")
            case _:
                pass
    return {kind: count for kind, count in found.items() if count}


def is_special(usage: Usage) -> bool:
    """Whether the plain rates of a model do not say what this cost."""
    if usage.service_tier.lower() not in _USUAL_TIERS:
        return True
    if not usage.metadata:
        return False
    return bool(
        special_kinds(usage)
        or _price_context(usage)
        or _place_factor(usage) != 1
        or _by_others(usage)
    )


# Words for the tier that every price table means where it names none.
_USUAL_TIERS = frozenset({"", "auto", "default", "standard", "on_demand"})


def _price_context(usage: Usage) -> dict[str, str] | None:
    """The context with a price of its own: batches, Anthropic's fast mode, the others' tiers."""
    context: dict[str, str] = {}
    own = usage.metadata.get("anthropic", {})
    if own.get("speed") == "fast":
        context["speed"] = "fast"
    tier = usage.service_tier.lower()
    if _BATCH in (tier, own.get("service_tier")):
        context["processing"] = _BATCH
    elif tier not in _USUAL_TIERS:
        context["service_tier"] = tier
    return context or None


# What a job of many requests is called by who answers it and by the price table.
_BATCH = "batch"
# Inference in the United States alone costs a tenth more at Anthropic, for tokens of every kind.
# Read 2026-11-29: https://platform.claude.com/docs/en/about-claude/pricing
_PLACE = "inference_geo"
_PLACES = {"us": Decimal("1.1")}


def _place_factor(usage: Usage) -> Decimal:
    place: Any = usage.metadata.get("anthropic", {}).get(_PLACE)
    return _PLACES.get(place, Decimal(1)) if isinstance(place, str) else Decimal(1)


def _by_others(usage: Usage) -> list[tuple[str, Usage]]:
    """The usage by other models for this answer, each at its own price: Anthropic's advisors.

    Read 2026-11-29 in anthropic 2.14, types/beta/beta_advisor_message_iteration_usage.py.
    """
    entries: Any = usage.metadata.get("anthropic", {}).get("iterations")
    found: list[tuple[str, Usage]] = []
    for entry in cast("list[Any]", entries) if isinstance(entries, list) else []:
        if isinstance(entry, dict) and entry.get("type") == "advisor_message":  # pyright: ignore[reportUnknownMemberType]
            read = _number(entry, "cache_read_input_tokens")
            written = _number(entry, "cache_creation_input_tokens")
            own: JSON = {"cache_creation": entry.get("cache_creation")}  # pyright: ignore[reportUnknownMemberType]
            plain = _number(entry, "input_tokens")
            counts = Usage(
                input_tokens=plain + read + written,
                output_tokens=_number(entry, "output_tokens"),
                cached_tokens=read,
                cache_write_tokens=written,
                metadata={"anthropic": own},
            )
            if counts.is_reported:
                found.append((str(entry.get("model")), counts))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    return found


def _number(wire: Any, *path: str) -> int:
    """The number at a path of the wire's object; 0 if absent."""
    for key in path:
        wire = wire.get(key) if isinstance(wire, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return wire if isinstance(wire, int) else 0


def _of_kind(wire: JSON, key: str, modality: str) -> int:
    """Tokens of one modality in a list of Google's."""
    details: Any = wire.get(key)
    if not isinstance(details, list):
        return 0
    return sum(
        _number(each, "tokenCount")
        for each in details  # pyright: ignore[reportUnknownVariableType]
        if isinstance(each, dict) and each.get("modality") == modality  # pyright: ignore[reportUnknownMemberType]
    )
