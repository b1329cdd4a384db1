"""Limits of what a server may have us hold: open requests, and values of a message.

A server that asks and takes no answers would have us keep them all, whatever it is reached by:
beyond a bound nothing is read of it.  The library reads each message several times, in the loop.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import mcp_types as types
from mcp.shared.message import SessionMessage

from polycall._support import jsontext
from polycall.ir import JSON
from polycall.mcp.pieces import APART, REST_VALUES_MAX, has_more_values
from polycall.mcp.watched_streams import Message, WatchedReading, WatchedWriting

if TYPE_CHECKING:
    from mcp.client._transport import TransportStreams

logger = logging.getLogger("polycall.mcp")

REQUESTS_MAX = 500  # of a server to us, that have no answer yet
_NOTICE_BYTES_MAX = 256 * 1024  # of a notification, which nobody waits for
_EXCESS = f"it has more than {REST_VALUES_MAX:,} values where no message has so many"


class OpenRequests:
    """Those of one server, by their ids."""

    def __init__(self, writing: Any) -> None:
        self._writing = writing
        self._has_warned = False
        self._open: Counter[int | str] = Counter()  # an id may be used again and again
        self._room = anyio.Event()
        self._is_over = False

    async def note(self, message: Message) -> bool:
        """Note a message of the server; waits where too many have no answer."""
        inner = message.message if isinstance(message, SessionMessage) else None
        if isinstance(message, SessionMessage) and _is_heavy(message.message):
            return await self._refuse(message)
        if isinstance(inner, types.JSONRPCRequest):
            self._open[inner.id] += 1
        elif isinstance(inner, types.JSONRPCNotification) and inner.method.endswith("/cancelled"):
            self._answered((inner.params or {}).get("requestId"))  # it gets no answer
        while self._open.total() > REQUESTS_MAX and not self._is_over:
            self._room = anyio.Event()
            await self._room.wait()
        return True

    async def _refuse(self, message: SessionMessage) -> bool:
        """Whether it is passed on all the same: an answer is, as one that cannot be read."""
        match message.message:
            case types.JSONRPCResponse(id=name):
                failure = types.ErrorData(code=types.PARSE_ERROR, message=f"the answer: {_EXCESS}")
                message.message = types.JSONRPCError(jsonrpc="2.0", id=name, error=failure)
                return True
            case types.JSONRPCRequest(id=name):
                failure = types.ErrorData(code=types.INVALID_REQUEST, message=_EXCESS)
                answer = types.JSONRPCError(jsonrpc="2.0", id=name, error=failure)
                await self._writing.send(SessionMessage(answer))
            case _ if not self._has_warned:
                self._has_warned = True
                logger.warning("a notification of an MCP server is not read: %s", _EXCESS)
            case _:
                pass
        return False

    def sent(self, message: SessionMessage) -> None:
        """Note a message that the transport has taken."""
        if isinstance(message.message, types.JSONRPCResponse | types.JSONRPCError):
            self._answered(message.message.id)

    def close(self) -> None:
        """Have nothing wait any more."""
        self._is_over = True
        self._room.set()

    def _answered(self, request_id: Any) -> None:
        if isinstance(request_id, int | str) and self._open[request_id] > 1:
            self._open[request_id] -= 1
        elif isinstance(request_id, int | str):
            del self._open[request_id]
        self._room.set()


def _is_heavy(message: types.JSONRPCMessage) -> bool:
    match message:
        case types.JSONRPCResponse(result=result):
            return has_more_values(_rest(result), REST_VALUES_MAX)
        case types.JSONRPCRequest(params=params):
            return has_more_values(params, REST_VALUES_MAX)
        case types.JSONRPCNotification(params=params):
            is_long = len(jsontext.encode_bytes(params)) > _NOTICE_BYTES_MAX
            return is_long or has_more_values(params, REST_VALUES_MAX)
        case types.JSONRPCError():
            return False  # which the library does not look into


def _rest(result: JSON) -> JSON:
    """A result but for what is read apart; that of a task has a call's in it."""
    rest = {key: value for key, value in result.items() if key not in APART and key != "_meta"}
    if isinstance(rest.get("result"), dict):
        rest["result"] = _rest(rest["result"])
    return rest


@asynccontextmanager
async def bounded(
    transport: AbstractAsyncContextManager[TransportStreams],
) -> AsyncGenerator[TransportStreams]:
    """The streams of a transport, of which no more is read while too many have no answer."""
    async with transport as (reading, writing):
        asked = OpenRequests(writing)
        try:
            yield WatchedReading(reading, asked), WatchedWriting(writing, asked)
        finally:
            asked.close()
