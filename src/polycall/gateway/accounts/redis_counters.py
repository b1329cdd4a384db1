"""Counters in Redis or Valkey, where limits are asked for more often than a database likes.

Needs the extra `polycall[redis]`; imported only where the configuration names it.  A counter is a
hash that ends some time after its span; its leases are fields of it.  Each step is one script,
which runs alone.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Sequence
from importlib.resources import files
from typing import Any, TypeVar

import redis.asyncio as redis

from polycall.errors import StoreError
from polycall.gateway.store import CountersForgotError, Grant, LeaseRequest, Settlement, Store
from polycall.gateway.store.counter_operations import SLICES

T = TypeVar("T")

_DEADLINE_S = 2.0
_KEEP_S = 3600
_LEASES = "polycall:leases"
_RECONCILED_MAX = 100
_GENERATION = "polycall:generation"
_FORGOT = -2
_LUA = files("polycall.gateway.accounts") / "lua"


class RedisCounters:
    """`Counters` in Redis; what was really spent still comes from the store's ledger."""

    def __init__(self, url: str, store: Store) -> None:
        self._store = store
        self._redis: Any = redis.Redis.from_url(  # pyright: ignore[reportUnknownMemberType]
            url, socket_timeout=_DEADLINE_S, socket_connect_timeout=_DEADLINE_S
        )
        self._generation = ""  # the name that Redis' contents had when they were last asked
        self._take = self._script("take")
        self._settle = self._script("settle")
        self._drop = self._script("drop")

    def _script(self, name: str) -> Any:
        texts = [(_LUA / f"{each}.lua").read_text(encoding="utf-8") for each in ("check", name)]
        return self._redis.register_script("".join(texts))

    async def take(self, wish: LeaseRequest) -> Grant:
        """Lease some of what is left."""
        seed = ""
        while True:
            words = [wish.holder, wish.least, wish.limit, time.time(), wish.until, SLICES]
            words += [int(wish.ends) + _KEEP_S, _member(wish.name, wish.span, wish.holder), seed]
            amount, left, leased = await self._run(self._take, wish.name, wish.span, words)
            if amount >= 0:
                return Grant(amount, left, leased)
            # The key may have spent before it had a limit, or Redis may have forgotten.
            seed = str(await self._store.spent_since(wish.name, None, wish.starts))

    async def settle(
        self, holder: str, settlements: Sequence[Settlement], until: float
    ) -> list[Settlement]:
        """Tell what became of leases."""
        lost: list[Settlement] = []
        # Of all: what is spent while the first are reported is in none of them.
        now = time.time()
        for settlement in settlements:
            name, span, spent, returned = settlement
            words = [holder, spent, returned, now, until, _member(name, span, holder)]
            if await self._run(self._settle, name, span, words):
                lost.append(settlement)
        return lost

    async def reconcile(self) -> int:
        """Replace the leases of silent workers by what the ledger says."""
        await self._look()
        now = time.time()
        found: list[bytes] = await _asked(
            self._redis.zrangebyscore(_LEASES, "-inf", now, start=0, num=_RECONCILED_MAX)
        )
        number = 0
        for member in found:
            name, span, holder = member.decode().split("|")
            settled = await _asked(self._redis.hget(_key(name, span), f"settled:{holder}"))
            worker = holder.rpartition(".")[0]
            since = now if settled is None else float(settled)
            spent = await self._store.spent_since(name, worker, since)
            words = [holder, spent, now, member]
            number += await self._run(self._drop, name, span, words)
        return number

    async def _run(self, script: Any, name: str, span: str, words: list[Any]) -> Any:
        """Run a script; `CountersForgotError` where Redis was emptied since it was last asked."""
        while True:
            keys = [_key(name, span), _LEASES, _GENERATION]
            answer = await _asked(script(keys=keys, args=[*words, self._generation]))
            if answer != _FORGOT:
                return answer
            await self._look()

    async def _look(self) -> None:
        fresh = secrets.token_hex(8)
        await _asked(self._redis.set(_GENERATION, fresh, nx=True))
        found: bytes | None = await _asked(self._redis.get(_GENERATION))
        before, self._generation = self._generation, (found or b"").decode()
        if before not in ("", self._generation):
            raise CountersForgotError("the counters were emptied, and begin again")

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


def _key(name: str, span: str) -> str:
    return f"polycall:counter:{name}:{span}"


def _member(name: str, span: str, holder: str) -> str:
    return f"{name}|{span}|{holder}"


async def _asked(asking: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(_DEADLINE_S * 2):
            return await asking
    except (redis.RedisError, OSError, TimeoutError) as error:
        raise StoreError(f"the counters do not answer: {error}") from None
