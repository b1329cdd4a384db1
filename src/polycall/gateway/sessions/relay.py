"""Frames both ways until one side is over.

Each direction has one task, which takes a frame when the one before was taken: nothing is queued
here, and who reads slowly is read slowly from.  Frames are passed on as they came.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine
from dataclasses import KW_ONLY, dataclass
from itertools import count
from typing import Any, NoReturn

from polycall._support import jsontext
from polycall._support.json_weight import LONG_BYTES, HeavyJSONError, JSONWeight
from polycall._support.redactor import Redactor
from polycall.errors import MalformedRequestError, ProtocolError
from polycall.gateway.http.client_socket import ClientSocket
from polycall.gateway.http.request import GatewayRequest
from polycall.gateway.http.values import ValueCounter
from polycall.gateway.observability.attempt_report import for_client
from polycall.gateway.passthrough.slow_reading import check_text
from polycall.gateway.sessions.meter import Meter
from polycall.voices.connection import ConnectionClosedError, WebSocket
from polycall.voices.routes import ClientRoute

_TURN_FRAMES = 64  # that may all be there: then others have their turn
_SLICE_BYTES = 256 * 1024  # of a long frame, that are searched before others have their turn
_NAME_BYTES_MAX = 16  # of a letter's escape, or what is before the last one of a name
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
    note_handle: Callable[[str], Awaitable[None]]  # by which the session may be continued

    def __post_init__(self) -> None:
        self._redactor = Redactor(self.request.secrets)
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
            if await _may_name_model(self.meter.route, frame):
                await ValueCounter().add(frame)
                named = self.meter.to_provider(frame)
                await asyncio.sleep(0)  # it may be long, and each step takes a while then
                if named is not None:
                    del frame
                    frame = jsontext.encode_bytes(named)
                    del named
                    await asyncio.sleep(0)
            if await _has(frame, self.meter.route.ask_marks):
                self.meter.ask()
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
            frame, is_text = await self.provider.receive_frame()
            if is_text and not frame.isascii():
                await _check_text(frame)
            if handle := await self._see(frame):
                await self._note(handle)
            if meter.refused is not None:
                refused = meter.refused
                raise for_client(refused, meter.target, request.id) from refused
            request.sending_since = time.monotonic()
            if await _has(frame, self._redactor.secrets):
                frame = self._redactor.whole(frame)
            await self.client.send(frame, is_text=is_text)
            request.sending_since = 0.0
            del frame  # not kept until the next one comes
        raise AssertionError("numbers have no end")

    async def _see(self, frame: bytes) -> str:
        """Read a frame of the provider as far as it says something; gives the handle in it."""
        meter = self.meter
        meter.hear(frame)
        if not await _has(frame, meter.route.marks):
            return ""
        try:
            for _ in JSONWeight().steps(frame):
                await asyncio.sleep(0)
        except HeavyJSONError as error:
            raise ProtocolError(f"a frame of the provider is too heavy: {error}") from None
        meter.see(frame)
        return meter.route.resumable(frame)

    async def _note(self, handle: str) -> None:
        """Begin to note it; a slow store holds up no frames, until many handles wait for it."""
        while len(self._noting) >= _NOTING_MAX:
            await asyncio.wait(self._noting, return_when=asyncio.FIRST_COMPLETED)
        task = asyncio.ensure_future(self.note_handle(handle))
        self._noting.add(task)
        task.add_done_callback(self._noting.discard)

    async def drain(self) -> None:
        """End the session at the provider, and hear what it says of an unfinished reply.

        All handles are noted when this returns, or the store has given up.
        """
        try:
            async with asyncio.timeout(_DRAIN_S):
                for frame in self.meter.last_words():
                    await self.provider.send(frame)
                while self.meter.is_owed:
                    await self._see((await self.provider.receive_frame())[0])
        except (TimeoutError, ConnectionClosedError, ProtocolError):
            pass  # what it used stays unknown, and is written down as that
        finally:
            await self.provider.close()
            await asyncio.gather(*self._noting)


async def _has(frame: bytes, marks: Collection[bytes]) -> bool:
    """Whether one of the marks is in it."""
    if not marks or len(frame) <= LONG_BYTES:
        return any(mark in frame for mark in marks)
    before = max(map(len, marks))
    for start in range(0, len(frame), _SLICE_BYTES):
        piece = frame[max(start - before, 0) : start + _SLICE_BYTES]
        if any(mark in piece for mark in marks):
            return True
        await asyncio.sleep(0)
    return False


async def _may_name_model(route: ClientRoute, frame: bytes) -> bool:
    """The route's own, by slices of a long frame: each has the end of the one before."""
    if len(frame) <= LONG_BYTES:
        return route.may_name_model(frame)
    before = b""
    for start in range(0, len(frame), _SLICE_BYTES):
        piece = before + frame[start : start + _SLICE_BYTES]
        if route.may_name_model(piece):
            return True
        before = piece.replace(b"_", b"")[-_NAME_BYTES_MAX:]  # which may stand within the name
        await asyncio.sleep(0)
    return False


async def _check_text(frame: bytes) -> None:
    """Raise `ConnectionClosedError` for a text that is none."""
    try:
        if len(frame) > LONG_BYTES:
            await asyncio.to_thread(check_text, frame)
        else:
            check_text(frame)
    except MalformedRequestError:
        raise ConnectionClosedError("the provider sent a text that is not UTF-8") from None
