"""Frames both ways until one side is over.

Each direction has one task, which takes a frame when the one before was taken: nothing is queued
here, and who reads slowly is read slowly from.  Frames are passed on as they came.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import KW_ONLY, dataclass
from itertools import count
from typing import Any, NoReturn

from polycall.gateway.http.client_socket import ClientSocket
from polycall.gateway.http.request import GatewayRequest
from polycall.gateway.http.values import ValueCounter
from polycall.gateway.observability.attempt_report import for_client
from polycall.gateway.sessions.meter import Meter
from polycall.voices.connection import ConnectionClosedError, WebSocket

_REDACTED = "[redacted]"
_TURN_FRAMES = 64  # that may all be there: then others have their turn
_NOTING_MAX = 16  # handles that the store has not taken yet
_DRAIN_S = 3.0  # for the provider to say what an unfinished reply used


@dataclass(eq=False, repr=False)
class Relay:
    """One session's frames."""

    request: GatewayRequest
    client: ClientSocket
    provider: WebSocket
    meter: Meter
    _: KW_ONLY
    send_s: float  # a provider that takes no frame for so long is given up
    note_handle: Callable[[str], Awaitable[None]]  # by which the session may be gone on with

    def __post_init__(self) -> None:
        self._secrets = [secret.decode() for secret in self.request.secrets]
        self._noting: set[asyncio.Future[None]] = set()

    async def run(self) -> NoReturn:
        """Pass frames on until something ends it, and raise that.

        `SocketClosed` by the client, `ConnectionClosedError` by the provider, a `PolycallError` of
        the key or its limits.
        """
        work: list[Coroutine[Any, Any, NoReturn]] = [self._up(), self._down(), self.meter.watch()]
        tasks = [asyncio.ensure_future(each) for each in work]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception):
                raise error
        raise AssertionError("a task of a session ends with an error")

    async def _up(self) -> NoReturn:
        for number in count(1):
            if not number % _TURN_FRAMES:
                await asyncio.sleep(0)
            frame, is_text = await self.client.receive()
            if self.meter.route.may_name_model(frame):
                await ValueCounter().add(frame)
                frame = self.meter.to_provider(frame)
            try:
                async with asyncio.timeout(self.send_s):
                    await self.provider.send(frame, is_text=is_text)
            except TimeoutError:
                raise ConnectionClosedError("the provider takes no frames") from None
            del frame  # not kept until the next one comes
        raise AssertionError("numbers have no end")

    async def _down(self) -> NoReturn:
        request, meter = self.request, self.meter
        for number in count(1):
            if not number % _TURN_FRAMES:
                await asyncio.sleep(0)
            frame = await self.provider.receive()
            meter.see(frame)
            if handle := meter.route.resumable(frame):
                await self._note(handle)
            if meter.refused is not None:
                refused = meter.refused
                raise for_client(refused, meter.target, request.id) from refused
            request.sending_since = time.monotonic()
            await self.client.send(self._clean(frame))
            request.sending_since = 0.0
        raise AssertionError("numbers have no end")

    async def _note(self, handle: str) -> None:
        """Begin to note it; a slow store holds up no frames, until many handles wait for it."""
        while len(self._noting) >= _NOTING_MAX:
            await asyncio.wait(self._noting, return_when=asyncio.FIRST_COMPLETED)
        task = asyncio.ensure_future(self.note_handle(handle))
        self._noting.add(task)
        task.add_done_callback(self._noting.discard)

    def _clean(self, frame: str | bytes) -> str | bytes:
        """The frame without the provider's key."""
        if isinstance(frame, bytes):
            return self.request.clean(frame)
        for secret in self._secrets:
            if secret in frame:
                frame = frame.replace(secret, _REDACTED)
        return frame

    async def drain(self) -> None:
        """End the session at the provider, and hear what it says of an unfinished reply.

        All handles are noted when this returns, or the store has given up.
        """
        try:
            async with asyncio.timeout(_DRAIN_S):
                for frame in self.meter.last_words():
                    await self.provider.send(frame)
                while self.meter.is_owed:
                    self.meter.see(await self.provider.receive())
        except (TimeoutError, ConnectionClosedError):
            pass  # what it used stays unknown, and is written down as that
        finally:
            await self.provider.close()
            await asyncio.gather(*self._noting)
