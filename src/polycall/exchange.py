"""One request and its answer, for one provider: what the client and the gateway have in common.

`prepare` makes everything but the sending, `open_answer` sends and turns a refusal into its typed
error, `AnswerDecoder` makes events of the bytes.  Retries, choices and history are the caller's.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from polycall._support import json_weight, jsontext
from polycall._support.json_weight import LONG_BYTES, HeavyJSONError
from polycall.errors import (
    NotFoundError,
    PolycallError,
    ProtocolError,
    RequestError,
    ToolDefinitionError,
    UpstreamError,
)
from polycall.fold import fold, unfold
from polycall.ir import Event, PartStart, Request, Response, ResponseEnd, Usage, Warning
from polycall.profiles.corrections import (
    Correction,
    Refused,
    corrected,
    corrected_quirks,
    read_refusal,
)
from polycall.profiles.fitting import fitted
from polycall.profiles.names import near_names, vendor_of
from polycall.providers.credentials import credential_for
from polycall.providers.dialects import DIALECTS
from polycall.providers.hosting import enveloped
from polycall.providers.places import address, joined_headers, place_of
from polycall.providers.provider import DialectName, Provider
from polycall.providers.unframed import unframed
from polycall.translation.caching import with_caching
from polycall.translation.continuation import Continuation, resumed
from polycall.translation.conversation import known_of
from polycall.translation.conversation_text import encoded_body
from polycall.translation.dropped_state import dropped_state
from polycall.translation.failures import check_named, empty_end
from polycall.translation.quirks import Quirks
from polycall.translation.restore import RequestUndo, undone
from polycall.translation.wire import Decoder, Dialect, WireRequest
from polycall.transport.base import (
    Deadlines,
    HTTPRequest,
    HTTPResponse,
    Run,
    Transport,
    add_retry_hints,
    send,
    taken_whole,
)

if TYPE_CHECKING:
    from polycall.prompted import Offer, PromptReader

BODY_BYTES_MAX, ERROR_BYTES_MAX = 64 * 2**20, 2**20
_PARTS_MAX = 10_000  # texts, calls, pictures of a whole answer: each is rendered by itself


class Exchange(Struct, frozen=True):
    """One request, ready for one provider."""

    request: Request
    provider: Provider
    model: str  # the provider's own name for it
    dialect: Dialect
    wire: WireRequest
    http: HTTPRequest
    # Where calls are read out of the text: the request as it was sent, and the tools that count.
    sent: Request | None = None
    offer: Offer | None = None
    corrections: tuple[Correction, ...] = ()  # what earlier refusals of this target ask for
    asked: dict[str, str] = {}  # the headers of a client that speaks the provider's protocol

    def again(self, said: str, problem: str) -> Exchange:
        """The exchange after an answer that cannot be used, which the model reads once more."""
        assert self.sent is not None
        return self._sending(_prompted().ask_again(self.sent, said, problem))

    def resumed(self, token: str) -> Exchange:
        """The exchange that continues with an answer which was broken off."""
        assert self.sent is not None
        return self._sending(resumed(self.sent, token))

    def _sending(self, sent: Request) -> Exchange:
        quirks = self.provider.quirks_for(self.model, self.dialect.NAME)
        quirks = corrected_quirks(quirks, self.corrections)
        wire = self.dialect.render_request(replace(sent, model=self.model), quirks=quirks)
        wire, _ = _corrected(wire, self.corrections, {})
        body = _http(sent, self.provider, self.model, "", wire, asked=self.asked).body
        return replace(self, sent=sent, wire=wire, http=replace(self.http, body=body))

    def refused(self, error: PolycallError) -> Refused | None:
        """The change that a refusal of this request asks for; `None` where it asks for none."""
        return read_refusal(
            error,
            self.wire.body,
            self.http.headers,
            provider=self.provider.name,
            address=self.provider.base_url,
            model=self.model,
            dialect=self.dialect.NAME,
        )


def prepare(
    request: Request,
    provider: Provider,
    model: str,
    key: str,
    dialect_name: DialectName | None = None,
    *,
    corrections: tuple[Correction, ...] = (),
    asked: dict[str, str] | None = None,
) -> Exchange:
    """Everything but the sending: dialect (where it is not given), body, address, headers.

    `corrections` are what refusals of this target asked for, `asked` the headers of a client that
    speaks the provider's protocol.
    """
    if dialect_name is None:
        dialect_name = provider.dialect_for(with_tools=is_tool_use(request))
    dialect = DIALECTS[dialect_name]
    quirks, known = provider.rules_for(model, dialect_name)
    request, notes = (request, []) if known is None else fitted(request, known)
    quirks = corrected_quirks(quirks, corrections) if corrections else quirks
    request = with_caching(request, dialect_name, quirks)
    sent, offer = _with_prompted_tools(request, quirks)
    wire = dialect.render_request(replace(sent, model=model), quirks=quirks)
    if notes:
        wire = replace(wire, warnings=[*notes, *wire.warnings])
    if sent is not request:
        note = Warning(
            "emulated",
            "tools",
            "they are described in the prompt, and calls are read from the text",
        )
        wire = replace(wire, warnings=[note, *wire.warnings])
    asked = asked or {}
    http = _http(sent, provider, model, key, wire, asked=asked, corrections=corrections)
    if corrections:
        wire, _ = _corrected(wire, corrections, {})
    return Exchange(request, provider, model, dialect, wire, http, sent, offer, corrections, asked)


def is_tool_use(request: Request) -> bool:
    """Whether tools are in play: offered, or called in the history."""
    return bool(request.tools) or any(message.tool_calls for message in request.messages)


def _corrected(
    wire: WireRequest, corrections: tuple[Correction, ...], headers: dict[str, str]
) -> tuple[WireRequest, dict[str, str]]:
    body, headers, warnings = corrected(wire.body, headers, corrections)
    return replace(wire, body=body, warnings=[*wire.warnings, *warnings]), headers


def _http(
    sent: Request,
    provider: Provider,
    model: str,
    key: str,
    wire: WireRequest,
    *,
    asked: dict[str, str],
    corrections: tuple[Correction, ...] = (),
) -> HTTPRequest:
    url, headers = place_of(provider, key, wire.path, stream=sent.stream)
    if asked:
        headers = joined_headers(headers, asked)
    if wire.headers:
        headers = joined_headers(headers, wire.headers)
    if corrections:
        wire, headers = _corrected(wire, corrections, headers)
    body = wire.body
    if provider.hosting:
        envelope = enveloped(provider.hosting, model, headers, stream=sent.stream)
        url, headers = address(provider, envelope.path), envelope.headers
        kept = {name: each for name, each in body.items() if name not in envelope.leaves_out}
        body = {**envelope.adds, **kept}
    return HTTPRequest(
        url=url,
        headers=headers,
        body=encoded_body(body, known_of(sent.messages), (provider.name, model)),
        credential=credential_for(provider, key),
    )


def _with_prompted_tools(request: Request, quirks: Quirks) -> tuple[Request, Offer | None]:
    """The request as this target takes tools, and those whose calls stand in its text."""
    in_prompt = request.prompted or quirks.tools == "prompted"
    if not in_prompt and quirks.tools != "both":
        return request, None
    if not request.tools and not any(each.tool_calls for each in request.messages):
        return request, None
    prompted = _prompted()
    try:
        offer = prompted.Offer(prompted.callable_tools(request), is_lenient=not in_prompt)
    except ToolDefinitionError as error:
        raise RequestError(str(error), path="tools") from None
    by_schema = "json_schema" in quirks.response_formats
    sent = prompted.prompted(request, by_schema=by_schema) if in_prompt else request
    return sent, offer if offer.tools else None


def _prompted() -> Any:
    # Loaded by those who need it.
    return importlib.import_module("polycall.prompted")


def environment_key(provider: Provider) -> str:
    """The provider's key from the environment; empty where it needs none.

    Raises `RequestError` where it needs one and there is none.
    """
    for variable in provider.key_variables:
        key = os.environ.get(variable, "")
        if key:
            return key
    if provider.needs_key:
        raise RequestError(
            f"no key for provider {provider.name!r}; set "
            f"{' or '.join(provider.key_variables) or 'it in the configuration'}"
        )
    return ""


async def open_answer(
    transport: Transport, exchange: Exchange, deadlines: Deadlines, run: Run | None = None
) -> HTTPResponse:
    """Send, and give the answer whose status is 200; any other raises its typed error."""
    http = await send(transport, exchange.http, deadlines)
    http = unframed(http, exchange.dialect.STREAM_TYPE, run)
    if http.status == 200:
        return http
    try:
        data = await http.read(size_bytes_max=ERROR_BYTES_MAX)
    finally:
        await http.close()
    raise error_from(exchange.dialect, http, data, exchange.model)


async def read_answer(
    exchange: Exchange,
    http: HTTPResponse,
    send: Callable[[Exchange], Awaitable[HTTPResponse]],
    run: Run | None = None,
) -> Response:
    """The whole answer in the caller's own terms, with the warnings of the request.

    One whose calls cannot be read is asked for again, by `send`; one that was broken off is gone
    on with.  `run` does what takes long for an answer of so many bytes.
    """
    response = await _read_rounds(exchange, http, send, run)
    if exchange.offer is not None:
        reader: PromptReader = _prompted().PromptReader(exchange.request, exchange.offer)
        warnings = response.warnings
        events = [read for event in unfold(response) for read in reader.feed(event)]
        current = exchange
        while reader.problem:
            current = current.again(reader.said, reader.problem)
            http = await send(current)
            response = await _read_rounds(current, http, send, run)
            events += [read for event in unfold(response) for read in reader.feed(event)]
        if reader.error is not None:
            raise reader.error
        response = replace(fold(events), warnings=warnings)
    response = undone(response, exchange.request, exchange.wire)
    dropped = dropped_state(response)
    if not exchange.wire.warnings and not dropped:
        return response
    warnings = [*exchange.wire.warnings, *response.warnings, *dropped]
    return replace(response, warnings=warnings)


async def _read_rounds(
    exchange: Exchange,
    http: HTTPResponse,
    send: Callable[[Exchange], Awaitable[HTTPResponse]],
    run: Run | None,
) -> Response:
    response = await _read_response(exchange, http, run)
    if response.finish_reason != "pause":
        return response
    continuation, first = Continuation(), response
    events = continuation.feed(list(unfold(first)))
    while token := continuation.take():
        exchange = exchange.resumed(token)
        response = await _read_response(exchange, await send(exchange), run)
        events += continuation.feed(list(unfold(response)))
    return first if response is first else replace(fold(events), warnings=first.warnings)


async def _read_response(exchange: Exchange, http: HTTPResponse, run: Run | None) -> Response:
    bytes_max = exchange.provider.whole_bytes_max
    data = taken_whole(http, bytes_max)
    if data is None:
        try:
            data = await http.read(size_bytes_max=bytes_max)
        finally:
            await http.close()
    try:
        size_bytes, held = len(data), [data]
        del data  # nobody else has it: it goes once it is read, before its parts are made
        work = partial(_parse_response, exchange.dialect, held)
        response = work() if run is None or size_bytes < LONG_BYTES else await run(size_bytes, work)
    except UpstreamError as error:  # an error body behind a status of 200
        add_retry_hints(error, http.headers)
        raise
    if response.finish_reason != "error":
        return response
    detail = f"it ended with {response.raw_finish_reason[:80]!r}, which is not a normal end"
    return replace(
        response, warnings=[*response.warnings, Warning("adjusted", "finish_reason", detail)]
    )


def _parse_response(dialect: Dialect, held: list[bytes]) -> Response:
    response = dialect.parse_response(_decode_body(held.pop()))
    check_named(response.id, response.model)
    if len(response.message.parts) > _PARTS_MAX:
        raise ProtocolError(f"the answer has more than {_PARTS_MAX} parts")
    if response.finish_reason == "error" and not response.message.parts:
        raise empty_end(response.raw_finish_reason)
    return response


class AnswerDecoder:
    """Bytes of one streamed answer in, events in the caller's own terms out, as `Decoder` has it.

    After `close`, `again` is what must be sent to have the rest of the answer.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange: Exchange = exchange
        self._decoder: Decoder = exchange.dialect.StreamDecoder()
        self._decoder.event_bytes_max = exchange.provider.event_bytes_max
        self._restorer = RequestUndo(exchange.request, exchange.wire)
        self._reader: PromptReader | None = None
        if exchange.offer is not None:
            self._reader = _prompted().PromptReader(exchange.request, exchange.offer)
        self._continuation = Continuation()
        self._usage_before = Usage()  # of exchanges that are over
        self._idle = self._restorer.idle and self._reader is None
        self._is_empty = True  # no part so far
        self._size_bytes, self._size_bytes_max = 0, exchange.provider.stream_bytes_max
        self.error: PolycallError | None = None

    @property
    def usage(self) -> Usage:
        """The usage reported so far, before any end."""
        told = self._decoder.usage
        return self._usage_before + told if self._usage_before.is_reported else told

    @property
    def held_bytes(self) -> int:
        """The length of the event that has begun, in bytes."""
        return self._decoder.held_bytes

    def again(self) -> Exchange | None:
        """The next exchange of this answer; what it gives is fed like more of the same stream."""
        reader = self._reader
        if token := self._continuation.take():
            self._exchange = self._exchange.resumed(token)
        elif reader is not None and reader.problem:
            self._exchange = self._exchange.again(reader.said, reader.problem)
            self._continuation = Continuation()
            reader.problem = ""
        else:
            return None
        self._usage_before += self._decoder.usage
        self._decoder = self._exchange.dialect.StreamDecoder()
        self._decoder.event_bytes_max = self._exchange.provider.event_bytes_max
        return self._exchange

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that are known with this chunk."""
        self._size_bytes += len(chunk)
        if self._size_bytes > self._size_bytes_max:  # the fold of the events holds them all
            self.error = ProtocolError(f"the answer is larger than {self._size_bytes_max} bytes")
            return []
        events = self._continuation.feed(self._decoder.feed(chunk))
        self.error = self._decoder.error
        if self._is_empty and events and (failure := self._failure(events)) is not None:
            self.error = failure
            return []
        return events if self._idle else self._restored(events)

    def close(self) -> list[Event]:
        """The last events; raises what went wrong."""
        events = self._continuation.feed(self._decoder.close())
        if self._is_empty and events and (failure := self._failure(events)) is not None:
            raise failure
        if self._idle:
            return events
        events = self._restored(events)
        if self._reader is not None and self._reader.error is not None:
            raise self._reader.error
        return events

    def _failure(self, events: list[Event]) -> UpstreamError | None:
        """The error that an answer without any part ends with; `None` for all others."""
        for event in events:
            if isinstance(event, PartStart):
                self._is_empty = False
                return None
            if isinstance(event, ResponseEnd) and event.finish_reason == "error":
                return empty_end(event.raw_finish_reason) if self._is_empty else None
        return None

    def _restored(self, events: list[Event]) -> list[Event]:
        if self._reader is not None:
            events = [read for event in events for read in self._reader.feed(event)]
            self.error = self.error or self._reader.error
        return [restored for event in events for restored in self._restorer.feed(event)]


def error_from(dialect: Dialect, http: HTTPResponse, data: bytes, model: str = "") -> PolycallError:
    """The typed error behind an HTTP status, with the headers' hints.

    Where the provider does not know `model`, the error says which of the vendor's names are near.
    """
    try:
        body = jsontext.decode(data)
    except ValueError:
        body = data.decode("utf-8", "replace")
    error = dialect.parse_error(http.status, body)
    if isinstance(error, UpstreamError):
        add_retry_hints(error, http.headers)
        if model and _is_unknown_model(error):
            _name_near_models(error, model)
    return error


def _is_unknown_model(error: UpstreamError) -> bool:
    is_parameter = error.status == 400 and error.param == "model"
    return is_parameter or isinstance(error, NotFoundError) or error.code == "model_not_found"


def _name_near_models(error: UpstreamError, model: str) -> None:
    """Add the names of the vendor's list that are like `model`, in its own body too."""
    family = vendor_of(model)
    near = near_names(family.name, model) if family is not None else []
    if not near:
        return
    told = f"{error.message} (names near {model!r}: {', '.join(map(repr, near))})"
    error.message = told
    error.args = (f"{error.path}: {told}" if error.path else told,)
    body: Any = error.body
    if isinstance(body, dict) and isinstance(body.get("error"), dict):  # pyright: ignore[reportUnknownMemberType]
        error.body = {**body, "error": {**body["error"], "message": told}}  # pyright: ignore[reportUnknownMemberType]


def check_weight(data: bytes, values_max: int = json_weight.VALUES_MAX) -> None:
    """Raise `ProtocolError` for an answer that would take too much memory to read."""
    try:
        json_weight.check_weight(data, values_max)
    except HeavyJSONError as error:
        raise ProtocolError(f"the answer is too heavy: {error}") from None


def _decode_body(data: bytes) -> dict[str, Any]:
    check_weight(data)
    try:
        body = jsontext.decode(data)
    except ValueError as error:
        raise ProtocolError(f"the answer is not JSON ({error}): {data[:80]!r}") from None
    if isinstance(body, list) and len(body) == 1:  # pyright: ignore[reportUnknownArgumentType]
        body = body[0]  # Gemini wraps some answers so  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(body, dict):
        raise ProtocolError(f"the answer is not a JSON object: {data[:80]!r}")
    return body  # pyright: ignore[reportUnknownVariableType]
