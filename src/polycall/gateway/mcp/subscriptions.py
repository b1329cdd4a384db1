"""Clients' subscriptions: on their session in older revisions, on a stream in the newest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from typing import Any, cast
from weakref import WeakKeyDictionary, WeakSet

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    PromptsListChanged,
    ResourcesListChanged,
    ResourceUpdated,
    ServerEvent,
    ToolsListChanged,
)
from mcp.shared.exceptions import MCPError

from polycall.errors import PolycallError
from polycall.gateway.mcp.calls import McpRequest
from polycall.gateway.mcp.listening import ListenStream
from polycall.gateway.mcp.offers import Offers
from polycall.gateway.mcp.task_requests import TaskRequests
from polycall.mcp.connection import Kind

Context = ServerRequestContext[Any, Any]

SCOPE = "polycall.mcp"
_OF_SESSION_MAX = 100
_EVENTS: dict[Kind, ServerEvent] = {
    "tools": ToolsListChanged(),
    "prompts": PromptsListChanged(),
    "resources": ResourcesListChanged(),
}


class Subscriptions:
    """Tells clients what changed.  One for the process."""

    def __init__(self, offers: Offers, tasks: TaskRequests) -> None:
        self._offers = offers
        self._tasks = tasks
        self._connections: WeakSet[Any] = WeakSet()
        self._watched: WeakKeyDictionary[Any, dict[str, ExitStack]] = WeakKeyDictionary()
        self._bus = InMemorySubscriptionBus()
        self._telling: dict[tuple[int, object], asyncio.Future[None]] = {}

    def register(self, server: Server[Any]) -> None:
        """Serve them."""
        server.add_request_handler(
            "subscriptions/listen", types.SubscriptionsListenRequestParams, self._listen
        )
        subscribe, unsubscribe = types.SubscribeRequestParams, types.UnsubscribeRequestParams
        server.add_request_handler("resources/subscribe", subscribe, self._subscribe)
        server.add_request_handler("resources/unsubscribe", unsubscribe, self._unsubscribe)

    def met(self, context: Context) -> None:
        """A client of an older revision has listed something: it hears of changes."""
        self._connections.add(_connection(context))

    async def changed(self, kind: Kind) -> None:
        """Tell clients that there are other tools, prompts or resources now."""
        await self._bus.publish(_EVENTS[kind])
        for connection in list(self._connections):  # one that reads nothing keeps nobody waiting
            self._tell(connection, kind, _sender(connection, kind))

    async def _listen(
        self, context: Context, params: types.SubscriptionsListenRequestParams
    ) -> types.SubscriptionsListenResult:
        wanted = params.notifications
        uris = list(dict.fromkeys(wanted.resource_subscriptions or []))
        names = _task_ids(wanted)
        if len(uris) > _OF_SESSION_MAX or len(names) > _OF_SESSION_MAX:
            raise MCPError(types.INVALID_PARAMS, _TOO_MANY)
        tasks = await self._tasks.own(context, names) if names else []
        stream = ListenStream(context, wanted, tasks)
        with ExitStack() as watching:
            watching.callback(self._bus.subscribe(stream.tell))
            for uri in uris:
                await self._watch(
                    watching, context, uri, lambda at=uri: stream.tell(ResourceUpdated(at))
                )
            async with asyncio.TaskGroup() as group:
                for name in tasks:
                    group.create_task(self._tasks.watch(context, name, stream.tell_of_task))
                await stream.run()
        raise AssertionError("the stream runs until it is cancelled")

    async def _subscribe(
        self, context: Context, params: types.SubscribeRequestParams
    ) -> types.EmptyResult:
        connection, uri = _connection(context), params.uri
        if not connection.has_standalone_channel:
            raise MCPError(
                types.METHOD_NOT_FOUND, "this gateway has no sessions to tell of changes"
            )
        mine = self._watched.get(connection)
        if mine is None:
            mine = self._watched[connection] = {}
            connection.exit_stack.callback(_ended, mine)
        if uri in mine:
            return types.EmptyResult()
        if len(mine) >= _OF_SESSION_MAX:
            raise MCPError(types.INVALID_PARAMS, _TOO_MANY)
        stack = mine[uri] = ExitStack()

        def heard() -> None:
            self._tell(connection, uri, lambda: connection.send_resource_updated(uri))

        try:
            await self._watch(stack, context, uri, heard)
        except BaseException:
            if mine.get(uri) is stack:
                del mine[uri]
            raise
        if mine.get(uri) is not stack:  # it was ended meanwhile
            stack.close()
        return types.EmptyResult()

    async def _unsubscribe(
        self, context: Context, params: types.UnsubscribeRequestParams
    ) -> types.EmptyResult:
        stack = self._watched.get(_connection(context), {}).pop(params.uri, None)
        if stack is not None:
            stack.close()
        return types.EmptyResult()

    async def _watch(self, stack: ExitStack, context: Context, uri: str, heard: Any) -> None:
        assert context.request is not None, "the gateway serves over HTTP alone"
        asked: McpRequest = context.request.scope[SCOPE]
        try:
            member, own = await self._offers.place(asked, uri)
            stack.enter_context(self._offers.updates.watching(asked.owner.id, member, own, heard))
        except PolycallError as error:
            raise MCPError(types.INVALID_PARAMS, str(error)) from None

    def _tell(
        self, whom: object, what: object, telling: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        """Tell somebody of a change; one that comes meanwhile is the same to them."""
        key = (id(whom), what)
        if key not in self._telling:
            task = self._telling[key] = asyncio.ensure_future(telling())
            task.add_done_callback(lambda _: self._telling.pop(key, None))


_TOO_MANY = f"at most {_OF_SESSION_MAX} resources and {_OF_SESSION_MAX} tasks can be subscribed to"


def _task_ids(wanted: types.SubscriptionFilter) -> list[str]:
    """The tasks that the client wants to hear of: the extension's own word."""
    given: Any = (wanted.model_extra or {}).get("taskIds") or []
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):  # pyright: ignore[reportUnknownVariableType]
        raise MCPError(types.INVALID_PARAMS, "taskIds is a list of tasks' ids")
    return list(dict.fromkeys(cast("list[str]", given)))


def _sender(connection: Any, kind: Kind) -> Callable[[], Coroutine[Any, Any, None]]:
    """The function that notifies a client of an older revision."""
    match kind:
        case "tools":
            return connection.send_tool_list_changed
        case "prompts":
            return connection.send_prompt_list_changed
        case "resources":
            return connection.send_resource_list_changed


def _connection(context: Context) -> Any:
    """The object that lives as long as the client's session: the library makes a new one per
    request.
    """
    return context.session._connection  # pyright: ignore[reportPrivateUsage]


def _ended(mine: dict[str, ExitStack]) -> None:
    for stack in mine.values():
        stack.close()
    mine.clear()
