"""The ASGI application: which request is for whom.  No framework, no middleware."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from polycall._support import jsontext
from polycall._support.listening import is_loopback
from polycall.config import Config, asking_usage
from polycall.config.loading import MEBIBYTE
from polycall.errors import (
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    PolycallError,
)
from polycall.gateway.accounts.keys import Keys
from polycall.gateway.accounts.limits import KeyLimits
from polycall.gateway.catalogue import models
from polycall.gateway.catalogue.count_endpoint import CountEndpoint
from polycall.gateway.catalogue.openapi import document
from polycall.gateway.generation.client_request import ClientRequest
from polycall.gateway.generation.endpoints import (
    COUNTS,
    GENERATES,
    dialect_of,
    gemini_endpoint,
    patience_s,
)
from polycall.gateway.generation.generations import Generations, check_allowed
from polycall.gateway.hosted.dispatch import HostedToolDispatch
from polycall.gateway.http.redaction import RedactingTransport
from polycall.gateway.http.replies import internal_error, send_error, send_json
from polycall.gateway.http.request import (
    ClientGone,
    GatewayRequest,
    Receive,
    RequestLimits,
    RequestMonitor,
    Scope,
    Send,
)
from polycall.gateway.mcp.dispatch import McpDispatch
from polycall.gateway.media.lazy_fetch import LazyFetcher
from polycall.gateway.observability.entry import open_traces
from polycall.gateway.observability.metrics import CONTENT_TYPE, Metrics, Snapshot, exposition
from polycall.gateway.processes.heavy_work import HeavyWork
from polycall.gateway.processes.maintenance import Maintenance
from polycall.gateway.processes.memory_guard import MemoryGuard
from polycall.gateway.processes.shared_metrics import SharedMetrics, WorkerSlot
from polycall.gateway.programs.dispatch import ProgramDispatch
from polycall.gateway.responses.background import BackgroundResponses
from polycall.gateway.responses.compaction import Compaction
from polycall.gateway.responses.routes import PREFIXES as ROUTE_PREFIXES
from polycall.gateway.responses.routes import ResponsesRoutes
from polycall.gateway.responses.websocket import ResponsesSocket
from polycall.gateway.routing.router import TargetRouter
from polycall.gateway.services import GatewayServices
from polycall.gateway.sessions.entry import SessionEntry
from polycall.gateway.state.answer_cache import AnswerCache, routes_digest
from polycall.gateway.state.carrier import Carrier
from polycall.gateway.state.stored_responses import StoredResponses
from polycall.gateway.store import open_store
from polycall.ir import JSON
from polycall.providers.dialects import DIALECTS
from polycall.translation.wire import Dialect
from polycall.transport.base import Transport
from polycall.transport.http1 import HTTP1Transport
from polycall.voices.routes import ROUTES as SESSION_ROUTES

if TYPE_CHECKING:
    from polycall.gateway.sessions.client_socket import ClientSocket
    from polycall.gateway.sessions.sessions import Sessions

logger = logging.getLogger("polycall.gateway")

_GEMINI_PREFIXES = ("/v1/models/", "/v1beta/models/", "/v1beta1/models/")
_MODEL_LISTS = ("/v1/models", "/v1beta/models")


class Gateway:
    """The application.  A server calls it for each request, and `close` when all are done."""

    def __init__(
        self,
        config: Config,
        *,
        transport: Transport | None = None,
        slot: WorkerSlot | None = None,
        may_be_open: bool | None = None,
    ) -> None:
        """`seat` is where this process stands among its group's; a group of one has its own.

        `may_be_open` says whether clients need no key where there is none; else it follows from
        the address: on loopback only.
        """
        server = config.server
        self.store = open_store(
            config.store.url,
            config.folder,
            secret=config.store.secret,
            spool=config.store.spool,
        )
        self._slot = slot or WorkerSlot(SharedMetrics(1), 0)
        self.metrics = Metrics(self._slot.counts())
        self.is_draining, self.drains_until = False, 0.0
        self._transport = RedactingTransport(
            transport or HTTP1Transport(connections_max=server.connections_max)
        )
        self._fetching = LazyFetcher(
            size_bytes_max=server.fetch_bytes_max,
            sum_bytes_max=max(server.fetch_bytes_max, server.body_bytes_max),
            allows_private=server.fetch_private_addresses,
        )
        self._heavy = HeavyWork()
        self._memory = MemoryGuard((server.memory_mib_max or 0) * MEBIBYTE, workers=server.workers)
        self._carrier = Carrier(self.store)
        self._items = StoredResponses(self.store, self._carrier.sealer)
        self._traces = None if config.traces is None else open_traces(config.traces)
        self._cache: AnswerCache | None = None
        if config.cache is not None:
            self._cache = AnswerCache(config.cache, config.folder, self.store.secret)
        self._id_head, self._id_count = secrets.token_hex(6), 0
        is_open = is_loopback(server.host) if may_be_open is None else may_be_open
        self._keys = Keys(self.store, may_be_open=is_open)
        self._hosted = HostedToolDispatch(self.store)
        self._dispatch = ProgramDispatch(config.programs, self.store)
        self._limits = KeyLimits(self.store, counters=config.store.counters, worker=self._id_head)
        self._maintenance = Maintenance(self.store, self._keys)
        self._mcp = McpDispatch(
            self.store,
            self._keys,
            self._limits,
            self.metrics,
            memory=self._memory,
            transport=self._transport,
            traces=self._traces,
            sandbox=self._dispatch.sandbox,
            application=self,
        )
        self._dispatch.use_mcp(self._mcp)
        self.monitor = RequestMonitor(_limits(config))
        self.entry = SessionEntry(self._session)
        self._begin_responses()
        self._take_up(config, router=None)
        self._gets: dict[str, Callable[[GatewayRequest], Awaitable[None]]] = {
            "/healthz": self._health,
            "/readyz": self._ready,
            "/metrics": self._metrics,
            "/openapi.json": self._openapi,
            **dict.fromkeys(_MODEL_LISTS, self._list_models),
        }

    def _begin_responses(self) -> None:
        """What Responses has beside a generation."""
        self._background = BackgroundResponses(self.store, self.monitor, self._id_head)
        self._compaction = Compaction(self.monitor)
        self._routes = ResponsesRoutes(
            self.store, self._keys, self._memory, self._background, self._compaction
        )

    def _take_up(self, config: Config, *, router: TargetRouter | None) -> None:
        """Serve by this configuration; what is under way ends by the one it began with."""
        config = asking_usage(config)
        self.config = config
        self.monitor.limits = _limits(config)
        self.services = GatewayServices(
            config,
            router=TargetRouter(config, before=router),
            transport=self._transport,
            carrier=self._carrier,
            items=self._items,
            fetching=self._fetching,
            heavy=self._heavy,
            metrics=self.metrics,
        )
        self._keys.configure(config.keys)
        self._limits.configure(config, self.services)
        self._hosted.configure(config.hosted_tools)
        self._maintenance.ledger_days = config.store.ledger_days
        self._generations = Generations(
            self.services,
            self._keys,
            self.store,
            self._limits,
            metrics=self.metrics,
            calling=self._dispatch,
            hosted=self._hosted,
            cache=self._cache,
            traces=self._traces,
            memory=self._memory,
            routes=b"" if self._cache is None else routes_digest(config),
        )
        self._sessions: Sessions | None = None  # loaded with the first one
        self._generations.take_over = self._take_over
        self._background.configure(self.services, self._generations)
        self._compaction.configure(self.services, self._generations)
        self._routes.configure(self.services, self._limits)
        self._counts = CountEndpoint(
            self.services, self._keys, self._limits, self._dispatch, self._memory
        )
        self._catalogue = models.Catalogue(config, self._transport)
        self._mcp.configure(config)

    def drain(self) -> None:
        """Take nothing new; streams in which nothing is under way end at once."""
        self.is_draining = True
        self.drains_until = time.monotonic() + self.config.server.drain_s
        self._mcp.drain()

    def reload(self, config: Config) -> None:
        """Change to another configuration between two requests."""
        self.services.costs.close()
        self._take_up(config, router=self.services.router)

    def snapshot(self) -> Snapshot:
        """What this process has counted, and does now."""
        return Snapshot(
            self.metrics.counts, self.monitor.answering(), self.services.router.resting()
        )

    def start(self) -> None:
        """Begin what goes on beside the requests; on the loop that serves them."""
        self._maintenance.start()

    async def close(self) -> None:
        """Stop the monitor, close connections, write what is waiting."""
        await self._background.close(max(self.drains_until - time.monotonic(), 0.0))
        await self.entry.close()
        self.monitor.close()
        self.services.costs.close()
        await self._transport.close()
        await self._fetching.close()
        self._heavy.close()
        await self._maintenance.close()
        await self._mcp.close()
        await self._dispatch.close()
        await self._limits.close()
        if self._cache is not None:
            self._cache.close()
        if self._traces is not None:
            await self._traces.close()
        await self.store.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI call."""
        if scope["type"] == "websocket":
            await self._serve_socket(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        gateway_request = self._gateway_request(scope, receive, send)
        gateway_request.ends_at = gateway_request.started_at + patience_s(
            gateway_request, self.config.server.total_s
        )
        self.monitor.add(gateway_request)
        try:
            if gateway_request.path.startswith("/mcp") and self._mcp.is_for(gateway_request.path):
                await self._guarded(
                    gateway_request,
                    DIALECTS["openai-chat"],
                    self._mcp.serve(gateway_request, scope),
                )
                return
            await self._route(gateway_request)
        finally:
            self.monitor.remove(gateway_request)

    async def _serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        await ResponsesSocket(
            scope,
            receive,
            send,
            services=lambda: (self.services, self._generations),
            keys=self._keys,
            monitor=self.monitor,
            new_id=self._new_id,
        ).run()

    async def _take_over(
        self, gateway_request: GatewayRequest, client_request: ClientRequest
    ) -> bool:
        """Answer what is more than a generation: one in the background, a compaction."""
        if client_request.is_background:
            name = await self._background.begin(gateway_request, client_request)
            await self._routes.answer_begun(gateway_request, client_request, name)
            return True
        if not self._compaction.is_asked(client_request):
            return False
        await self._compaction.trigger(gateway_request, client_request)
        return True

    async def turn_away(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI call, where there are more connections than are served."""
        gateway_request = self._gateway_request(scope, receive, send)
        gateway_request.body_is_unread = True  # and so the connection ends
        message = "the gateway has as many connections as it takes; try again"
        await send_error(
            gateway_request,
            dialect_of(gateway_request),
            OverloadedError(message, retry_after_s=1.0),
        )

    async def _session(self, socket: ClientSocket) -> None:
        """A client's WebSocket, from its request on."""
        if self._sessions is None:
            from polycall.gateway.sessions.sessions import Sessions  # noqa: PLC0415 - loads aiohttp

            self._sessions = Sessions(
                self.services,
                self._keys,
                self.store,
                self._limits,
                metrics=self.metrics,
                traces=self._traces,
                memory=self._memory,
            )
        request = self._gateway_request(socket.scope, _never, socket.asgi_send)
        request.is_session = True
        request.heard_at = math.inf  # silence is no fault of a session
        request.ends_at = request.started_at + self.config.server.total_s
        self.monitor.add(request)
        try:
            await self._sessions.serve(request, socket)
        finally:
            self.monitor.remove(request)

    def _gateway_request(self, scope: Scope, receive: Receive, send: Send) -> GatewayRequest:
        return GatewayRequest(scope, receive, send, self._new_id())

    def _new_id(self) -> str:
        self._id_count += 1
        return f"req_{self._id_head}{self._id_count:08x}"

    async def _route(self, gateway_request: GatewayRequest) -> None:
        if gateway_request.method == "POST":
            try:
                self._memory.check()
            except OverloadedError as error:
                await send_error(gateway_request, dialect_of(gateway_request), error)
                return
            endpoint = GENERATES.get(gateway_request.path) or gemini_endpoint(gateway_request.path)
            if endpoint is not None and endpoint.method != "countTokens":
                await self._generations.serve(gateway_request, endpoint)
                return
            endpoint = endpoint or COUNTS.get(gateway_request.path)
            if endpoint is not None:
                await self._guarded(
                    gateway_request, endpoint.dialect, self._counts.serve(gateway_request, endpoint)
                )
                return
        path = gateway_request.path
        if path.startswith(ROUTE_PREFIXES) and path not in COUNTS:
            dialect = DIALECTS["openai-responses"]
            await self._guarded(gateway_request, dialect, self._routes.serve(gateway_request))
            return
        await self._guarded(
            gateway_request, dialect_of(gateway_request), self._look_up(gateway_request)
        )

    async def _guarded(
        self, gateway_request: GatewayRequest, dialect: Dialect, work: Awaitable[None]
    ) -> None:
        """Do what is no generation; errors go to the client in its own shape."""
        try:
            try:
                await work
            except asyncio.CancelledError as cancelled:
                raise gateway_request.reason_or_raise(cancelled) from None
        except ClientGone:
            return
        except PolycallError as error:
            await send_error(gateway_request, dialect, error)
        except Exception:
            logger.exception("request %s failed", gateway_request.id)
            if gateway_request.started:
                raise
            await send_error(gateway_request, dialect, internal_error(gateway_request.id))

    async def _look_up(self, gateway_request: GatewayRequest) -> None:
        path = gateway_request.path
        handler = self._gets.get(path)
        allow = "GET, HEAD"
        if handler is None and path.startswith(_GEMINI_PREFIXES):
            handler = self._one_model
        if path in SESSION_ROUTES:
            gateway_request.notes.append((b"upgrade", b"websocket"))
            raise InvalidRequestError(
                f"{path} is a WebSocket; connect to it by GET with 'Upgrade: websocket'", status=426
            )
        if path in GENERATES or path in COUNTS or gemini_endpoint(path) is not None:
            handler, allow = None, "POST"
        elif handler is None:
            shown = path[:200]
            raise NotFoundError(
                f"there is no {gateway_request.method} {shown!r} here; /openapi.json says what is",
                code="unknown_url",
            )
        if (
            handler is None
            and gateway_request.method == "GET"
            and b"upgrade" in gateway_request.headers
        ):
            # What coding agents take for: ask by POST.
            gateway_request.notes.append((b"allow", allow.encode()))
            raise InvalidRequestError(
                f"{path[:200]} is not served over WebSocket; send it by {allow}", status=426
            )
        if handler is None or gateway_request.method not in ("GET", "HEAD"):
            gateway_request.notes.append((b"allow", allow.encode()))
            raise InvalidRequestError(
                f"{path[:200]} takes {allow}, not {gateway_request.method}", status=405
            )
        await handler(gateway_request)

    # What is not a generation

    async def _health(self, gateway_request: GatewayRequest) -> None:
        await _send(gateway_request, {"status": "ok"})

    async def _ready(self, gateway_request: GatewayRequest) -> None:
        is_ready = not self.is_draining and await self.store.is_writable()
        state = "ok" if is_ready else "draining" if self.is_draining else "the store is unreachable"
        body: JSON = {"status": state}
        if self._slot.shared_metrics.slots > 1:
            body["workers"] = self._slot.shared_metrics.serving()
        await _send(gateway_request, body, status=200 if is_ready else 503)

    async def _metrics(self, gateway_request: GatewayRequest) -> None:
        self._keys.owner(gateway_request.headers, gateway_request.query, gateway_request.address)
        shared_metrics = self._slot.shared_metrics
        text = exposition(
            self._slot.everybody(),
            workers=shared_metrics.serving(),
            restarts=shared_metrics.restarts(),
        )
        length = str(len(text)).encode()
        await gateway_request.send_start(
            200, [(b"content-type", CONTENT_TYPE), (b"content-length", length)]
        )
        await gateway_request.send_body(text)

    async def _openapi(self, gateway_request: GatewayRequest) -> None:
        await _send(gateway_request, document())

    async def _list_models(self, gateway_request: GatewayRequest) -> None:
        owner = self._keys.owner(
            gateway_request.headers, gateway_request.query, gateway_request.address
        )
        await self._limits.count_request(owner)
        client_request = parse_qs(gateway_request.query.decode("latin-1")).get("supports", [])
        supports = [name for text in client_request for name in text.split(",") if name]
        found = [
            model for model in await self._catalogue.models(supports) if owner.may_use(model.name)
        ]
        render = models.LISTS.get(dialect_of(gateway_request).NAME, models.openai_list)
        await _send(gateway_request, render(found))

    async def _one_model(self, gateway_request: GatewayRequest) -> None:
        owner = self._keys.owner(
            gateway_request.headers, gateway_request.query, gateway_request.address
        )
        await self._limits.count_request(owner)
        name = gateway_request.path.partition("/models/")[2]
        check_allowed(owner, name)
        model = await self._catalogue.model(name)
        render = models.SHAPES.get(dialect_of(gateway_request).NAME, models.openai_model)
        await _send(gateway_request, render(model))


async def _never() -> MutableMapping[str, Any]:
    """A session hears of its client by the WebSocket alone."""
    return await asyncio.get_running_loop().create_future()


def _limits(config: Config) -> RequestLimits:
    server = config.server
    return RequestLimits(heartbeat_s=server.heartbeat_s, read_s=server.read_s, send_s=server.body_s)


async def _send(gateway_request: GatewayRequest, body: JSON, *, status: int = 200) -> None:
    headers = [(b"polycall-request-id", gateway_request.id.encode())]
    await send_json(gateway_request, status, jsontext.encode_bytes(body), headers)
