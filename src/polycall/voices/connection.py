"""The socket to a voice: a WebSocket by aiohttp, which is loaded with the first connection."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeAlias

# A frame of sound in base64, or a long conversation that is sent back.
_FRAME_BYTES_MAX = 16 * 2**20
_LONG_BYTES = 2**20
_CONNECT_S = 15.0
_CLOSE_S = 1.0  # for the other side to close as well
_CLOSING = (1000).to_bytes(2, "big")
_TURN_FRAMES = 64  # that may all be there: then others have their turn
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

    def __init__(self, session: Any, inner: Any, kinds: Any, protocol: Any) -> None:
        """`protocol` is what reads the connection."""
        self._session = session
        self._inner = inner
        self._kinds = kinds
        self._protocol = protocol
        # What newer versions of aiohttp have for this leaves their own pauses as they are.
        self._pause = getattr(protocol, "_pause_reading_for_buffer", protocol.pause_reading)
        self._resume = getattr(protocol, "_resume_reading_for_buffer", protocol.resume_reading)
        self._is_held = False  # nothing is read while a long frame is in hand
        self._taken = 0  # frames of any kind
        self._is_receiving = False

    async def send(self, frame: str | bytes, *, is_text: bool = False) -> None:
        """Send a frame; a text may be there as bytes of UTF-8."""
        try:
            if isinstance(frame, str):
                await self._inner.send_str(frame)
            elif len(frame) > _LONG_BYTES:
                await self._send_long(frame, self._kinds.TEXT if is_text else self._kinds.BINARY)
            elif is_text:
                await self._inner.send_frame(frame, self._kinds.TEXT)
            else:
                await self._inner.send_bytes(frame)
        except (ConnectionError, OSError, RuntimeError) as error:
            raise ConnectionClosedError(str(error) or type(error).__name__) from None

    async def _send_long(self, frame: bytes, kind: int) -> None:
        """Send as aiohttp does, with one copy less."""
        from aiohttp._websocket.helpers import websocket_mask  # noqa: PLC0415 - it is loaded

        writer, mask = self._inner._writer, os.urandom(4)
        if writer.transport.is_closing():
            raise ConnectionResetError("the connection is closed")
        masked = bytearray(frame)
        websocket_mask(mask, masked)
        head = bytes((0x80 | kind, 0xFF)) + len(frame).to_bytes(8, "big") + mask
        writer.transport.writelines((head, masked))
        del masked
        if writer.protocol.writing_paused:
            await writer.protocol._drain_helper()

    async def receive(self) -> str | bytes:
        return (await self.receive_frame())[0]

    async def receive_frame(self) -> tuple[Any, bool]:
        """The next frame, and whether it is a text, which is bytes where none is decoded."""
        if self._is_held:
            self._is_held = False
            self._resume()
        while True:
            self._taken += 1
            if not self._taken % _TURN_FRAMES:
                await asyncio.sleep(0)
            self._is_receiving = True
            try:
                message = await self._inner.receive()
            finally:
                self._is_receiving = False
            if message.type in (self._kinds.TEXT, self._kinds.BINARY):
                if len(message.data) > _LONG_BYTES:
                    self._is_held = True
                    self._pause()
                return message.data, message.type == self._kinds.TEXT
            if message.type in (self._kinds.CLOSE, self._kinds.CLOSING, self._kinds.CLOSED):
                raise self._closed(message)
            if message.type == self._kinds.ERROR:
                raise ConnectionClosedError(f"connection failed: {message.data}")
            if message.type == self._kinds.PING:
                try:
                    await self._inner.pong(message.data)
                except ConnectionError as error:
                    raise ConnectionClosedError(str(error) or type(error).__name__) from None

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
            # Some voices continue sending.
            async with asyncio.timeout(_CLOSE_S):
                if self._is_receiving or self._inner.closed:
                    await self._inner.close()
                else:  # aiohttp gives nobody a turn while frames are there
                    await self._inner.send_frame(_CLOSING, self._kinds.CLOSE)
                    while len((await self.receive_frame())[0]) <= _LONG_BYTES:
                        pass  # what continues with long ones is not waited for
        except (TimeoutError, ConnectionError, ConnectionClosedError):
            pass  # the connection ends with its session
        finally:
            if self._protocol.transport is not None:
                self._protocol.transport.abort()  # what nobody takes is sent no more
            await self._session.close()
            # Else its timer keeps it, with what has come of a frame.
            await self._inner.close()


async def connect_websocket(
    url: str,
    headers: dict[str, str],
    *,
    connect_s: float = _CONNECT_S,
    heartbeat_s: float | None = None,
    decodes_text: bool = True,
) -> WebSocket:
    """Open a WebSocket; `ConnectionClosedError` where it cannot be opened.

    No pings are sent without `heartbeat_s`: one vendor answers them only after many seconds.
    Without `decodes_text` texts are received as the bytes that came, whatever they are.
    """
    import aiohttp  # noqa: PLC0415 - half a second that only a connection needs

    session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None))
    try:
        async with asyncio.timeout(connect_s):
            inner = await session.ws_connect(
                url,
                headers=headers,
                max_msg_size=_FRAME_BYTES_MAX,
                autoping=False,
                heartbeat=heartbeat_s,
                decode_text=decodes_text,
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
    connection: Any = inner._conn  # pyright: ignore[reportPrivateUsage]
    return WebSocket(session, inner, aiohttp.WSMsgType, connection.protocol)
