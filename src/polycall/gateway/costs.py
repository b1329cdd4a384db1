"""What an answer cost, fast enough to be said in its headers.

Prices of the configuration are multiplied here and now.  The price table's library takes a third
of a second to load, forty megabytes and a fifth of a millisecond a question, so its answers are
turned into rates once for each model, in a process of their own.
"""

from __future__ import annotations

from decimal import Decimal

from polycall.ir import Usage
from polycall.providers.prices import cost_usd
from polycall.providers.provider import Provider


def known_cost(provider: Provider, model: str, usage: Usage) -> Decimal | None:
    """US dollars; `None` where the price or the usage is unknown."""
    if not provider.prices and not provider.price_id:
        return None
    return cost_usd(provider, model, usage)
