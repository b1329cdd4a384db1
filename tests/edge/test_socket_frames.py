"""Clients' and providers' frames through aiohttp's real ends, and what is kept after them."""

from __future__ import annotations

import asyncio
import base64
import gc
import random
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from bench.socket_doors import frame, header

from polycall import errors
from polycall.gateway.http import client_socket
from polycall.gateway.http.client_socket import ClientSocket, SocketServer
from polycall.gateway.http.socket_entry import SocketClosed
from polycall.gateway.sessions import sessions
from polycall.gateway.sessions.relay import Relay
from polycall.gateway.sessions.sessions import Sessions
from polycall.voices.connection import ConnectionClosedError, WebSocket, connect_websocket

HEAD = (
    "GET / HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
    "sec-websocket-version: 13\r\nsec-websocket-extensions: permessage-deflate\r\n"
    f"sec-websocket-key: {base64.b64encode(bytes(16)).decode()}\r\n\r\n"
).encode()
LONG = b"y" * 600_000  # more than passes as it is
WIDE = "긴 글 😀".encode() * 50_000
TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9
CODE = (4000).to_bytes(2, "big")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that does not close as well is waited for no longer."""
    monkeypatch.setattr(client_socket, "CLOSE_S", 0.05)


class Peer:
    """A client that writes what it likes, and what the gateway made of it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self.taken: asyncio.Queue[tuple[bytes, bool] | int] = asyncio.Queue()
        self.connection: Any = None

    async def serve(self, socket: ClientSocket) -> None:
        """Take frames until one is none."""
        try:
            await socket.accept("req_1", heartbeat_s=600)
            self.connection = socket._request.protocol  # pyright: ignore[reportPrivateUsage]
            while True:
                self.taken.put_nowait(await socket.receive())
        except SocketClosed as closed:
            self.taken.put_nowait(closed.code)

    async def answer(self) -> bytes:
        """The head of the answer to the handshake."""
        return await self._reader.readuntil(b"\r\n\r\n")

    async def frame(self) -> tuple[int, bytes]:
        """A short frame of the gateway."""
        first, size = await self._reader.readexactly(2)
        return first, await self._reader.readexactly(size)

    async def sees(self, count: int) -> list[tuple[bytes, bool] | int]:
        """What so many calls gave."""
        async with asyncio.timeout(60):
            return [await self.taken.get() for _ in range(count)]


@asynccontextmanager
async def peer() -> AsyncGenerator[Peer]:
    found: list[Peer] = []

    async def serve(socket: ClientSocket) -> None:
        await found[0].serve(socket)

    server = SocketServer(serve)

    class Taking(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self._transport = transport

        def data_received(self, data: bytes) -> None:
            head, end, rest = data.partition(b"\r\n\r\n")
            server.take(self._transport, head + end, rest, set())

    listening = await asyncio.get_running_loop().create_server(Taking, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
    found.append(Peer(reader, writer))
    try:
        writer.write(HEAD)
        yield found[0]
    finally:
        writer.transport.abort()
        listening.close()
        await server.close()


def fragments(data: bytes, sizes: list[int], between: bytes = b"", bits: int = 0) -> bytes:
    """One text in fragments, with `between` after each but the last."""
    made, place = b"", 0
    for number, size in enumerate(sizes):
        is_final = number == len(sizes) - 1
        opcode = 0 if number else TEXT
        piece = data[place:] if is_final else data[place : place + size]
        made += frame(piece, opcode, is_final=is_final, bits=0 if number else bits)
        made += b"" if is_final else between
        place += size
    return made


async def test_no_frame_is_compressed() -> None:
    async with peer() as client:
        answer = await client.answer()
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"extensions" not in answer.lower()


@pytest.mark.parametrize(
    "sizes", [[9, 9, 9], [700_000, 9], [9, 700_000], [600_001, 600_002, 0], [0, 0, 1_300_000]]
)
@pytest.mark.parametrize("text", [LONG * 3, WIDE], ids=["narrow", "wide"])
async def test_fragments_are_one_text_and_pings_in_between_are_answered(
    text: bytes, sizes: list[int]
) -> None:
    async with peer() as client:
        client.writer.write(fragments(text, sizes, frame(b"are you there?", PING)) + frame(b"z", 2))
        assert await client.sees(2) == [(text, True), (b"z", False)]
        await client.answer()
        for _ in sizes[1:]:
            assert await client.frame() == (0x8A, b"are you there?")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(b"\xff"), 1007),
        (frame(LONG + b"\xff"), 1007),
        (frame(b"\xed\xa0\x80" + LONG), 1007),
        (fragments(LONG + b"\xf0\x9f", [7, 9, 9]), 1007),
        (fragments(LONG * 2 + b"\xff", [600_000, 9]), 1007),
        (frame(WIDE * 8), 1009),
        (frame(LONG, bits=0x40), 1002),
        (frame(b"x", bits=0x40), 1002),
        (fragments(LONG * 2, [600_000, 9], bits=0x40), 1002),
        (frame(LONG, 3), 1002),
        (frame(LONG, 0), 1002),  # continues nothing
        (frame(b"x", is_final=False) + frame(LONG), 1002),  # another within
        (frame(LONG, is_final=False) + frame(b"x"), 1002),
        (frame(LONG, PING), 1002),
        (frame(b"", PING, is_final=False), 1002),
        (header(2**63), 1009),
        (header(16 * 2**20), 1009),
        (fragments(b"x" * (16 * 2**20), [10_000_000, 9]), 1009),
    ],
    ids=range(18),
)
async def test_what_is_no_frame_is_the_last(data: bytes, code: int) -> None:
    async with peer() as client:
        client.writer.write(frame(b"a") + data + frame(LONG))
        await client.answer()
        first, said = await client.frame()
        assert (first, int.from_bytes(said[:2], "big")) == (0x88, code)
        assert (await client.sees(1)) == [(b"a", True)]
        (closed,) = await client.sees(1)
        assert closed in (code, 1006)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(CODE, CLOSE), 4000),
        (fragments(LONG * 2, [600_000, 9], frame(CODE, CLOSE)), 4000),
        (frame(LONG, is_final=False) + frame(b"", CLOSE), 1006),
    ],
    ids=range(3),
)
async def test_a_close_ends_a_long_text_that_has_not_come_whole(data: bytes, code: int) -> None:
    async with peer() as client:
        client.writer.write(frame(LONG) + data)
        assert await client.sees(2) == [(LONG, True), code]


@pytest.mark.parametrize("is_long_before", [False, True])
async def test_a_client_that_is_gone_leaves_nothing_of_a_long_frame(
    *, is_long_before: bool
) -> None:
    async with peer() as client:
        client.writer.write(frame(b"a") + (frame(LONG) if is_long_before else b""))
        seen: list[Any] = [(b"a", True), *([(LONG, True)] if is_long_before else [])]
        assert await client.sees(len(seen)) == seen
        splitter = client.connection._splitter
        client.writer.write(header(9_000_000) + LONG)
        for _ in range(3_000):
            await asyncio.sleep(0)
        assert splitter._gathered.size == len(LONG)
        client.writer.transport.abort()
        assert await client.sees(1) == [1006]
        assert not splitter.is_gathering
        assert not client.connection._later


async def test_s16_while_a_long_frame_is_in_hand_no_other_is_gathered() -> None:
    async with peer() as client:
        hand = asyncio.Event()

        async def serve(socket: ClientSocket) -> None:
            await socket.accept("req_1", heartbeat_s=600)
            client.connection = socket._request.protocol  # pyright: ignore[reportPrivateUsage]
            for _ in range(3):
                client.taken.put_nowait(await socket.receive())
                await hand.wait()
                hand.clear()

        client.serve = serve  # type: ignore[method-assign]
        client.writer.write(frame(LONG) + frame(LONG * 9, BINARY) + frame(b"short"))
        assert await client.sees(1) == [(LONG, True)]
        splitter = client.connection._splitter
        for _ in range(2_000):
            await asyncio.sleep(0)
        assert splitter._gathered.size <= client_socket._TURN_BYTES  # pyright: ignore[reportPrivateUsage]
        assert not splitter.long
        hand.set()
        assert await client.sees(1) == [(LONG * 9, False)]
        hand.set()
        assert await client.sees(1) == [(b"short", True)]
        hand.set()


async def test_a_client_that_never_reads_is_sent_no_more_than_waits() -> None:
    async with peer() as client:
        sent, piece = 0, b"x" * 65_536

        async def serve(socket: ClientSocket) -> None:
            nonlocal sent
            await socket.accept("req_1", heartbeat_s=600)
            with suppress(SocketClosed):
                for _ in range(1_000):
                    await socket.send(piece)
                    sent += len(piece)

        client.serve = serve  # type: ignore[method-assign]
        for _ in range(5_000):
            await asyncio.sleep(0)
        assert 0 < sent < 24 * 2**20  # of 62 MiB; much of it waits in the system


# A provider


@asynccontextmanager
async def provider(
    talk: Callable[[web.WebSocketResponse], Any],
) -> AsyncGenerator[WebSocket]:
    """The gateway's end of a socket whose other end does this."""

    async def serve(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=2**25)
        await socket.prepare(request)
        with suppress(ConnectionError, RuntimeError):
            await talk(socket)
        return socket

    app = web.Application()
    app.router.add_get("/", serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0]
        yield await connect_websocket(f"ws://{host}:{port}/", {}, heartbeat_s=600)
    finally:
        await runner.cleanup()


@contextmanager
def uncollected() -> Generator[None]:
    """Nothing that is held in a circle goes away."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def test_a_long_frame_reaches_a_provider_as_it_is() -> None:
    taken: asyncio.Queue[Any] = asyncio.Queue()

    async def talk(socket: web.WebSocketResponse) -> None:
        async for message in socket:
            taken.put_nowait((message.type, message.data))

    sent = random.Random(3).randbytes(9_000_001)
    async with provider(talk) as socket:
        await socket.send(sent)
        await socket.send(WIDE * 5, is_text=True)
        await socket.send("end")
        async with asyncio.timeout(60):
            found = [await taken.get() for _ in range(3)]
        await socket.close()
    kinds = aiohttp.WSMsgType
    assert found == [
        (kinds.BINARY, sent),
        (kinds.TEXT, (WIDE * 5).decode()),
        (kinds.TEXT, "end"),
    ]


async def test_s16_while_a_long_frame_of_a_voice_is_in_hand_its_connection_is_not_read() -> None:
    async def talk(socket: web.WebSocketResponse) -> None:
        for size in (2_000_000, 9, 9):
            await socket.send_bytes(b"x" * size)
        await socket.receive()

    async with provider(talk) as socket:
        transport: Any = socket._protocol.transport  # pyright: ignore[reportPrivateUsage]
        seen: list[tuple[int, bool, bool]] = []
        for _ in range(3):
            data, _ = await socket.receive_frame()
            protocol = socket._protocol  # pyright: ignore[reportPrivateUsage]
            seen.append((len(data), protocol._buffer_paused, transport.is_reading()))
        await socket.close()
    # A pause of its own: what aiohttp's queue resumes leaves it as it is.
    assert seen == [(2_000_000, True, False), (9, False, True), (9, False, True)]


async def test_a_voice_that_floods_leaves_nothing_when_it_was_closed() -> None:
    sent = 0

    async def talk(socket: web.WebSocketResponse) -> None:
        nonlocal sent
        while True:
            sent += 1
            await socket.send_bytes(b"x" * 8_000_000)

    async with provider(talk) as socket:
        await socket.receive_frame()
        await socket.close()
        inner: Any = socket._inner  # pyright: ignore[reportPrivateUsage]
        kept = (inner._heartbeat_cb, inner._parser)  # the timer would keep it all until then
    assert kept == (None, None)
    assert sent <= 6  # it is not listened to for long


async def test_what_a_deaf_voice_never_takes_is_not_kept_for_it() -> None:
    deaf, over = asyncio.Event(), asyncio.Event()

    async def talk(socket: web.WebSocketResponse) -> None:
        request: Any = socket._req  # pyright: ignore[reportPrivateUsage]
        request.transport.pause_reading()
        deaf.set()
        await over.wait()

    async with provider(talk) as socket:
        await deaf.wait()
        sending = asyncio.ensure_future(socket.send(b"x" * 15_000_000))
        transport: Any = socket._protocol.transport  # pyright: ignore[reportPrivateUsage]
        for _ in range(100):
            await asyncio.sleep(0)
        assert transport.get_write_buffer_size()
        assert not sending.done()
        sending.cancel()
        await socket.close()
        await asyncio.sleep(0)
        assert transport.get_write_buffer_size() == 0
        over.set()


# A session


@pytest.mark.parametrize(
    "make",
    [
        lambda: SocketClosed(1006),
        lambda: ConnectionClosedError("gone"),
        lambda: errors.RateLimitError("enough"),
        lambda: ValueError("a mistake of ours"),
    ],
    ids=["client", "provider", "limit", "mistake"],
)
@pytest.mark.parametrize("way", ["up", "down"])
async def test_a_session_that_ended_keeps_no_frame(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[], Exception], way: str
) -> None:
    frame = b"x" * 900_000
    held = sys.getrefcount(frame)

    class Side:
        async def receive(self) -> tuple[bytes, bool]:
            if self is not sender:
                await asyncio.Event().wait()
            return frame, False

        receive_frame = receive

        async def send(self, frame: bytes, **_: Any) -> None:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiter.set_exception(make())  # as where a write waits: its frame knows the error
            await waiter

    client, voice = Side(), Side()
    sender = client if way == "up" else voice

    def ignore(_: Any) -> None: ...

    quiet = SimpleNamespace(
        marks=(),
        ask_marks=(),
        hear=ignore,
        may_name_model=ignore,
        watch=asyncio.Event().wait,
        refused=None,
        secrets=[],
        id="x",
        path="/v1/realtime",
        headers={},
    )
    quiet.route = quiet
    meter: Any = quiet

    async def serve(_: Any, session: Any) -> None:
        other: Any = (client, voice)
        await Relay(meter, other[0], other[1], meter, send_s=9, note_handle=meter).run()

    async def end(*_: Any) -> None: ...

    monkeypatch.setattr(sessions.logger, "disabled", True)  # what is caught of it is kept
    monkeypatch.setattr(Sessions, "_serve", serve)
    monkeypatch.setattr(Sessions, "_end", end)
    monkeypatch.setattr(sessions._Session, "refuse", end)  # pyright: ignore[reportPrivateUsage]
    served = Sessions(meter, meter, meter, meter, metrics=meter, traces=None, memory=meter)
    with uncollected():
        await served.serve(meter, meter)
        for _ in range(3):  # the loop itself has what it did last
            await asyncio.sleep(0)
        assert sys.getrefcount(frame) == held
