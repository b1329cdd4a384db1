"""Connections of the simulation: a pair in memory, or either end of a WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from polycall.sim.realtime.record import Frame


class LinkClosedError(Exception):
    """The other end has closed; 1006 where it said nothing."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"closed with code {code}" + (f": {reason}" if reason else ""))
        self.code = code
        self.reason = reason


class Link(Protocol):
    """One end of a connection, as a simulated vendor has it."""

    async def send(self, frame: Frame) -> None: ...

    async def receive(self) -> Frame: ...

    async def close(self, code: int = 1000, reason: str = "") -> None: ...


class MemoryLink:
    """One end of a pair in memory."""

    def __init__(self) -> None:
        self.peer: MemoryLink = self
        self._frames: asyncio.Queue[Frame | LinkClosedError] = asyncio.Queue()
        self._closed: LinkClosedError | None = None
        self.is_mute = False  # takes everything, and gives nothing any more

    @classmethod
    def pair(cls) -> tuple[MemoryLink, MemoryLink]:
        """Two ends."""
        first, second = cls(), cls()
        first.peer, second.peer = second, first
        return first, second

    @property
    def is_closed(self) -> bool:
        """Whether this end knows that the connection is closed."""
        return self._closed is not None

    async def send(self, frame: Frame) -> None:
        await asyncio.sleep(0)
        if self._closed is not None:
            raise self._closed
        if not self.is_mute:
            self.peer._frames.put_nowait(frame)

    async def receive(self) -> Frame:
        if self._closed is not None and self._frames.empty():
            raise self._closed
        frame = await self._frames.get()
        if isinstance(frame, LinkClosedError):
            self._closed = frame
            raise frame
        return frame

    async def close(self, code: int = 1000, reason: str = "") -> None:
        if self._closed is None:
            self._closed = LinkClosedError(code, reason)
            self.peer._frames.put_nowait(LinkClosedError(code, reason))
            self._frames.put_nowait(LinkClosedError(code, reason))


class WebLink:
    """One end of a WebSocket of aiohttp's; `abort` breaks the connection without a word."""

    def __init__(self, inner: Any, abort: Callable[[], None]) -> None:
        self._inner = inner
        self._abort = abort

    async def send(self, frame: Frame) -> None:
        try:
            if isinstance(frame, bytes):
                await self._inner.send_bytes(frame)
            else:
                await self._inner.send_str(frame)
        except (ConnectionError, RuntimeError) as error:
            raise LinkClosedError(1006, str(error)) from None

    async def receive(self) -> Frame:
        message = await self._inner.receive()
        if message.type.name in ("TEXT", "BINARY"):
            return message.data
        raise LinkClosedError(self._inner.close_code or 1006)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        if code == 1006:
            self._abort()
        else:
            await self._inner.close(code=code, message=reason.encode())
