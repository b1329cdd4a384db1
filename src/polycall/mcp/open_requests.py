"""How many requests of a server wait for their answer; beyond a bound nothing is read of it.

A server that asks and takes no answers would have us keep them all, whatever it is reached by.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import mcp_types as types
from mcp.shared.message import SessionMessage

from polycall.mcp.watched_streams import Message, WatchedReading, WatchedWriting

if TYPE_CHECKING:
    from mcp.client._transport import TransportStreams

REQUESTS_MAX = 500  # of a server to us, that have no answer yet


class OpenRequests:
    """Those of one server, by their ids."""

    def __init__(self) -> None:
        self._open: Counter[int | str] = Counter()  # an id may be used again and again
        self._room = anyio.Event()
        self._is_over = False

    async def note(self, message: Message) -> bool:
        """Note a message of the server; waits where too many have no answer."""
        inner = message.message if isinstance(message, SessionMessage) else None
        if isinstance(inner, types.JSONRPCRequest):
            self._open[inner.id] += 1
        elif isinstance(inner, types.JSONRPCNotification) and inner.method.endswith("/cancelled"):
            self._answered((inner.params or {}).get("requestId"))  # it gets no answer
        while self._open.total() > REQUESTS_MAX and not self._is_over:
            self._room = anyio.Event()
            await self._room.wait()
        return True

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


@asynccontextmanager
async def bounded(
    transport: AbstractAsyncContextManager[TransportStreams],
) -> AsyncGenerator[TransportStreams]:
    """The streams of a transport, of which no more is read while too many have no answer."""
    async with transport as (reading, writing):
        asked = OpenRequests()
        try:
            yield WatchedReading(reading, asked), WatchedWriting(writing, asked)
        finally:
            asked.close()
