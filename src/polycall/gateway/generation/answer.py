"""From an answer to the client's bytes: whole or streamed, translated or passed through."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from msgspec.structs import replace

from polycall._support.json_weight import LONG_BYTES
from polycall.dialects import openai_responses
from polycall.errors import PolycallError, ProtocolError
from polycall.gateway.generation.attempt import Attempt
from polycall.gateway.generation.attempts import (
    AttemptRunner,
    StreamedAnswer,
)
from polycall.gateway.generation.client_request import ClientRequest
from polycall.gateway.generation.plain_answer import embedder_for, own_id, send_plain
from polycall.gateway.generation.request_usage import RequestUsage
from polycall.gateway.http.framers import ArrayEncoder
from polycall.gateway.http.replies import (
    Headers,
    base_headers,
    dated,
    drop_traceback,
    upstream_headers,
)
from polycall.gateway.http.request import GatewayRequest
from polycall.gateway.observability.attempt_report import report_failure
from polycall.gateway.passthrough.call_counter import in_events
from polycall.gateway.passthrough.made_resources import MadeResources
from polycall.gateway.passthrough.model_name import NamedStream
from polycall.gateway.passthrough.stream import frames_with
from polycall.gateway.services import GatewayServices
from polycall.gateway.state.embedder import Embedder
from polycall.ir import (
    Event,
    PartDelta,
    ResponseEnd,
    ResponseStart,
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
    await send_plain(client_request, gateway_request, services, account, plain)


def stream_headers(client_request: ClientRequest) -> Headers:
    """The headers of every streamed answer."""
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
        self._is_at_end = False  # the end of the answer is encoded
        self._unsent: bytes | None = None  # made, while this may be cancelled before it is sent
        self._has_last = False  # the latest events end the answer, and something has to be kept

    async def run(self, runner: AttemptRunner) -> None:
        """Send the answer; errors after the status are sent inside the stream."""
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
                await self._apart(len(data), gateway_request.framed, data)
                await self._send_made()
            await streaming.push_to(self._take_passed)
            try:
                data = await streaming.read(lambda _: observer.close(), b"")
            except PolycallError as error:
                is_told = observer.error is not None and not observer.is_broken
                if is_told and not isinstance(error, ProtocolError):
                    # The stream reported its error itself, in the client's own protocol.
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
        framed = self._gateway_request.framed
        try:
            data = await streaming.read(lambda piece: framed(work(piece)), chunk)
            if data:
                await self._gateway_request.send_framed(data, more=True)
        finally:
            self._is_reading = False
        observer = streaming.observer
        if observer is not None and observer.is_broken and observer.error is not None:
            raise observer.error

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
            self._embedder = embedder_for(client_request, streaming.attempt, self._services)
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
        await self._send_events(events)
        await self._keep()
        await gateway_request.send_body(encoder.close())

    def _take_translated(self, chunk: bytes) -> Awaitable[None] | None:
        streaming = self._streaming
        assert streaming is not None
        assert streaming.decoder is not None
        self._gateway_request.heard_at = time.monotonic()
        if streaming.is_long(chunk):
            return self._take_long_events(streaming, chunk)
        events = self._decoded(chunk)
        if self._are_long(events) or self._has_last:
            return self._send_or_fail(events)
        data = self._encode(events)
        rest = self._gateway_request.push_body(data) if data else None
        if rest is None and streaming.decoder.error is not None:
            raise streaming.decoder.error
        return rest

    async def _take_long_events(self, streaming: StreamedAnswer, chunk: bytes) -> None:
        self._is_reading = True  # nothing may stand within an event
        try:
            events = await streaming.read(self._decoded, chunk)
        finally:
            self._is_reading = False
        await self._send_or_fail(events)

    async def _send_or_fail(self, events: list[Event]) -> None:
        """Send events, and raise the error that came behind them."""
        await self._send_events(events)
        decoder = None if self._streaming is None else self._streaming.decoder
        if decoder is not None and decoder.error is not None:
            raise decoder.error

    def _decoded(self, chunk: bytes) -> list[Event]:
        assert self._streaming is not None
        assert self._streaming.decoder is not None
        return self._noted(self._streaming.decoder.feed(chunk))

    def _noted(self, events: list[Event]) -> list[Event]:
        is_watched = self._embedder is not None or self._is_kept or self._is_theirs
        self._has_last = is_watched and bool(events) and isinstance(events[-1], ResponseEnd)
        return events

    def _are_long(self, events: list[Event]) -> bool:
        """Whether what is sent for them is long: their own texts, or those that they end."""
        assert self._encoder is not None
        size_bytes = 0
        repeated_bytes = self._encoder.repeated_bytes
        for event in events:
            size_bytes += len(event.text) if type(event) is PartDelta else repeated_bytes
        return size_bytes > LONG_BYTES

    async def _send_events(self, events: list[Event]) -> None:
        """Send what the events are in the client's protocol; what is long, a piece at a time."""
        if not self._are_long(self._noted(events)):
            self._unsent = self._gateway_request.framed(self._encode(events))
            self._is_at_end = bool(events) and isinstance(events[-1], ResponseEnd)
            if self._has_last:
                await self._keep()
            await self._send_made()
            return
        frames = self._frames(events)
        while await self._apart(LONG_BYTES, self._next_of, frames):
            if self._is_at_end:
                await self._keep()
            await self._send_made()

    def _next_of(self, frames: Iterator[bytes]) -> bytes | None:
        """The next of them, as it is sent; `None` behind the last."""
        frame = next(frames, None)
        return None if frame is None else self._gateway_request.framed(frame)

    async def _apart(self, size_bytes: int, work: Callable[..., bytes | None], *given: Any) -> bool:
        """Make what takes long for so many bytes away from the loop, and send nothing meanwhile.

        Whether there is something to send: where this is cancelled, what was made is there too.
        """

        def make() -> None:
            self._unsent = work(*given)

        self._is_reading = True
        try:
            await self._services.heavy.run(self._client_request.owner_id, size_bytes, make)
        finally:
            self._is_reading = False
        return self._unsent is not None

    async def _send_made(self) -> None:
        data, self._unsent = self._unsent, None
        if data:
            await self._gateway_request.send_framed(data, more=True)

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
        encoder = self._encoder
        if not events or encoder is None:
            return b""
        data = b"".join([encoder.feed(event) for event in self._shown(events)])
        self._note_made(data)
        return data

    def _frames(self, events: list[Event]) -> Iterator[bytes]:
        """The same, an event of the client's wire at a time."""
        assert self._encoder is not None
        shown = deque(self._shown(events))
        events.clear()  # a long text is let go of once it is encoded
        while shown:
            self._is_at_end = isinstance(shown[0], ResponseEnd)
            # No variable has a frame while it is sent.
            yield from map(self._note_made, self._encoder.frames(shown.popleft()))

    def _note_made(self, data: bytes) -> bytes:
        if self._is_theirs:
            for start, end in frames_with(self._made.marks, data, b"\n\n"):
                self._made.in_frame(data[start:end])
        return data

    def _shown(self, events: list[Event]) -> list[Event]:
        """The events as the client may see them; what they tell is counted."""
        embedder, account = self._embedder, self._account
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
        account.calls += in_events(events)
        return events if embedder is None else [embedder.event(event) for event in events]

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
        is_whole = self._is_at_end and self._unsent is not None
        if is_whole:
            await self._keep()
        await self._send_made()
        await gateway_request.send_body(encoder.close() if is_whole else encoder.fail(error))

    def _note_used(self, streaming: StreamedAnswer) -> None:
        account, observer, decoder = self._account, streaming.observer, streaming.decoder
        if observer is not None:
            observer.break_off()
            account.usage, account.has_ended = observer.usage, observer.ended
            account.steps, account.calls = observer.frames, observer.calls
        elif decoder is not None and not account.has_ended:
            account.usage = decoder.usage
