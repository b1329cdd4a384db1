"""One generation from the key to the ledger row, whatever happens in between."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec.structs import replace

from polycall._support import jsontext
from polycall.errors import PermissionDeniedError, PolycallError
from polycall.gateway.accounts.keys import Keys, Owner
from polycall.gateway.accounts.limits import KeyLimits, Reservation
from polycall.gateway.generation.answer import answer
from polycall.gateway.generation.client_request import ClientRequest
from polycall.gateway.generation.endpoints import Endpoint
from polycall.gateway.generation.request_record import (
    CLIENT_GONE_STATUS,
    RequestRecord,
    storable_count,
)
from polycall.gateway.hosted.dispatch import HostedToolDispatch
from polycall.gateway.http.bodies import read_body, usual_body
from polycall.gateway.http.framers import InvokeFramer, PromptFramer
from polycall.gateway.http.replies import drop_traceback, internal_error, send_error
from polycall.gateway.http.request import ClientGone, GatewayRequest
from polycall.gateway.observability.attempt_report import words_of
from polycall.gateway.observability.contents import Contents, ContentTap
from polycall.gateway.observability.metrics import Metrics
from polycall.gateway.processes.heavy_work import LONG_BYTES
from polycall.gateway.processes.memory_guard import MemoryGuard
from polycall.gateway.programs.dispatch import ProgramDispatch
from polycall.gateway.routing.router import shown
from polycall.gateway.services import GatewayServices
from polycall.gateway.state.answer_cache import AnswerCache, AnswerRecorder, request_key
from polycall.gateway.store import LedgerRow, Store
from polycall.ir import JSON, Usage
from polycall.translation.wire import Dialect

if TYPE_CHECKING:
    from polycall.gateway.observability.traces import Traces

logger = logging.getLogger("polycall.gateway")

TakeOver: TypeAlias = Callable[[GatewayRequest, ClientRequest], Awaitable[bool]]


class Generations:
    """Serves every route that generates."""

    def __init__(
        self,
        services: GatewayServices,
        keys: Keys,
        store: Store,
        limits: KeyLimits,
        *,
        metrics: Metrics,
        contents: Contents,
        calling: ProgramDispatch,
        hosted: HostedToolDispatch,
        cache: AnswerCache | None,
        routes: bytes,
        traces: Traces | None,
        memory: MemoryGuard,
    ) -> None:
        """`routes` stands for what models' names lead to, in the keys of the cache."""
        self._services = services
        self._keys = keys
        self._limits = limits
        self._store = store
        self._metrics = metrics
        self._contents = contents
        self._dispatch = calling
        self._hosted = hosted
        self._cache = cache
        self._routes = routes
        self._traces = traces
        self._memory = memory
        # Answers what needs more than one generation or a life of its own; gives false for what
        # it leaves.  The requests that it makes of one have their own rows.
        self.take_over: TakeOver | None = None

    def serve(
        self,
        gateway_request: GatewayRequest,
        endpoint: Endpoint,
        owner: Owner | None = None,
        *,
        said: JSON | None = None,
    ) -> Coroutine[Any, Any, None]:
        """Answer, and write one row; for `owner` where somebody else knows who asks.

        `said` is what the body says where the caller made it, so that it is not held twice.
        """
        record = RequestRecord(gateway_request, endpoint.dialect.NAME, self._limits.worker)
        work = partial(self._accepted, endpoint, said)
        return self.recorded(record, endpoint.errors, work, owner)

    async def serve_accepted(
        self, gateway_request: GatewayRequest, client_request: ClientRequest
    ) -> None:
        """The same for a request that was accepted before: its key and model were checked."""
        dialect = client_request.dialect
        record = RequestRecord(gateway_request, dialect.NAME, self._limits.worker)
        record.owner, record.is_known = client_request.owner, True
        record.client_request = client_request
        gateway_request.content = self._contents.tap(
            record.owner.name, dialect.NAME, lambda: jsontext.encode_bytes(client_request.body())
        )
        work = partial(self._answer, client_request=client_request)
        await self.recorded(record, dialect, work)

    async def _accepted(self, endpoint: Endpoint, said: JSON | None, record: RequestRecord) -> None:
        """Read what is asked, and answer it."""
        gateway_request, owner = record.gateway_request, record.owner
        client_request = await self._read(endpoint, record)
        if said is not None:
            client_request.know(said)
        record.client_request = client_request
        check_allowed(owner, client_request.model)
        if client_request.is_background or client_request.compacts:
            take_over = self.take_over
            if take_over is not None and await take_over(gateway_request, client_request):
                return
        if endpoint.envelope == "bedrock" and client_request.streams:
            gateway_request.framer = InvokeFramer()
        if endpoint.envelope == "prompt":
            gateway_request.framer = gateway_request.reshape = PromptFramer()
        cache = self._cache
        # Tools that the gateway adds are no part of what the cache knows a request by.
        if cache is not None and self._dispatch.mcp_names(gateway_request, owner):
            cache = None
        if cache is None or not await self._cached(record, client_request, cache):
            await self._answer(record, client_request)

    async def _read(self, endpoint: Endpoint, record: RequestRecord) -> ClientRequest:
        """Read the request.  Nothing but its result holds the body afterwards."""
        gateway_request, owner = record.gateway_request, record.owner
        server = self._services.server
        body = usual_body(gateway_request, server)
        if body is None:
            body = await read_body(gateway_request, server, self._memory)
        if self._contents.may_be_kept:
            name = endpoint.dialect.NAME
            gateway_request.content = self._contents.tap(owner.name, name, lambda: body)
        asked = (endpoint, gateway_request, body, owner, self._services.texts)
        if len(body) < LONG_BYTES:
            return ClientRequest(*asked)
        return await self._services.heavy.run(owner.id, len(body), ClientRequest, *asked)

    async def recorded(
        self,
        record: RequestRecord,
        errors: Dialect,
        work: Callable[[RequestRecord], Awaitable[None]],
        owner: Owner | None = None,
    ) -> None:
        """Check who asks, do the work, tell the client of errors, and write the row.

        `errors` is the protocol whose errors the client reads.
        """
        gateway_request = record.gateway_request
        if self._traces is not None:
            gateway_request.trace = self._traces.begin(
                gateway_request.id,
                gateway_request.method,
                gateway_request.path,
                gateway_request.headers,
            )
        try:
            try:
                if not record.is_known:
                    owner = self._identify(record, owner)
                    if owner.is_counted:
                        await self._limits.count_request(owner)
                await work(record)
            except asyncio.CancelledError as cancelled:
                raise gateway_request.reason_or_raise(cancelled) from None
        except ClientGone as gone:
            drop_traceback(gone)
            record.account.outcome = "cancelled"
            record.status = CLIENT_GONE_STATUS
        except asyncio.CancelledError:
            # The process is going down and cannot wait any longer.
            record.account.outcome = "cancelled"
            raise
        except PolycallError as error:
            record.account.outcome = "error"
            # A provider's own words, where the client learns less.
            record.account.error = words_of(error.__cause__ or error)
            has_retried = record.account.attempts > 1
            record.status = await send_error(
                gateway_request, errors, error, has_retried=has_retried
            )
            drop_traceback(error)
        except Exception:
            # A mistake of ours; the client gets a number to ask about, the log gets the rest.
            logger.exception("request %s failed", gateway_request.id)
            record.account.outcome, record.status = "error", 500
            record.account.error = "the gateway failed; its log has the reason"
            if gateway_request.started:
                raise
            await send_error(gateway_request, errors, internal_error(gateway_request.id))
        finally:
            if not gateway_request.is_taken_over:
                self._write_down(record)
            elif gateway_request.trace is not None:
                gateway_request.trace.end(record.row())

    def _identify(self, record: RequestRecord, owner: Owner | None) -> Owner:
        """Identify the caller: `owner` where it is already known."""
        asked = record.gateway_request
        owner = owner or self._keys.owner(asked.headers, asked.query, asked.address)
        record.owner, record.is_known = owner, True
        self._limits.check_store()
        return owner

    async def _answer(self, record: RequestRecord, client_request: ClientRequest) -> None:
        gateway_request, owner = record.gateway_request, record.owner
        if owner.is_metered:
            hold = record.hold = Reservation()
            record.account.reserve = partial(self._limits.reserve, hold, owner, client_request)
            await record.account.reserve()
        asked = (client_request, gateway_request, self._services, record.account)
        if self._hosted.may_answer(client_request) and await self._hosted.answered(*asked):
            gateway_request.recorder = None  # an answer with a life of its own
        elif self._dispatch.may_answer(
            client_request, gateway_request
        ) and await self._dispatch.answered(*asked):
            gateway_request.recorder = None
        else:
            await answer(*asked)

    async def _cached(
        self, record: RequestRecord, client_request: ClientRequest, cache: AnswerCache
    ) -> bool:
        """Answer with, or for, the cache; false where it is not wanted."""
        gateway_request = record.gateway_request
        may_read, may_keep = cache.wanted(gateway_request, client_request)
        if not may_keep:
            return False
        key = request_key(client_request, gateway_request, self._routes)
        kept = cache.get(key) if may_read else None
        if kept is not None:
            record.given_again = kept.model
            record.account.outcome = "cached"
            await gateway_request.send_start(
                200,
                [
                    *kept.headers,
                    (b"content-length", str(len(kept.body)).encode()),
                    (b"polycall-request-id", gateway_request.id.encode()),
                    (b"polycall-cache", b"hit"),
                    (b"polycall-cost-usd", b"0"),
                ],
            )
            await gateway_request.send_body(kept.body)
            return True
        recorder = gateway_request.recorder = AnswerRecorder()
        await self._answer(record, client_request)
        if gateway_request.recorder is recorder and record.account.outcome == "ok":
            cache.keep(key, client_request, recorder)
        return True

    def _write_down(self, record: RequestRecord) -> None:
        account = record.account
        row = record.row()
        if account.outcome == "cached":
            provider, _, model = record.given_again.partition("/")
            row = replace(row, provider=provider, model=model, cost_usd="0")
        cost = account.cost
        is_asked = account.usage is account.reckoned or account.is_sum
        if cost is None and account.attempt is not None and not is_asked:
            target, usage = account.attempt.target, account.attempt.priced(account.usage)
            cost = self._services.costs.known(target.provider, target.model, usage)
            row = row if cost is None else replace(row, cost_usd=f"{cost:f}")
        if account.lost and record.client_request is not None:
            row, cost = self._with_lost(record, row, cost)
        if record.hold is not None:
            is_answer = (row.status < 400 and account.is_under_way) or bool(account.lost)
            self._limits.settle(record.hold, row, cost, is_answer=is_answer)
        if record.gateway_request.trace is not None:
            record.gateway_request.trace.end(row)
        self._metrics.count(row)
        if isinstance(record.gateway_request.content, ContentTap):
            self._contents.keep(row.id, record.gateway_request.content)
        if record.is_known:  # strangers cost the store nothing
            self._store.add_row(row)

    def _with_lost(
        self, record: RequestRecord, row: LedgerRow, cost: Decimal | None
    ) -> tuple[LedgerRow, Decimal | None]:
        """The row, with what attempts cost whose answers did not come or made no sense.

        Their providers have the request, and bill it; that much of them is known.
        """
        account = record.account
        assert record.client_request is not None
        tokens = record.client_request.estimate_input()
        total = Decimal(0) if cost is None and not account.is_under_way else cost
        for target in account.lost:
            known = self._services.costs.known(
                target.provider, target.model, Usage(input_tokens=tokens)
            )
            total = None if known is None or total is None else total + known
        row = replace(
            row,
            input_tokens=storable_count((row.input_tokens or 0) + tokens * len(account.lost)),
            output_tokens=row.output_tokens or 0,
            is_estimate=1,
            cost_usd=None if total is None else f"{total:f}",
        )
        return row, total


def check_allowed(owner: Owner, model: str) -> None:
    """Raise where the client's key is not for this model."""
    if not owner.may_use(model):
        raise PermissionDeniedError(
            f"the key {owner.name!r} may not use {shown(model)}; "
            f"it may use: {', '.join(owner.models)}"
        )
