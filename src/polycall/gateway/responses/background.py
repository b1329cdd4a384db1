"""Answers in the background: made by this process for a client that comes back for them.

What was said so far lies in the store, in chunks of events, so that any process can stream it
again from any event.  While a process works on an answer it says so every few seconds; one that
fell silent is taken for dead, its answer becomes `failed`, and the ledger gets its row.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

from polycall import errors
from polycall._support import jsontext
from polycall.config import Server
from polycall.dialects.openai_responses.response import request_echo, skeleton, with_short_echo
from polycall.gateway.accounts.keys import Owner
from polycall.gateway.accounts.limits import KeyLimits
from polycall.gateway.generation.client_request import ClientRequest
from polycall.gateway.generation.generations import Generations
from polycall.gateway.generation.plain_answer import own_id
from polycall.gateway.http.request import ClientGone, GatewayRequest, RequestMonitor
from polycall.gateway.processes.silence import BEAT_S, LOOKS, is_suspect, stood_still
from polycall.gateway.responses.inner import InnerRequest, passed_headers
from polycall.gateway.responses.records import (
    DONE,
    JobRecord,
    cancel_state,
    chunk_state,
    error_of,
    event_line,
    job_state,
    lost_row,
)
from polycall.gateway.services import GatewayServices
from polycall.gateway.state.conversations import check_kept
from polycall.gateway.state.stored_responses import conversation_of, response_state
from polycall.gateway.store import Store
from polycall.ir import JSON

if TYPE_CHECKING:
    from polycall.translation.sse import Frame

logger = logging.getLogger("polycall.background")

FLUSH_S = 0.25
OWNER_MAX = 32  # answers of one key that a process works on
_LOST = "the gateway's process that worked on this answer ended; ask again"


class BackgroundResponses:
    """Begins, ends and cancels them.  One for the process; `close` it at the end."""

    def __init__(self, store: Store, monitor: RequestMonitor, limits: KeyLimits) -> None:
        self._store = store
        self._monitor = monitor
        self._limits = limits
        self._worker = limits.worker
        self._jobs: dict[str, _Job] = {}
        self._watched: dict[str, asyncio.Task[None]] = {}  # of processes that may be gone

    def configure(self, services: GatewayServices, generations: Generations) -> None:
        """Work by another configuration from the next answer on."""
        self._services = services
        self._generations = generations

    async def begin(self, gateway_request: GatewayRequest, client_request: ClientRequest) -> str:
        """Begin an answer that outlives its request; gives the answer's id."""
        server = self._services.server
        self._check(client_request, server)
        self._services.router.possible(client_request.model)  # an unknown one is said at once
        name = own_id(gateway_request)
        job = _Job(name, client_request, self._worker)
        job.record.input_tokens = client_request.estimate_input()
        await job.save_start(self._store)
        gateway_request.is_taken_over = True
        self._jobs[name] = job
        headers = passed_headers(gateway_request.headers)
        inner = job.inner = InnerRequest(
            gateway_request.id, headers=headers, address=gateway_request.address, take=job.take
        )
        job.task = asyncio.get_running_loop().create_task(self._run(job, inner, server))
        return name

    def _check(self, client_request: ClientRequest, server: Server) -> None:
        if not server.keep_answers:
            raise errors.UnsupportedError(
                "this gateway keeps no answers (server.keep_answers), so none can be fetched later",
                feature="background",
                path="background",
            )
        if not client_request.earlier.wants_kept(self._services):
            raise errors.MalformedRequestError(
                "an answer in the background must be stored; leave 'store' out", path="store"
            )
        check_kept(client_request.size_bytes, "background")
        if len(self._jobs) >= server.background_max:
            raise errors.OverloadedError(
                f"the gateway works on {server.background_max} answers in the background, the most "
                "that it takes (server.background_max); try again",
                retry_after_s=5.0,
            )
        owner = client_request.owner.id
        mine = sum(job.owner == owner for job in self._jobs.values())
        if mine >= min(OWNER_MAX, server.background_max):
            raise errors.RateLimitError(
                f"{mine} answers of this key are in the background; wait for one, or cancel it",
                retry_after_s=5.0,
            )

    async def _run(self, job: _Job, inner: InnerRequest, server: Server) -> None:
        writing = asyncio.get_running_loop().create_task(self._write(job))
        try:

            async def serve(request: GatewayRequest) -> None:
                asked = job.client_request.in_foreground(request)
                asked.earlier.keep_by = job.note_final
                await self._generations.serve_accepted(request, asked)

            await inner.run(serve, self._monitor, within_s=server.background_s)
            job.settle(inner.collected.status, inner.collected.body)
        except asyncio.CancelledError:
            job.fail(_LOST, "server_error")
            raise
        except Exception:
            # A mistake of ours, or the store: the client reads of it in its answer.
            logger.exception("the answer %s failed", job.name)
            job.fail("the gateway failed; its log has the reason", "server_error")
        finally:
            writing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writing
            try:
                await job.save_end(self._store, self._services)
            except errors.StoreError:
                logger.exception("the answer %s was not kept", job.name)
            self._jobs.pop(job.name, None)

    async def _write(self, job: _Job) -> None:
        """Write down what comes, say that somebody is at work, and look whether it is wanted."""
        while True:
            await asyncio.sleep(FLUSH_S)
            # The store comes back, or the end says what was lost.
            with contextlib.suppress(errors.StoreError):
                await job.save(self._store)
                if await self._is_cancelled(job.owner, job.name):
                    job.cancel()

    async def _is_cancelled(self, owner: str, name: str) -> bool:
        state = cancel_state(name)
        return bool(await self._store.load_states(owner, [state], may_change=True))

    # From outside, in any process

    async def record(self, owner: Owner, name: str) -> JobRecord | None:
        """The record of the work on an answer; work that may be lost is looked after."""
        record = await self._record(owner, name)
        is_others = record is not None and not record.is_done and name not in self._jobs
        if record is not None and is_others and is_suspect(record.beat):
            self._watch(owner, name)
        return record

    async def _record(self, owner: Owner, name: str) -> JobRecord | None:
        state = job_state(name)
        found = await self._store.load_states(owner.id, [state], may_change=True)
        return JobRecord.read(found[state]) if state in found else None

    def _watch(self, owner: Owner, name: str) -> None:
        if name not in self._watched:
            task = asyncio.ensure_future(self._end_if_lost(owner, name))
            self._watched[name] = task
            task.add_done_callback(lambda _: self._watched.pop(name, None))

    async def _end_if_lost(self, owner: Owner, name: str) -> None:
        """End an answer as failed if its process is gone."""

        async def look() -> float | None:
            record = await self._record(owner, name)
            return None if record is None or record.is_done else record.beat

        try:
            beat = await stood_still(look)
            record = None if beat is None else await self._record(owner, name)
            if record is not None and not record.is_done and record.beat == beat:
                await self._end_of(owner.id, name, record, "failed", _LOST, lost_by=owner)
        except errors.StoreError:
            pass  # the client that asks next begins again
        except Exception:
            logger.exception("the answer %s of a process that is gone is left", name)

    def _charge_lost(self, owner: Owner, name: str, record: JobRecord) -> None:
        """Write down what a lost answer cost: once, by the process that ended it."""
        row = lost_row(name, record, owner, self._worker, self._services)
        self._store.add_row(row)
        if row.cost_usd is not None:
            # Its own process cannot, and what that had reserved may have come back already.
            self._limits.charge(owner, Decimal(row.cost_usd))

    async def cancel(self, owner: Owner, name: str) -> None:
        """End the work on an answer; raises `InvalidRequestError` where there was none."""
        record = await self.record(owner, name)
        if record is None:
            raise errors.InvalidRequestError(
                "only an answer that was asked for in the background can be cancelled", status=400
            )
        if record.is_done:
            return
        await self._store.save_state(owner.id, cancel_state(name), b"1")
        if (job := self._jobs.get(name)) is not None:
            job.cancel()
        ends_at = time.monotonic() + 4 * FLUSH_S + BEAT_S
        while time.monotonic() < ends_at:
            await asyncio.sleep(0.05)
            record = await self.record(owner, name)
            if record is None or record.is_done:
                return
        if (watching := self._watched.get(name)) is not None:  # it writes the row of a lost one
            await asyncio.wait([watching], timeout=(LOOKS + 1) * BEAT_S)
        await self._end_of(owner.id, name, record, "cancelled", "")

    async def _end_of(
        self,
        owner: str,
        name: str,
        record: JobRecord,
        status: str,
        words: str,
        *,
        lost_by: Owner | None = None,
    ) -> JobRecord:
        """End, in its process's place, an answer that nobody works on any more."""
        error = {"code": "server_error", "message": words} if words else None
        is_ours = False

        def ended(value: bytes) -> bytes | None:
            nonlocal is_ours
            response: JSON = jsontext.decode(value)
            is_ours = response["status"] not in DONE
            if not is_ours:
                return None
            return jsontext.encode_bytes({**response, "status": status, "error": error})

        value = await self._store.change_state(owner, response_state(name), ended)
        if value is None:
            return record
        if lost_by is not None and is_ours:  # of several processes, one
            self._charge_lost(lost_by, name, record)
        event = {
            "type": "response.failed",
            "response": jsontext.decode(value),
            "sequence_number": record.events,
        }
        line = event_line(event)
        record.is_done = True
        record.chunks += 1
        chunk = chunk_state(name, record.chunks - 1)
        await self._store.save_states(owner, {chunk: line, job_state(name): record.written()})
        return record

    async def forget(self, owner: Owner, name: str) -> None:
        """Remove what is kept of the work on an answer that has ended."""
        record = await self.record(owner, name)
        if record is None:
            return
        states = [chunk_state(name, number) for number in range(record.chunks)]
        await self._store.delete_states(owner.id, [*states, job_state(name), cancel_state(name)])

    async def close(self, within_s: float) -> None:
        """Let the answers that are under way end, and those that do not, say so."""
        for watching in self._watched.values():
            watching.cancel()
        tasks = [job.task for job in self._jobs.values() if job.task is not None]
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=within_s)
        if not late:
            return
        for job in list(self._jobs.values()):
            job.abort(
                errors.OverloadedError("the gateway is restarting; ask again", should_retry=False)
            )
        await asyncio.wait(late, timeout=5.0)


class _Job:
    """The work on one answer, within its process."""

    def __init__(self, name: str, client_request: ClientRequest, worker: str) -> None:
        self.name = name
        self.owner = client_request.owner.id
        self.client_request = client_request
        self.inner: InnerRequest | None = None
        self.task: asyncio.Task[None] | None = None
        self.record = JobRecord(
            beat=time.time(),
            worker=worker,
            key=client_request.owner.name,
            key_id=client_request.owner.id,
            model=client_request.model,
        )
        self._fixed = _fixed_fields(name, client_request)
        self.response: JSON = _first_response(client_request, self._fixed)
        self._lines: list[bytes] = []
        self._size = 0
        self._is_cancelled = False

    # What the answer says

    async def take(self, frame: Frame) -> None:
        """A frame of the answer's stream."""
        if frame.data == "[DONE]":
            return
        event: JSON = jsontext.decode(frame.data)
        response: Any = event.get("response")
        if isinstance(response, dict):
            self.response = {**cast("JSON", response), **self._fixed}
            event = {**event, "response": self.response}
        elif event.get("type") == "error":
            inner: Any = event.get("error") or event
            self.fail(str(inner.get("message") or "the provider failed"), str(inner.get("code")))
            return
        self._add(event)

    async def note_final(self, response: JSON) -> None:
        """The answer is whole; it is kept with its last event."""
        self.response = {**response, **self._fixed}

    def settle(self, status: int, body: bytes) -> None:
        """The request is over: an answer without an end failed."""
        if self.response["status"] in DONE:
            return
        if status >= 400:
            self.fail(*error_of(body))
        else:
            self.fail("the answer broke off", "server_error")

    def fail(self, message: str, code: str) -> None:
        """End it as failed, or cancelled where its client wanted that."""
        if self.response["status"] in DONE:
            return
        status = "cancelled" if self._is_cancelled else "failed"
        error = None if self._is_cancelled else {"code": code or "server_error", "message": message}
        self.response = {**self.response, "status": status, "error": error}
        if not self.record.events:
            created = {**self.response, "status": "in_progress", "error": None}
            self._add({"type": "response.created", "response": created, "sequence_number": 0})
        self._add(
            {
                "type": "response.failed",
                "response": self.response,
                "sequence_number": self.record.events,
            }
        )

    def cancel(self) -> None:
        """Its client does not want it any more."""
        self._is_cancelled = True
        self.abort(ClientGone("cancelled"))

    def abort(self, reason: Exception) -> None:
        """End the request."""
        request = None if self.inner is None else self.inner.gateway_request
        if request is not None:
            request.abort(reason)

    def _add(self, event: JSON) -> None:
        number: Any = event.get("sequence_number")
        if isinstance(number, int):
            self.record.events = max(self.record.events, number + 1)
        line = event_line(event)
        is_end = isinstance(event.get("response"), dict) and event["response"]["status"] in DONE
        self._size += len(line)
        if self._size > EVENTS_BYTES_MAX and not is_end:
            self.record.is_cut = True
            return
        self._lines.append(line)

    # What is written down

    async def save_start(self, store: Store) -> None:
        """Before the client hears of it."""
        values = {
            response_state(self.name): jsontext.encode_bytes(self.response),
            job_state(self.name): self.record.written(),
        }
        await store.save_states(self.owner, values)

    async def save(self, store: Store) -> None:
        """Save the news, and that somebody is at work."""
        lines = self._lines
        now = time.time()
        if not lines and now - self.record.beat < BEAT_S:
            return
        values: dict[str, bytes] = {}
        self.record.beat = now
        self._note_headers()
        if lines:
            self._lines = []
            values[chunk_state(self.name, self.record.chunks)] = b"".join(lines)
            self.record.chunks += 1
        values[job_state(self.name)] = self.record.written()
        try:
            await store.save_states(self.owner, values)
        except errors.StoreError:
            if lines:  # the next time
                self.record.chunks -= 1
                self._lines = [*lines, *self._lines]
            raise

    def _note_headers(self) -> None:
        if self.inner is not None:
            self.record.headers = {
                name.decode(): value.decode("latin-1")
                for name, value in self.inner.collected.headers.items()
                if name in _KEPT_HEADERS
            }

    async def save_end(self, store: Store, services: GatewayServices) -> None:
        """The answer, once: unless another process found this one dead and ended it."""
        response = self.response

        def ended(value: bytes) -> bytes | None:
            if jsontext.decode(value)["status"] in DONE:
                return None
            return jsontext.encode_bytes({**response, "output": []})

        references = self.client_request.earlier.references()
        await services.items.keep_turn(self.owner, references, response)
        await store.change_state(self.owner, response_state(self.name), ended)
        self.record.is_done = True
        self.record.beat = 0.0  # so that it is written, whatever came
        await self.save(store)


EVENTS_BYTES_MAX = 32 * 2**20
_KEPT_HEADERS = (b"polycall-model", b"polycall-warnings")


def _fixed_fields(name: str, client_request: ClientRequest) -> JSON:
    asked = client_request.earlier.references()
    fields: JSON = {"id": name, "background": True, "store": True}
    fields["previous_response_id"] = asked["previous_response_id"]
    if conversation := conversation_of(asked["conversation"]):
        fields["conversation"] = {"id": conversation}
    return fields


def _first_response(client_request: ClientRequest, fixed: JSON) -> JSON:
    echoed: JSON = {}
    with contextlib.suppress(errors.RequestError):  # what is wrong with it, its answer will say
        echoed = request_echo(client_request.dialect.parse_request(client_request.body()))
    first = skeleton(fixed["id"], client_request.model, int(time.time()), echoed)
    return {**with_short_echo(first), **fixed, "status": "queued"}
