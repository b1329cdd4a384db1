"""What a generation cost, in US dollars; `None` where no price is known, never 0.

Prices come from the provider's own rows first (configuration), then from the snapshot inside
`genai-prices`, which is imported on the first question: it costs a third of a second.
"""

from __future__ import annotations

from decimal import Decimal

from polycall.ir import Usage
from polycall.providers.provider import Price, Provider

_MILLION = Decimal(1_000_000)


def cost_usd(provider: Provider, model: str, usage: Usage) -> Decimal | None:
    """The price of one answer; `None` where the model's price or the usage is unknown."""
    if not usage.is_reported:
        return None
    own = provider.prices.get(model)
    if own is not None:
        return _own_cost(own, usage)
    if not provider.price_id:
        return None
    return _table_cost(provider.price_id, model, usage)


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

    counts = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cached_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "cache_write_1h_tokens": _one_hour_cache_writes(usage),
    }
    # The table warns of kinds of tokens that a model has no price for, even where there are none.
    priced = PricedUsage(**{kind: count for kind, count in counts.items() if count})
    try:
        return calc_price(priced, model, provider_id=price_id).total_price
    except LookupError:
        return None


def _one_hour_cache_writes(usage: Usage) -> int:
    # Anthropic bills caches that last an hour at another price, and says how many tokens.
    split = usage.metadata.get("anthropic", {}).get("cache_creation")
    if not isinstance(split, dict):
        return 0
    counts: dict[str, object] = {**split}
    one_hour = counts.get("ephemeral_1h_input_tokens")
    return min(one_hour, usage.cache_write_tokens) if isinstance(one_hour, int) else 0
