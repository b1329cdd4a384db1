"""The ASGI application: which request is for whom.  No framework, no middleware."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from polycall import jsontext
from polycall.config import Config, TraceSettings, asking_usage
from polycall.errors import (
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    PolycallError,
    RequestError,
)
from polycall.gateway import models
from polycall.gateway.asked import Desk, Endpoint
from polycall.gateway.board import Board, Seat
from polycall.gateway.cache import Cache, routes_digest
from polycall.gateway.calling import Calling
from polycall.gateway.carrier import Carrier
from polycall.gateway.counts import Counts
from polycall.gateway.fetching import Fetching
from polycall.gateway.flight import ClientGone, Flight, Limits, Receive, Scope, Send, Watchman
from polycall.gateway.generation import Generations, check_allowed
from polycall.gateway.items import Items
from polycall.gateway.keys import Keys
from polycall.gateway.limits import KeyLimits
from polycall.gateway.metrics import CONTENT_TYPE, Metrics, Snapshot, exposition
from polycall.gateway.openapi import document
from polycall.gateway.replies import internal_error, send_error, send_json
from polycall.gateway.routing import Router
from polycall.gateway.store import open_store
from polycall.gateway.upkeep import Upkeep
from polycall.http1 import HTTP1Transport
from polycall.ir import JSON
from polycall.providers.dialects import DIALECTS
from polycall.transport import Transport
from polycall.wire import Dialect

if TYPE_CHECKING:
    from polycall.gateway.traces import Traces

logger = logging.getLogger("polycall.gateway")

# Gemini's routes hold a model's name; `gemini_endpoint` reads them.
_GENERATES: dict[str, Endpoint] = {
    route: Endpoint(dialect)
    for dialect in DIALECTS.values()
    for route in dialect.ROUTES
    if "{" not in route
}
_COUNTS: dict[str, Endpoint] = {
    "/v1/messages/count_tokens": Endpoint(DIALECTS["anthropic"]),
    "/v1/responses/input_tokens": Endpoint(DIALECTS["openai-responses"]),
}
_GEMINI_METHODS = ("generateContent", "streamGenerateContent", "countTokens")
_GEMINI_VERSION = re.compile("/v1(beta1?)?/")
_GEMINI_PREFIXES = ("/v1/models/", "/v1beta/models/", "/v1beta1/models/")
_MODEL_LISTS = ("/v1/models", "/v1beta/models")


class Gateway:
    """The application.  A server calls it for each request, and `close` when all are done."""

    def __init__(
        self, config: Config, *, transport: Transport | None = None, seat: Seat | None = None
    ) -> None:
        """`seat` is where this process stands among its group's; a group of one has its own."""
        server = config.server
        self.store = open_store(
            config.store.url,
            config.folder,
            secret=config.store.secret,
            spool=config.store.spool,
        )
        self._seat = seat or Seat(Board(1), 0)
        self.metrics = Metrics(self._seat.counts())
        self.is_draining = False
        self._transport = transport or HTTP1Transport(connections_max=server.connections_max)
        self._fetching = Fetching(
            size_bytes_max=server.fetch_bytes_max,
            allows_private=server.fetch_private_addresses,
        )
        self._carrier = Carrier(self.store)
        self._items = Items(self.store)
        self._traces = None if config.traces is None else _open_traces(config.traces)
        self._cache: Cache | None = None
        if config.cache is not None:
            self._cache = Cache(config.cache, config.folder, self.store.secret)
        self._id_head = secrets.token_hex(6)
        self._id_count = 0
        self._keys = Keys(self.store)
        self._calling = Calling(config.programs, self.store)
        self._limits = KeyLimits(self.store, counters=config.store.counters, worker=self._id_head)
        self._upkeep = Upkeep(self.store, self._keys)
        self.watchman = Watchman(_limits(config))
        self._take_up(config, router=None)
        self._gets: dict[str, Callable[[Flight], Awaitable[None]]] = {
            "/healthz": self._health,
            "/readyz": self._ready,
            "/metrics": self._metrics,
            "/openapi.json": self._openapi,
            **dict.fromkeys(_MODEL_LISTS, self._list_models),
        }

    def _take_up(self, config: Config, *, router: Router | None) -> None:
        """Serve by this configuration; what is under way ends by the one it began with."""
        config = asking_usage(config)
        self.config = config
        self.watchman.limits = _limits(config)
        self.desk = Desk(
            config,
            router=Router(config, before=router),
            transport=self._transport,
            carrier=self._carrier,
            items=self._items,
            fetching=self._fetching,
        )
        self._keys.configure(config.keys)
        self._limits.configure(config, self.desk)
        self._upkeep.ledger_days = config.store.ledger_days
        self._generations = Generations(
            self.desk,
            self._keys,
            self.store,
            self._limits,
            metrics=self.metrics,
            calling=self._calling,
            cache=self._cache,
            traces=self._traces,
            routes=b"" if self._cache is None else routes_digest(config),
        )
        self._counts = Counts(self.desk, self._keys, self._limits, self._calling)
        self._catalogue = models.Catalogue(config, self._transport)

    def reload(self, config: Config) -> None:
        """Change to another configuration between two requests."""
        self._take_up(config, router=self.desk.router)

    def snapshot(self) -> Snapshot:
        """What this process has counted, and does now."""
        return Snapshot(self.metrics.counts, self.watchman.answering(), self.desk.router.resting())

    def start(self) -> None:
        """Begin what goes on beside the requests; on the loop that serves them."""
        self._upkeep.start()

    async def close(self) -> None:
        """Stop the watchman, close connections, write what is waiting."""
        self.watchman.close()
        await self._transport.close()
        await self._fetching.close()
        await self._upkeep.close()
        await self._calling.close()
        await self._limits.close()
        if self._cache is not None:
            self._cache.close()
        if self._traces is not None:
            await self._traces.close()
        await self.store.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI call."""
        if scope["type"] != "http":
            return
        flight = self._flight(scope, receive, send)
        flight.ends_at = flight.started_at + _patience_s(flight, self.config.server.total_s)
        self.watchman.add(flight)
        try:
            await self._route(flight)
        finally:
            self.watchman.remove(flight)

    async def turn_away(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI call, where there are more connections than are served."""
        flight = self._flight(scope, receive, send)
        flight.body_is_unread = True  # and so the connection ends
        message = "the gateway has as many connections as it takes; try again"
        await send_error(flight, _dialect_of(flight), OverloadedError(message, retry_after_s=1.0))

    def _flight(self, scope: Scope, receive: Receive, send: Send) -> Flight:
        self._id_count += 1
        return Flight(scope, receive, send, f"req_{self._id_head}{self._id_count:08x}")

    async def _route(self, flight: Flight) -> None:
        if flight.method == "POST":
            endpoint = _GENERATES.get(flight.path) or gemini_endpoint(flight.path)
            if endpoint is not None and endpoint.method != "countTokens":
                await self._generations.serve(flight, endpoint)
                return
            endpoint = endpoint or _COUNTS.get(flight.path)
            if endpoint is not None:
                await self._guarded(flight, endpoint.dialect, self._counts.serve(flight, endpoint))
                return
        await self._guarded(flight, _dialect_of(flight), self._look_up(flight))

    async def _guarded(self, flight: Flight, dialect: Dialect, work: Awaitable[None]) -> None:
        """Do what is no generation; errors go to the client in its own shape."""
        try:
            try:
                await work
            except asyncio.CancelledError as cancelled:
                raise flight.reason_or_raise(cancelled) from None
        except ClientGone:
            return
        except PolycallError as error:
            await send_error(flight, dialect, error)
        except Exception:
            logger.exception("request %s failed", flight.id)
            if flight.started:
                raise
            await send_error(flight, dialect, internal_error(flight.id))

    async def _look_up(self, flight: Flight) -> None:
        path = flight.path
        handler = self._gets.get(path)
        allow = "GET, HEAD"
        if handler is None and path.startswith(_GEMINI_PREFIXES):
            handler = self._one_model
        if path in _GENERATES or path in _COUNTS or gemini_endpoint(path) is not None:
            handler, allow = None, "POST"
        elif handler is None:
            shown = path[:200]
            raise NotFoundError(
                f"there is no {flight.method} {shown!r} here; /openapi.json says what is",
                code="unknown_url",
            )
        if handler is None or flight.method not in ("GET", "HEAD"):
            flight.notes.append((b"allow", allow.encode()))
            raise InvalidRequestError(
                f"{path[:200]} takes {allow}, not {flight.method}", status=405
            )
        await handler(flight)

    # What is not a generation

    async def _health(self, flight: Flight) -> None:
        await _send(flight, {"status": "ok"})

    async def _ready(self, flight: Flight) -> None:
        is_ready = not self.is_draining and await self.store.is_writable()
        state = "ok" if is_ready else "draining" if self.is_draining else "the store is away"
        body: JSON = {"status": state}
        if self._seat.board.seats > 1:
            body["workers"] = self._seat.board.serving()
        await _send(flight, body, status=200 if is_ready else 503)

    async def _metrics(self, flight: Flight) -> None:
        self._keys.owner(flight.headers, flight.query)
        board = self._seat.board
        text = exposition(
            self._seat.everybody(), workers=board.serving(), restarts=board.restarts()
        )
        length = str(len(text)).encode()
        await flight.send_start(200, [(b"content-type", CONTENT_TYPE), (b"content-length", length)])
        await flight.send_body(text)

    async def _openapi(self, flight: Flight) -> None:
        await _send(flight, document())

    async def _list_models(self, flight: Flight) -> None:
        owner = self._keys.owner(flight.headers, flight.query)
        await self._limits.count_request(owner)
        asked = parse_qs(flight.query.decode("latin-1")).get("supports", [])
        supports = [name for text in asked for name in text.split(",") if name]
        found = [
            model for model in await self._catalogue.models(supports) if owner.may_use(model.name)
        ]
        render = models.LISTS.get(_dialect_of(flight).NAME, models.openai_list)
        await _send(flight, render(found))

    async def _one_model(self, flight: Flight) -> None:
        owner = self._keys.owner(flight.headers, flight.query)
        await self._limits.count_request(owner)
        name = flight.path.partition("/models/")[2]
        check_allowed(owner, name)
        model = await self._catalogue.model(name)
        render = models.SHAPES.get(_dialect_of(flight).NAME, models.openai_model)
        await _send(flight, render(model))


def _open_traces(settings: TraceSettings) -> Traces:
    try:
        from polycall.gateway.traces import Traces  # noqa: PLC0415 - an extra
    except ImportError:
        raise RequestError(
            "[traces] needs OpenTelemetry; install 'polycall[opentelemetry]'"
        ) from None
    return Traces(settings)


def _limits(config: Config) -> Limits:
    server = config.server
    return Limits(heartbeat_s=server.heartbeat_s, read_s=server.read_s, send_s=server.body_s)


def _patience_s(flight: Flight, most_s: float) -> float:
    """How long the client says that it waits (Google's SDKs do), within what is allowed."""
    said = flight.headers.get(b"x-server-timeout")
    if said is None:
        return most_s
    try:
        seconds = float(said)
    except ValueError:
        return most_s
    return seconds if 0 < seconds < most_s else most_s


def gemini_endpoint(path: str) -> Endpoint | None:
    """What a Gemini path means: `/v1beta/models/NAME/MODEL:generateContent`.

    Some clients take a model's name with a slash for the whole of what stands there.
    """
    resource, colon, method = path.rpartition(":")
    version = _GEMINI_VERSION.match(resource)
    if not colon or version is None or method not in _GEMINI_METHODS:
        return None
    model = resource[version.end() :].removeprefix("models/")
    if not model:
        return None
    return Endpoint(DIALECTS["gemini"], model, method)


def _dialect_of(flight: Flight) -> Dialect:
    return dialect_for(flight.path, flight.headers)


def dialect_for(path: str, headers: Mapping[bytes, bytes]) -> Dialect:
    """Whose shape the caller reads, by path or headers."""
    if path.startswith(("/v1beta", "/v1beta1")) or b"x-goog-api-key" in headers:
        return DIALECTS["gemini"]
    if path.startswith("/v1/messages") or b"anthropic-version" in headers:
        return DIALECTS["anthropic"]
    is_responses = path.startswith("/v1/responses")
    return DIALECTS["openai-responses" if is_responses else "openai-chat"]


async def _send(flight: Flight, body: JSON, *, status: int = 200) -> None:
    headers = [(b"polycall-request-id", flight.id.encode())]
    await send_json(flight, status, jsontext.encode_bytes(body), headers)
