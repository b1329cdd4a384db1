"""The limits of keys: requests and tokens a minute, money a day or a month.

A request reserves before it is sent and settles afterwards.  All workers and replicas spend from
the same counters, but asking them for every request would cost more than the request: a worker
leases a slice of what is left and spends that by itself, in microseconds.  Near the end slices are
as small as one request.  A lease that is not used goes back; one whose worker died counts as spent
until the ledger tells what really was.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol

from polycall.config import Config, LimitSettings
from polycall.errors import (
    InvalidRequestError,
    PermissionDeniedError,
    RequestError,
    StoreError,
)
from polycall.gateway.accounts.keys import Owner
from polycall.gateway.accounts.lease import (
    LEASE_S,
    RENEW_S,
    Lease,
    budget_of,
    is_needed,
    over_limit,
    spend_held,
)
from polycall.gateway.accounts.windows import window_at
from polycall.gateway.services import GatewayServices
from polycall.gateway.store import (
    Counters,
    CountersForgotError,
    Grant,
    LeaseRequest,
    LedgerRow,
    Settlement,
    Store,
)
from polycall.gateway.store.counter_operations import NANOS
from polycall.ir import Metadata, Usage
from polycall.providers.provider import Capabilities

if TYPE_CHECKING:
    from polycall.gateway.accounts.redis_counters import RedisCounters

logger = logging.getLogger("polycall.limits")

TICK_S = 0.5
_RECONCILE_S = 10.0
_DENIED_S = 0.25  # so long a refusal holds without asking again
_UNSTATED = Capabilities()
CONTENDED_S = 2.0  # after so long, what others hold may have come back


class Sized(Protocol):
    """A request whose use can be bounded before it is sent."""

    output_reserved: int | None

    @property
    def model(self) -> str: ...
    @property
    def service_tier(self) -> str: ...
    def output_tokens_max(self) -> int | None: ...
    def candidates_max(self) -> int: ...
    async def size_tokens(self, services: GatewayServices) -> int: ...
    def readings_max(self) -> int: ...
    def premium_usage_hints(self, input_tokens: int, output_tokens: int) -> Metadata: ...


class Reservation:
    """The reservations of one request: one for each time that it asks a model."""

    __slots__ = ("money", "tokens")

    def __init__(self) -> None:
        self.tokens: list[tuple[Lease, int]] = []
        self.money: list[tuple[Lease, int]] = []


class KeyLimits:
    """Reserves and settles.  `close` it after the last request."""

    _services: GatewayServices
    _settings: LimitSettings
    _serves: bool  # continue without counters while they are unreachable, and settle later

    def __init__(
        self,
        store: Store,
        *,
        counters: str,
        worker: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`counters` is where they are, if not in the store; `worker` is this one's name there."""
        self._store = store
        self._clock = clock
        self._redis = open_counters(counters, store) if counters else None
        self._counters: Counters = self._redis or store
        self.worker = worker
        self._current: dict[tuple[str, str], Lease] = {}
        self._leases: list[Lease] = []
        self._losses = 0
        self._asking: set[asyncio.Task[Grant]] = set()
        self._reconcile_at = 0.0
        self._maintenance: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    def configure(self, config: Config, services: GatewayServices) -> None:
        """Count by this configuration; called before the first request."""
        self._settings = config.limits
        self._serves = config.store.when_down == "serve"
        self._services = services

    def check_store(self) -> None:
        """Raise while the store is unreachable, where that means to serve nobody."""
        if not self._store.is_up and not self._serves:
            raise StoreError("the store is unreachable, and 'when_down' is \"refuse\"")

    async def count_request(self, owner: Owner) -> None:
        """Count one request of those a minute; raises where there were enough."""
        held: list[tuple[Lease, int]] = []
        used = 0
        try:
            for each in with_team(owner):
                await self._hold_request(held, each)
            used = 1
        finally:
            spend_held(held, used)

    async def _hold_request(self, held: list[tuple[Lease, int]], owner: Owner) -> None:
        per_minute = owner.requests_per_minute
        if per_minute is None:
            return
        lease, is_held = await self.leased("requests", owner, "minute", per_minute, 1)
        if not is_held:
            raise over_limit(lease, owner, f"may make {per_minute} requests a minute")
        held.append((lease, 1))

    async def reserve(self, hold: Reservation, owner: Owner, client_request: Sized) -> None:
        """Reserve what the request may use at most; raises where the key has not that much.

        Whatever happens, `settle` gives back what `hold` then holds.
        """
        size = await self._size(client_request)
        for each in with_team(owner):
            await self._reserve(hold, each, client_request, size)

    async def _reserve(
        self, hold: Reservation, owner: Owner, client_request: Sized, size: Usage
    ) -> None:
        per_minute, budget = owner.tokens_per_minute, owner.budget_usd
        if per_minute is not None:
            # One that is larger than a whole minute's may have a minute for itself.
            amount = min(size.input_tokens + size.output_tokens, per_minute)
            lease, is_held = await self.leased("tokens", owner, "minute", per_minute, amount)
            if not is_held:
                raise over_limit(lease, owner, f"may use {per_minute} tokens a minute")
            hold.tokens.append((lease, amount))
        if budget is not None:
            cost = await self._highest_cost(owner, client_request, size)
            if cost > budget:
                raise InvalidRequestError(
                    f"the request may cost up to ${cost:f}, more than the whole budget of "
                    f"{owner.label} ({budget_of(owner)}); ask for fewer max tokens"
                )
            amount, limit = math.ceil(cost * NANOS), int(budget * NANOS)
            lease, is_held = await self.leased("usd", owner, owner.budget_per, limit, amount)
            if not is_held:
                words = f"has a budget of {budget_of(owner)}, and too little is left"
                raise over_limit(lease, owner, f"{words} for a request of up to ${cost:f}")
            hold.money.append((lease, amount))

    def settle(
        self, hold: Reservation, row: LedgerRow, cost: Decimal | None, *, is_answer: bool
    ) -> None:
        """Replace what was reserved by what was used.

        An answer whose use nobody told costs what was set aside; what is no answer of a model, as
        an error or a program that waits again, only what is known of it.
        """
        is_unknown = row.input_tokens is None and is_answer
        if hold.tokens:
            used = (row.input_tokens or 0) + (row.output_tokens or 0)
            spend_held(hold.tokens, None if is_unknown else used)
        if hold.money:
            is_unknown = is_unknown or (cost is None and is_answer)
            spent = math.ceil((cost or Decimal(0)) * NANOS)
            spend_held(hold.money, None if is_unknown else spent)

    def charge(self, owner: Owner, cost: Decimal) -> None:
        """Count money that was spent without a reservation of this process."""
        for each in with_team(owner):
            if each.budget_usd is not None:
                limit = int(each.budget_usd * NANOS)
                lease = self._lease("usd", each, each.budget_per, limit)
                spend_held([(lease, 0)], math.ceil(cost * NANOS))

    def now(self) -> float:
        """The time that the counters go by."""
        return self._clock()

    @property
    def refuses_unpriced(self) -> bool:
        """Whether a key with a budget may use only what has a price."""
        return self._settings.unpriced == "refuse"

    async def close(self) -> None:
        """Settle everything, and give back what is left."""
        self._closing.set()
        if self._maintenance is not None:
            # Not cancelled: what it is telling would be reported to nobody, here or there.
            await self._maintenance
        if self._asking:
            await asyncio.wait(self._asking)  # their clients have left; the grants are ours
        await self._settle_all(is_last=True)
        if self._redis is not None:
            await self._redis.close()

    # Reserving

    async def _size(self, client_request: Sized) -> Usage:
        """The most that the request may use."""
        output = client_request.output_tokens_max()
        if output is None:
            known = [
                target.provider.capabilities.get(target.model, _UNSTATED).output_tokens
                for target in self._services.router.possible(client_request.model)
            ]
            output = max((n or self._settings.output_tokens for n in known), default=0)
            client_request.output_reserved = output or None
        tokens = await client_request.size_tokens(self._services)
        times = client_request.readings_max()
        return Usage(
            input_tokens=tokens * times,
            output_tokens=output * client_request.candidates_max() * times,
            service_tier=client_request.service_tier,
            metadata=client_request.premium_usage_hints(tokens, output),
        )

    async def _highest_cost(self, owner: Owner, client_request: Sized, size: Usage) -> Decimal:
        """The cost of the request at the dearest target of its route."""
        highest = Decimal(0)
        for target in self._services.router.possible(client_request.model):
            cost = await self._services.costs.at_most(target.provider, target.model, size)
            if cost is None and self._settings.unpriced == "refuse":
                raise PermissionDeniedError(
                    f"{owner.label} has a budget, and {target.name!r} has no known "
                    f"price; add it under [providers.{target.provider.name}.prices], in dollars "
                    f'for a million tokens: "{target.model}" = {{ input = 1.00, output = 5.00 }}; '
                    'or newer prices under [prices]: refresh = "ADDRESS"; or under [limits]: '
                    'unpriced = "allow"'
                )
            highest = max(highest, cost or Decimal(0))
        return highest

    def _lease(self, kind: str, owner: Owner, per: str, limit: int) -> Lease:
        name = f"{kind}:{owner.id}"
        lease = self._current.get((name, per))
        now = self._clock()
        if lease is None or lease.is_lost or not lease.span.starts <= now < lease.span.ends:
            # After a loss under another name: the store must not take the old ones for the new.
            holder = f"{self.worker}.{self._losses}"
            lease = self._current[name, per] = Lease(name, window_at(per, now), holder)
            self._leases.append(lease)
            if self._maintenance is None:
                self._maintenance = asyncio.ensure_future(self._keep_up())
        lease.limit = limit
        lease.used_at = now
        return lease

    async def leased(
        self, kind: str, owner: Owner, per: str, limit: int, amount: int
    ) -> tuple[Lease, bool]:
        """A lease, and whether `amount` of it is held now."""
        while True:
            lease = self._lease(kind, owner, per, limit)
            is_held = await self._take(lease, amount)
            if is_held or not lease.is_lost:
                return lease, is_held

    def _forget(self) -> None:
        """Give up all leases: the counters have, and count from the ledger."""
        self._losses += 1
        for lease in self._leases:
            lease.is_lost = True
            lease.free = lease.amount = lease.spent = 0

    async def _take(self, lease: Lease, amount: int) -> bool:
        """Hold `amount` of the lease, which is extended where it has too little."""
        if lease.free < amount:
            async with lease.lock:
                if lease.free < amount and not await self._extend(lease, amount - lease.free):
                    return False
        lease.free -= amount
        lease.held += amount
        return True

    async def _extend(self, lease: Lease, least: int) -> bool:
        now = self._clock()
        if now < lease.denied_until and least >= lease.denied_least:
            return False
        span = lease.span
        wish = LeaseRequest(
            name=lease.name,
            span=span.name,
            starts=span.starts,
            ends=span.ends,
            holder=lease.holder,
            least=least,
            limit=lease.limit,
            until=now + LEASE_S,
        )
        # A client that leaves meanwhile must not take the answer with it.
        asking = asyncio.ensure_future(self._ask(lease, wish))
        self._asking.add(asking)
        asking.add_done_callback(self._asking.discard)
        try:
            grant = await asyncio.shield(asking)
        except CountersForgotError:
            self._forget()
            return False
        except StoreError:
            if self._serves:
                return True  # overdrawn; settled when the counters are back
            raise
        if grant.amount:
            return True
        # Of requests nothing comes back that was used; of the others nearly always something.
        others = 0 if lease.name.startswith("requests:") else grant.leased - lease.amount
        may_come_back = grant.left + others >= least
        lease.wait_s = CONTENDED_S if may_come_back else span.ends - now
        lease.denied_until, lease.denied_least = now + _DENIED_S, least
        return False

    async def _ask(self, lease: Lease, wish: LeaseRequest) -> Grant:
        grant = await self._counters.take(wish)
        lease.renew_at = self._clock() + RENEW_S
        lease.free += grant.amount
        lease.amount += grant.amount
        return grant

    # Upkeep

    async def _keep_up(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._closing.wait()
                return
            try:
                await self._settle_all(is_last=False)
                await self._reconcile()
            except Exception:
                # Without this task nothing that is spent would ever be settled.
                logger.exception("settling failed")

    async def _reconcile(self) -> None:
        now = time.monotonic()
        if now < self._reconcile_at:
            return
        self._reconcile_at = now + _RECONCILE_S
        try:
            number = await self._counters.reconcile()
        except CountersForgotError:
            self._forget()
        except StoreError as error:
            logger.warning("leases of silent workers were not reconciled: %s", error)
        else:
            if number:
                logger.info("%d leases of silent workers were reconciled", number)

    async def _settle_all(self, *, is_last: bool) -> None:
        now = self._clock()
        self._leases = [lease for lease in self._leases if is_needed(lease, now)]
        reported: dict[str, list[tuple[Lease, Settlement]]] = {}
        for lease in self._leases:
            settlement = lease.settlement(now, is_last=is_last)
            if settlement is not None:
                lease.reported(settlement)
                lease.renew_at = now + RENEW_S
                reported.setdefault(lease.holder, []).append((lease, settlement))
        for holder, pairs in reported.items():
            settlements = [settlement for _, settlement in pairs]
            try:
                lost = await self._counters.settle(holder, settlements, now + LEASE_S)
            except CountersForgotError:
                self._forget()
                return
            except StoreError as error:
                logger.warning("usage was not reported to the counters yet: %s", error)
                for lease, settlement in pairs:
                    lease.reported(settlement, -1)
                    lease.renew_at = 0.0
                continue
            for lease, settlement in pairs:
                if settlement in lost:
                    # Given up while this worker slept; what requests still hold is spent on top.
                    self._losses += 1
                    lease.is_lost = True
                    lease.free = lease.amount = 0


def open_counters(url: str, store: Store) -> RedisCounters:
    """The counters in Redis; `RequestError` where the extra is not installed."""
    try:
        from polycall.gateway.accounts.redis_counters import RedisCounters  # noqa: PLC0415 - an extra
    except ImportError:
        raise RequestError("counters in Redis need its client; install 'polycall[redis]'") from None
    return RedisCounters(url, store)


def with_team(owner: Owner) -> tuple[Owner, ...]:
    """All whose limits a request is under."""
    return (owner,) if owner.team is None else (owner, owner.team)
