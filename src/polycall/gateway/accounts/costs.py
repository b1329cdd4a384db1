"""The cost of an answer, found fast enough for its headers.

A price from the configuration is a multiplication.  The price table's library takes a third of a
second to load and a fifth of a millisecond a question: it is loaded alongside the first requests,
and only where a configured provider needs it, and a model whose price is proportional is asked
about once a minute: some prices have their hours.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from decimal import Decimal

from msgspec.structs import replace

from polycall.config import Config
from polycall.ir import Usage
from polycall.providers.late_prices import complete_table
from polycall.providers.prices import cost_usd, is_special
from polycall.providers.provider import Price, Provider
from polycall.providers.refresh import PriceRefresh

logger = logging.getLogger("polycall.costs")

_MANY = 1_000
# Above every known threshold of tiered prices.
_VERY_MANY = 1_000_000
_MILLION = Decimal(1_000_000)
_REMEMBERED_MAX = 4096
# More than this is not a count, whatever a provider says, and nothing to spend a budget on; less
# than none would fill it again.
_TOKENS_MAX = 10**10


class Costs:
    """Knows what answers cost.  One for the process."""

    def __init__(self, config: Config) -> None:
        self._prices: dict[tuple[str, str], Price | None] = {}
        self._minute = 0  # in which they were asked for
        self._is_loaded = False
        self._loading: threading.Thread | None = None
        self._refresh: PriceRefresh | None = None
        if config.prices.refresh:
            settings = config.prices
            self._refresh = PriceRefresh(
                settings.refresh, every_s=settings.every_s, folder=config.folder
            )
        if any(config.providers[name].price_id != "" for name in config.provider_keys):
            self._loading = threading.Thread(target=self._load, name="polycall-prices", daemon=True)
            self._loading.start()

    def known(self, provider: Provider, model: str, usage: Usage) -> Decimal | None:
        """US dollars; `None` where the price or the usage is unknown, or not known yet."""
        if not (0 <= usage.input_tokens <= _TOKENS_MAX and 0 <= usage.output_tokens <= _TOKENS_MAX):
            return None
        if usage.cached_tokens < 0 or usage.cache_write_tokens < 0:
            return None
        return self._reckoned(provider, model, usage)

    def _reckoned(self, provider: Provider, model: str, usage: Usage) -> Decimal | None:
        if model in provider.prices:
            return cost_usd(provider, model, usage)
        if not self._is_loaded or not usage.is_reported:
            return None
        key = (provider.name, model)
        minute = int(time.time() // 60)
        if minute != self._minute or len(self._prices) >= _REMEMBERED_MAX:
            self._prices.clear()
            self._minute = minute
        if key not in self._prices:
            self._prices[key] = _proportional(provider, model)
        price = self._prices[key]
        if price is _UNKNOWN:
            return None
        if price is None or is_special(usage):
            return cost_usd(provider, model, usage)
        plain = usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens
        total = max(plain, 0) * price.input + usage.output_tokens * price.output
        total += usage.cached_tokens * (price.cached or Decimal(0))
        total += usage.cache_write_tokens * (price.cache_write or Decimal(0))
        return total / _MILLION

    async def at_most(self, provider: Provider, model: str, usage: Usage) -> Decimal | None:
        """The highest possible cost of a usage, whatever of its input is written to a cache."""
        if self._loading is not None and not self._is_loaded and model not in provider.prices:
            await asyncio.to_thread(self._loading.join)
        plain = self._reckoned(provider, model, usage)
        if plain is None:
            return None
        written = replace(usage, cache_write_tokens=usage.input_tokens)
        return max(plain, self._reckoned(provider, model, written) or plain)

    def _load(self) -> None:
        try:
            complete_table()
        except ImportError:
            logger.warning("no price table: genai-prices is not installed")
            return
        if self._refresh is not None:
            self._refresh.try_refresh()
            self._refresh.start()
        self._is_loaded = True

    def close(self) -> None:
        """Look for no newer prices."""
        if self._refresh is not None:
            self._refresh.close()


_UNKNOWN = Price(Decimal("NaN"), Decimal("NaN"))


def _proportional(provider: Provider, model: str) -> Price | None:
    """The price for a million tokens; `None` where it has tiers, `_UNKNOWN` without any."""
    if not provider.pricing(model)[0]:
        return _UNKNOWN

    def ask(usage: Usage) -> Decimal | None:
        return cost_usd(provider, model, usage)

    plain, output = ask(Usage(input_tokens=_MANY)), ask(Usage(output_tokens=_MANY))
    if plain is None and output is None:
        return _UNKNOWN
    cached = ask(Usage(input_tokens=_MANY, cached_tokens=_MANY))
    written = ask(Usage(input_tokens=_MANY, cache_write_tokens=_MANY))
    if plain is None or output is None or cached is None or written is None:
        return None
    much = ask(Usage(input_tokens=_VERY_MANY, output_tokens=_MANY))
    if much != plain * (_VERY_MANY // _MANY) + output:
        return None
    scale = _MILLION / _MANY
    return Price(plain * scale, output * scale, cached * scale, written * scale)
