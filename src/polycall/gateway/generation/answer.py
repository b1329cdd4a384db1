"""From an answer to the client's bytes: whole or streamed, translated or passed through."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from msgspec.structs import replace

from polycall._support import jsontext
from polycall.dialects import openai_responses
from polycall.errors import PolycallError, ProtocolError
from polycall.gateway.generation.attempt import Attempt
from polycall.gateway.generation.attempts import (
    AttemptRunner,
    StreamedAnswer,
    WholeAnswer,
)
from polycall.gateway.generation.client_request import ClientRequest
from polycall.gateway.generation.request_usage import RequestUsage
from polycall.gateway.http.framers import ArrayEncoder
from polycall.gateway.http.replies import (
    Headers,
    base_headers,
    dated,
    drop_traceback,
    send_json,
    upstream_headers,
)
from polycall.gateway.http.request import GatewayRequest
from polycall.gateway.observability.attempt_report import report_failure
from polycall.gateway.passthrough.call_counter import in_parts
from polycall.gateway.passthrough.made_resources import MadeResources
from polycall.gateway.passthrough.model_name import NamedStream, named_as_asked
from polycall.gateway.passthrough.stream import frames_with
from polycall.gateway.services import GatewayServices
from polycall.gateway.state.carried import Origin
from polycall.gateway.state.carrier import marks_calls
from polycall.gateway.state.embedder import Embedder
from polycall.ir import (
    Event,
    PartStart,
    Reasoning,
    Response,
    ResponseEnd,
    ResponseStart,
    ToolCall,
)
from polycall.translation.wire import Encoder

_ARRAY = (b"content-type", b"application/json; charset=utf-8")
_NO_CACHE = (b"cache-control", b"no-cache")
_NO_BUFFER = (b"x-accel-buffering", b"no")  # proxies that would hold the stream back


async def answer(
    client_request: ClientRequest,
    gateway_request: GatewayRequest,
    services: GatewayServices,
    account: RequestUsage,
) -> None:
    """Answer one request; raises what went wrong before the status was sent."""
    runner = AttemptRunner(client_request, gateway_request, services)
    if client_request.streams:
        await _Stream(client_request, gateway_request, services, account).run(runner)
        return
    try:
        plain = await runner.plain()
    finally:
        account.note(runner)
    account.usage, account.has_ended = plain.usage, True
    account.first_at = time.monotonic()
    await _send_plain(client_request, gateway_request, services, account, plain)


async def _send_plain(
    client_request: ClientRequest,
    gateway_request: GatewayRequest,
    services: GatewayServices,
    account: RequestUsage,
    plain: WholeAnswer,
) -> None:
    attempt, response = plain.attempt, plain.response
    warnings = attempt.warnings
    if response is not None:
        warnings = [*warnings, *[each for each in response.warnings if each not in warnings]]
    headers = base_headers(gateway_request, attempt.target.name, warnings)
    if response is None:
        body = plain.body
        account.calls = plain.calls
        headers.extend(upstream_headers(plain.http.headers))
        if client_request.earlier.may_be_noted(attempt, body):
            await _note_made(body, client_request, attempt, services, body)
        if attempt.asked and (mark := attempt.dialect.FACTS.model_mark):
            body = named_as_asked(body, mark, attempt.asked)
    else:
        account.calls = in_parts(response.message.parts)
        # What takes long for a long answer is done away from the loop.
        run = partial(services.heavy.run, f"provider {attempt.target.provider.name}")
        if attempt.carries and _may_be_marked(client_request, attempt, response):
            embedder = _embedder(client_request, attempt, services)
            response = await run(plain.size_bytes, partial(embedder.response, response))
            await embedder.finish()
        is_kept = client_request.earlier.is_kept_by(attempt, services)
        if is_kept:
            name = client_request.dialect.NAME
            response = replace(response, id=own_id(gateway_request, name))
        echoed = client_request.earlier.echoed(client_request.request, is_kept=is_kept)
        if echoed is None:  # passed, and mended: calls are spelt as the client's tools are
            echoed = client_request.dialect.parse_request(client_request.body())
        # What was asked for can be asked for again; the header says what answered.
        named = replace(dated(response), model=client_request.model)
        rendered = client_request.dialect.render_response(named, echoed)
        body = jsontext.encode_bytes(rendered)
        if is_kept:
            await client_request.earlier.keep(services, rendered)
        elif client_request.earlier.may_be_noted(attempt, body):
            await _note_made(response.id, client_request, attempt, services, body)
    usage = attempt.priced(account.usage)
    account.cost = services.costs.known(attempt.target.provider, attempt.target.model, usage)
    account.reckoned = account.usage
    if account.cost is not None:
        headers.append((b"polycall-cost-usd", f"{account.cost:f}".encode()))
    await send_json(gateway_request, 200, body, headers)


async def _note_made(
    named: str | bytes,
    client_request: ClientRequest,
    attempt: Attempt,
    services: GatewayServices,
    body: bytes,
) -> None:
    """Note whose a whole answer is, and what it says that its provider keeps."""
    made = MadeResources(client_request.dialect)
    await services.heavy.run(client_request.owner_id, len(body), made.in_body, body)
    await client_request.earlier.note_made(attempt, services, named, made.ids)


def _may_be_marked(client_request: ClientRequest, attempt: Attempt, response: Response) -> bool:
    """Whether some part says more than its words, or is one that a client's vendor would refuse."""
    client = client_request.dialect.NAME
    is_foreign = client != attempt.dialect.NAME
    for part in response.message.parts:
        if part.metadata or (is_foreign and type(part) is Reasoning):
            return True
        if is_foreign and type(part) is ToolCall and marks_calls(client):
            return True
    return False


def _embedder(
    client_request: ClientRequest, attempt: Attempt, services: GatewayServices
) -> Embedder:
    target = attempt.target
    origin = Origin(attempt.dialect.NAME, target.provider.name, target.model)
    client, request = client_request.dialect.NAME, client_request.request
    # Clients of Anthropic's own wire bring all thinking back.
    kept = request if client != origin.dialect and _is_bound(attempt) else None
    return Embedder(
        services.carrier,
        origin,
        client_request.owner.id,
        client,
        None if kept is None else kept.messages,
        tools=[] if kept is None else [tool.name for tool in kept.tools],
    )


def _is_bound(attempt: Attempt) -> bool:
    target = attempt.target
    return target.provider.quirks_for(target.model, attempt.dialect.NAME).prefix_bound


def own_id(gateway_request: GatewayRequest, dialect: str = "openai-responses") -> str:
    """An answer's id that no other answer has, whatever its provider calls it."""
    head = "v1_" if dialect == "gemini-interactions" else "resp_"
    return head + gateway_request.id.removeprefix("req_")


def stream_headers(client_request: ClientRequest) -> Headers:
    """What every streamed answer says of its form."""
    content_type = _ARRAY
    if not client_request.wants_array:
        content_type = (b"content-type", client_request.dialect.STREAM_TYPE.encode())
    return [content_type, _NO_CACHE, _NO_BUFFER]


class _Stream:
    """One streamed answer.

    The status waits for the upstream's first event, or for the first heartbeat: a client that
    would give up on a silent connection is worth more than a status that is always right.
    """

    def __init__(
        self,
        client_request: ClientRequest,
        gateway_request: GatewayRequest,
        services: GatewayServices,
        account: RequestUsage,
    ) -> None:
        self._client_request = client_request
        self._gateway_request = gateway_request
        self._services = services
        self._account = account
        self._heartbeat = client_request.dialect.FACTS.heartbeat
        self._streaming: StreamedAnswer | None = None
        self._encoder: Encoder | None = None
        self._embedder: Embedder | None = None
        self._is_kept = False  # whether the client may refer to the answer's items
        self._is_theirs = False  # whether its provider may keep it for the client
        self._their_name = ""  # by which the provider knows it, until that is noted
        self._made = MadeResources(client_request.dialect)  # and what came with it
        self._names: NamedStream | None = None  # of a stream that is passed on
        self._is_reading = False  # a long event, in a thread
        self._has_last = False  # the latest events end the answer, and something has to be kept

    async def run(self, runner: AttemptRunner) -> None:
        """Send the answer; errors after the status are told inside of the stream."""
        gateway_request = self._gateway_request
        if self._heartbeat:
            gateway_request.beat = self._beat
        try:
            await self._run(runner)
        except asyncio.CancelledError as cancelled:
            await self._fail(gateway_request.reason_or_raise(cancelled))
            drop_traceback(cancelled)
        except PolycallError as error:
            await self._fail(error)
            drop_traceback(error)
        finally:
            gateway_request.beat = None
            await self._note_theirs()  # of an answer that was broken off, too
            if self._streaming is not None:
                self._note_used(self._streaming)
                await self._streaming.http.close()

    async def _run(self, runner: AttemptRunner) -> None:
        account, gateway_request = self._account, self._gateway_request
        try:
            streaming = self._streaming = await runner.streaming()
        finally:
            account.note(runner)
        account.first_at = time.monotonic()
        if not gateway_request.started:
            await self._start(streaming.attempt, upstream_headers(streaming.http.headers))
        if streaming.observer is not None:
            await self._pass_on(streaming)
        else:
            await self._translate(streaming)

    async def _start(self, attempt: Attempt | None, passed: Sequence[tuple[bytes, bytes]]) -> None:
        headers = stream_headers(self._client_request)
        if attempt is None:
            headers.extend(base_headers(self._gateway_request, "", []))
        else:
            headers.extend(
                base_headers(self._gateway_request, attempt.target.name, attempt.warnings)
            )
            if attempt.exchange is None:
                headers.extend(passed)
        await self._gateway_request.send_start(200, headers)

    async def _beat(self) -> None:
        streaming = self._streaming
        observer = None if streaming is None else streaming.observer
        if self._is_reading or (observer is not None and not observer.at_boundary):
            return
        if not self._gateway_request.started:
            await self._start(None, ())
        await self._gateway_request.send_body(self._heartbeat, more=True)

    # Passed through

    async def _pass_on(self, streaming: StreamedAnswer) -> None:
        gateway_request, observer = self._gateway_request, streaming.observer
        assert observer is not None
        data, streaming.data = streaming.data, b""
        attempt = streaming.attempt
        await self._client_request.earlier.note_made(attempt, self._services, data)
        if attempt.asked and observer.is_sse and attempt.dialect.FACTS.model_mark:
            self._names = NamedStream(attempt.dialect.FACTS.model_mark, attempt.asked)
            data = await streaming.read(self._names.feed, data)
        if not streaming.is_finished:
            if data:
                await gateway_request.send_body(data, more=True)
            await streaming.push_to(self._take_passed)
            try:
                data = await streaming.read(lambda _: observer.close(), b"")
            except PolycallError as error:
                is_told = observer.error is not None and not observer.is_broken
                if is_told and not isinstance(error, ProtocolError):
                    # The stream told of its error itself, in the client's own protocol.
                    self._report(observer.error or error)
                    await gateway_request.send_body(b"")
                    return
                raise
            if self._names is not None:
                data = self._names.feed(data)
        await self._note_theirs()
        await gateway_request.send_body(data)

    def _take_passed(self, chunk: bytes) -> Awaitable[None] | None:
        streaming = self._streaming
        assert streaming is not None
        assert streaming.observer is not None
        self._gateway_request.heard_at = time.monotonic()
        observer = streaming.observer
        if streaming.is_long(chunk):
            return self._take_long(streaming, self._passed, chunk)
        data = self._passed(chunk)
        rest = self._gateway_request.push_body(data) if data else None
        if rest is None and observer.is_broken and observer.error is not None:
            raise observer.error
        return rest

    def _passed(self, chunk: bytes) -> bytes:
        assert self._streaming is not None
        assert self._streaming.observer is not None
        data = self._streaming.observer.feed(chunk)
        return data if not data or self._names is None else self._names.feed(data)

    async def _take_long(
        self, streaming: StreamedAnswer, work: Callable[[bytes], bytes], chunk: bytes
    ) -> None:
        """Take bytes in which a long event may end, without holding the loop."""
        self._is_reading = True  # nothing may stand within it
        try:
            data = await streaming.read(work, chunk)
            if self._has_last:
                await self._send_last(data)
            elif data:
                await self._gateway_request.send_body(data, more=True)
        finally:
            self._is_reading = False
        observer, decoder = streaming.observer, streaming.decoder
        error = None if observer is None or not observer.is_broken else observer.error
        if (error := error if decoder is None else decoder.error) is not None:
            raise error

    # Translated

    async def _translate(self, streaming: StreamedAnswer) -> None:
        client_request, gateway_request, decoder = (
            self._client_request,
            self._gateway_request,
            streaming.decoder,
        )
        assert decoder is not None
        self._is_kept = client_request.earlier.is_kept_by(streaming.attempt, self._services)
        is_own_wire = streaming.attempt.dialect.NAME == client_request.dialect.NAME
        self._is_theirs = is_own_wire and not self._is_kept
        echoed = client_request.earlier.echoed(client_request.request, is_kept=self._is_kept)
        encoder: Encoder = client_request.dialect.StreamEncoder(echoed)
        if client_request.wants_array:
            encoder = ArrayEncoder(encoder)
        if streaming.attempt.carries:
            self._embedder = _embedder(client_request, streaming.attempt, self._services)
        self._encoder = encoder
        events, streaming.events = streaming.events, []
        if not streaming.is_finished:
            await self._send_events(events)
            await streaming.push_to(self._take_translated)
            if decoder.error is not None:
                raise decoder.error
            events = await streaming.read(lambda _: decoder.close(), b"")
        while await streaming.continues(gateway_request, self._services):
            await self._send_events(events)
            await streaming.push_to(self._take_translated)
            if decoder.error is not None:
                raise decoder.error
            events = await streaming.read(lambda _: decoder.close(), b"")
        data = self._encode(events) + encoder.close()
        await self._keep()
        await gateway_request.send_body(data)

    def _take_translated(self, chunk: bytes) -> Awaitable[None] | None:
        streaming = self._streaming
        assert streaming is not None
        decoder = streaming.decoder
        assert decoder is not None
        self._gateway_request.heard_at = time.monotonic()
        if streaming.is_long(chunk):
            return self._take_long(streaming, self._translated, chunk)
        data = self._translated(chunk)
        if self._has_last:
            return self._send_last(data)
        rest = self._gateway_request.push_body(data) if data else None
        if rest is None and decoder.error is not None:
            raise decoder.error
        return rest

    def _translated(self, chunk: bytes) -> bytes:
        assert self._streaming is not None
        assert self._streaming.decoder is not None
        events = self._streaming.decoder.feed(chunk)
        is_watched = self._embedder is not None or self._is_kept or self._is_theirs
        self._has_last = is_watched and bool(events) and isinstance(events[-1], ResponseEnd)
        return self._encode(events)

    async def _send_events(self, events: list[Event]) -> None:
        """Send events that came before the answer was pushed, its end perhaps among them."""
        data = self._encode(events)
        if events and isinstance(events[-1], ResponseEnd):
            await self._send_last(data)
        elif data:
            await self._gateway_request.send_body(data, more=True)

    async def _send_last(self, data: bytes) -> None:
        await self._keep()
        if data:
            await self._gateway_request.send_body(data, more=True)

    async def _keep(self) -> None:
        """Keep what the client may come back with, before it can."""
        if self._embedder is not None:
            await self._embedder.finish()
        if self._is_kept:
            self._is_kept = False
            if isinstance(self._encoder, openai_responses.StreamEncoder):
                response = self._encoder.response
            else:
                name = own_id(self._gateway_request, self._client_request.dialect.NAME)
                response = {"id": name, "steps": getattr(self._encoder, "output", [])}
            await self._client_request.earlier.keep(self._services, response)
        await self._note_theirs()

    async def _note_theirs(self) -> None:
        name, self._their_name = self._their_name, ""
        attempt, streaming = self._account.attempt, self._streaming
        observer = None if streaming is None else streaming.observer
        made = (self._made if observer is None else observer.made).taken()
        if (name or made) and attempt is not None:
            await self._client_request.earlier.note_made(attempt, self._services, name, made)

    def _encode(self, events: list[Event]) -> bytes:
        encoder, embedder, account = self._encoder, self._embedder, self._account
        if not events or encoder is None:
            return b""
        account.steps += len(events)
        if isinstance(first := events[0], ResponseStart):
            if self._is_kept:
                name = self._client_request.dialect.NAME
                first = replace(first, id=own_id(self._gateway_request, name))
            elif self._is_theirs:
                self._their_name = first.id
            first = replace(dated(first), model=self._client_request.model)
            events = [first, *events[1:]]
        if isinstance(last := events[-1], ResponseEnd):
            account.usage, account.has_ended = last.usage, True
        pieces: list[bytes] = []
        for event in events:
            if isinstance(event, PartStart) and isinstance(event.part, ToolCall):
                account.calls += 1
            pieces.append(encoder.feed(event if embedder is None else embedder.event(event)))
        data = b"".join(pieces)
        if self._is_theirs:
            for start, end in frames_with(self._made.marks, data, b"\n\n"):
                self._made.in_frame(data[start:end])
        return data

    def _report(self, error: PolycallError) -> None:
        """Note that an answer which had begun ended by this."""
        self._account.fail(error)
        attempt = self._account.attempt
        if attempt is not None:
            report_failure(self._gateway_request.id, attempt.target, error, self._services.metrics)

    async def _fail(self, error: Exception) -> None:
        """End a stream that has begun as the client's protocol says errors end it."""
        gateway_request = self._gateway_request
        if not gateway_request.started or not isinstance(error, PolycallError):
            raise error
        self._report(error)
        encoder = self._encoder
        if encoder is None:
            encoder = self._client_request.dialect.StreamEncoder(self._client_request.request)
            if self._client_request.wants_array:
                encoder = ArrayEncoder(encoder, began=True)
        await gateway_request.send_body(encoder.fail(error))

    def _note_used(self, streaming: StreamedAnswer) -> None:
        account, observer, decoder = self._account, streaming.observer, streaming.decoder
        if observer is not None:
            observer.break_off()
            account.usage, account.has_ended = observer.usage, observer.ended
            account.steps, account.calls = observer.frames, observer.calls
        elif decoder is not None and not account.has_ended:
            account.usage = decoder.usage
