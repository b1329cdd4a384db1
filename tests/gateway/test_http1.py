"""The gateway's own HTTP client: every way in which a server can answer, or not."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from polycall.errors import (
    PolycallError,
    ProtocolError,
    UpstreamConnectionError,
    UpstreamTimeoutError,
)
from polycall.transport.base import Deadlines, HTTPRequest, push_to
from polycall.transport.http1 import HTTP1Transport, _Connection, _Origin  # pyright: ignore[reportPrivateUsage]
from tests.certificates import certificate

QUICK = Deadlines(connect_s=1.0, read_s=1.0, total_s=3.0)
Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter, int], Awaitable[None]]


class Server:
    def __init__(self, script: Script) -> None:
        self._script = script
        self.connections = 0
        self.requests: list[bytes] = []
        self.url = ""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = 0
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = 0
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        size = int(line.split(b":")[1])
                self.requests.append(head + await reader.readexactly(size))
                number += 1
                await self._script(reader, writer, number)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(script: Script) -> AsyncIterator[tuple[Server, HTTP1Transport]]:
    server = Server(script)
    listener = await asyncio.start_server(server, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    transport = HTTP1Transport(trust_environment=False)
    try:
        yield server, transport
    finally:
        await transport.close()
        listener.close()
        await asyncio.sleep(0.01)


def says(*pieces: bytes) -> Script:
    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: int) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)

    return script


def then_closes(*pieces: bytes) -> Script:
    async def script(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        await says(*pieces)(reader, writer, number)
        writer.close()

    return script


async def get(transport: HTTP1Transport, url: str, body: bytes = b"{}") -> tuple[int, bytes]:
    request = HTTPRequest(f"{url}/v1/x?y=1", {"content-type": "application/json"}, body)
    http = await transport.open(request, QUICK)
    try:
        return http.status, await http.read(size_bytes_max=10_000_000)
    finally:
        await http.close()


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
BODIES: dict[str, tuple[Script, bytes]] = {
    "length": (says(OK), b"hello"),
    "cut anywhere": (says(*(OK[i : i + 3] for i in range(0, len(OK), 3))), b"hello"),
    "chunked": (
        says(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n",
            b"2;x=y\r\nlo\r\n0\r\nX-Trailer: 1\r\n\r\n",
        ),
        b"hello",
    ),
    "until close": (then_closes(b"HTTP/1.1 200 OK\r\n\r\nhel", b"lo"), b"hello"),
    "after 100 and 103": (
        says(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\n" + OK),
        b"hello",
    ),
    "empty": (says(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), b""),
    "gzip though not asked for": (
        says(
            b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n"
            % len(gzip.compress(b"hello"))
            + gzip.compress(b"hello")
        ),
        b"hello",
    ),
    "large": (
        says(b"HTTP/1.1 200 OK\r\ncontent-length: 3000000\r\n\r\n" + b"a" * 3_000_000),
        b"a" * 3_000_000,
    ),
}


async def test_what_follows_an_answer_is_no_part_of_the_next_one() -> None:
    """One parser reads all answers of a connection."""
    second = b"HTTP/1.1 500 No\r\ncontent-length: 4\r\n\r\nevil"
    chunked = b"HTTP/1.1 200 OK\r\nx-own: 1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"
    answers = [chunked + b"0\r\nx-trailer: 1\r\n\r\n", OK, OK + second, OK]

    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: int) -> None:
        writer.write(answers.pop(0))

    async with serving(script) as (server, transport):
        request = HTTPRequest(f"{server.url}/v1/x", {}, b"{}")
        first = await transport.open(request, QUICK)
        assert dict(first.headers) == {"x-own": "1", "transfer-encoding": "chunked"}
        while server.connections and not transport._idle[next(iter(transport._idle))]:  # pyright: ignore[reportPrivateUsage]
            await asyncio.sleep(0.01)
        other = await transport.open(request, QUICK)  # on the same connection, before it is read
        assert dict(other.headers) == {"content-length": "5"}
        assert await first.read(size_bytes_max=100) == b"hello"
        assert await other.read(size_bytes_max=100) == b"hello"
        assert server.connections == 1
        for connections in (1, 2):
            assert await get(transport, server.url) == (200, b"hello")
            assert server.connections == connections


CHUNKED = (
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    b"2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nx-trailer: 1\r\n\r\n"
)
ENDED = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
EVIL = b"HTTP/1.1 500 No\r\nx-evil: 1\r\ncontent-length: 4\r\n\r\nevil"
# What a server may write behind its answer.
EXTRA: dict[str, bytes] = {
    "half a head": b"HTTP/1.1 200 OK\r\nx-left: ",
    "half a line": b"HTTP/1.1 200 OK",
    "a letter": b"H",
    "a whole answer": EVIL,
    "a half answer": EVIL[:-2],
    "two answers": EVIL + EVIL,
    "an interim answer": INTERIM,
    "an upgrade": b"HTTP/1.1 101 Go\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
    "an answer without an end": b"HTTP/1.1 200 OK\r\n\r\nevil",
    "the end of chunks": b"0\r\n\r\n",
    "a chunk": b"4\r\nevil\r\n0\r\n\r\n",
    "lines and a head": b"\r\n\r\nHTTP/1.1 200 OK\r\nx-left: ",
    "no HTTP": b"\x00\xff",
}


class Wire(asyncio.Transport):
    """The transport of a connection that is fed by hand."""

    def __init__(self) -> None:
        super().__init__({"socket": socket.socket()})
        self.is_cut = False

    def writelines(self, list_of_data: Iterable[object]) -> None:
        assert not self.is_cut

    def is_closing(self) -> bool:
        return self.is_cut

    def abort(self) -> None:
        self.is_cut = True


@pytest.mark.parametrize(
    "first", [OK, CHUNKED, INTERIM + OK, ENDED], ids=["length", "chunks", "interim", "ended"]
)
@pytest.mark.parametrize("case", EXTRA)
async def test_a_connection_with_more_than_its_answer_is_used_by_nobody(
    first: bytes, case: str
) -> None:
    """However the bytes are cut: the answer is whole, and no other sees what came behind it."""
    data = first + EXTRA[case]
    pool = HTTP1Transport(trust_environment=False)
    for cut in range(1, len(data) + 1):
        wire = Wire()
        connection = _Connection(pool, _Origin("http", "x", 1), asyncio.get_running_loop())
        connection.connection_made(wire)
        answer = connection.send([b"GET"], QUICK)
        for piece in (data[:cut], data[cut:]):
            if piece and not wire.is_cut:
                connection.data_received(piece)
        assert wire.is_cut
        assert not connection.is_usable(0)
        assert (answer.status, await answer.read(size_bytes_max=9)) == (200, b"hello")
        assert not {"x-left", "x-evil", "x-trailer"} & set(answer.headers)
        wire.get_extra_info("socket").close()
    await pool.close()


@pytest.mark.parametrize("case", EXTRA)
async def test_no_request_gets_what_came_behind_the_answer_before(case: str) -> None:
    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        writer.write(OK + EXTRA[case] if number == 1 else EVIL)

    async with serving(script) as (server, transport):
        for connections in range(1, 4):
            request = HTTPRequest(server.url, {}, b"")
            answer = await transport.open(request, QUICK)
            assert (answer.status, dict(answer.headers)) == (200, {"content-length": "5"})
            assert await answer.read(size_bytes_max=9) == b"hello"
            assert server.connections == connections


async def test_lines_without_a_word_behind_an_answer_leave_nothing() -> None:
    async with serving(says(OK + b"\r\n")) as (server, transport):
        for _ in range(3):
            assert await get(transport, server.url) == (200, b"hello")


@pytest.mark.parametrize("case", BODIES)
async def test_bodies(case: str) -> None:
    script, expected = BODIES[case]
    async with serving(script) as (server, transport):
        for _ in range(2):
            assert await get(transport, server.url) == (200, expected)
        assert server.connections == (2 if case == "until close" else 1)
    assert server.requests[0] == (
        b"POST /v1/x?y=1 HTTP/1.1\r\nhost: " + server.url[7:].encode() + b"\r\n"
        b"content-type: application/json\r\naccept-encoding: identity\r\n"
        b"content-length: 2\r\n\r\n{}"
    )


FAILURES: dict[str, tuple[Script, type[PolycallError]]] = {
    "closed at once": (then_closes(), UpstreamConnectionError),
    "closed in the headers": (then_closes(b"HTTP/1.1 200 OK\r\ncont"), UpstreamConnectionError),
    "closed in the body": (
        then_closes(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello"),
        UpstreamConnectionError,
    ),
    "closed in a chunk": (
        then_closes(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nhel"),
        UpstreamConnectionError,
    ),
    "not HTTP": (then_closes(b"220 smtp.example ESMTP\r\n"), ProtocolError),
    "a broken chunk": (
        says(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"),
        ProtocolError,
    ),
    "an encoding nobody asked for": (
        says(b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 1\r\n\r\nx"),
        ProtocolError,
    ),
    "broken gzip": (
        says(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nxyz"),
        ProtocolError,
    ),
    "silence": (says(), UpstreamTimeoutError),
    "silence in the body": (
        says(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello"),
        UpstreamTimeoutError,
    ),
}


@pytest.mark.parametrize("case", FAILURES)
async def test_failures(case: str) -> None:
    script, expected = FAILURES[case]
    async with serving(script) as (server, transport):
        with pytest.raises(expected):
            await get(transport, server.url)


async def test_an_idle_connection_that_the_server_closed_is_replaced() -> None:
    async def once(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: int) -> None:
        writer.write(OK)
        writer.close()

    async with serving(once) as (server, transport):
        for _ in range(3):
            assert await get(transport, server.url) == (200, b"hello")
        assert server.connections == 3


async def test_no_more_connections_than_allowed() -> None:
    async def slow(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: int) -> None:
        await asyncio.sleep(0.05)
        writer.write(OK)

    async with serving(slow) as (server, _):
        transport = HTTP1Transport(connections_max=3, trust_environment=False)
        answers = await asyncio.gather(*(get(transport, server.url) for _ in range(12)))
        await transport.close()
        assert answers == [(200, b"hello")] * 12
        assert server.connections <= 4


async def test_closing_cuts_the_connection() -> None:
    left = asyncio.Event()

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n")
        if not await reader.read():
            left.set()

    async with serving(endless) as (server, transport):
        http = await transport.open(HTTPRequest(server.url, {}, b"x"), QUICK)
        async for chunk in http.chunks():
            assert chunk == b"x"
            break
        await http.close()
        await asyncio.wait_for(left.wait(), 1)


def chunked(*pieces: bytes) -> list[bytes]:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    return [head, *(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces), b"0\r\n\r\n"]


async def test_pouring_hands_over_each_piece_and_waits_for_what_is_left_to_do() -> None:
    said: list[str] = []

    async def finish(piece: bytes) -> None:
        said.append(f"wait {piece.decode()}")
        await asyncio.sleep(0.05)
        said.append(f"done {piece.decode()}")

    def take(piece: bytes) -> Awaitable[None] | None:
        said.append(f"take {piece.decode()}")
        return finish(piece) if piece == b"b" else None

    async with serving(says(*chunked(b"a", b"b", b"c", b"d"))) as (server, transport):
        http = await transport.open(HTTPRequest(server.url, {}, b"x"), QUICK)
        await asyncio.wait_for(push_to(http, take), 2)
        # What came while the taker was busy comes together.
        assert said == ["take a", "take b", "wait b", "done b", "take cd"]
        assert await get(transport, server.url) == (200, b"abcd")
        assert server.connections == 1


async def test_pouring_raises_what_the_taker_raises() -> None:
    def take(piece: bytes) -> None:
        if piece == b"b":
            raise ValueError("enough")

    async with serving(says(*chunked(b"a", b"b", b"c"))) as (server, transport):
        http = await transport.open(HTTPRequest(server.url, {}, b"x"), QUICK)
        with pytest.raises(ValueError, match="enough"):
            await asyncio.wait_for(push_to(http, take), 2)
        await http.close()


async def test_pouring_gives_what_came_before_a_cut_and_then_its_error() -> None:
    pieces: list[bytes] = []
    async with serving(then_closes(*chunked(b"a", b"b")[:-1])) as (server, transport):
        http = await transport.open(HTTPRequest(server.url, {}, b"x"), QUICK)
        with pytest.raises(UpstreamConnectionError, match="broke off"):
            await asyncio.wait_for(push_to(http, pieces.append), 2)
    assert pieces == [b"a", b"b"]


async def test_what_cannot_be_sent() -> None:
    transport = HTTP1Transport(trust_environment=False)
    for url, headers in (
        ("http://127.0.0.1:1/", {}),
        ("ftp://x/", {}),
        ("http://[/", {}),
        ("http://127.0.0.1:99999/", {}),
        ("http://127.0.0.1:1/", {"x": "a\r\nevil: 1"}),
    ):
        with pytest.raises(UpstreamConnectionError):
            await transport.open(HTTPRequest(url, headers, b"x"), QUICK)
    await transport.close()


async def test_bounded_reading() -> None:
    async with serving(says(OK)) as (server, transport):
        http = await transport.open(HTTPRequest(server.url, {}, b"x"), QUICK)
        with pytest.raises(ProtocolError):
            await http.read(size_bytes_max=3)
        await http.close()


async def test_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = certificate(tmp_path, "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    server = Server(says(OK))
    listener = await asyncio.start_server(server, "127.0.0.1", 0, ssl=context)
    url = f"https://localhost:{listener.sockets[0].getsockname()[1]}"
    stranger = HTTP1Transport(trust_environment=False)
    with pytest.raises(UpstreamConnectionError) as caught:
        await get(stranger, url)
    assert not caught.value.should_retry
    assert "no secure connection to localhost" in str(caught.value)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    friend = HTTP1Transport(trust_environment=False)
    for _ in range(2):
        assert await get(friend, url) == (200, b"hello")
    assert len(server.requests) == 2
    await friend.close()
    await stranger.close()
    listener.close()
    await asyncio.sleep(0.05)


async def test_proxies_of_the_environment_go_another_way(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(says(OK)) as (server, _):
        monkeypatch.setenv("http_proxy", server.url)
        monkeypatch.setenv("no_proxy", "direct.test")
        transport = HTTP1Transport()
        assert await get(transport, "http://provider.test") == (200, b"hello")
        await transport.close()
    assert server.requests[0].startswith(b"POST http://provider.test/v1/x?y=1 HTTP/1.1\r\n")
