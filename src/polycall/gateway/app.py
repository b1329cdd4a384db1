"""The ASGI application: which request is for whom.  No framework, no middleware."""

from __future__ import annotations

import asyncio
import importlib
import logging
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, cast

from msgspec.structs import replace

from polycall._support.listening import is_loopback
from polycall.config import Config, asking_usage
from polycall.config.loading import MEBIBYTE
from polycall.errors import (
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    PolycallError,
)
from polycall.gateway.accounts.keys import Keys, Owner
from polycall.gateway.accounts.limits import KeyLimits
from polycall.gateway.catalogue import models
from polycall.gateway.catalogue.count_endpoint import CountEndpoint
from polycall.gateway.catalogue.lookups import Lookups
from polycall.gateway.forwarding.routes import is_side_path, side_route
from polycall.gateway.forwarding.service import Forwarding
from polycall.gateway.generation.client_request import ClientRequest
from polycall.gateway.generation.endpoints import (
    COUNT,
    COUNTS,
    azure_path,
    dialect_for,
    endpoint_for,
)
from polycall.gateway.generation.generations import Generations
from polycall.gateway.hosted.dispatch import HostedToolDispatch
from polycall.gateway.http.administered import PREFIXES as ADMIN_PREFIXES
from polycall.gateway.http.administered import Administered
from polycall.gateway.http.bodies import read_body
from polycall.gateway.http.redaction import RedactingTransport
from polycall.gateway.http.replies import drop_traceback, internal_error, send_error
from polycall.gateway.http.request import (
    ClientGone,
    GatewayRequest,
    Receive,
    RequestLimits,
    RequestMonitor,
    Scope,
    Send,
    patience_s,
)
from polycall.gateway.http.socket_entry import SocketEntry, nothing_received
from polycall.gateway.mcp.dispatch import McpDispatch
from polycall.gateway.media.lazy_fetch import LazyFetcher
from polycall.gateway.observability.contents import Contents
from polycall.gateway.observability.entry import open_traces
from polycall.gateway.observability.metrics import Metrics, Snapshot
from polycall.gateway.processes.heavy_work import HeavyWork
from polycall.gateway.processes.maintenance import Maintenance
from polycall.gateway.processes.memory_guard import MemoryGuard
from polycall.gateway.processes.shared_metrics import SharedMetrics, WorkerSlot
from polycall.gateway.programs.dispatch import ProgramDispatch
from polycall.gateway.responses.background import BackgroundResponses
from polycall.gateway.responses.compaction import Compaction
from polycall.gateway.responses.inner import PATH as RESPONSES_PATH
from polycall.gateway.responses.routes import PREFIXES as ROUTE_PREFIXES
from polycall.gateway.responses.routes import ResponsesRoutes
from polycall.gateway.responses.websocket import ResponsesSockets
from polycall.gateway.routing.router import TargetRouter
from polycall.gateway.services import GatewayServices
from polycall.gateway.state.answer_cache import AnswerCache, routes_digest
from polycall.gateway.state.carrier import Carrier
from polycall.gateway.state.shared_corrections import SharedCorrections
from polycall.gateway.state.stored_responses import StoredResponses
from polycall.gateway.store import Store, open_store
from polycall.gateway.store.owned import OwnedResources
from polycall.providers.dialects import DIALECTS
from polycall.translation.wire import Dialect
from polycall.transport.base import Transport
from polycall.transport.http1 import HTTP1Transport
from polycall.voices.routes import ROUTES as SESSION_ROUTES

if TYPE_CHECKING:
    from polycall.gateway.http.client_socket import ClientSocket
    from polycall.gateway.sessions.sessions import Sessions

logger = logging.getLogger("polycall.gateway")

SOCKET_PATHS = frozenset({RESPONSES_PATH, *SESSION_ROUTES})


class Gateway:
    """The application.  A server calls it for each request, and `close` when all are done."""

    def __init__(
        self,
        config: Config,
        *,
        transport: Transport | None = None,
        slot: WorkerSlot | None = None,
        may_be_open: bool | None = None,
        administer: Callable[[Gateway], Administered] | None = None,
    ) -> None:
        """`slot` is where this process stands among its group's; a group of one has its own.

        `may_be_open` says whether clients need no key where there is none; else it follows from
        the address: on loopback only.  `administer` makes what answers at `ADMIN_PREFIXES`.
        """
        server = config.server
        kept = config.store
        self.store = open_store(kept.url, config.folder, secret=kept.secret, spool=kept.spool)
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
        self._owned = OwnedResources(self.store)
        self._traces = None if config.traces is None else open_traces(config.traces)
        self._cache = _opened_cache(config, self.store)
        self._id_head, self._id_count = secrets.token_hex(6), 0
        is_open = is_loopback(server.host) if may_be_open is None else may_be_open
        self._keys = Keys(self.store, may_be_open=is_open)
        self._hosted = HostedToolDispatch(self.store)
        self._dispatch = ProgramDispatch(config.programs, self.store)
        self._limits = KeyLimits(self.store, counters=config.store.counters, worker=self._id_head)
        self._corrections = SharedCorrections(self.store)
        self.contents = Contents(self.store)
        self.mcp = self._made_mcp()
        refreshed = (self._corrections.refresh, self.contents.refresh, self.mcp.look)
        self._maintenance = Maintenance(self.store, self._keys, refreshed)
        self._dispatch.use_mcp(self.mcp)
        self.monitor = RequestMonitor(_limits(config))
        self.entry = SocketEntry(self._serve_socket)
        self._sockets = self._made_sockets()
        self._background = BackgroundResponses(self.store, self.monitor, self._limits)
        self._compaction = Compaction(self.monitor)
        self._routes = ResponsesRoutes(
            self.store, self._keys, self._memory, self._background, self._compaction
        )
        self._lookups = self._made_lookups()
        self._take_up(config, router=None)
        self._administration = None if administer is None else administer(self)
        if self._administration is not None:
            self._lookups.administration_paths = self._administration.paths

    def _made_mcp(self) -> McpDispatch:
        return McpDispatch(
            self.store,
            self._keys,
            self._limits,
            self.metrics,
            memory=self._memory,
            transport=self._transport,
            traces=self._traces,
            sandbox=self._dispatch.sandbox,
            turn=self._dispatch.turn,
            application=self,
        )

    def _made_sockets(self) -> ResponsesSockets:
        def present() -> tuple[GatewayServices, Generations]:
            return self.services, self._generations

        return ResponsesSockets(present, self._keys, self.monitor, self._memory, self._new_id)

    def _made_lookups(self) -> Lookups:
        return Lookups(
            self.store,
            self._keys,
            self._limits,
            self._slot,
            is_draining=lambda: self.is_draining,
            dialect_of=_dialect_of,
            read=lambda request: read_body(request, self.services.server, self._memory),
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
            corrections=self._corrections,
            owned=self._owned,
            metrics=self.metrics,
        )
        self._keys.configure(config.keys)
        self._limits.configure(config, self.services)
        self._hosted.configure(config.hosted_tools)
        self.contents.configure(config.admin.content)
        self._maintenance.settings = config.store
        self._generations = Generations(
            self.services,
            self._keys,
            self.store,
            self._limits,
            metrics=self.metrics,
            contents=self.contents,
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
        self._forwarding = Forwarding(
            config,
            self.services,
            self._generations,
            self._limits,
            owned=self._owned,
            memory=self._memory,
        )
        self._counts = CountEndpoint(
            self.services, self._keys, self._limits, self._dispatch, self._memory
        )
        self._lookups.configure(models.Catalogue(config, self._transport))
        self.mcp.configure(config)

    def drain(self) -> None:
        """Take nothing new; streams in which nothing is under way end at once."""
        self.is_draining = True
        self.drains_until = time.monotonic() + self.config.server.drain_s
        self.mcp.drain()
        self._sockets.drain()

    def reload(self, config: Config) -> None:
        """Change to another configuration between two requests."""
        self.services.costs.close()
        self._take_up(config, router=self.services.router)

    def snapshot(self) -> Snapshot:
        """The counts of this process, and its present work."""
        return Snapshot(
            self.metrics.counts, self.monitor.answering(), self.services.router.resting()
        )

    def start(self) -> None:
        """Begin what continues alongside the requests; on the loop that serves them."""
        self._maintenance.start()

    async def close(self) -> None:
        """Stop the monitor, close connections, write what is waiting."""
        await self.entry.close()
        await self._background.close(max(self.drains_until - time.monotonic(), 0.0))
        if self._administration is not None:
            await self._administration.close()
        self.monitor.close()
        self.services.costs.close()
        await self._transport.close()
        await self._fetching.close()
        self._heavy.close()
        await self._maintenance.close()
        await self.mcp.close()
        await self._dispatch.close()
        await self._limits.close()
        if self._cache is not None:
            self._cache.close()
        await self.contents.close()
        await self.store.close()
        if self._traces is not None:  # after what has to be kept
            await self._traces.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI call."""
        if scope["type"] != "http":
            return
        if scope["path"].startswith("/openai/"):
            scope["path"] = azure_path(scope["path"])
        gateway_request = self._gateway_request(scope, receive, send)
        gateway_request.ends_at = gateway_request.started_at + patience_s(
            gateway_request, self.config.server.total_s
        )
        self.monitor.add(gateway_request)
        try:
            if gateway_request.path.startswith("/mcp") and self.mcp.is_for(gateway_request.path):
                await self._guarded(
                    gateway_request,
                    DIALECTS["openai-chat"],
                    self.mcp.serve(gateway_request, scope),
                )
                return
            await self._route(gateway_request)
        finally:
            self.monitor.remove(gateway_request)

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
        error = OverloadedError(message, retry_after_s=1.0)
        await send_error(gateway_request, _dialect_of(gateway_request), error)

    async def _serve_socket(self, socket: ClientSocket) -> None:
        """A client's WebSocket, from its request on."""
        if socket.scope["path"] == RESPONSES_PATH:
            await self._sockets.serve(socket)
            return
        name = "polycall.gateway.sessions.sessions"  # which takes a while to load
        module = await asyncio.to_thread(importlib.import_module, name)
        if self._sessions is None:
            self._sessions = cast("type[Sessions]", module.Sessions)(
                self.services,
                self._keys,
                self.store,
                self._limits,
                metrics=self.metrics,
                traces=self._traces,
                memory=self._memory,
            )
        request = self._gateway_request(socket.scope, nothing_received, socket.asgi_send)
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

    def _route(self, gateway_request: GatewayRequest) -> Awaitable[object]:
        """Choose what answers the request, by its path."""
        path = gateway_request.path
        if gateway_request.method == "POST":
            try:
                self._memory.check()
            except OverloadedError as error:
                return send_error(gateway_request, _dialect_of(gateway_request), error)
            endpoint = endpoint_for(path)
            if endpoint is not None:
                if endpoint.names:
                    name = self.services.router.first_known(endpoint.names)
                    endpoint = replace(endpoint, model=name)
                if endpoint.method != COUNT:
                    return self._generations.serve(gateway_request, endpoint)
                work = self._counts.serve(gateway_request, endpoint)
                return self._guarded(gateway_request, endpoint.dialect, work)
        route = side_route(gateway_request.method, path)
        if route is not None:
            return self._forwarding.serve(gateway_request, route)
        if path.startswith(ROUTE_PREFIXES) and path not in COUNTS:
            dialect = _dialect_of(gateway_request)
            return self._guarded(gateway_request, dialect, self._routes.serve(gateway_request))
        if self._administration is not None and path.startswith(ADMIN_PREFIXES):
            work = self._administration.serve(gateway_request)
            return self._guarded(gateway_request, DIALECTS["openai-chat"], work)
        dialect = _dialect_of(gateway_request)
        return self._guarded(gateway_request, dialect, self._look_up(gateway_request))

    async def generate(self, gateway_request: GatewayRequest, path: str, owner: Owner) -> bool:
        """Answer as a generation at `path` for `owner`; false where nothing generates there."""
        endpoint = endpoint_for(path)
        if endpoint is None or endpoint.method == COUNT:
            return False
        gateway_request.path = path
        await self._generations.serve(gateway_request, endpoint, owner)
        return True

    def snapshots(self) -> Iterable[Snapshot]:
        """The counts of all processes of this group, and their present work."""
        return self._slot.everybody()

    async def models(self) -> list[models.Model]:
        """All models that clients may ask for."""
        return await self._lookups.models()

    @property
    def memory(self) -> MemoryGuard:
        """Refuses what there is no memory for."""
        return self._memory

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
            drop_traceback(error)
        except Exception:
            logger.exception("request %s failed", gateway_request.id)
            if gateway_request.started:
                raise
            await send_error(gateway_request, dialect, internal_error(gateway_request.id))

    async def _look_up(self, gateway_request: GatewayRequest) -> None:
        path = gateway_request.path
        handler, allow = self._lookups.handler(path)
        if path in SESSION_ROUTES:
            gateway_request.notes.append((b"upgrade", b"websocket"))
            raise InvalidRequestError(
                f"{path} is a WebSocket; connect to it by GET with 'Upgrade: websocket'", status=426
            )
        if endpoint_for(path) is not None or is_side_path(path):
            handler, allow = None, "POST"
        elif handler is None:
            shown = path[:200]
            raise NotFoundError(
                f"there is no {gateway_request.method} {shown!r} here; /openapi.json says what is",
                code="unknown_url",
            )
        upgrade = gateway_request.headers.get(b"upgrade", b"").lower()  # or to HTTP/2: ignored
        wants_socket = gateway_request.method == "GET" and upgrade == b"websocket"
        if handler is None and wants_socket:
            # What coding agents take for: ask by POST.
            gateway_request.notes.append((b"allow", allow.encode()))
            raise InvalidRequestError(
                f"{path[:200]} is not served over WebSocket; send it by {allow}", status=426
            )
        if handler is None or gateway_request.method not in allow.split(", "):
            gateway_request.notes.append((b"allow", allow.encode()))
            raise InvalidRequestError(
                f"{path[:200]} takes {allow}, not {gateway_request.method}", status=405
            )
        await handler(gateway_request)


def _opened_cache(config: Config, store: Store) -> AnswerCache | None:
    settings = config.cache
    return None if settings is None else AnswerCache(settings, config.folder, store.secret)


def _limits(config: Config) -> RequestLimits:
    server = config.server
    return RequestLimits(heartbeat_s=server.heartbeat_s, read_s=server.read_s, send_s=server.body_s)


def _dialect_of(gateway_request: GatewayRequest) -> Dialect:
    return dialect_for(gateway_request.path, gateway_request.headers)
