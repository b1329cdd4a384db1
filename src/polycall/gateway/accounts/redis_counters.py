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

# A worker that knows another name of what is in Redis speaks of what Redis has forgotten.
_CHECK = """
if redis.call('GET', KEYS[3]) ~= ARGV[#ARGV] then return -2 end
"""

# KEYS: the counter, the leases.  ARGV: holder, least, limit, now, until, slices, end, member, seed.
# Gives what was granted, what is left, what is leased; -1 where a new counter needs its seed.
_TAKE = """
local taken = tonumber(redis.call('HGET', KEYS[1], 'taken'))
if not taken then
  if ARGV[9] == '' then return {-1, 0, 0} end
  taken = tonumber(ARGV[9])
  redis.call('HSET', KEYS[1], 'taken', ARGV[9], 'leased', 0)
  redis.call('EXPIREAT', KEYS[1], ARGV[7])
end
local leased = tonumber(redis.call('HGET', KEYS[1], 'leased'))
local left = tonumber(ARGV[3]) - taken
local least = tonumber(ARGV[2])
if least > left then return {0, left, leased} end
local amount = math.max(least, math.floor(left / tonumber(ARGV[6])))
redis.call('HINCRBY', KEYS[1], 'taken', string.format('%.0f', amount))
redis.call('HINCRBY', KEYS[1], 'leased', string.format('%.0f', amount))
redis.call('HINCRBY', KEYS[1], 'amount:' .. ARGV[1], string.format('%.0f', amount))
redis.call('HSETNX', KEYS[1], 'settled:' .. ARGV[1], ARGV[4])
redis.call('ZADD', KEYS[2], ARGV[5], ARGV[8])
return {amount, left - amount, leased}
"""

# ARGV: holder, spent, returned, now, until, member.  Gives 1 where the lease was lost.
_SETTLE = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 1 end
local field = 'amount:' .. ARGV[1]
if redis.call('HEXISTS', KEYS[1], field) == 0 then
  local known = tonumber(redis.call('HGET', KEYS[1], 'known:' .. ARGV[1])) or 0
  known = math.min(known, tonumber(ARGV[2]))
  if known > 0 then
    redis.call('HINCRBY', KEYS[1], 'known:' .. ARGV[1], string.format('%.0f', 0 - known))
  end
  redis.call('HINCRBY', KEYS[1], 'taken', string.format('%.0f', tonumber(ARGV[2]) - known))
  return 1
end
local both = string.format('%.0f', tonumber(ARGV[2]) + tonumber(ARGV[3]))
redis.call('HINCRBY', KEYS[1], 'taken', string.format('%.0f', 0 - tonumber(ARGV[3])))
redis.call('HINCRBY', KEYS[1], 'leased', string.format('%.0f', 0 - tonumber(both)))
local amount = redis.call('HINCRBY', KEYS[1], field, string.format('%.0f', 0 - tonumber(both)))
if amount == 0 then
  redis.call('HDEL', KEYS[1], field, 'settled:' .. ARGV[1])
  redis.call('ZREM', KEYS[2], ARGV[6])
else
  redis.call('HSET', KEYS[1], 'settled:' .. ARGV[1], ARGV[4])
  redis.call('ZADD', KEYS[2], ARGV[5], ARGV[6])
end
return 0
"""

# ARGV: holder, spent, now, member.  Gives 1 where the lease was given up.  What the ledger reported
# of its holder is `known`: should that only have slept, it will tell of the same.
_DROP = """
local expires = tonumber(redis.call('ZSCORE', KEYS[2], ARGV[4]))
if not expires or expires >= tonumber(ARGV[3]) then return 0 end
redis.call('ZREM', KEYS[2], ARGV[4])
local amount = redis.call('HGET', KEYS[1], 'amount:' .. ARGV[1])
if not amount then return 0 end
local over = string.format('%.0f', tonumber(ARGV[2]) - tonumber(amount))
redis.call('HINCRBY', KEYS[1], 'taken', over)
redis.call('HINCRBY', KEYS[1], 'leased', string.format('%.0f', 0 - tonumber(amount)))
redis.call('HDEL', KEYS[1], 'amount:' .. ARGV[1], 'settled:' .. ARGV[1])
redis.call('HINCRBY', KEYS[1], 'known:' .. ARGV[1], ARGV[2])
return 1
"""


class RedisCounters:
    """`Counters` in Redis; what was really spent still comes from the store's ledger."""

    def __init__(self, url: str, store: Store) -> None:
        self._store = store
        self._redis: Any = redis.Redis.from_url(  # pyright: ignore[reportUnknownMemberType]
            url, socket_timeout=_DEADLINE_S, socket_connect_timeout=_DEADLINE_S
        )
        self._generation = ""  # the name that Redis' contents had when they were last asked
        self._take = self._redis.register_script(_CHECK + _TAKE)
        self._settle = self._redis.register_script(_CHECK + _SETTLE)
        self._drop = self._redis.register_script(_CHECK + _DROP)

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
        # Of all: what is spent while the first are told of is in none of them.
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
