"""How many requests of a server wait for their answer; beyond a bound nothing is read of it.

A server that asks and takes no answers would have us keep them all, whatever it is reached by.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import anyio
import mcp_types as types
from mcp.shared.message import SessionMessage

if TYPE_CHECKING:
    from mcp.client._transport import TransportStreams

REQUESTS_MAX = 500  # of a server to us, that have no answer yet

Message = SessionMessage | Exception


class OpenRequests:
    """Those of one server, by their ids."""

    def __init__(self) -> None:
        self._open: Counter[int | str] = Counter()  # an id may be used again and again
        self._room = anyio.Event()
        self._is_over = False

    async def note(self, message: Message) -> None:
        """Note a message of the server; waits where too many have no answer."""
        inner = message.message if isinstance(message, SessionMessage) else None
        if isinstance(inner, types.JSONRPCRequest):
            self._open[inner.id] += 1
        elif isinstance(inner, types.JSONRPCNotification) and inner.method.endswith("/cancelled"):
            self._answered((inner.params or {}).get("requestId"))  # it gets no answer
        while self._open.total() > REQUESTS_MAX and not self._is_over:
            self._room = anyio.Event()
            await self._room.wait()

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


class _Stream:
    """One of the two streams, with its end."""

    def __init__(self, inner: Any, asked: OpenRequests) -> None:
        self._inner = inner
        self._asked = asked

    async def aclose(self) -> None:
        self._asked.close()
        await self._inner.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        await self.aclose()


class _Reading(_Stream):
    """What the server says, as long as it is not asking too much."""

    @property
    def last_context(self) -> Any:
        """In which context the last message was sent, as the library asks of streams."""
        return getattr(self._inner, "last_context", None)

    async def receive(self) -> Message:
        message = await self._inner.receive()
        await self._asked.note(message)
        return message

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        message = await self._inner.__anext__()
        await self._asked.note(message)
        return message


class _Writing(_Stream):
    """What we say."""

    async def send(self, item: SessionMessage, /) -> None:
        try:
            await self._inner.send(item)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            self._asked.close()  # no answer is taken any more, and the end is to be read
            raise
        self._asked.sent(item)


@asynccontextmanager
async def bounded(
    transport: AbstractAsyncContextManager[TransportStreams],
) -> AsyncGenerator[TransportStreams]:
    """The streams of a transport, of which no more is read while too many have no answer."""
    async with transport as (reading, writing):
        asked = OpenRequests()
        try:
            yield _Reading(reading, asked), _Writing(writing, asked)
        finally:
            asked.close()
