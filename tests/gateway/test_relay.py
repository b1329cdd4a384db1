"""Whose a live session is, is noted beside its frames."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from polycall.gateway.sessions.relay import Relay
from polycall.voices.connection import ConnectionClosedError


class Side:
    """A request, its meter or one end of the session, as far as a relay asks."""

    marks = (b"handle",)
    ask_marks = ()

    def __init__(self, *frames: bytes) -> None:
        self.frames = list(frames)
        self.sent: list[Any] = []
        self.is_over = asyncio.Event()
        self.secrets: list[bytes] = []
        self.refused = None
        self.sending_since = 0.0
        self.route = self
        self.is_owed = False

    async def receive(self) -> Any:
        if not self.frames:
            await self.is_over.wait()
            raise ConnectionClosedError("over")
        return self.frames.pop(0), True

    receive_frame = receive

    async def send(self, frame: Any, **_: Any) -> None:
        self.sent.append(frame)

    async def watch(self) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None: ...

    def clean(self, frame: bytes) -> bytes:
        return frame

    def hear(self, frame: bytes) -> None: ...

    def see(self, frame: bytes) -> None: ...

    def last_words(self) -> list[Any]:
        return []

    def resumable(self, frame: bytes) -> str:
        return frame.decode() if frame.startswith(b"handle") else ""


async def until(is_so: Any) -> None:
    async with asyncio.timeout(20):
        while not is_so():
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("number", [1, 3, 40])
async def test_a_slow_store_holds_no_frame_and_has_every_handle_at_the_end(number: int) -> None:
    """Unless very many handles wait for it: these are taken no faster than it takes them."""
    store_is_up = asyncio.Event()
    begun: list[str] = []
    noted: list[str] = []

    async def note(handle: str) -> None:
        begun.append(handle)
        await store_is_up.wait()
        noted.append(handle)

    texts = [text for each in range(number) for text in (f"handle {each}", f"sound {each}")]
    frames = [text.encode() for text in texts]
    handles = [f"handle {each}" for each in range(number)]
    request: Any = Side()
    client: Any = Side()
    provider: Any = Side(*frames)
    relay = Relay(request, client, provider, request, send_s=9, note_handle=note)
    running = asyncio.create_task(relay.run())
    before = min(len(frames), 32)
    await until(lambda: client.sent == frames[:before])
    assert (begun, noted) == (handles[:16], [])
    if number > 16:
        store_is_up.set()
    await until(lambda: client.sent == frames)
    provider.is_over.set()
    with pytest.raises(ConnectionClosedError):
        await running
    draining = asyncio.create_task(relay.drain())
    await asyncio.sleep(0.01)
    assert draining.done() == (number > 16)
    store_is_up.set()
    await draining
    assert noted == handles
