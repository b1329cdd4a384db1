"""Providers, models and what all workers do now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import to_builtins

from polycall.admin.fields import Query
from polycall.gateway.app import Gateway
from polycall.gateway.observability.metrics import Histogram, ModelCounters
from polycall.ir import JSON, Usage
from polycall.profiles.profile import Profile

if TYPE_CHECKING:
    from polycall.admin.administration import Call

_MODELS_MAX = 2000
_MILLION = 1_000_000


async def live(call: Call) -> JSON:
    """Counts of all workers since they began, and what is under way."""
    Query(call.query, frozenset())
    counts, in_flight, cooling = _sum(call.gateway)
    return {
        "in_flight": in_flight,
        "requests": sum(counts.requests.values()),
        "not_ok": sum(
            number
            for (*_, outcome), number in counts.requests.items()
            if outcome not in ("ok", "cached")
        ),
        "tokens": sum(counts.input_tokens.values()) + sum(counts.output_tokens.values()),
        "cost_usd": f"{sum(counts.cost_usd.values()):f}",
        "cooling_down": cooling,
    }


async def list_providers(call: Call) -> JSON:
    """Each provider that clients may name: its attempts, and whether a key of it cools down."""
    Query(call.query, frozenset())
    gateway, config = call.gateway, call.gateway.config
    counts, _, cooling = _sum(gateway)
    shown: list[JSON] = []
    for name in sorted(config.named):
        provider = config.providers[name]
        attempts = {kind: n for (who, kind), n in counts.attempts.items() if who == name}
        own = [(pair, h) for pair, h in counts.first_byte.items() if pair[0] == name]
        first = Histogram()
        for _, histogram in own:
            first.merge(histogram)
        shown.append(
            {
                "name": name,
                "dialect": provider.dialect,
                "base_url": provider.base_url,
                "vendor": provider.vendor,
                "keys": len(config.provider_keys.get(name, ())),
                "attempts": attempts,
                "first_byte_mean_s": first.seconds / first.count if first.count else None,
                "breakers": [
                    {"key": int(place.partition("#")[2]), "cooling_down_s": round(seconds, 1)}
                    for place, seconds in cooling.items()
                    if place.partition("#")[0] == name
                ],
                "models": sorted({pair[1] for pair, _ in own})[:_MODELS_MAX],
            }
        )
    routes = [
        {
            "name": alias.name,
            "route": [{"model": each.model, "weight": each.weight} for each in alias.route],
        }
        for alias in config.models.values()
    ]
    return {"providers": shown, "routes": routes}


async def list_models(call: Call) -> JSON:
    """Models that clients may ask for, with prices and profiles."""
    query = Query(call.query, frozenset({"name"}))
    name = query.text("name")
    models = await call.gateway.models()
    if not name:
        return {"models": [model.name for model in models[:_MODELS_MAX]]}
    provider_name, _, model = name.partition("/")
    provider = call.gateway.config.providers.get(provider_name)
    shown: JSON = {"name": name, "price": await price_json(call.gateway, provider_name, model)}
    profile: Profile | None = None if provider is None else provider.profile(model)
    shown["profile"] = None if profile is None else to_builtins(profile, str_keys=True)
    return shown


async def price_json(gateway: Gateway, provider_name: str, model: str) -> JSON | None:
    """Dollars for a million tokens of each kind, by today's price; `None` where it is not known."""
    provider = gateway.config.providers.get(provider_name)
    if provider is None or not model:
        return None
    costs = gateway.services.costs
    kinds = {
        "input": Usage(input_tokens=_MILLION),
        "output": Usage(output_tokens=_MILLION),
        "cached": Usage(input_tokens=_MILLION, cached_tokens=_MILLION),
        "cache_write": Usage(input_tokens=_MILLION, cache_write_tokens=_MILLION),
    }
    found = {kind: costs.known(provider, model, usage) for kind, usage in kinds.items()}
    if found["input"] is None or found["output"] is None:
        return None
    source = "configuration" if model in provider.prices else "genai-prices"
    return {
        "source": source,
        **{kind: None if cost is None else f"{cost:f}" for kind, cost in found.items()},
    }


def _sum(gateway: Gateway) -> tuple[ModelCounters, int, dict[str, float]]:
    total, in_flight, cooling = ModelCounters(), 0, dict[str, float]()
    for snapshot in gateway.snapshots():
        total.merge(snapshot.counts)
        in_flight += snapshot.in_flight
        for place, seconds in snapshot.resting.items():
            cooling[place] = max(seconds, cooling.get(place, 0.0))
    return total, in_flight, cooling
