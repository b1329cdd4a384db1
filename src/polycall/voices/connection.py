"""The socket to a voice: a WebSocket by aiohttp, which is loaded with the first connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeAlias

# A frame of sound in base64, or a long conversation that is sent back.
_FRAME_BYTES_MAX = 16 * 2**20
_CONNECT_S = 15.0
_CLOSE_S = 1.0  # for the other side to close as well
# What the other side closes with where the same would be refused again.
_REFUSING_CODES = frozenset({1003, 1007, 1008, 1009})
_REFUSING_STATUSES = frozenset({400, 401, 402, 403, 404})


class ConnectionClosedError(Exception):
    """The other side has closed, or was not reached.

    `is_refusal` is true where the same attempt would end in the same way.  `status` is that of
    HTTP where no WebSocket was opened; `code` and `words` are those of a close.
    """

    def __init__(
        self,
        reason: str,
        *,
        is_refusal: bool = False,
        status: int | None = None,
        code: int | None = None,
        words: str = "",
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_refusal = is_refusal
        self.status = status
        self.code = code
        self.words = words


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


class WebSocket:
    """A WebSocket of aiohttp with the session that it came from."""

    def __init__(self, session: Any, inner: Any, kinds: Any) -> None:
        self._session = session
        self._inner = inner
        self._kinds = kinds

    async def send(self, frame: str | bytes, *, is_text: bool = False) -> None:
        """Send a frame; a text may be there as bytes of UTF-8."""
        try:
            if isinstance(frame, str):
                await self._inner.send_str(frame)
            elif is_text:
                await self._inner.send_frame(frame, self._kinds.TEXT)
            else:
                await self._inner.send_bytes(frame)
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
        extra = message.extra if isinstance(message.extra, str) else ""
        words = f": {extra}" if extra else ""
        is_refusal = code in _REFUSING_CODES
        return ConnectionClosedError(
            f"closed with code {code}{words}", is_refusal=is_refusal, code=code, words=extra
        )

    async def close(self) -> None:
        try:
            # aiohttp waits anew after each frame, and some voices go on sending.
            async with asyncio.timeout(_CLOSE_S):
                await self._inner.close()
        except TimeoutError:
            pass  # the connection ends with its session
        finally:
            await self._session.close()


async def connect_websocket(
    url: str,
    headers: dict[str, str],
    *,
    connect_s: float = _CONNECT_S,
    heartbeat_s: float | None = None,
) -> WebSocket:
    """Open a WebSocket; `ConnectionClosedError` where it cannot be opened.

    No pings are sent without `heartbeat_s`: one vendor answers them only after many seconds.
    """
    import aiohttp  # noqa: PLC0415 - half a second that only a connection needs

    session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None))
    try:
        async with asyncio.timeout(connect_s):
            inner = await session.ws_connect(
                url,
                headers=headers,
                max_msg_size=_FRAME_BYTES_MAX,
                autoping=True,
                heartbeat=heartbeat_s,
            )
    except aiohttp.WSServerHandshakeError as error:
        await session.close()
        is_refusal = error.status in _REFUSING_STATUSES
        raise ConnectionClosedError(
            f"HTTP {error.status}", is_refusal=is_refusal, status=error.status
        ) from None
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        await session.close()
        raise ConnectionClosedError(str(error) or type(error).__name__) from None
    except BaseException:
        await session.close()
        raise
    return WebSocket(session, inner, aiohttp.WSMsgType)
