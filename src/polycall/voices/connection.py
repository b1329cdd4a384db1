"""The socket to a voice: a WebSocket by aiohttp, which is loaded with the first connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeAlias

# A frame of sound in base64, or a long conversation that is sent back.
_FRAME_BYTES_MAX = 16 * 2**20
_CONNECT_S = 15.0
# What the other side closes with where the same would be refused again.
_REFUSING_CODES = frozenset({1003, 1007, 1008, 1009})
_REFUSING_STATUSES = frozenset({400, 401, 402, 403, 404})


class ConnectionClosedError(Exception):
    """The other side has closed, or was not reached.

    `is_refusal` is true where the same attempt would end in the same way.
    """

    def __init__(self, reason: str, *, is_refusal: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_refusal = is_refusal


class Socket(Protocol):
    """One connection, frame by frame."""

    async def send(self, frame: str) -> None:
        """Send a frame; `ConnectionClosedError` where that cannot be."""
        ...

    async def receive(self) -> str | bytes:
        """The next frame; `ConnectionClosedError` where there is none any more."""
        ...

    async def close(self) -> None:
        """Close; nothing happens where it is closed."""
        ...


Connector: TypeAlias = Callable[[str, dict[str, str]], Awaitable[Socket]]


class _WebSocket:
    """A WebSocket of aiohttp with the session that it came from."""

    def __init__(self, session: Any, inner: Any, kinds: Any) -> None:
        self._session = session
        self._inner = inner
        self._kinds = kinds

    async def send(self, frame: str) -> None:
        try:
            await self._inner.send_str(frame)
        except (ConnectionError, OSError, RuntimeError) as error:
            raise ConnectionClosedError(str(error) or type(error).__name__) from None

    async def receive(self) -> str | bytes:
        while True:
            message = await self._inner.receive()
            if message.type in (self._kinds.TEXT, self._kinds.BINARY):
                return message.data
            if message.type in (self._kinds.CLOSE, self._kinds.CLOSING, self._kinds.CLOSED):
                raise self._closed(message)
            if message.type == self._kinds.ERROR:
                raise ConnectionClosedError(f"connection failed: {message.data}")

    def _closed(self, message: Any) -> ConnectionClosedError:
        code = self._inner.close_code
        words = f": {message.extra}" if message.extra else ""
        is_refusal = code in _REFUSING_CODES
        return ConnectionClosedError(f"closed with code {code}{words}", is_refusal=is_refusal)

    async def close(self) -> None:
        try:
            await self._inner.close()
        finally:
            await self._session.close()


async def connect_websocket(url: str, headers: dict[str, str]) -> Socket:
    """Open a WebSocket; `ConnectionClosedError` where it cannot be opened.

    No pings are sent: one vendor answers them only after many seconds.
    """
    import aiohttp  # noqa: PLC0415 - half a second that only a connection needs

    session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None))
    try:
        async with asyncio.timeout(_CONNECT_S):
            inner = await session.ws_connect(
                url, headers=headers, max_msg_size=_FRAME_BYTES_MAX, autoping=True
            )
    except aiohttp.WSServerHandshakeError as error:
        await session.close()
        is_refusal = error.status in _REFUSING_STATUSES
        raise ConnectionClosedError(f"HTTP {error.status}", is_refusal=is_refusal) from None
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        await session.close()
        raise ConnectionClosedError(str(error) or type(error).__name__) from None
    except BaseException:
        await session.close()
        raise
    return _WebSocket(session, inner, aiohttp.WSMsgType)
