"""From the first target to an answer: attempts, waits, fallback.

A target is tried until its answer begins; from then on its end is the answer's end.  Each
target gets its own rendering of what the client asked.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, NoReturn, Protocol, TypeVar, cast

from msgspec import Struct
from msgspec.structs import replace

from polycall._support.redactor import SECRET_LENGTH_MIN
from polycall.errors import (
    AuthenticationError,
    BillingError,
    ModelOutputError,
    NotFoundError,
    PermissionDeniedError,
    PolycallError,
    ProtocolError,
    RequestError,
    UnreadableCallError,
    UpstreamConnectionError,
    UpstreamError,
)
from polycall.exchange import (
    ERROR_BYTES_MAX,
    AnswerDecoder,
    error_from,
    open_answer,
    read_answer,
)
from polycall.gateway.generation.attempt import Attempt, blames_usage
from polycall.gateway.generation.named_resources import check_named, may_name
from polycall.gateway.http.request import GatewayRequest
from polycall.gateway.observability.attempt_report import for_client, report_failure
from polycall.gateway.passthrough.body import is_plain_answer, read_whole, usage_of
from polycall.gateway.passthrough.call_counter import CallCounter
from polycall.gateway.passthrough.mended_stream import MendedObserver
from polycall.gateway.passthrough.plain_messages import read_plain_answer
from polycall.gateway.passthrough.stream import Observer
from polycall.gateway.processes.heavy_work import LONG_BYTES, HeavyWork
from polycall.gateway.routing.router import Target
from polycall.gateway.services import GatewayServices, without_usage
from polycall.ir import Event, Response, ResponseStart, Usage
from polycall.providers.unframed import unframed
from polycall.transport.base import Deadlines, HTTPResponse, Run, Take, push_to, send, taken_whole

T = TypeVar("T")

# What a stream may say before its first event that says something: comments, above all.
_PREAMBLE_BYTES_MAX = 1024 * 1024

# Another provider may do what this one cannot, though trying this one again is no use.
_OTHERS_MAY = (AuthenticationError, BillingError, PermissionDeniedError, NotFoundError)


class Routable(Protocol):
    """A request, and the way to send it to each target."""

    @property
    def model(self) -> str: ...
    @property
    def owner_id(self) -> str: ...
    @property
    def streams(self) -> bool: ...
    def plan(self, targets: list[Target]) -> None: ...
    async def attempt(self, target: Target, services: GatewayServices) -> Attempt: ...


class FailedAttempt(Struct, frozen=True):
    """An attempt that gave no answer.  `began_at` and `ended_at` are of the monotonic clock."""

    target: Target
    began_at: float
    ended_at: float
    error: PolycallError


class WholeAnswer(Struct, frozen=True):
    """A whole answer: parsed, or the body as it came where it is passed through."""

    attempt: Attempt
    http: HTTPResponse
    response: Response | None
    body: bytes = b""
    usage: Usage = Usage()
    size_bytes: int = 0  # of one that is long, as it came
    calls: int = 0  # of a body that is passed through


class StreamedAnswer:
    """An answer that has begun.  Its holder closes it."""

    def __init__(self, attempt: Attempt, http: HTTPResponse, heavy: HeavyWork) -> None:
        self.attempt = attempt
        self.http = http
        self._heavy = heavy
        self.decoder: AnswerDecoder | None = None
        self.observer: Observer | None = None
        self.events: list[Event] = []  # the first ones, not yet sent
        self.data = b""  # the first bytes, not yet sent
        self.is_finished = False  # the stream ended with its first bytes
        if attempt.exchange is None:
            content_type = http.headers.get("content-type", "")
            self.observer = observer_for(attempt, is_sse="event-stream" in content_type)
        else:
            self.decoder = AnswerDecoder(attempt.exchange)

    async def push_to(self, take: Take) -> None:
        """Hand the answer's bytes to `take` as they come."""
        await push_to(self.http, take)

    def is_long(self, chunk: bytes) -> bool:
        """Whether a long event may end in these bytes: to read it would hold the loop."""
        reader = self.observer if self.decoder is None else self.decoder
        return reader is not None and reader.held_bytes + len(chunk) > LONG_BYTES

    async def read(self, work: Callable[[bytes], T], chunk: bytes) -> T:
        """Call `work` with the next bytes, or with all that is left; in a thread where that may
        take long, one answer of a provider after the other.
        """
        if not self.is_long(chunk):
            return work(chunk)
        provider = f"provider {self.attempt.target.provider.name}"
        return await self._heavy.run(provider, LONG_BYTES, work, chunk)

    async def continues(self, gateway_request: GatewayRequest, services: GatewayServices) -> bool:
        """Whether the answer continues with another exchange, which has then begun."""
        again = None if self.decoder is None else self.decoder.again()
        if again is None:
            return False
        await self.http.close()
        left_s = max(gateway_request.ends_at - time.monotonic(), 0.001)
        deadlines = Deadlines(services.server.connect_s, services.server.read_s, left_s)
        run = partial(self._heavy.run, f"provider {self.attempt.target.provider.name}")
        self.http = await open_answer(services.transport, again, deadlines, run)
        return True

    async def begin(self, gateway_request: GatewayRequest) -> None:
        """Wait for the first event that says something; raises what the stream reports instead."""
        pieces: list[bytes] = []
        size = 0
        async for chunk in self.http.chunks():
            gateway_request.heard_at = time.monotonic()
            if self.decoder is not None:
                self.events += await self.read(self.decoder.feed, chunk)
                # Nothing has been sent: what came with the error may be forgotten.
                if self.decoder.error is not None:
                    raise self.decoder.error
                # Some servers begin an answer, and then say that they failed.
                if any(not isinstance(event, ResponseStart) for event in self.events):
                    return
            elif self.observer is not None:
                pieces.append(await self.read(self.observer.feed, chunk))
                size += len(pieces[-1])
                if self.observer.error is not None and not self.observer.ended:
                    raise self.observer.error
                if self.observer.began:
                    self.data = b"".join(pieces)
                    return
                # An event that has begun may be longer.
                if size - self.observer.held_bytes > _PREAMBLE_BYTES_MAX:
                    raise ProtocolError(
                        f"the stream has no event in its first {_PREAMBLE_BYTES_MAX} bytes"
                    )
        self.is_finished = True
        if (decoder := self.decoder) is not None:
            self.events += await self.read(lambda _: decoder.close(), b"")
        elif (observer := self.observer) is not None:
            pieces.append(await self.read(lambda _: observer.close(), b""))
            self.data = b"".join(pieces)


def observer_for(attempt: Attempt, *, is_sse: bool) -> Observer:
    """The observer of the stream of a request that was passed on."""
    is_named = bool(attempt.asked and is_sse and attempt.dialect.FACTS.model_mark)
    if (attempt.mends or not is_sse) and attempt.dialect.NAME == "openai-chat":
        return MendedObserver(
            attempt.dialect,
            hides_usage=attempt.hides_usage,
            is_sse=is_sse,
            sends_usage=attempt.client_asks_usage and not attempt.hides_usage,
            event_bytes_max=attempt.target.provider.event_bytes_max,
        )
    return Observer(
        attempt.dialect,
        hides_usage=attempt.hides_usage,
        is_sse=is_sse,
        passes_whole=is_named,
        event_bytes_max=attempt.target.provider.event_bytes_max,
    )


class AttemptRunner:
    """The attempts for one request."""

    def __init__(
        self, client_request: Routable, gateway_request: GatewayRequest, services: GatewayServices
    ) -> None:
        self._client_request = client_request
        self._gateway_request = gateway_request
        self._services = services
        self._router = services.router
        self._server = services.server
        self.attempts = 0
        self.attempt: Attempt | None = None  # the one that is under way, or was the last
        self.is_under_way = False  # a provider has it, and did not refuse or fail
        # Asked, and given up or not understood, without having refused: each may cost something.
        self.lost: list[Target] = []
        self.failed: list[FailedAttempt] = []
        self.began_at = 0.0  # the last attempt, by the monotonic clock

    def plain(self) -> Coroutine[Any, Any, WholeAnswer]:
        """A whole answer, to a request that does not stream."""
        return cast("Coroutine[Any, Any, WholeAnswer]", self._arrive())

    def streaming(self) -> Coroutine[Any, Any, StreamedAnswer]:
        """An answer whose first event has come, to a request that streams."""
        return cast("Coroutine[Any, Any, StreamedAnswer]", self._arrive())

    async def _arrive(self) -> WholeAnswer | StreamedAnswer:
        last: PolycallError | None = None
        rounds = 0
        blamed: set[str] = set()  # targets whose model wrote nothing usable: asked once more
        try:
            targets = list(self._router.route(self._client_request.model))
            self._client_request.plan(targets)
            ends_at = time.monotonic() + self._server.attempts_s
            while targets:
                again: list[Target] = []
                for target in targets:
                    if self.attempts >= self._server.attempts or time.monotonic() > ends_at:
                        raise last or RequestError("no attempt is allowed by the configuration")
                    try:
                        return await self._try(target)
                    except (UpstreamError, ProtocolError, RequestError) as error:
                        if _is_final(error) or time.monotonic() > self._gateway_request.ends_at:
                            raise
                        last = _more_telling(last, error)
                        if isinstance(error, ModelOutputError):
                            if target.name not in blamed:
                                again.append(target)
                            blamed.add(target.name)
                        elif _is_passing(error):
                            again.append(target)
                rounds += 1
                if last is None or not again or not await self._waited(last, rounds, ends_at):
                    break
                targets = again
            assert last is not None
            raise last
        except PolycallError as error:
            target = None if self.attempt is None else self.attempt.target
            reported = for_client(error, target, self._gateway_request.id)
            if reported is error:
                raise
            raise reported from error

    async def _waited(self, error: PolycallError, rounds: int, ends_at: float) -> bool:
        """Wait before the next round; false where it would be too long."""
        if self.attempts >= self._server.attempts:
            return False
        hint_s = error.retry_after_s if isinstance(error, UpstreamError) else None
        wait_s = hint_s
        if wait_s is None:
            # Jitter keeps many clients from coming back at the same moment.
            wait_s = min(0.25 * 2 ** (rounds - 1), 4.0) * random.uniform(0.5, 1.0)  # noqa: S311
        if wait_s > self._server.wait_s_max or time.monotonic() + wait_s > ends_at:
            return False
        await asyncio.sleep(wait_s)
        return True

    async def _try(self, target: Target) -> WholeAnswer | StreamedAnswer:
        client_request = self._client_request
        attempt = await client_request.attempt(target, self._services)
        if may_name(attempt):
            attempt = await check_named(client_request.owner_id, attempt, self._services)
        trace = self._gateway_request.trace
        if trace is not None:
            headers = trace.attempt(target.provider.name, target.model, attempt.http.headers)
            attempt = replace(attempt, http=replace(attempt.http, headers=headers))
        self.attempt = attempt
        self.attempts += 1
        key = target.key.encode()
        if len(key) >= SECRET_LENGTH_MIN and key not in self._gateway_request.secrets:
            self._gateway_request.secrets.append(key)
        self.is_under_way = True
        began_at = self.began_at = time.monotonic()
        try:
            try:
                found = await self._send(attempt)
            except asyncio.CancelledError as cancelled:
                reason = self._gateway_request.reason_or_raise(cancelled)
                if isinstance(reason, UpstreamError):
                    reason.was_sent = True
                raise reason from None
        except UpstreamError as error:
            self.is_under_way = False
            if error.was_sent:
                self.lost.append(target)
            self._note_failed(target, began_at, error)
            if trace is not None:
                trace.failed(error)
            if blames_usage(attempt, error):
                found = await self._try(without_usage(target))
                self._services.learn(target)
                return found
            mended = await self._mended(attempt, error)
            if mended is not None:
                return mended
            if isinstance(error, AuthenticationError):
                renewed = await self._services.key_refresher.other(target)
                if renewed is not None:
                    return await self._try(renewed)
            if not isinstance(error, ModelOutputError):  # the provider did its part
                self._router.failed(target, error)
            raise
        except ProtocolError as error:
            self.is_under_way = False
            self.lost.append(target)
            self._note_failed(target, began_at, error)
            if trace is not None:
                trace.failed(error)
            self._router.failed(
                target, UpstreamConnectionError("the provider's answer is malformed")
            )
            raise
        self._router.succeeded(target)
        self._services.metrics.count_attempt(target.provider.name, "ok")
        self.attempt = found.attempt
        return found

    async def _mended(
        self, attempt: Attempt, error: UpstreamError
    ) -> WholeAnswer | StreamedAnswer | None:
        """The answer to the request as its refusal asks for it: once for each target."""
        services, target = self._services, attempt.target
        if not services.server.corrections:
            return None
        refused = attempt.refused(error)
        before = target.refused
        if before is not None:
            path = "" if refused is None else refused.corrections[0].path
            if before.lasts and path not in ("", before.corrections[0].path):
                # The first change was taken.
                await services.corrections.remember(before.corrections)
            return None
        if refused is None:
            return None
        again = replace(target, refused=refused)
        try:
            other = await self._client_request.attempt(again, services)
        except RequestError:
            return None  # what would be left of it cannot be said there, or may not be lost
        if (other.http.body, other.http.headers) == (attempt.http.body, attempt.http.headers):
            return None
        found = await self._try(again)
        if refused.lasts:
            await services.corrections.remember(refused.corrections)
        return found

    def _note_failed(self, target: Target, began_at: float, error: PolycallError) -> None:
        self.failed.append(FailedAttempt(target, began_at, time.monotonic(), error))
        report_failure(self._gateway_request.id, target, error, self._services.metrics)

    async def _send(self, attempt: Attempt) -> WholeAnswer | StreamedAnswer:
        self._gateway_request.heard_at = time.monotonic()
        left_s = max(self._gateway_request.ends_at - self._gateway_request.heard_at, 0.001)
        server = self._server
        deadlines = Deadlines(server.connect_s, server.read_s, left_s)
        # The long answers of one provider are read one after the other, away from the loop.
        run = partial(self._services.heavy.run, f"provider {attempt.target.provider.name}")
        http = await send(self._services.transport, attempt.http, deadlines)
        http = unframed(http, attempt.dialect.STREAM_TYPE, run)
        try:
            if http.status != 200:
                await _raise_refusal(attempt, http)
            if self._client_request.streams:
                streaming = StreamedAnswer(attempt.begun(), http, self._services.heavy)
                await streaming.begin(self._gateway_request)
                return streaming
            return await self._read(attempt, http, deadlines, run)
        except BaseException:
            await http.close()
            raise

    async def _read(
        self, attempt: Attempt, http: HTTPResponse, deadlines: Deadlines, run: Run
    ) -> WholeAnswer:
        if attempt.exchange is not None:
            transport = self._services.transport
            size_bytes = 0

            def noted(size: int, work: Callable[[], Any]) -> Awaitable[Any]:
                nonlocal size_bytes
                size_bytes += size
                return run(size, work)

            response = await read_answer(
                attempt.exchange,
                http,
                lambda again: open_answer(transport, again, deadlines, run),
                noted,
            )
            return WholeAnswer(
                attempt.begun(), http, response, usage=response.usage, size_bytes=size_bytes
            )
        bytes_max = attempt.target.provider.whole_bytes_max
        body = taken_whole(http, bytes_max)
        if body is None:
            body = await http.read(size_bytes_max=bytes_max)
            await http.close()
        if len(body) < LONG_BYTES:
            return _looked_through(attempt.begun(), http, [body])
        size_bytes, held = len(body), [body]
        del body  # one that is mended goes once it is read
        return await run(size_bytes, partial(_looked_through, attempt.begun(), http, held))


def _looked_through(attempt: Attempt, http: HTTPResponse, held: list[bytes]) -> WholeAnswer:
    dialect, body = attempt.dialect, held[0]
    plain = read_plain_answer(body) if dialect.NAME == "openai-chat" else None
    if plain is not None:
        return WholeAnswer(attempt, http, None, body, plain.usage, calls=plain.calls)
    if attempt.mends and not is_plain_answer(body):
        size_bytes = len(body)
        del body
        response = read_whole(dialect, held.pop())
        return WholeAnswer(attempt, http, response, usage=response.usage, size_bytes=size_bytes)
    calls = CallCounter(dialect).in_body(body)
    return WholeAnswer(attempt, http, None, body, usage_of(dialect, body), calls=calls)


async def _raise_refusal(attempt: Attempt, http: HTTPResponse) -> NoReturn:
    data = await http.read(size_bytes_max=ERROR_BYTES_MAX)
    raise error_from(attempt.dialect, http, data, attempt.target.model)


def _is_final(error: PolycallError) -> bool:
    """Whether no other target may be asked: the request itself is at fault, not the provider."""
    if isinstance(error, UpstreamError):
        return not error.should_retry and not isinstance(error, _OTHERS_MAY)
    # What one target cannot express, another may.
    return False


def _is_passing(error: PolycallError) -> bool:
    """Whether the same target may do better the next time."""
    if isinstance(error, UpstreamError):
        return error.should_retry
    return not isinstance(error, RequestError | UnreadableCallError)


def _more_telling(last: PolycallError | None, error: PolycallError) -> PolycallError:
    """The error to report: what a provider said, rather than that another could not be asked."""
    if isinstance(last, UpstreamError) and isinstance(error, RequestError):
        return last
    return error
