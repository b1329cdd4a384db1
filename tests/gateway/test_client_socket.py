"""The client's end of a WebSocket, as a client meets it on its socket."""

from __future__ import annotations

import asyncio
import base64
import os
from typing import cast

import pytest

from polycall.gateway.http.client_socket import ClientSocket, SocketServer
from polycall.gateway.http.frame_splitter import SPLIT_BYTES

HEARTBEAT_S = 1.0


class _Entry(asyncio.Protocol):
    """Gives a connection to the server of sockets with its first bytes."""

    def __init__(self, server: SocketServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        head, end, rest = data.partition(b"\r\n\r\n")
        self._server.take(self._transport, head + end, rest, set())


def _head() -> bytes:
    key = base64.b64encode(os.urandom(16))
    return (
        b"GET / HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
        b"sec-websocket-version: 13\r\nsec-websocket-key: " + key + b"\r\n\r\n"
    )


@pytest.mark.parametrize("size", [SPLIT_BYTES - 1, SPLIT_BYTES + 1, 700_000])
async def test_a_client_that_sends_a_frame_slowly_is_there(size: int) -> None:
    """It cannot answer a ping in the middle of a frame, however long that is."""
    received: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def serve(client: ClientSocket) -> None:
        await client.accept("req_1", heartbeat_s=HEARTBEAT_S)
        try:
            received.set_result(len((await client.receive())[0]))
        except Exception as error:
            received.set_exception(error)

    entry = SocketServer(serve)
    loop = asyncio.get_running_loop()
    async with await loop.create_server(lambda: _Entry(entry), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(_head())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        writer.write(bytes((0x82, 0xFF)) + size.to_bytes(8, "big") + b"\0\0\0\0")
        for start in range(0, size, size // 10):  # for twice as long as a silent client may take
            await asyncio.sleep(3 * HEARTBEAT_S / 10)
            writer.write(b"x" * min(size // 10, size - start))
        async with asyncio.timeout(30):
            assert await received == size
        writer.close()
