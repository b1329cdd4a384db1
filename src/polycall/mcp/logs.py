"""Log messages of servers, and the calls to which they belong.

A server writes on a connection that may serve several callers.  A message belongs to the call that
the protocol names; where it names none, to the only call under way, as long as the connection has
served one caller alone.  Nobody hears any other message.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Hashable
from typing import Any, Protocol, get_args

import mcp_types as types
from msgspec import Struct

from polycall.tools import ToolContext

logger = logging.getLogger("polycall.mcp")

LEVELS: tuple[types.LoggingLevel, ...] = get_args(types.LoggingLevel)
_WRITTEN_WITHIN_S = 5.0


class LogMessage(Struct, frozen=True):
    """A server's message on its work; `data` is any JSON."""

    level: types.LoggingLevel
    data: Any
    logger: str = ""


class LogSink(Protocol):
    """The receiver of a server's messages."""

    def caller(self, context: ToolContext[Any]) -> Hashable:
        """The maker of the call: messages of another's never reach this one."""
        ...

    def level(self, context: ToolContext[Any]) -> types.LoggingLevel | None:
        """The lowest level that the caller asked for."""
        ...

    async def write(self, message: LogMessage, context: ToolContext[Any]) -> None:
        """Take a message of this call."""
        ...


def reaches(level: types.LoggingLevel, lowest: types.LoggingLevel) -> bool:
    """Whether a message of `level` is as grave as `lowest`, or graver."""
    return LEVELS.index(level) >= LEVELS.index(lowest)


class ConnectionLogs:
    """The messages of one connection."""

    def __init__(self, server: str, sink: LogSink | None) -> None:
        self._server = server
        self._sink = sink
        self._callers: set[Hashable] = set()
        self._writing: dict[int, set[asyncio.Task[Any]]] = {}  # by call

    def begun(self, context: ToolContext[Any]) -> None:
        """A call is under way."""
        if self._sink is not None:
            self.asked(self._sink.caller(context))

    def asked(self, caller: Hashable) -> None:
        """The connection is used for a caller, with `None` for nobody knows whom.

        The server may log what it did for this one at any later time.
        """
        if len(self._callers) < 2:
            self._callers.add(object() if caller is None else caller)

    def level(self, context: ToolContext[Any]) -> types.LoggingLevel | None:
        """The lowest level that the call's caller asked for."""
        return None if self._sink is None else self._sink.level(context)

    async def take(
        self,
        params: types.LoggingMessageNotificationParams,
        own: ToolContext[Any] | None,
        calls: list[ToolContext[Any]],
    ) -> None:
        """Pass a message on to its call: `own`, where the protocol says so, or the only one."""
        if own is None and len(calls) == 1 and len(self._callers) == 1:
            own = calls[0]
        task = asyncio.current_task()
        if self._sink is None or task is None or not any(each is own for each in calls):
            logger.debug("MCP server %r logs something that is of no call", self._server)
            return
        assert own is not None
        writing = self._writing.setdefault(id(own), set())
        writing.add(task)
        try:
            message = LogMessage(params.level, params.data, params.logger or "")
            await self._sink.write(message, own)
        finally:
            writing.discard(task)
            if not writing:
                self._writing.pop(id(own), None)

    async def written(self, context: ToolContext[Any]) -> None:
        """Wait until the messages of a call that has its result are passed on."""
        writing = self._writing.get(id(context))
        if writing:
            await asyncio.wait(set(writing), timeout=_WRITTEN_WITHIN_S)
