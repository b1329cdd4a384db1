"""One generation from the key to the ledger row, whatever happens in between."""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from polycall.errors import PermissionDeniedError, PolycallError
from polycall.gateway.answer import Account, answer
from polycall.gateway.asked import Asked, Desk, Endpoint
from polycall.gateway.bodies import read_body
from polycall.gateway.cache import Cache, Tape, request_key
from polycall.gateway.calling import Calling
from polycall.gateway.flight import ClientGone, Flight
from polycall.gateway.keys import ANYBODY, Keys, Owner
from polycall.gateway.limits import Hold, KeyLimits
from polycall.gateway.metrics import Metrics
from polycall.gateway.replies import internal_error, let_go, send_error
from polycall.gateway.routing import shown
from polycall.gateway.store import LedgerRow, Store

if TYPE_CHECKING:
    from polycall.gateway.traces import Traces

logger = logging.getLogger("polycall.gateway")

CLIENT_GONE_STATUS = 499
_COUNT_MAX = 2**53


class Generations:
    """Serves every route that generates."""

    def __init__(
        self,
        desk: Desk,
        keys: Keys,
        store: Store,
        limits: KeyLimits,
        *,
        metrics: Metrics,
        calling: Calling,
        cache: Cache | None,
        routes: bytes,
        traces: Traces | None,
    ) -> None:
        """`routes` stands for what models' names lead to, in the keys of the cache."""
        self._desk = desk
        self._keys = keys
        self._limits = limits
        self._store = store
        self._metrics = metrics
        self._calling = calling
        self._cache = cache
        self._routes = routes
        self._traces = traces

    async def serve(self, flight: Flight, endpoint: Endpoint) -> None:
        """Answer, and write one row."""
        record = _Record(flight, endpoint, self._limits.worker)
        if self._traces is not None:
            flight.trace = self._traces.begin(flight.id, flight.method, flight.path, flight.headers)
        try:
            try:
                owner = record.owner = self._keys.owner(flight.headers, flight.query)
                self._limits.check_store()
                if owner.requests_per_minute is not None:
                    await self._limits.count_request(owner)
                body = await read_body(flight, self._desk.server)
                asked = record.asked = Asked(endpoint, flight, body, owner)
                check_allowed(owner, asked.model)
                if self._cache is None or not await self._cached(record, self._cache):
                    await self._answer(record, asked)
            except asyncio.CancelledError as cancelled:
                raise flight.reason_or_raise(cancelled) from None
        except ClientGone as gone:
            let_go(gone)
            record.account.outcome = "cancelled"
            record.status = CLIENT_GONE_STATUS
        except asyncio.CancelledError:
            # The process is going down and cannot wait any longer.
            record.account.outcome = "cancelled"
            raise
        except PolycallError as error:
            record.account.outcome = "error"
            has_retried = record.account.attempts > 1
            dialect = endpoint.dialect
            record.status = await send_error(flight, dialect, error, has_retried=has_retried)
            let_go(error)
        except Exception:
            # A mistake of ours; the client gets a number to ask about, the log gets the rest.
            logger.exception("request %s failed", flight.id)
            record.account.outcome, record.status = "error", 500
            if flight.started:
                raise
            await send_error(flight, endpoint.dialect, internal_error(flight.id))
        finally:
            self._write_down(record)

    async def _answer(self, record: _Record, asked: Asked) -> None:
        flight, owner = record.flight, record.owner
        if owner.is_metered:
            hold = record.hold = Hold()
            record.account.reserve = partial(self._limits.reserve, hold, owner, asked)
            await record.account.reserve()
        if await self._calling.answered(asked, flight, self._desk, record.account):
            flight.tape = None  # an answer with a life of its own
        else:
            await answer(asked, flight, self._desk, record.account)

    async def _cached(self, record: _Record, cache: Cache) -> bool:
        """Answer with, or for, the cache; false where it is not wanted."""
        flight, asked = record.flight, record.asked
        assert asked is not None
        may_read, may_keep = cache.wanted(flight, asked)
        if not may_keep:
            return False
        key = request_key(asked, flight, self._routes)
        kept = cache.get(key) if may_read else None
        if kept is not None:
            record.given_again = kept.model
            record.account.outcome = "cached"
            await flight.send_start(
                200,
                [
                    *kept.headers,
                    (b"content-length", str(len(kept.body)).encode()),
                    (b"polycall-request-id", flight.id.encode()),
                    (b"polycall-cache", b"hit"),
                    (b"polycall-cost-usd", b"0"),
                ],
            )
            await flight.send_body(kept.body)
            return True
        tape = flight.tape = Tape()
        await self._answer(record, asked)
        if flight.tape is tape and record.account.outcome == "ok":
            cache.keep(key, asked, tape)
        return True

    def _write_down(self, record: _Record) -> None:
        account = record.account
        row = record.row()
        if account.outcome == "cached":
            provider, _, model = record.given_again.partition("/")
            row = replace(row, provider=provider, model=model, cost_usd="0")
        cost = account.cost
        if cost is None and account.attempt is not None and not account.is_sum:
            stop = account.attempt.stop
            cost = self._desk.costs.known(stop.provider, stop.model, account.usage)
            row = row if cost is None else replace(row, cost_usd=f"{cost:f}")
        if record.hold is not None:
            is_answer = row.status < 400 and account.is_under_way
            self._limits.settle(record.hold, row, cost, is_answer=is_answer)
        if record.flight.trace is not None:
            record.flight.trace.end(row)
        self._metrics.count(row)
        self._store.add_row(row)


def check_allowed(owner: Owner, model: str) -> None:
    """Raise where the client's key is not for this model."""
    if not owner.may_use(model):
        raise PermissionDeniedError(
            f"the key {owner.name!r} may not use {shown(model)}; "
            f"it may use: {', '.join(owner.models)}"
        )


class _Record:
    """What a row is made of."""

    def __init__(self, flight: Flight, endpoint: Endpoint, worker: str) -> None:
        self.flight = flight
        self.given_again = ""  # the model of an answer from the cache
        self._worker = worker
        self._endpoint = endpoint
        self.account = Account()
        self.owner = ANYBODY
        self.asked: Asked | None = None
        self.hold: Hold | None = None
        self.status = 200

    def row(self) -> LedgerRow:
        flight, account, asked = self.flight, self.account, self.asked
        if account.outcome != "ok" and (self.status == CLIENT_GONE_STATUS or self.status < 400):
            account.settle(asked)
        now = time.monotonic()
        stop = None if account.attempt is None else account.attempt.stop
        usage = account.usage
        known = usage.is_reported
        first_s = account.first_at - flight.started_at if account.first_at else None
        return LedgerRow(
            id=flight.id,
            created=time.time(),
            key=self.owner.name,
            client=self._endpoint.dialect.NAME,
            asked="" if asked is None else _storable(asked.model),
            provider="" if stop is None else stop.provider.name,
            model="" if stop is None else _storable(stop.model),
            streamed=int(asked is not None and asked.streams),
            status=self.status,
            outcome=account.outcome,
            attempts=account.attempts,
            input_tokens=_storable_count(usage.input_tokens) if known else None,
            output_tokens=_storable_count(usage.output_tokens) if known else None,
            cached_tokens=_storable_count(usage.cached_tokens) if known else None,
            cache_write_tokens=_storable_count(usage.cache_write_tokens) if known else None,
            reasoning_tokens=_storable_count(usage.reasoning_tokens) if known else None,
            is_estimate=int(account.is_estimate),
            cost_usd=None if account.cost is None else f"{account.cost:f}",
            duration_ms=round((now - flight.started_at) * 1000, 2),
            first_ms=None if first_s is None else round(first_s * 1000, 2),
            key_id=self.owner.id,
            worker=self._worker,
            calls=account.calls,
            warnings=0 if account.attempt is None else len(account.attempt.warnings),
        )


def _storable_count(number: int) -> int:
    """A count, which is the provider's word, as every database takes it."""
    return max(0, min(number, _COUNT_MAX))


def _storable(name: str) -> str:
    """A model's name, which is the client's text, as every database takes it."""
    if not name.isascii() or "\0" in name:
        name = name.encode("utf-8", "replace").decode().replace("\0", "�")
    return name[:300]
