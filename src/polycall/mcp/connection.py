"""One connection to one MCP server, owned by a task.

The protocol's library keeps tasks and cancel scopes of its own, which must be left where they were
entered, and a transport that breaks cancels the task that entered it.  So a task of its own enters,
waits, and leaves; callers in other tasks only ever see an error.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from typing import Any, Literal, TypeVar, get_args

import anyio
import httpx2
import mcp_types as types
from anyio.abc import TaskStatus
from mcp import Client, MCPError
from mcp.client.subscriptions import (
    PromptsListChanged,
    ResourcesListChanged,
    SubscriptionLost,
)
from mcp.shared.dispatcher import ProgressFnT
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from polycall.errors import ToolError, ToolServerError
from polycall.ir import JSON
from polycall.mcp.answer_body import BoundedBody
from polycall.mcp.asking import Elicit, Sample, ServerQuestions
from polycall.mcp.blocks import CallResult
from polycall.mcp.comebacks import Comebacks
from polycall.mcp.guard import guarded
from polycall.mcp.http_transport import StreamEndedError, http_transport
from polycall.mcp.listing import all_pages
from polycall.mcp.logs import LogSink, reaches
from polycall.mcp.open_requests import bounded
from polycall.mcp.outputs import Outputs
from polycall.mcp.pieces import forget_others, read_in_pieces, taken
from polycall.mcp.process import Program
from polycall.mcp.servers import HttpServer, Server, headers_hook
from polycall.mcp.tasks import (
    TASKS_REVISION,
    Begun,
    ServerTask,
    TaskExtension,
    TaskForgottenError,
    call_as_task,
    cancel_task,
    resume_task,
)
from polycall.tools import ToolContext
from polycall.tools.problems import truncated

logger = logging.getLogger("polycall.mcp")

T = TypeVar("T")
Kind = Literal["tools", "prompts", "resources"]
_KINDS: tuple[Kind, ...] = get_args(Kind)

_REFRESH_PAUSE_S, _REFRESH_PAUSE_S_MAX = 0.1, 10.0
_LISTEN_AGAIN_S, _LEVEL_WITHIN_S, _CLOSE_S = 1.0, 5.0, 5.0
_CONNECTION_LOST = "Connection closed"
_SESSION_LOST = ("Session terminated", "Server returned an error response")
# What the protocol's library raises where a server or the way to it is at fault.
_FAILURES = (
    *(ExceptionGroup, MCPError, OSError, httpx2.HTTPError),
    *(ArithmeticError, RuntimeError, TypeError, ValueError),
)


class SessionLostError(ToolServerError):
    """A server at an address knows the session no more, and has run nothing of the call."""


class Connection:
    """Open it, use it, close it.  One that broke stays broken; there is another after it."""

    def __init__(
        self,
        server: Server,
        on_list_changed: Callable[[], Awaitable[None]],
        *,
        elicit: Elicit | None = None,
        sample: Sample | None = None,
        log: LogSink | None = None,
        on_updated: Callable[[str], None] = lambda _: None,
        on_others_changed: Callable[[Kind], None] = lambda _: None,
    ) -> None:
        self._server = server
        self._on_updated = on_updated
        self._on_others_changed = on_others_changed
        self._level: types.LoggingLevel | None = None  # that the server was asked to log from
        self._asked_of_us = ServerQuestions(server.name, elicit, sample, log, server.roots)
        self._on_list_changed = on_list_changed
        self._closing = asyncio.Event()
        self._changed: set[Kind] = set()
        self._is_changed = asyncio.Event()
        self._scope = anyio.CancelScope()
        self._client: Client | None = None
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._owner: asyncio.Task[None] | None = None
        self._noise = ""
        self._broken = ""  # by what
        self._outputs = Outputs()
        self._program: Program | None = None
        self._status, self._under_way = 0, 0
        self._is_session_gone = False
        self._is_refused = False  # a request, as malformed

    @property
    def is_open(self) -> bool:
        """Whether calls can be made, as far as is known."""
        return self._client is not None

    async def open(self) -> None:
        """Start the server or reach it; `ToolServerError` where that fails or takes too long."""
        self._owner = asyncio.create_task(self._own(), name=f"polycall-mcp-{self._server.name}")
        try:
            async with asyncio.timeout(self._server.connect_s):
                await asyncio.shield(self._ready)
        except TimeoutError:
            self._scope.cancel()
            await self._owner
            raise self._end(f"did not answer within {self._server.connect_s:g} s") from None
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End the connection, and the server's process where we started it."""
        self._client = None
        self._closing.set()
        if not self._ready.done():
            self._scope.cancel()  # it may never be open
        if self._owner is not None:
            if isinstance(self._server, HttpServer):  # it is informed, and may not answer
                await asyncio.wait({self._owner}, timeout=_CLOSE_S)
                self._scope.cancel()
            await asyncio.shield(self._owner)

    async def list_tools(self) -> list[types.Tool]:
        """All tools, of all pages."""

        async def page(cursor: str | None) -> types.ListToolsResult:
            return await self._asked(self._connected().list_tools(cursor=cursor), "tools/list")

        name = self._server.name
        bounds = self._server.list_bounds
        listed = await all_pages(name, "tools/list", page, lambda each: each.tools, bounds=bounds)
        self._outputs.listed(listed)
        forget_others(self._connected().session, {tool.name for tool in listed})
        return listed

    async def call(
        self,
        name: str,
        arguments: JSON,
        report: ProgressFnT,
        context: ToolContext[Any],
        *,
        as_task: bool = False,
        begun: Begun = lambda _: None,
    ) -> CallResult:
        """Run a tool; where the caller is cancelled, the server is informed.

        `begun` hears of the task that the server makes of it.
        """
        with self._asked_of_us.calling(context, begun):
            client = self._connected()
            meta = await self._log_from(client, context)
            if as_task and client.protocol_version == TASKS_REVISION:
                session = client.session
                calling = call_as_task(session, name, arguments, self._asked_of_us.report, begun)
            else:
                calling = client.call_tool(name, arguments, progress_callback=report, meta=meta)
            result = await self._asked(calling, f"{name!r}")
            await self._asked_of_us.logs.written(context)
            return taken(result)

    async def resume(self, name: str, task: ServerTask, context: ToolContext[Any]) -> CallResult:
        """Wait for the result of a call that the server made a task of, on whatever connection."""
        with self._asked_of_us.calling(context):
            waiting = resume_task(self._connected(), name, task, self._asked_of_us.report)
            return taken(await self._asked(waiting, f"{name!r}"))

    async def cancel_task(self, name: str) -> None:
        """Tell the server that nobody waits for a task any more."""
        with self._asked_of_us.asking(None):
            await self._asked(cancel_task(self._connected().session, name), "tasks/cancel")

    async def _log_from(
        self, client: Client, context: ToolContext[Any]
    ) -> types.RequestParamsMeta | None:
        """Ask for log messages as the caller wants them, for this call where that can be said."""
        level = self._asked_of_us.logs.level(context)
        if level is None:
            return None
        if client.protocol_version in MODERN_PROTOCOL_VERSIONS:
            return {types.LOG_LEVEL_META_KEY: level}
        is_enough = self._level is not None and reaches(level, self._level)
        if client.server_capabilities.logging is not None and not is_enough:
            params = types.SetLevelRequestParams(level=level)
            request = types.SetLevelRequest(params=params)
            try:
                await client.session.send_request(request, types.EmptyResult, _LEVEL_WITHIN_S)
                self._level = level
            except MCPError as error:
                if error.code == types.REQUEST_TIMEOUT:
                    self._level = level  # it was informed, and does not answer this
                told = truncated(error.message)
                logger.warning("MCP server %r takes no log level: %s", self._server.name, told)
        return None

    async def ask(
        self, what: str, asking: Callable[[Client], Awaitable[T]], caller: Hashable = None
    ) -> T:
        """Another request of the protocol; `what` names it in errors, `caller` is whose it is."""
        with self._asked_of_us.asking(caller):
            return await self._asked(asking(self._connected()), what)

    async def watch(self, uri: str, caller: Hashable = None) -> None:
        """Have changes of a resource announced until the connection ends, or this is cancelled."""
        client = self._connected()
        self._asked_of_us.logs.asked(caller)
        what = f"updates of {truncated(uri)!r}"
        if client.protocol_version in MODERN_PROTOCOL_VERSIONS:
            try:
                async with client.listen(resource_subscriptions=[uri]) as events:
                    async for _ in events:
                        self._on_updated(uri)
            except (SubscriptionLost, MCPError, RuntimeError, ValueError) as error:
                raise self._failure(f"gives no {what}: {error}") from None
            return
        wanted = types.SubscribeRequest(params=types.SubscribeRequestParams(uri=uri))
        await self._asked(client.session.send_request(wanted, types.EmptyResult), what)
        try:
            await self._closing.wait()
        finally:
            if self.is_open:
                params = types.UnsubscribeRequestParams(uri=uri)
                request = types.UnsubscribeRequest(params=params)
                task = asyncio.ensure_future(
                    client.session.send_request(request, types.EmptyResult, 5.0)
                )
                task.add_done_callback(_unheeded)

    @property
    def instructions(self) -> str:
        """The server's instructions for its tools."""
        return (self._client.instructions if self._client is not None else "") or ""

    @property
    def capabilities(self) -> types.ServerCapabilities:
        """The server's capabilities."""
        return self._connected().server_capabilities

    def _connected(self) -> Client:
        if self._client is None:
            raise self._failure("is not connected")
        return self._client

    async def _asked(self, asking: Awaitable[T], what: str) -> T:
        """The answer; the errors of the library as ours."""
        self._status, self._is_refused = 0, False
        self._under_way += 1
        try:
            return await asking
        except MCPError as error:
            if self._is_forgotten(error):
                await self.close()
                raise self._failure("knows the session no more", SessionLostError) from None
            if error.code != types.CONNECTION_CLOSED:
                raise self._failure(f"refused {what}: {truncated(error.message)}") from None
            why = "" if error.message == _CONNECTION_LOST else f" ({truncated(error.message)})"
            told = f"ended during {what}; it may have done its work{why}"
            if why and self._under_way > 1:  # others' answers have streams of their own
                raise self._failure(told, StreamEndedError) from None
            await self.close()  # a program's last words come with its end
            raise self._end(told) from None
        except TaskForgottenError as error:
            raise self._failure(
                f"does not know the task of {what} any more ({error}); the call may have done its "
                "work, and it is not made again",
                TaskForgottenError,
            ) from None
        except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
            # Valid JSON-RPC, and yet no result of the protocol, or not by the tool's own schema.
            raise self._failure(
                f"gave an invalid answer to {what}: {truncated(str(error))}"
            ) from None
        finally:
            self._under_way -= 1

    async def _own(self) -> None:
        try:
            with self._scope:
                async with self._entered() as client, anyio.create_task_group() as group:
                    if client.protocol_version in MODERN_PROTOCOL_VERSIONS:
                        await group.start(self._listen, client)
                    group.start_soon(self._refresh)
                    self._client = client
                    read_in_pieces(client.session, self._server.name)
                    setattr(client.session, "validate_tool_result", self._outputs.check)  # noqa: B010
                    if not self._ready.done():
                        self._ready.set_result(None)
                    await self._closing.wait()
                    group.cancel_scope.cancel()
        except _FAILURES as error:
            leaf = _leaf(error)
            told = truncated(f"{type(leaf).__name__}: {leaf}")
            if not self._ready.done():
                self._ready.set_exception(self._end(f"cannot be reached: {told}"))
            elif not self._closing.is_set():
                logger.warning("MCP server %r: the connection broke: %s", self._server.name, told)
            self._broken = told
        finally:
            self._client = None
            if not self._ready.done():
                self._ready.cancel()

    @asynccontextmanager
    async def _entered(self) -> AsyncGenerator[Client]:
        server = self._server
        if isinstance(server, HttpServer):
            # A call is bounded by its tool's deadline, and a stream of changes by nothing.
            timeout = httpx2.Timeout(server.connect_s, read=None)
            hooks: dict[str, list[Any]] = {
                "request": [Comebacks().wait],
                "response": [self._see],
            }
            headers = {"accept-encoding": "identity"}
            if callable(server.headers):
                hooks["request"].append(headers_hook(server.headers))
            else:
                headers = {**server.headers, **headers}
            auth = None if server.oauth is None else server.oauth.auth(server.url)
            http = httpx2.AsyncClient(
                headers=headers,
                timeout=timeout,
                event_hooks=hooks,
                auth=auth,
                transport=None if auth is None else guarded(server.url),
            )
            async with http, self._client_of(http_transport(server.url, http)) as client:
                yield client
            return
        self._program = Program(server)
        transport = self._program.started(self._lose)
        async with self._client_of(transport) as client:
            yield client

    def _client_of(self, transport: Any) -> Client:
        callbacks = self._asked_of_us.callbacks
        mode = "legacy" if self._server.handshake else "auto"
        tasks = TaskExtension(self._asked_of_us.report, self._asked_of_us.task_begun)
        return Client(
            bounded(transport),
            message_handler=self._hear,
            cache=None,
            mode=mode,
            extensions=[tasks],
            **callbacks,
        )

    def _lose(self) -> None:
        """The program has ended, perhaps between two calls: the next one starts it anew."""
        self._client = None
        self._closing.set()

    async def _see(self, response: httpx2.Response) -> None:
        self._status = response.status_code
        asked = response.request
        if response.has_redirect_location:
            # What may be reached, and who gets the token, was decided by the address.
            place = asked.url.join(response.headers["location"])
            if place.path.rstrip("/") != asked.url.path.rstrip("/"):
                raise httpx2.RemoteProtocolError(f"it redirects to {place}, which is not followed")
        encoding = response.headers.get("content-encoding", "identity")
        if encoding.lower() != "identity":
            raise httpx2.DecodingError(f"compressed as {encoding!r}, though that was not asked for")
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        kind = response.headers.get("content-type", "").strip().lower()
        if is_stream := kind.startswith("text/event-stream"):
            response.encoding = "utf-8"  # as events are, whatever the server says: it is weighed so
        is_answer = response.is_success and kind.startswith("application/json")
        response.stream = BoundedBody(
            response.stream, asked, is_stream=is_stream, is_answer=is_answer
        )
        if response.status_code == 404 and asked.method == "POST":
            # The protocol: a client whose session is answered so begins a new one.
            self._is_session_gone |= "mcp-session-id" in asked.headers
        self._is_refused |= response.status_code == 400 and asked.method == "POST"

    async def _hear(self, message: types.ServerNotification | Exception) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            self._mark("tools")
        elif isinstance(message, types.PromptListChangedNotification):
            self._mark("prompts")
        elif isinstance(message, types.ResourceListChangedNotification):
            self._mark("resources")
        elif isinstance(message, types.ResourceUpdatedNotification):
            self._on_updated(str(message.params.uri))
        elif isinstance(message, Exception):
            self._noise = str(message)

    async def _listen(self, client: Client, *, task_status: TaskStatus[None]) -> None:
        """Subscribe to changes, again where the stream ends, for as long as that works."""
        can = client.server_capabilities
        has = {kind: getattr(can, kind) is not None for kind in _KINDS}
        if not any(has.values()):
            task_status.started()
            return
        is_first = True
        while True:
            try:
                async with client.listen(
                    tools_list_changed=has["tools"],
                    prompts_list_changed=has["prompts"],
                    resources_list_changed=has["resources"],
                ) as events:
                    if is_first:
                        task_status.started()
                        is_first = False
                    else:
                        self._mark(*filter(has.get, _KINDS))  # what was said in between is lost
                    async for event in events:
                        if isinstance(event, PromptsListChanged):
                            self._mark("prompts")
                        elif isinstance(event, ResourcesListChanged):
                            self._mark("resources")
                        else:
                            self._mark("tools")
            except (SubscriptionLost, MCPError):
                if is_first:
                    task_status.started()
                    return
            await asyncio.sleep(_LISTEN_AGAIN_S)

    def _mark(self, *kinds: Kind) -> None:
        """These lists are others now."""
        self._changed.update(kinds)
        self._is_changed.set()

    async def _refresh(self) -> None:
        pause_s = _REFRESH_PAUSE_S
        while True:
            await self._is_changed.wait()
            self._is_changed.clear()
            changed, self._changed = self._changed, set()
            for kind in changed - {"tools"}:
                self._on_others_changed(kind)
            try:
                if "tools" in changed:
                    await self._on_list_changed()
            except ToolError as error:
                logger.warning("the changed list of tools could not be read: %s", error)
            await asyncio.sleep(pause_s)  # for servers that announce without end
            is_quiet = not self._is_changed.is_set()
            pause_s = _REFRESH_PAUSE_S if is_quiet else min(2 * pause_s, _REFRESH_PAUSE_S_MAX)

    def _is_forgotten(self, error: MCPError) -> bool:
        """Whether the server knows the session no more, and so has run nothing: it says 404, or 400
        without a JSON-RPC answer, of which the transport itself made the error, or 400 and in words
        that it is about the session.
        """
        if self._is_session_gone:
            return True
        if self._is_refused and "session" in error.message.lower():
            return True
        return self._status in (400, 404) and error.message in _SESSION_LOST

    def _failure(self, what: str, kind: type[ToolServerError] = ToolServerError) -> ToolServerError:
        status = f" (HTTP status {self._status})" if self._status >= 400 else ""
        return kind(f"MCP server {self._server.name!r} {what}{status}")

    def _end(self, what: str) -> ToolServerError:
        """The failure of a server that is not there, with what it said instead."""
        if self._noise:
            what += f" (it wrote what is not of the protocol: {truncated(self._noise)})"
        elif self._program is not None and self._program.last_words:
            what += f" (it said: {self._program.last_words})"
        elif self._broken:
            what += f" ({self._broken})"
        return self._failure(what)


def _unheeded(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()  # the subscription ends with the connection, if not before


def _leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    return error  # pyright: ignore[reportUnknownVariableType]
