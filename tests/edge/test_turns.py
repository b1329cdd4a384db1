"""Frames that are all there at once leave others their turn."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import WSMessage, WSMsgType
from bench.socket_doors import frame

from polycall.gateway.http import client_socket
from polycall.gateway.sessions import relay
from polycall.gateway.sessions.relay import Relay
from polycall.voices.connection import ConnectionClosedError, WebSocket
from polycall.voices.routes import ROUTES


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

    receive_frame = receive
    marks = ask_marks = ()

    async def send(self, frame: Any, **_: Any) -> None: ...

    async def watch(self) -> None:
        await asyncio.Event().wait()

    def may_name_model(self, _: Any) -> bool:
        return True

    def to_provider(self, _: Any) -> Any:
        return None

    def hear(self, frame: Any) -> None: ...

    def see(self, frame: Any) -> None: ...

    def resumable(self, frame: Any) -> str:
        return ""

    def clean(self, frame: Any) -> Any:
        return frame


@pytest.mark.parametrize("way", ["up", "down"])
async def test_s16_frames_of_a_session_that_wait_leave_others_their_turn(way: str) -> None:
    class Never(Ready):
        async def receive(self) -> Any:
            await asyncio.Event().wait()

        receive_frame = receive

    other: Any = Ready(0)
    client: Any = Ready(5_000) if way == "up" else Never(0)
    provider: Any = Ready(5_000) if way == "down" else Never(0)
    session = Relay(other, client, provider, other, send_s=9, note_handle=other)

    async def run() -> None:
        with pytest.raises(ConnectionClosedError):
            await session.run()

    assert await turns_during(run()) > 60


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
    made._upgraded = True
    made.resume_reading()  # a frame was taken: what was read is not, though
    assert not transport.reads
    made.data_received(b"late")
    for _ in range(len(data) // 30_000 + 2):
        await asyncio.sleep(0)
    assert sum(taken) == len(data) + 4
    assert max(taken) <= 33_000
    assert transport.reads
    made.transport = None


async def test_s16_nothing_is_read_beyond_a_long_frame_until_it_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken: list[bytes] = []

    def take(_: Any, data: bytes) -> None:
        taken.append(data)

    monkeypatch.setattr(client_socket.web.RequestHandler, "data_received", take)

    async def serve(_: Any) -> Any: ...

    server = client_socket.web.Server(serve)
    made: Any = client_socket._Connection(server, set())  # pyright: ignore[reportPrivateUsage]
    reads: list[bool] = []
    made.transport = SimpleNamespace(
        pause_reading=lambda: reads.append(False), resume_reading=lambda: reads.append(True)
    )
    made._upgraded = True
    token = made._splitter.token
    long = b"x" * 600_000
    data = frame(long) + frame(b"y" * 700_000) + frame(b"z")
    for place in range(0, len(data), 100_000):
        made.data_received(data[place : place + 100_000])
    for expected in (long, b"y" * 700_000):
        made.put_down()
        for _ in range(50):
            await asyncio.sleep(0)
        assert reads[-1] is False
        assert made.taken(b"other") == b"other"
        assert made.taken(token) == expected
    for _ in range(50):
        await asyncio.sleep(0)
    assert reads[-1] is True
    assert b"".join(taken) == 2 * frame(token) + frame(b"z")
    made.transport = None


class Flooded:
    """A connection of aiohttp's on which so many frames are there at once."""

    closed = False

    def __init__(self, kind: WSMsgType, count: int, data: bytes = b"x") -> None:
        self._messages = iter([WSMessage(kind, data, None)] * count)
        self.sent: list[Any] = []

    async def receive(self) -> WSMessage:
        return next(self._messages, WSMessage(WSMsgType.CLOSED, None, None))

    @property
    def close_code(self) -> int:
        return 1000

    async def pong(self, data: bytes) -> None:
        self.sent.append(data)

    async def send_frame(self, data: bytes, kind: WSMsgType) -> None:
        self.sent.append((data, kind))

    async def close(self) -> None:
        while (await self.receive()).type != WSMsgType.CLOSED:
            pass


async def turns_during(work: Coroutine[Any, Any, object]) -> int:
    """How often others had their turn."""
    turns = 0

    async def live() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    beside = asyncio.ensure_future(live())
    await work
    beside.cancel()
    return turns


@pytest.mark.parametrize("kind", [WSMsgType.PING, WSMsgType.PONG, WSMsgType.TEXT])
async def test_s16_a_provider_that_floods_leaves_others_their_turn(kind: WSMsgType) -> None:
    inner = Flooded(kind, 5_000)
    socket = WebSocket(
        SimpleNamespace(close=inner.pong),
        inner,
        WSMsgType,
        SimpleNamespace(pause_reading=None, resume_reading=None, transport=None),
    )

    async def read() -> None:
        with pytest.raises(ConnectionClosedError):
            while True:
                await socket.receive()

    assert await turns_during(read()) > 60
    assert inner.sent == [b"x"] * (5_000 if kind == WSMsgType.PING else 0)


async def test_s16_a_provider_that_floods_is_closed_in_turns() -> None:
    inner = Flooded(WSMsgType.TEXT, 5_000)
    closed: list[bool] = []

    async def end() -> None:
        closed.append(True)

    socket = WebSocket(
        SimpleNamespace(close=end),
        inner,
        WSMsgType,
        SimpleNamespace(pause_reading=None, resume_reading=None, transport=None),
    )
    assert await turns_during(socket.close()) > 60
    assert inner.sent == [(b"\x03\xe8", WSMsgType.CLOSE)]
    assert closed == [True]


@pytest.mark.parametrize("place", [-3, 0, 100, 262_143, 262_140])
@pytest.mark.parametrize(
    "name", [b"model", b"MoDeL", b"m_o_d_e_l", b"mo" + b"_" * 600_000 + b"del", b"mod\\u0065l"]
)
async def test_a06_a_long_frame_hides_no_model_between_two_slices(name: bytes, place: int) -> None:
    route = ROUTES["/v1/realtime"]
    for found in (name, name.replace(b"l", b"x").replace(b"L", b"x")):
        frame = b'{"' + b"x" * (262_144 - 2 - place) + found + b'":' + b"x" * 600_000
        expected = route.may_name_model(frame)
        assert await relay._may_name_model(route, frame) == expected  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("place", [0, 255 * 1024, 256 * 1024 - 4, 700_000, 999_000])
async def test_s16_a_long_frame_is_searched_in_turns(place: int) -> None:
    frame = bytearray(b"x" * 1_000_000)
    found: list[bool] = []

    async def look() -> None:
        found.append(await relay._has(bytes(frame), (b'"usage"', b'"error"')))  # pyright: ignore[reportPrivateUsage]

    assert await turns_during(look()) >= 3
    frame[place : place + 7] = b'"error"'
    await look()
    assert found == [False, True]


async def test_s16_while_a_long_frame_is_in_hand_no_other_is_read() -> None:
    holds: list[bool] = []
    protocol = SimpleNamespace(
        _pause_reading_for_buffer=lambda: holds.append(True),
        _resume_reading_for_buffer=lambda: holds.append(False),
        pause_reading=None,
        resume_reading=None,
    )
    for data, expected in ((b"x" * 2**20, []), (b"x" * 2_000_000, [True, False])):
        inner = Flooded(WSMsgType.TEXT, 1, data)
        socket = WebSocket(None, inner, WSMsgType, protocol)
        assert await socket.receive_frame() == (data, True)
        assert holds == expected[:1]
        with pytest.raises(ConnectionClosedError):
            await socket.receive_frame()
        assert holds == expected
