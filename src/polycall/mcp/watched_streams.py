"""Streams of the protocol's library, and who looks at what passes."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Protocol, Self

import anyio
from mcp.shared.message import SessionMessage

Message = SessionMessage | Exception


class Watch(Protocol):
    """Looks at the messages of one connection."""

    async def note(self, message: Message) -> bool:
        """A message of the other side; false where it is not to be passed on."""
        ...

    def sent(self, message: SessionMessage) -> None:
        """A message that the transport has taken."""
        ...

    def close(self) -> None:
        """No more is sent: have nothing wait any more."""
        ...


class _Stream:
    """One of the two streams, with its end."""

    def __init__(self, inner: Any, watch: Watch) -> None:
        self._inner = inner
        self._watch = watch

    async def aclose(self) -> None:
        self._watch.close()
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


class WatchedReading(_Stream):
    """Reads the other side's messages."""

    @property
    def last_context(self) -> Any:
        """In which context the last message was sent, as the library asks of streams."""
        return getattr(self._inner, "last_context", None)

    async def receive(self) -> Message:
        while True:
            message = await self._inner.receive()
            if await self._watch.note(message):
                return message

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        while True:
            message = await anext(self._inner)
            if await self._watch.note(message):
                return message


class WatchedWriting(_Stream):
    """Writes our messages."""

    async def send(self, item: SessionMessage, /) -> None:
        try:
            await self._inner.send(item)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            self._watch.close()  # no answer is taken any more, and the end is to be read
            raise
        self._watch.sent(item)
