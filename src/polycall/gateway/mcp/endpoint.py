"""`/mcp` over streamable HTTP: whose request it is, and the sessions of older clients."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Coroutine, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

from polycall._support.json_weight import JSONWeight
from polycall.config import Config
from polycall.errors import (
    AuthenticationError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    RateLimitError,
)
from polycall.gateway.accounts.keys import Keys
from polycall.gateway.http.bodies import read_body
from polycall.gateway.http.request import GatewayRequest, Scope
from polycall.gateway.http.values import ValueCounter
from polycall.gateway.mcp.calls import McpRequest, request_here
from polycall.gateway.mcp.handlers import Handlers
from polycall.gateway.mcp.subscriptions import SCOPE
from polycall.gateway.processes.memory_guard import MemoryGuard
from polycall.mcp.request_ids import RequestIds

logger = logging.getLogger("polycall.mcp")

PATH = "/mcp"
_SESSION = b"mcp-session-id"
_VERSION = b"mcp-protocol-version"  # a first request of the older revisions has neither
_SESSIONS_MAX = 2_000
_SESSIONS_OF_KEY_MAX = 200
_IDLE_S = 1_800.0
_OPENING_S = 5.0
_BODY_BYTES_MAX = 4 * 1024 * 1024  # the protocol's library takes ten times as much to read it
# And it reads a body in the loop, each value several times.
_VALUES_MAX, _OBJECTS_MAX, _SHORT_BYTES = 100_000, 20_000, 40_000


class OpenSessions:
    """Which sessions are each key's, so that one key does not take the places of all."""

    def __init__(self) -> None:
        self._heard: dict[str, dict[str, float]] = {}  # when each of a key was heard of last

    def check(self, owner: str) -> None:
        """Raise `RateLimitError` where the key has as many as it may."""
        most = _SESSIONS_OF_KEY_MAX
        now = time.monotonic()
        mine = {name: at for name, at in self._heard.get(owner, {}).items() if now - at < _IDLE_S}
        self._heard[owner] = mine
        if len(mine) >= most:
            raise RateLimitError(
                f"{most} MCP sessions of this key are open; end one (DELETE {PATH})",
                retry_after_s=math.ceil(_IDLE_S - (now - min(mine.values()))),
            )

    def heard(self, owner: str, name: str) -> None:
        """A session of the key is in use."""
        self._heard.setdefault(owner, {})[name] = time.monotonic()

    def ended(self, owner: str, name: str) -> None:
        """A session of the key is over."""
        self._heard.get(owner, {}).pop(name, None)


class Endpoint:
    """Serves the protocol's requests.  `close` ends all sessions."""

    def __init__(self, handlers: Handlers, keys: Keys, memory: MemoryGuard, config: Config) -> None:
        self._handlers = handlers
        self._keys = keys
        self._memory = memory
        self._config = config
        # Sessions live in one process; several share the socket, and clients learn nothing
        # that only one of them knows.
        self._manager = StreamableHTTPSessionManager(
            handlers.server(),
            stateless=config.server.workers > 1,
            session_idle_timeout=_IDLE_S,
            max_sessions=_SESSIONS_MAX,
            max_request_body_size=config.server.body_bytes_max,
        )
        self._handle = RequestIds().guarded(self._manager.handle_request)
        self._closing = asyncio.Event()
        self._ready: asyncio.Future[None] | None = None
        self._owner: asyncio.Task[None] | None = None
        self._streams: set[asyncio.Task[Any]] = set()
        self._open = OpenSessions()
        self.is_draining = False

    def configure(self, config: Config) -> None:
        """Serve by this configuration."""
        self._config = config

    async def serve(self, gateway_request: GatewayRequest, scope: Scope) -> None:
        """One request, by GET (a stream of what the server says), POST or DELETE."""
        try:
            owner = self._keys.owner(
                gateway_request.headers, gateway_request.query, gateway_request.address
            )
        except AuthenticationError:
            gateway_request.notes.append((b"www-authenticate", b"Bearer"))
            raise
        if gateway_request.method not in ("GET", "POST", "DELETE"):
            gateway_request.notes.append((b"allow", b"GET, POST, DELETE"))
            raise InvalidRequestError(f"{PATH} takes GET, POST and DELETE", status=405)
        names = self._names(gateway_request.path)
        query = parse_qs(gateway_request.query.decode("latin-1"))
        mode = query.get("mode", [""])[0]
        if mode not in ("", "code", "direct"):
            raise InvalidRequestError(f"there is no mode {mode[:40]!r}; say code or direct")
        if self.is_draining:
            raise OverloadedError("the gateway is restarting; try again", retry_after_s=1.0)
        body = b""
        if gateway_request.method == "POST":
            server = self._config.server
            body = await read_body(gateway_request, server, self._memory, _BODY_BYTES_MAX)
            weight = JSONWeight(_VALUES_MAX, _OBJECTS_MAX, short_bytes=_SHORT_BYTES)
            await ValueCounter(weight).add(body)
        if gateway_request.method == "POST" and _SESSION not in gateway_request.headers:
            self._open.check(owner.id)
        await self._started()
        # The library ends calls and streams by itself: there is no deadline for a whole one.
        gateway_request.heard_at = float("inf")
        gateway_request.ends_at = float("inf")
        token = AccessToken(token="", client_id=owner.id, scopes=[])
        asked = McpRequest(
            owner,
            names,
            is_code=mode == "code",
            is_one=len(names) == 1 and gateway_request.path.strip("/") != "mcp",
            gateway_request=gateway_request,
        )
        served: Scope = {
            **scope,
            "path": PATH,
            "headers": [(n, v) for n, v in scope["headers"] if n != b"content-encoding"],
            "user": AuthenticatedUser(token),
            SCOPE: asked,
        }
        request_here.set(asked)
        await self._passed(gateway_request, served, body, owner.id)

    async def _passed(
        self, gateway_request: GatewayRequest, scope: Scope, body: bytes, owner: str
    ) -> None:
        gone = asyncio.Event()
        is_read = has_session = False

        async def receive() -> MutableMapping[str, Any]:
            nonlocal is_read
            if not is_read:
                is_read = True
                return {"type": "http.request", "body": body, "more_body": False}
            await gone.wait()  # the request monitor looks after clients that leave
            return {"type": "http.disconnect"}

        async def send(message: MutableMapping[str, Any]) -> None:
            nonlocal has_session
            if message["type"] == "http.response.start":
                has_session = self._note_session(gateway_request, message, owner)
                headers = [
                    *message["headers"],
                    (b"polycall-request-id", gateway_request.id.encode()),
                ]
                await gateway_request.send_start(message["status"], headers)
            elif message["type"] == "http.response.body":
                more = message.get("more_body", False)
                await gateway_request.send_body(message.get("body", b""), more=more)

        task = asyncio.current_task()
        is_stream = gateway_request.method == "GET" and task is not None
        if is_stream and task is not None:
            self._streams.add(task)
        handling = self._handle(scope, receive, send)
        try:
            if not gateway_request.headers.keys() & {_SESSION, _VERSION}:
                await _to_its_end(handling, lambda: has_session)
            else:
                await handling
        finally:
            gone.set()
            if task is not None:
                self._streams.discard(task)

    def _note_session(
        self, gateway_request: GatewayRequest, message: MutableMapping[str, Any], owner: str
    ) -> bool:
        """Whether the client has a session with this answer."""
        asked = gateway_request.headers.get(_SESSION, b"")
        name = (asked or dict(message["headers"]).get(_SESSION, b"")).decode("latin-1")
        if not name or message["status"] >= 400:
            return False
        if gateway_request.method == "DELETE":
            self._open.ended(owner, name)
        else:
            self._open.heard(owner, name)
        return True

    def drain(self) -> None:
        """End the streams that wait for what servers may say: nothing is under way in them."""
        self.is_draining = True
        for task in self._streams:
            task.cancel()

    async def close(self) -> None:
        """End all sessions."""
        self._closing.set()
        if self._owner is not None:
            await self._owner
        await self._handlers.close()

    def _names(self, path: str) -> tuple[str, ...]:
        known = tuple(self._config.mcp)
        name = path.removeprefix(PATH).strip("/")
        if not name:
            return known
        names = tuple(dict.fromkeys(name.split(",")))
        for each in names:
            if each not in known:
                shown = ", ".join(known) or "none"
                raise NotFoundError(f"there is no MCP server {each[:100]!r}; there are: {shown}")
        return names

    async def _started(self) -> None:
        if self._ready is None:
            self._ready = asyncio.get_running_loop().create_future()
            self._owner = asyncio.create_task(self._own(self._ready), name="polycall-mcp-sessions")
        await asyncio.shield(self._ready)

    async def _own(self, ready: asyncio.Future[None]) -> None:
        """The library's tasks are left where they were entered: in a task of their own."""
        async with self._manager.run():
            ready.set_result(None)
            await self._closing.wait()


async def _to_its_end(handling: Coroutine[Any, Any, None], has_session: Callable[[], bool]) -> None:
    """Serve a request that may open a session; when it has, a client that leaves does not end it.

    A client may leave as soon as it has read its session's name, and the protocol's library
    forgets a session whose first request is cancelled.
    """
    task = asyncio.ensure_future(handling)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.done():
            if not has_session():
                task.cancel()
            await asyncio.wait({task}, timeout=_OPENING_S)
            task.cancel()
        task.add_done_callback(_forget_failure)
        raise


def _forget_failure(task: asyncio.Future[None]) -> None:
    """Nobody is there to hear of it."""
    if not task.cancelled():
        task.exception()
