"""Facts about models from their providers' own lists.

OpenRouter, Google, Anthropic, Groq, Mistral, Together and vLLM say how much a model reads and
writes, each in its own words; OpenRouter says prices too (read 2026-11-29).
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Any

from msgspec import Struct

from polycall.ir import JSON
from polycall.providers.provider import Price

_CONTEXT = (
    *("context_length", "context_window", "max_context_length", "max_model_len"),
    *("inputTokenLimit", "max_input_tokens"),
)
_OUTPUT = ("max_completion_tokens", "outputTokenLimit", "max_output_tokens")
_MILLION = 1_000_000


class ListedModel(Struct, frozen=True):
    """A list's entry for one model; `None` where it says nothing."""

    context_tokens: int | None = None
    output_tokens: int | None = None
    inputs: list[str] | None = None
    outputs: list[str] | None = None
    price: Price | None = None


def read_list(body: Any) -> dict[str, ListedModel]:
    """The models of a list, by name, in its order; a body that is not a list has none."""
    items: Any = body
    if isinstance(body, dict):
        fields: JSON = body  # pyright: ignore[reportUnknownVariableType]
        items = fields.get("data") or fields.get("models")
    found: dict[str, ListedModel] = {}
    for item in items if isinstance(items, list) else []:  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(item, dict):
            continue
        model: JSON = item  # pyright: ignore[reportUnknownVariableType]
        name: Any = model.get("id") or model.get("name")
        if isinstance(name, str):
            found.setdefault(name.removeprefix("models/"), _told(model))
    return found


def _told(model: JSON) -> ListedModel:
    top, architecture = _object(model, "top_provider"), _object(model, "architecture")
    return ListedModel(
        _count([*(model.get(name) for name in _CONTEXT), top.get("context_length")]),
        _count([*(model.get(name) for name in _OUTPUT), top.get("max_completion_tokens")]),
        _words(architecture.get("input_modalities")),
        _words(architecture.get("output_modalities")),
        _price(_object(model, "pricing")),
    )


def _object(model: JSON, name: str) -> JSON:
    value = model.get(name)
    return value if isinstance(value, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def _count(values: Iterable[Any]) -> int | None:
    counts = (each for each in values if isinstance(each, int) and not isinstance(each, bool))
    return next((each for each in counts if each > 0), None)


def _words(value: Any) -> list[str] | None:
    items: list[Any] = value if isinstance(value, list) else []  # pyright: ignore[reportUnknownVariableType]
    return [each for each in items if isinstance(each, str)] or None


def _price(pricing: JSON) -> Price | None:
    """Dollars for a token, as text: OpenRouter's form, and that of those after it.

    A router that chooses the model by itself states a negative price: it is not known before.
    """
    given, said = _dollars(pricing, "prompt"), _dollars(pricing, "completion")
    if given is None or said is None:
        return None
    read, written = _dollars(pricing, "input_cache_read"), _dollars(pricing, "input_cache_write")
    return Price(given, said, read, written)


def _dollars(pricing: JSON, name: str) -> Decimal | None:
    """The price in dollars for a million tokens."""
    value = pricing.get(name)
    if not isinstance(value, str):
        return None
    try:
        amount = Decimal(value)
    except InvalidOperation:
        return None
    return amount * _MILLION if amount.is_finite() and amount >= 0 else None
