"""One session of a realtime voice, from the key to its last row.

The key, the limits and the provider come before the WebSocket: what is refused is refused by HTTP,
in the protocol's own shape.  Where the model is named in the first frame, that one is waited for,
and refusals are frames.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import time
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote

from msgspec.structs import replace

from polycall import errors
from polycall._support import jsontext
from polycall.gateway.accounts.keys import ANYBODY, Keys, Owner
from polycall.gateway.accounts.limits import KeyLimits
from polycall.gateway.accounts.session_limits import SessionLimits
from polycall.gateway.generation.generations import check_allowed
from polycall.gateway.generation.request_record import CLIENT_GONE_STATUS, storable
from polycall.gateway.http.client_socket import ClientSocket
from polycall.gateway.http.redaction import secrets_of
from polycall.gateway.http.replies import drop_traceback, internal_error, render_error, send_error
from polycall.gateway.http.request import ClientGone, GatewayRequest
from polycall.gateway.http.socket_entry import SocketClosed
from polycall.gateway.http.values import ValueCounter
from polycall.gateway.observability.attempt_report import for_client, report_failure, words_of
from polycall.gateway.observability.metrics import Metrics
from polycall.gateway.processes.memory_guard import MemoryGuard
from polycall.gateway.routing.router import Target
from polycall.gateway.services import GatewayServices
from polycall.gateway.sessions.meter import Meter
from polycall.gateway.sessions.relay import Relay
from polycall.gateway.store import LedgerRow, Store
from polycall.ir import JSON
from polycall.providers.dialects import DIALECTS
from polycall.providers.places import address
from polycall.translation.wire import Dialect
from polycall.transport.base import HTTPRequest
from polycall.voices.capabilities import Voice, voice_at
from polycall.voices.connection import ConnectionClosedError, WebSocket, connect_websocket
from polycall.voices.routes import ROUTES, ClientRoute, key_of

if TYPE_CHECKING:
    from polycall.gateway.observability.traces import Traces

logger = logging.getLogger("polycall.gateway")

_FIRST_FRAME_S = 10.0
_PROVIDER_HEARTBEATS = 4  # of the client's: some providers answer slowly
_GRACE_S = 120.0  # beyond what a provider lets a session last
_PARAMETERS = frozenset({"model", "key"})
_QUIET_CODES = (1000, 1001, 1005)


@dataclass(eq=False, repr=False)
class Sessions:
    """Serves every route of a realtime protocol, by one configuration."""

    services: GatewayServices
    keys: Keys
    store: Store
    limits: KeyLimits
    _: KW_ONLY
    metrics: Metrics
    traces: Traces | None
    memory: MemoryGuard

    def __post_init__(self) -> None:
        self._session_limits = SessionLimits(self.limits)

    async def serve(self, request: GatewayRequest, socket: ClientSocket) -> None:
        """Serve one; it is over when this returns.

        What ends it went through tasks that had a frame in hand, and is known to one of them.
        """
        route = ROUTES[request.path]
        session = _Session(request, socket, route)
        if self.traces is not None:
            headers = request.headers
            request.trace = self.traces.begin(request.id, "GET", request.path, headers)
        try:
            try:
                await self._serve(session)
            except asyncio.CancelledError as cancelled:
                raise request.reason_or_raise(cancelled) from None
        except asyncio.CancelledError:
            session.outcome = "cancelled"
            raise
        except (SocketClosed, ClientGone) as error:
            drop_traceback(error)
            # To close is how a session ends; to vanish or to take nothing is not.
            is_good = isinstance(error, SocketClosed) and error.code in _QUIET_CODES
            session.outcome = "ok" if is_good and session.meter is not None else "cancelled"
            session.code, session.words = 1001, ""
            if session.meter is None:
                session.status = CLIENT_GONE_STATUS
        except ConnectionClosedError as error:
            drop_traceback(error)
            session.close_by_provider(error)
        except errors.PolycallError as error:
            drop_traceback(error)
            await session.refuse(error)
        except Exception as error:
            logger.exception("session %s failed", request.id)
            drop_traceback(error)
            await session.refuse(internal_error(request.id))
        finally:
            await self._end(session)

    async def _serve(self, session: _Session) -> None:
        request, socket, route = session.request, session.socket, session.route
        if key := key_of(request.headers.get(b"sec-websocket-protocol", b"").decode("latin-1")):
            request.headers.setdefault(b"authorization", b"Bearer " + key.encode("latin-1"))
        self.memory.check()
        owner = self._owner(request)
        session.owner, session.is_known = owner, True
        self.limits.check_store()
        await self.limits.count_request(owner)
        body: JSON = {}
        if not route.model_at:
            session.model = _model_of(request)
        else:
            await self._accept(session)
            body = await _first_frame(socket)
            session.model = route.model(body)
            session.resumes = [_handle_id(each) for each in route.resumes(body)]
            if other := route.misspelt(body):
                raise errors.InvalidRequestError(
                    f"{other!r} is another field's name to some servers; leave it out", param=other
                )
        if not session.model:
            where = ".".join(route.model_at) or "the query (?model=provider/model)"
            raise errors.InvalidRequestError(f"no model is named in {where}", param="model")
        check_allowed(owner, session.model)
        target, voice, provider = await self._connected(session)
        try:
            if route.model_at:
                await provider.send(jsontext.encode(route.with_model(body, target.model)))
            else:
                await self._accept(session)
            meter = session.meter = self._meter(session, target, voice)
            relay = session.relay = Relay(
                *(request, socket, provider, meter),
                send_s=self.services.server.body_s,
                note_handle=partial(self._note_handle, owner.id, target.provider.name),
            )
        except BaseException:
            await provider.close()
            raise
        request.ends_at = time.monotonic() + voice.session_s + _GRACE_S
        request.started = True
        await relay.run()

    async def _accept(self, session: _Session) -> None:
        request, route = session.request, session.route
        offered = request.headers.get(b"sec-websocket-protocol", b"").decode("latin-1").split(",")
        is_spoken = route.protocol in [each.strip() for each in offered]
        protocol = route.protocol if is_spoken else ""
        heartbeat_s = self.services.server.heartbeat_s
        await session.socket.accept(request.id, protocol, heartbeat_s=heartbeat_s)

    def _owner(self, request: GatewayRequest) -> Owner:
        return self.keys.owner(request.headers, request.query, request.address)

    def _meter(self, session: _Session, target: Target, voice: Voice) -> Meter:
        request = session.request
        return Meter(
            session.route,
            target,
            voice,
            session.owner,
            row=self._row(session),
            write=self._write,
            costs=self.services.costs,
            limits=self._session_limits,
            check_key=lambda: self._owner(request),
        )

    # The provider

    async def _connected(self, session: _Session) -> tuple[Target, Voice, WebSocket]:
        """A connection to the first of the model's targets that gives one."""
        request, router = session.request, self.services.router
        targets = list(router.route(session.model))
        last: errors.PolycallError | None = None
        for target in targets[: self.services.server.attempts]:
            voice = _voice(target, session.route)
            provider = target.provider.name
            owned = self.services.owned
            if await owned.first_of_others(session.owner.id, provider, session.resumes):
                raise errors.NotFoundError("the session to continue is another key's")
            is_priced = voice.price is not None or target.model in target.provider.prices
            await self._session_limits.check_left(session.owner, is_priced=is_priced)
            try:
                return target, voice, await self._connect(session, target, voice)
            except errors.UpstreamError as error:
                report_failure(request.id, target, error, self.metrics)
                if request.trace is not None:
                    request.trace.failed(error)
                if isinstance(error, errors.AuthenticationError):
                    renewed = await self.services.key_refresher.other(target)
                    if renewed is not None:
                        return renewed, voice, await self._connect(session, renewed, voice)
                router.failed(target, error)
                last = error
        assert last is not None
        raise for_client(last, session.target, request.id) from last

    async def _connect(self, session: _Session, target: Target, voice: Voice) -> WebSocket:
        request, server = session.request, self.services.server
        session.target = target
        session.attempts += 1
        provider = target.provider
        headers = {**provider.headers, **provider.auth_headers(target.key)}
        if request.trace is not None:
            headers = request.trace.attempt(provider.name, target.model, headers)
        url = address(provider, voice.path.format(model=quote(target.model, safe="")))
        request.secrets += secrets_of(HTTPRequest(url, headers))
        try:
            socket = await connect_websocket(
                "ws" + url.removeprefix("http"),
                headers,
                connect_s=server.connect_s,
                heartbeat_s=_PROVIDER_HEARTBEATS * server.heartbeat_s,
                decodes_text=False,
            )
        except ConnectionClosedError as error:
            raise _upstream_error(error, target) from None
        self.services.router.succeeded(target)
        self.metrics.count_attempt(provider.name, "ok")
        return socket

    async def _note_handle(self, owner: str, provider: str, handle: str) -> None:
        try:
            await self.services.owned.note_makers(owner, provider, [_handle_id(handle)])
        except errors.StoreError:  # the session continues without
            logger.exception("whose a session is was not noted")

    # The end

    async def _end(self, session: _Session) -> None:
        request, meter = session.request, session.meter
        request.sending_since, request.ends_at = 0.0, math.inf
        closing = asyncio.ensure_future(session.socket.close(session.code, session.words))
        try:
            if session.relay is not None:
                await session.relay.drain()
        finally:
            if meter is not None:
                await meter.finish()
            row = self._row(session)
            if meter is not None and not meter.rows:
                row = replace(row, input_tokens=0, output_tokens=0, cost_usd="0")
            if meter is None or not meter.rows or session.outcome == "error":
                self._write(row, is_known=session.is_known)
            if request.trace is not None:
                request.trace.end(row)
            await closing

    def _write(self, row: LedgerRow, *, is_known: bool = True) -> None:
        self.metrics.count(row)
        if is_known:  # strangers cost the store nothing
            self.store.add_row(row)

    def _row(self, session: _Session) -> LedgerRow:
        """The session's own row: its replies have theirs."""
        request, target = session.request, session.target
        return LedgerRow(
            id=request.id,
            created=time.time(),
            key=session.owner.name,
            client=session.route.name,
            asked=storable(session.model),
            provider="" if target is None else target.provider.name,
            model="" if target is None else storable(target.model),
            streamed=1,
            status=session.status,
            outcome=session.outcome,
            attempts=session.attempts,
            input_tokens=None,
            output_tokens=None,
            cached_tokens=None,
            cache_write_tokens=None,
            reasoning_tokens=None,
            is_estimate=0,
            cost_usd=None,
            duration_ms=round((time.monotonic() - request.started_at) * 1000, 2),
            first_ms=None,
            key_id=session.owner.id,
            team_id="" if session.owner.team is None else session.owner.team.id,
            worker=self.limits.worker,
            error=session.error,
        )


class _Session:
    """The state of one session, and its end."""

    def __init__(self, request: GatewayRequest, socket: ClientSocket, route: ClientRoute) -> None:
        self.request = request
        self.socket = socket
        self.route = route
        self.dialect: Dialect = DIALECTS[route.dialect]
        self.owner: Owner = ANYBODY
        self.is_known = False
        self.model = ""
        self.resumes: list[str] = []  # sessions before it
        self.target: Target | None = None
        self.attempts = 0
        self.meter: Meter | None = None
        self.relay: Relay | None = None
        self.status = 200
        self.outcome = "ok"
        self.error = ""
        self.code, self.words = 1000, ""

    def close_by_provider(self, error: ConnectionClosedError) -> None:
        """The provider closed; the client gets its code, where there was one."""
        self.code = 1011 if error.code is None or error.code == 1006 else error.code
        lost = "the connection to the provider was lost"
        self.words = self.request.clean(error.words.encode()).decode() if error.code else lost
        if self.code not in _QUIET_CODES:
            self.outcome, self.error = "error", words_of(error)

    async def refuse(self, error: errors.PolycallError) -> None:
        """Say what is wrong: by HTTP before the WebSocket is open, by a frame and a close after."""
        self.outcome = "error"
        self.error = words_of(error.__cause__ or error)
        request = self.request
        if not self.socket.is_open:
            request.body_is_unread = True
            self.status = await send_error(request, self.dialect, error)
            return
        self.status, body = render_error(self.dialect, error)
        details: Any = jsontext.decode(body)
        frame = self.route.error(details["error"], f"event_{request.id}")
        self.words = str(error)
        self.code = 1008 if self.status < 500 else 1011
        if isinstance(error, errors.OverloadedError):
            self.code = 1012
        if frame:
            try:
                async with asyncio.timeout(2.0):
                    await self.socket.send(frame)
            except (TimeoutError, SocketClosed):
                pass  # the close says it, if anything does


def _handle_id(handle: str) -> str:
    """A handle as it is noted: some are long, and all are secrets."""
    return "session_" + hashlib.sha256(handle.encode("utf-8", "replace")).hexdigest()


def _model_of(request: GatewayRequest) -> str:
    query = parse_qs(request.query.decode("latin-1"))
    for name in query:
        if name not in _PARAMETERS:
            raise errors.InvalidRequestError(
                f"the query parameter {name[:60]!r} is not passed on; only 'model' is", param=name
            )
    return query.get("model", [""])[0]


async def _first_frame(socket: ClientSocket) -> dict[str, Any]:
    try:
        async with asyncio.timeout(_FIRST_FRAME_S):
            frame, _ = await socket.receive()
    except TimeoutError:
        raise errors.UpstreamTimeoutError(
            "no first frame came in time", should_retry=False
        ) from None
    await ValueCounter().add(frame)
    try:
        body: Any = jsontext.decode(frame)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise errors.InvalidRequestError("the first frame is not a JSON object")
    return body  # pyright: ignore[reportUnknownVariableType]


def _voice(target: Target, route: ClientRoute) -> Voice:
    provider = target.provider
    try:
        model = provider.serves.get(target.model, target.model)
        voice = voice_at(provider.name, model, route.codec)
    except errors.RequestError as error:
        raise errors.NotFoundError(str(error), code="model_not_found", param="model") from None
    if voice.codec != route.codec:
        paths = [path for path, each in ROUTES.items() if each.codec == voice.codec]
        raise errors.InvalidRequestError(
            f"{target.name!r} speaks another protocol; connect to {paths[0]}", param="model"
        )
    return voice


def _upstream_error(error: ConnectionClosedError, target: Target) -> errors.UpstreamError:
    if error.status is None:
        return errors.UpstreamConnectionError(
            f"the provider {target.provider.name!r} was not reached: {error.reason}"
        )
    kind = errors.error_class_for_status(error.status)
    return kind(
        f"the provider {target.provider.name!r} refused the session with HTTP {error.status}",
        status=error.status,
    )
