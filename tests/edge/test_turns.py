"""Frames that are all there at once leave others their turn."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from bench.socket_doors import frame

from polycall.gateway.http import client_socket
from polycall.gateway.sessions.relay import Relay
from polycall.voices.connection import ConnectionClosedError


class Ready:
    """Has so many frames at once, and takes each at once."""

    def __init__(self, count: int) -> None:
        self._left = count
        self.secrets: list[bytes] = []
        self.refused = None
        self.sending_since = 0.0
        self.route = self

    async def receive(self) -> Any:
        self._left -= 1
        if self._left < 0:
            raise ConnectionClosedError("over")
        return b"x", True

    async def send(self, frame: Any, **_: Any) -> None: ...

    async def watch(self) -> None:
        await asyncio.Event().wait()

    def to_provider(self, frame: Any) -> Any:
        return frame

    def see(self, frame: Any) -> None: ...

    def resumable(self, frame: Any) -> str:
        return ""

    def clean(self, frame: Any) -> Any:
        return frame


@pytest.mark.parametrize("way", ["up", "down"])
async def test_s16_frames_of_a_session_that_wait_leave_others_their_turn(way: str) -> None:
    class Provider(Ready):
        async def receive(self) -> Any:
            return (await super().receive())[0]

    class Never(Ready):
        async def receive(self) -> Any:
            await asyncio.Event().wait()

    other: Any = Ready(0)
    client: Any = Ready(5_000) if way == "up" else Never(0)
    provider: Any = Provider(5_000) if way == "down" else Never(0)
    relay = Relay(other, client, provider, other, send_s=9, note_handle=other)
    turns = 0

    async def live() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    beside = asyncio.ensure_future(live())
    with pytest.raises(ConnectionClosedError):
        await relay.run()
    beside.cancel()
    assert turns > 60


@pytest.mark.parametrize("data", [frame(b"") * 30_000, frame(b"p" * 125, 9) * 2_000])
async def test_s16_what_one_read_brought_of_a_socket_is_taken_in_turns(
    monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    taken: list[int] = []
    handler = client_socket.web.RequestHandler

    def take(_: Any, data: bytes) -> None:
        taken.append(len(data))

    monkeypatch.setattr(handler, "data_received", take)

    class Transport(asyncio.Transport):
        reads = True

        def pause_reading(self) -> None:
            self.reads = False

        def resume_reading(self) -> None:
            self.reads = True

    async def serve(_: Any) -> Any: ...

    server = client_socket.web.Server(serve)
    made: Any = client_socket._Connection(server, set())  # pyright: ignore[reportPrivateUsage]
    transport = made.transport = Transport()
    made.data_received(data)
    assert len(taken) == 1
    assert not transport.reads
    made.data_received(b"late")
    for _ in range(len(data) // 30_000 + 2):
        await asyncio.sleep(0)
    assert sum(taken) == len(data) + 4
    assert max(taken) <= 33_000
    assert transport.reads
    made.transport = None
