"""Which models there are, what they can do, and what they cost.  Unknown is `None`, never no.

Names, prices and context windows come from the snapshot in `genai-prices`; capabilities are the
rules below, from the vendors' model pages and from recorded answers (a model that has called a tool
can call tools).  Nothing here is a gate: a model without a row is asked for whatever the caller
wants, and its provider answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal

from msgspec import Struct
from msgspec.structs import replace

from polycall.providers.provider import Capabilities, Feature, Price, Provider


class ModelInfo(Struct, frozen=True):
    """One model.  `name` is what a request says: `provider/model`."""

    name: str
    capabilities: Capabilities = Capabilities()
    price: Price | None = None


def _can(letters: str) -> Capabilities:
    """`tpris`: tools, parallel calls, reasoning, images, structured output; `-` no, `?` unknown."""
    values = [None if letter == "?" else letter != "-" for letter in letters]
    return Capabilities(*values)


_NOT_A_CHAT_MODEL = re.compile(
    r"embed|tts|whisper|transcribe|moderation|ocr|rerank|guard|realtime|-live|voice|orpheus|"
    r"(^|[-/])(gpt-image|image|imagen|veo|dall-e|nano-banana|sora)|-image|babbage|davinci|^ada$|^curie$"
)

# Provider's price id, pattern of the model (from its start), capabilities.  First match counts.
_RULES: tuple[tuple[str, str, Capabilities], ...] = (
    ("openai", r"o1-(mini|preview)", _can("--r--")),
    ("openai", r"o3-mini", _can("t?r-s")),
    ("openai", r"o\d", _can("t?ris")),
    ("openai", r"gpt-3\.5-turbo-instruct", _can("-----")),
    ("openai", r"gpt-3\.5", _can("tp---")),
    ("openai", r"gpt-4-(turbo|vision)", _can("tp-i-")),
    ("openai", r"gpt-4(-|$)", _can("tp---")),
    ("openai", r".*search", _can("?????")),
    ("openai", r"gpt-4", _can("tp-is")),
    ("openai", r"gpt-oss", _can("t?r-s")),
    ("openai", r"gpt-[5-9]", _can("tpris")),
    ("anthropic", r"claude-(2|v1|instant)", _can("-----")),
    ("anthropic", r"claude-3-7", _can("tpri?")),
    ("anthropic", r"claude-3", _can("tp-i?")),
    ("anthropic", r"claude-\w+-4-[01]", _can("tpri?")),
    ("anthropic", r"claude", _can("tpris")),
    ("google", r"claude", _can("tp?i?")),
    ("google", r"gemini-(1|flash-1|pro-1)\.", _can("tp-is")),
    ("google", r"gemini-2\.0", _can("tp-is")),
    ("google", r"gemini-([2-9]|flash|pro)", _can("tpris")),
    ("deepseek", r"deepseek-(chat|v3\.2)", _can("tp?--")),
    ("deepseek", r"deepseek", _can("tpr?-")),
    ("mistral", r"(mistral-(tiny|7b)|mixtral-8x7b)", _can("---??")),
    ("mistral", r"magistral", _can("tpr??")),
    ("mistral", r"pixtral", _can("tp-is")),
    ("mistral", r"(mistral|ministral|codestral|devstral|mixtral-8x22b)", _can("tp??s")),
    ("x-ai", r"grok-(2|3)", _can("tp??s")),
    ("x-ai", r"grok", _can("tp??s")),
    ("", r"(.*/)?gpt-oss", _can("t?r-?")),
    ("", r"(.*/)?kimi-k[2-9]", _can("tp???")),
    ("", r"(.*/)?(zai-)?glm-(4\.[5-9]|[5-9])", _can("tp???")),
    ("", r"(.*/)?qwen-?[3-9]", _can("t????")),
    ("", r"(.*/)?llama-?(3\.[1-9]|4)", _can("t????")),
)


def capabilities(provider: Provider, model: str) -> Capabilities:
    """What is known of a model; the provider's own rows (configuration) come first."""
    own = provider.capabilities.get(model)
    if own is not None:
        return own
    if _NOT_A_CHAT_MODEL.search(model.lower()):
        return Capabilities(tools=False, parallel_calls=False, structured_output=False)
    for price_id, pattern, found in _RULES:
        if price_id in ("", provider.price_id) and re.match(pattern, model.lower()):
            return found
    return Capabilities()


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
