"""Any toolset as an MCP server, over standard input and output or streamable HTTP."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Callable
from contextvars import ContextVar
from importlib.metadata import version
from typing import Any
from uuid import uuid4

import mcp_types as types
import msgspec
import uvicorn
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ToolsListChanged
from mcp.server.transport_security import (
    DEFAULT_MAX_REQUEST_BODY_SIZE,
    TransportSecuritySettings,
)
from starlette.applications import Starlette

from polycall._support import jsontext
from polycall._support.http_server import BoundedProtocol, server_config
from polycall._support.listening import is_loopback, listen
from polycall.errors import RequestError
from polycall.ir import JSON, Text, ToolCall, ToolResult
from polycall.mcp.content import has_object, served_result, served_tool, whole, wire_result
from polycall.mcp.request_ids import RequestIds, guarded_streams
from polycall.mcp.toolset import McpTool
from polycall.tools import AbstractToolset, ToolContext, execute
from polycall.tools.toolset import AnyTool
from polycall.tools.validate import SchemaChecker

logger = logging.getLogger("polycall.mcp")

_PATH = "/mcp"
_SESSIONS_MAX = 1000


# The connection of the call that runs here, where a client's calls share one; else empty.
connection: ContextVar[str] = ContextVar("polycall_mcp_connection", default="")


def _connection_of(context: ServerRequestContext[Any]) -> str:
    if context.request is None:
        return "stdio"
    headers = getattr(context.request, "headers", {})
    return str(headers.get("mcp-session-id", ""))


class _Service:
    """Answers the protocol's requests for tools."""

    def __init__(self, toolset: AbstractToolset, *, with_approval: bool, deps: Any) -> None:
        # With approval it is the client that asks, as the server's owner said.
        self._toolset = (
            toolset.approved(lambda _tool, _arguments: True) if with_approval else toolset
        )
        self._deps = deps
        self._with_approval = with_approval
        self.bus = InMemorySubscriptionBus()

    @property
    def tools(self) -> dict[str, AnyTool]:
        """The tools that are served: not those for programs alone, and not those that need a
        person's approval, whom nobody can ask from here.
        """
        return {
            name: tool
            for name, tool in self._toolset.tools.items()
            if "direct" in (tool.allowed_callers or ("direct",))
            and (self._with_approval or not tool.needs_approval)
        }

    async def list_tools(
        self, context: ServerRequestContext[Any], params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        del context, params
        served = [served_tool(tool, _annotations(tool)) for tool in self.tools.values()]
        return types.ListToolsResult(tools=served)

    async def call_tool(
        self, context: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> Any:
        before = self.tools
        connection.set(_connection_of(context))
        call = ToolCall(f"mcp_{uuid4().hex}", params.name, jsontext.encode(params.arguments or {}))

        async def report(progress: float, message: str) -> None:
            await context.session.report_progress(progress, 1.0, whole(message) or None)

        tool = before.get(params.name)
        if tool is None and params.name in self._toolset:
            text = f"{params.name!r} is not served here: it needs approval or is for programs alone"
            failed = ToolResult(call.id, [Text(text)], is_error=True)
            return wire_result(served_result(failed, has_data=False))
        result = await execute(
            call, self._toolset, context=ToolContext(deps=self._deps, reporter=report)
        )
        if list(self.tools) != list(before):
            await self.bus.publish(ToolsListChanged())
            await context.session.send_tool_list_changed()
        has_data = tool is not None and has_object(tool.output_schema)
        if has_data and tool is not None and not result.is_error:
            result = _fitting(result, tool)
        return wire_result(served_result(result, has_data=has_data))


class _Server(Server[Any]):
    """The library's server, which says that its list of tools may change, and takes an id once."""

    async def run(self, read_stream: Any, write_stream: Any, *more: Any, **options: Any) -> None:
        reading, writing = guarded_streams(read_stream, write_stream)
        await super().run(reading, writing, *more, **options)

    def streamable_http_app(self, **options: Any) -> Starlette:
        app = super().streamable_http_app(**options)
        body_bytes_max = options.get("max_request_body_size", DEFAULT_MAX_REQUEST_BODY_SIZE)
        app.add_middleware(RequestIds(body_bytes_max).guarded)
        return app

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        told = notification_options or NotificationOptions(tools_changed=True)
        return super().create_initialization_options(told, experimental_capabilities, extensions)


def mcp_server(
    toolset: AbstractToolset,
    *,
    name: str = "polycall",
    with_approval: bool = False,
    deps: Any = None,
) -> Server[Any]:
    """A server of the toolset, for the `mcp` library to run.

    Calls take the path of all calls: arguments are checked, deadlines hold, failures are results.
    Tools that need approval are not served but `with_approval`: then the client is to ask.  `deps`
    is what tools find in their context.
    """
    service = _Service(toolset, with_approval=with_approval, deps=deps)
    return _Server(
        name,
        version=version("polycall"),
        on_list_tools=service.list_tools,
        on_call_tool=service.call_tool,
        on_subscriptions_listen=ListenHandler(service.bus),
    )


async def serve_stdio(server: Server[Any]) -> None:
    """Serve one client on standard input and output, until it leaves.

    Meanwhile what tools print goes to standard error.
    """
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


async def serve_http(
    server: Server[Any],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    key: str = "",
    announce: Callable[[str], None] = logger.info,
) -> None:
    """Serve at `http://HOST:PORT/mcp` until cancelled or interrupted.

    With a `key`, clients send it as `Authorization: Bearer KEY`.  Beyond this machine it is needed:
    `RequestError` where it is not there.
    """
    if not key and not is_loopback(host):
        raise RequestError(
            f"refusing to listen on {host!r} without a key: everybody could call your tools; give "
            "a key, or listen on 127.0.0.1"
        )
    bound = listen(host, port)
    # A page in a browser must not reach what listens on this machine, by a name of its own.
    local = TransportSecuritySettings(
        allowed_hosts=["127.0.0.1:*", "localhost:*", "[::1]:*", f"{host}:*"],
        allowed_origins=[],
    )
    anywhere = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    app: Any = server.streamable_http_app(
        streamable_http_path=_PATH,
        transport_security=local if is_loopback(host) else anywhere,
        max_sessions=_SESSIONS_MAX,
    )
    config = server_config(
        _Guarded(app, key) if key else app,
        BoundedProtocol,
        log_level="warning",
        timeout_graceful_shutdown=2,
        limit_concurrency=_SESSIONS_MAX,
        lifespan="on",
    )
    shown = f"[{host}]" if ":" in host else host
    with bound:
        announce(f"http://{shown}:{bound.getsockname()[1]}{_PATH}")
        http = uvicorn.Server(config)
        serving = asyncio.create_task(http.serve(sockets=[bound]))
        try:
            await asyncio.shield(serving)
        finally:
            # However it ends, sessions and connections are closed.
            http.should_exit = True
            await serving


class _Guarded:
    """An application behind a key."""

    def __init__(self, app: Any, key: str) -> None:
        self._app = app
        self._expected = f"Bearer {key}".encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(given, self._expected):
                body = b'{"error":"the key is missing or wrong"}'
                headers = [
                    (b"content-type", b"application/json"),
                    (b"content-length", str(len(body)).encode()),
                    (b"www-authenticate", b"Bearer"),
                ]
                await send({"type": "http.response.start", "status": 401, "headers": headers})
                await send({"type": "http.response.body", "body": body})
                return
        await self._app(scope, receive, send)


def _annotations(tool: AnyTool) -> JSON:
    """Our annotations of a tool: its own server's, or that a person should be asked."""
    if isinstance(tool, McpTool):
        return tool.annotations
    return {"destructiveHint": True} if tool.needs_approval else {}


def _fitting(result: ToolResult, tool: AnyTool) -> ToolResult:
    """The result, or a failure where it is not what the tool's own output schema promises."""
    checker = SchemaChecker(tool.output_schema or {}, label=tool.name)
    try:
        data = jsontext.decode(result.text)
        msgspec.json.encode(data)
    except UnicodeEncodeError:
        return _failed(result, "it holds half of a character (a lone surrogate)")
    except ValueError:
        return _failed(result, "it is not JSON")
    problems = checker.problems(data)
    return _failed(result, problems[0].message) if problems else result


def _failed(result: ToolResult, why: str) -> ToolResult:
    text = f"the tool ran, but its result does not fit its own output schema: {why}"
    return ToolResult(result.call_id, [Text(text)], is_error=True, name=result.name)
