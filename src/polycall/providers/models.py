"""Which models there are, what they can do, and what they cost.  Unknown is `None`, never no.

Names and prices come from the snapshot in `genai-prices`, capabilities from the profiles.  Nothing
here is a gate: a model without a row is asked for whatever the caller wants, and its provider
answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal

from msgspec import Struct
from msgspec.structs import replace

from polycall.profiles.profile import Profile
from polycall.providers.late_prices import complete_table
from polycall.providers.provider import Capabilities, Feature, Price, Provider


class ModelInfo(Struct, frozen=True):
    """One model.  `name` is what a request says: `provider/model`."""

    name: str
    capabilities: Capabilities = Capabilities()
    price: Price | None = None


_NOT_A_CHAT_MODEL = re.compile(
    r"embed|tts|whisper|transcribe|moderation|ocr|rerank|guard|realtime|-live|voice|orpheus|"
    r"(^|[-/])(gpt-image|image|imagen|veo|dall-e|nano-banana|sora)|-image|babbage|davinci|^ada$|^curie$"
)


def capabilities(provider: Provider, model: str) -> Capabilities:
    """The known capabilities of a model; the provider's own rows (configuration) come first."""
    own = provider.capabilities.get(model)
    if own is not None:
        return own
    if _NOT_A_CHAT_MODEL.search(model.lower()):
        return Capabilities(tools=False, parallel_calls=False, structured_output=False)
    found = provider.profile(model)
    return Capabilities() if found is None else _known(found)


def _known(found: Profile) -> Capabilities:
    """A profile's part of the capabilities."""
    off, media = found.value("thinking_off"), found.words("media")
    return Capabilities(
        tools=_answer(found.value("tools")),
        parallel_calls=_answer(found.value("parallel_calls")),
        reasoning=None if off is None else off != "never on",
        images=None if media is None else "image" in media,
        structured_output=_answer(found.value("structured_output")),
        context_tokens=found.number("context_tokens") or None,
        output_tokens=found.number("output_tokens") or None,
    )


def _answer(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def list_models(
    providers: Iterable[Provider], *, supports: Iterable[Feature] = ()
) -> Iterator[ModelInfo]:
    """All known models of these providers, by name; only those known to have all of `supports`."""
    wanted = tuple(supports)
    for provider in providers:
        for model, context_tokens, price in sorted(_priced(provider), key=lambda row: row[0]):
            found = capabilities(provider, model)
            if context_tokens is not None and found.context_tokens is None:
                found = replace(found, context_tokens=context_tokens)
            if found.supports(wanted):
                yield ModelInfo(f"{provider.name}/{model}", found, price)


def _priced(provider: Provider) -> Iterator[tuple[str, int | None, Price | None]]:
    own = set(provider.prices) | set(provider.capabilities)
    for model in own:
        yield model, None, provider.prices.get(model)
    if not provider.price_id:
        return
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - costs 0.3 s at import
    from genai_prices.types import ModelPrice  # noqa: PLC0415

    complete_table()
    for priced in get_snapshot().providers:
        if priced.id != provider.price_id:
            continue
        for model in priced.models:
            if model.id in own or not re.match(provider.served, model.id):
                continue
            row = model.prices if isinstance(model.prices, ModelPrice) else model.prices[-1].prices
            yield model.id, model.context_window, _base_price(row)


def _base_price(row: object) -> Price | None:
    prices = {
        name: _first_tier(getattr(row, f"{name}_mtok", None))
        for name in ("input", "output", "cache_read", "cache_write")
    }
    if prices["input"] is None or prices["output"] is None:
        return None
    return Price(prices["input"], prices["output"], prices["cache_read"], prices["cache_write"])


def _first_tier(value: object) -> Decimal | None:
    base = getattr(value, "base", value)
    return base if isinstance(base, Decimal) else None
