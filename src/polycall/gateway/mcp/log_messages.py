"""Log messages of servers, on their way to the clients whose calls they are of."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Hashable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from polycall._support import jsontext
from polycall.gateway.mcp.calls import CallScope, clean, clean_tree
from polycall.mcp.logs import LEVELS, LogMessage, reaches
from polycall.tools import ToolContext

logger = logging.getLogger("polycall.mcp")

Context = ServerRequestContext[Any, Any]

_UNASKED: types.LoggingLevel = "info"  # for older clients, which need not say what they want
_DATA_CHARS_MAX = 16_000
_OF_CALL_MAX = 1_000


class Listener(NamedTuple):
    """The receiver of a call's messages, and the lowest level that it asked for."""

    level: types.LoggingLevel
    hear: Callable[[LogMessage], Awaitable[None]]


class ClientLogs:
    """The levels that clients asked for.  One for the process."""

    def __init__(self) -> None:
        self._levels: WeakKeyDictionary[Any, types.LoggingLevel] = WeakKeyDictionary()

    def register(self, server: Server[Any]) -> None:
        """Serve `logging/setLevel`, which older clients send once for their session."""
        server.add_request_handler("logging/setLevel", types.SetLevelRequestParams, self._set)

    def listener(self, context: Context) -> Listener | None:
        """The receiver of the messages of the call that this request makes."""
        session = context.session
        if session.protocol_version in MODERN_PROTOCOL_VERSIONS:
            level: Any = dict(context.meta or {}).get(types.LOG_LEVEL_META_KEY)
            if level not in LEVELS:
                return None  # nothing may be sent
        else:
            level = self._levels.get(_connection(context), _UNASKED)

        async def hear(message: LogMessage) -> None:
            if not reaches(message.level, level):
                return
            params = types.LoggingMessageNotificationParams(
                level=message.level, data=message.data, logger=message.logger
            )
            notification = types.LoggingMessageNotification(params=params)
            await session.send_notification(notification, context.request_id)

        return Listener(level, hear)

    async def _set(self, context: Context, params: types.SetLevelRequestParams) -> Any:
        connection = _connection(context)
        if not connection.has_standalone_channel:
            raise MCPError(
                types.METHOD_NOT_FOUND, "this gateway has no sessions to keep a level in"
            )
        self._levels[connection] = params.level
        return types.EmptyResult()


class ServerLogs:
    """The messages of one server: without its secrets, under its name, and bounded."""

    def __init__(self, server: str, secrets: Collection[str]) -> None:
        self._server = server
        self._secrets = secrets

    def caller(self, context: ToolContext[Any]) -> Hashable:
        """The key."""
        return context.deps.owner.id if isinstance(context.deps, CallScope) else ""

    def level(self, context: ToolContext[Any]) -> types.LoggingLevel | None:
        """From which level the call's client asked for them."""
        return context.deps.log_level if isinstance(context.deps, CallScope) else None

    async def write(self, message: LogMessage, context: ToolContext[Any]) -> None:
        """To the client of the call."""
        scope = context.deps
        if not isinstance(scope, CallScope) or scope.log is None or scope.logged > _OF_CALL_MAX:
            return
        lowest = scope.log_level
        if lowest is not None and not reaches(message.level, lowest):
            return
        scope.logged += 1
        name = clean(message.logger, self._secrets)[:200]
        named = f"{self._server}.{name}" if name else self._server
        if scope.logged > _OF_CALL_MAX:
            words = f"more than {_OF_CALL_MAX:,} messages of one call: the others are left out"
            level: types.LoggingLevel = "warning"
            if lowest is not None and not reaches(level, lowest):
                level = lowest
            await scope.log(LogMessage(level, words, self._server))
            return
        data = clean_tree(message.data, self._secrets)
        text = data if isinstance(data, str) else jsontext.encode(data)
        if len(text) > _DATA_CHARS_MAX:
            data = f"{text[:_DATA_CHARS_MAX]}... (cut: {len(text):,} characters in all)"
        await scope.log(LogMessage(message.level, data, named))


def _connection(context: Context) -> Any:
    return context.session._connection  # pyright: ignore[reportPrivateUsage]
