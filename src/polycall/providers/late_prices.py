"""Prices that came after the price table: models of the last weeks, tiers that it knows none of.

Without them a key with a budget is refused for a new model, and pays the standard price for a
dearer tier.  Rows of `late_prices.toml` are laid under the table: what it has itself counts.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import tomllib
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo


logger = logging.getLogger("polycall.prices")


class _Row(Struct, frozen=True, forbid_unknown_fields=True):
    price_id: str
    model: str
    source: str
    read: date
    rates: dict[str, float]
    long: dict[str, float] = {}
    later: dict[str, Any] = {}
    context_tokens: int | None = None


class _Tiers(Struct, frozen=True, forbid_unknown_fields=True):
    price_id: str
    source: str
    read: date
    factors: dict[str, float]


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    price: list[_Row]
    tiers: list[_Tiers]


@functools.cache
def _rows() -> _File:
    text = files("polycall.providers").joinpath("late_prices.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), _File)


@functools.cache
def complete_table() -> None:
    """Load the price table, which takes a third of a second, and add what it lacks: once."""
    from genai_prices import data_snapshot, types  # noqa: PLC0415 - costs 0.3 s at import

    known = {each.id: each for each in data_snapshot.get_snapshot().providers}
    read: Any = getattr(types, "_providers_from_raw", None)
    if read is None:
        logger.warning(
            "genai_prices has no _providers_from_raw any more: the prices of late_prices.toml are "
            "not used, and models that came after its table have no price"
        )
        return
    changed = False
    for price_id in dict.fromkeys(row.price_id for row in _rows().price):
        provider = known.get(price_id)
        if provider is None:
            continue
        missing = [
            _raw(row)
            for row in _rows().price
            if row.price_id == price_id and provider.find_model(row.model) is None
        ]
        if missing:
            shell = {"id": price_id, "name": price_id, "api_pattern": "", "models": missing}
            added = read([shell])[0].models
            known[price_id] = dataclasses.replace(provider, models=[*added, *provider.models])
            changed = True
    if changed:
        table = data_snapshot.DataSnapshot(list(known.values()), from_auto_update=True)
        data_snapshot.set_custom_snapshot(table)


def tier_factor(price_id: str, model: ModelInfo, context: Mapping[str, str] | None) -> Decimal:
    """The factor of a tier on the standard price, where the table has no price for the tier."""
    if not context:
        return Decimal(1)
    tier = context.get("service_tier") or context.get("processing") or ""
    told = [row for row in _rows().tiers if row.price_id == price_id and tier in row.factors]
    if not told or any(tier in variant.when.values() for variant in model.price_variants or ()):
        return Decimal(1)
    return Decimal(str(told[0].factors[tier]))


def _raw(row: _Row) -> dict[str, Any]:
    """A row as the table's own files write it."""
    prices: Any = {
        f"{kind}_mtok": _tiered(rate, row.long, kind) for kind, rate in row.rates.items()
    }
    if row.later:
        after = {f"{kind}_mtok": rate for kind, rate in row.later.items() if kind != "from"}
        starts = {"start_date": row.later["from"]}
        prices = [{"prices": prices}, {"constraint": starts, "prices": after}]
    dated = row.model.replace(".", "\\.")
    match = {"or": [{"equals": row.model}, {"regex": f"^{dated}-\\d"}]}
    return {
        "id": row.model,
        "match": match,
        "prices": prices,
        "context_window": row.context_tokens,
    }


def _tiered(rate: float, long: dict[str, float], kind: str) -> Any:
    if kind not in long:
        return rate
    return {"base": rate, "tiers": [{"start": int(long["above"]), "price": long[kind]}]}
