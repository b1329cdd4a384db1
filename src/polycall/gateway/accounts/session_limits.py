"""The limits of keys in sessions, counted while the sessions are open.

Nobody knows beforehand what a session will use.  It begins where something is left, each report
of its use is counted when it comes, and the first one that is more than was left ends it.
"""

from __future__ import annotations

import asyncio
import math
from decimal import Decimal

from msgspec import Struct

from polycall.errors import PermissionDeniedError, RateLimitError
from polycall.gateway.accounts.keys import Owner
from polycall.gateway.accounts.lease import over_limit, spend_held
from polycall.gateway.accounts.limits import CONTENDED_S, KeyLimits, with_team
from polycall.gateway.accounts.windows import budget_words
from polycall.gateway.store.counter_operations import NANOS

_AGAIN_S = 0.25


class _Metered(Struct, frozen=True):
    owner: Owner  # the key, or its team
    kind: str
    per: str
    limit: int
    words: str


class SessionLimits:
    """Counts what sessions use in the leases that requests spend from, too."""

    def __init__(self, limits: KeyLimits) -> None:
        self._limits = limits

    async def check_left(self, owner: Owner, *, is_priced: bool) -> None:
        """Raise where a session may not begin, because nothing is left of what it would use."""
        if not is_priced:
            self.check_priced(owner)
        for each in _metered(owner):
            lease, is_held = await self._limits.leased(
                each.kind, each.owner, each.per, each.limit, 1
            )
            if not is_held:
                raise over_limit(lease, each.owner, each.words)
            spend_held([(lease, 1)], 0)

    def check_priced(self, owner: Owner) -> None:
        """Raise where a key with a budget may not use what has no price."""
        for each in with_team(owner):
            if each.budget_usd is not None and self._limits.refuses_unpriced:
                raise PermissionDeniedError(
                    f"{each.label} has a budget, and what the session uses has no known "
                    'price; use another model, or under [limits]: unpriced = "allow"'
                )

    async def spend(self, owner: Owner, tokens: int, cost: Decimal) -> None:
        """Count what was used; raises where that was more than the key had left.

        It is counted in any case.  What other workers hold and do not use comes back within
        seconds, and is waited for.
        """
        amounts = {"tokens": tokens, "usd": math.ceil(cost * NANOS)}
        over: RateLimitError | None = None
        for each in _metered(owner):
            error = await self._spend(each, amounts[each.kind])
            over = error or over
        if over is not None:
            raise over

    async def _spend(self, each: _Metered, amount: int) -> RateLimitError | None:
        limits = self._limits
        ends_at = limits.now() + CONTENDED_S
        while True:
            lease, is_held = await limits.leased(
                each.kind, each.owner, each.per, each.limit, amount
            )
            may_come_back = lease.wait_s <= CONTENDED_S and limits.now() < ends_at
            if is_held or not may_come_back:
                break
            await asyncio.sleep(_AGAIN_S)
        spend_held([(lease, amount if is_held else 0)], amount)
        return None if is_held else over_limit(lease, each.owner, each.words)


def _metered(owner: Owner) -> list[_Metered]:
    """The counted parts of a session's use, for the key and for its team."""
    found: list[_Metered] = []
    for each in with_team(owner):
        if (tokens := each.tokens_per_minute) is not None:
            words = f"may use {tokens} tokens a minute"
            found.append(_Metered(each, "tokens", "minute", tokens, words))
        if (budget := each.budget_usd) is not None:
            amount = budget_words(f"${budget:f}", each.budget_per)
            words = f"has a budget of {amount}, and it is used up"
            found.append(_Metered(each, "usd", each.budget_per, int(budget * NANOS), words))
    return found
