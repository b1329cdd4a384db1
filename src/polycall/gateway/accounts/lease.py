"""A slice of a limit that a worker spends by itself, and the error for a key when none is left."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from polycall.errors import RateLimitError
from polycall.gateway.accounts.keys import Owner
from polycall.gateway.accounts.windows import END_OF_TIME, Window, budget_words
from polycall.gateway.store import Settlement

LEASE_S = 30.0  # a worker that was silent for so long is dead
IDLE_S = 1.0  # a lease that was not used for so long goes back
RENEW_S = 10.0


class Lease:
    """This worker's share of one counter.

    `amount` is the lease as the store knows it: what is `free`, what requests in flight `held`, and
    what was `spent` since the last report to the store.
    """

    __slots__ = (
        "amount",
        "denied_least",
        "denied_until",
        "free",
        "held",
        "holder",
        "is_lost",
        "limit",
        "lock",
        "name",
        "renew_at",
        "span",
        "spent",
        "used_at",
        "wait_s",
    )

    def __init__(self, name: str, span: Window, holder: str) -> None:
        self.name = name
        self.span = span
        self.holder = holder
        self.limit = 0
        self.amount = self.free = self.held = self.spent = 0
        self.used_at = self.renew_at = 0.0
        self.denied_until = 0.0
        self.denied_least = 0
        self.wait_s = 0.0
        self.is_lost = False
        self.lock = asyncio.Lock()

    def settlement(self, now: float, *, is_last: bool) -> Settlement | None:
        """The settlement to send to the store; `None` where there is nothing to settle."""
        is_idle = is_last or now - self.used_at > IDLE_S
        returned = self.free if is_idle else min(self.free, 0)
        if not self.spent and not returned and (not self.amount or now < self.renew_at):
            return None
        return Settlement(self.name, self.span.name, self.spent, returned)

    def reported(self, settlement: Settlement, sign: int = 1) -> None:
        """Note that the store took the settlement; with `sign` -1, that it did not."""
        self.spent -= sign * settlement.spent
        self.free -= sign * settlement.returned
        self.amount -= sign * (settlement.spent + settlement.returned)


def is_needed(lease: Lease, now: float) -> bool:
    """Whether anybody still has to hear of the lease."""
    if lease.held:
        return True
    if now >= lease.span.ends:
        return False
    return not lease.is_lost or bool(lease.spent)


def spend_held(holds: list[tuple[Lease, int]], used: int | None) -> None:
    """Turn what was reserved into what was used; `None` is all of it."""
    left: dict[str, int] = {}
    for lease, reserved in holds:
        # It is one sum for all that was held of one counter, and the same for the team's.
        spent = reserved if used is None else left.get(lease.name, used)
        left[lease.name] = 0
        lease.held -= reserved
        lease.spent += spent
        lease.free += reserved - spent


def budget_of(owner: Owner) -> str:
    return budget_words(f"${owner.budget_usd:f}", owner.budget_per)


def over_limit(lease: Lease, owner: Owner, words: str) -> RateLimitError:
    """The error of a key that has no more; it says when the count starts again."""
    ends = datetime.fromtimestamp(lease.span.ends, UTC)
    wait_s = max(lease.wait_s, 0.001)
    is_for_ever = lease.span.ends == END_OF_TIME
    again = f"the count starts again at {ends:%Y-%m-%dT%H:%M:%SZ}"
    if is_for_ever:
        again = "it is for the key's whole life; ask the gateway's operator for more"
    return RateLimitError(
        f"{owner.label} {words}; {again}",
        retry_after_s=None if is_for_ever and wait_s > 60 else wait_s,
        should_retry=wait_s <= 60,
        code="rate_limit_exceeded",
    )
