"""The wire under the protocols: connections that fail, hang, lie or break, over real sockets."""

from __future__ import annotations

import asyncio
import email.utils
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from polycall.errors import (
    ConfigError,
    ProtocolError,
    RateLimitError,
    ServerError,
    UpstreamConnectionError,
    UpstreamError,
    UpstreamTimeoutError,
)
from polycall.transport.aiohttp_transport import AiohttpTransport
from polycall.transport.base import (
    Deadlines,
    HTTPRequest,
    Retry,
    add_retry_hints,
    retry_after_s,
)

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
QUICK = Deadlines(connect_s=1.0, read_s=0.3, total_s=5.0)


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """A raw server on loopback that reads one request's head and then does as it likes."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
    finally:
        server.close()


@asynccontextmanager
async def transport() -> AsyncIterator[AiohttpTransport]:
    made = AiohttpTransport()
    try:
        yield made
    finally:
        await made.close()


async def fetch(url: str, deadlines: Deadlines = QUICK, size_bytes_max: int = 10_000) -> bytes:
    async with transport() as made:
        response = await made.open(HTTPRequest(url, {}, b"{}"), deadlines)
        try:
            return await response.read(size_bytes_max=size_bytes_max)
        finally:
            await response.close()


async def test_a_plain_answer() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n서울".encode())

    async with serving(answer) as url:
        assert await fetch(url) == "서울".encode()


async def test_nobody_listens() -> None:
    async with serving(lambda _r, _w: asyncio.sleep(0)) as url:
        pass
    with pytest.raises(UpstreamConnectionError, match="cannot connect to 127.0.0.1"):
        await fetch(url)


async def test_an_address_that_is_none() -> None:
    with pytest.raises(UpstreamConnectionError) as caught:
        await fetch("http://exa mple:x/")
    assert not caught.value.should_retry


async def test_a_server_that_never_answers_is_a_timeout_in_time() -> None:
    async with serving(lambda _r, _w: asyncio.sleep(2)) as url:
        started = time.monotonic()
        with pytest.raises(UpstreamTimeoutError, match="silent past the deadline"):
            await fetch(url)
        assert time.monotonic() - started < 1.5


async def test_a_server_that_stops_in_the_middle_is_a_timeout() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 600\r\n\r\nhalf")
        await writer.drain()
        await asyncio.sleep(2)

    async with serving(answer) as url:
        with pytest.raises(UpstreamTimeoutError):
            await fetch(url)


async def test_the_total_deadline_holds_against_a_drip() -> None:
    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 600\r\n\r\n")
        for _ in range(50):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.1)

    async with serving(drip) as url:
        started = time.monotonic()
        with pytest.raises(UpstreamTimeoutError):
            await fetch(url, Deadlines(connect_s=1, read_s=1, total_s=0.5))
        assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-length: 600\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnonsense",
        b"\x00\xff\xfe garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nnope",
    ],
)
async def test_a_broken_answer_is_a_connection_error(sent: bytes) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)

    async with serving(answer) as url:
        with pytest.raises(UpstreamConnectionError):
            await fetch(url)


async def test_bodies_have_a_bound() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 20000\r\n\r\n" + b"x" * 20000)

    async with serving(answer) as url:
        with pytest.raises(ProtocolError, match="larger than 10000 bytes"):
            await fetch(url)


async def test_closing_before_the_end_closes_the_connection_at_once() -> None:
    closed = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 600\r\n\r\nhalf")
        await writer.drain()
        await reader.read()  # the body, then the end of the connection
        closed.set()

    async with serving(answer) as url, transport() as made:
        response = await made.open(HTTPRequest(url, {}, b"{}"), Deadlines())
        async for chunk in response.chunks():
            assert chunk == b"half"
            break
        await response.close()
        await asyncio.wait_for(closed.wait(), 1)


async def test_redirects_are_not_followed() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"
        )

    async with serving(answer) as url, transport() as made:
        response = await made.open(HTTPRequest(url, {"x-api-key": "k"}, b"{}"), QUICK)
        assert response.status == 302
        await response.close()


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after": "13"}, 13.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "13"}, 0.25),
        ({"retry-after": "-4"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
    ],
)
def test_retry_after(headers: dict[str, str], expected: float | None) -> None:
    assert retry_after_s(headers) == expected


def test_retry_after_as_a_date() -> None:
    date = email.utils.formatdate(time.time() + 30, usegmt=True)
    seconds = retry_after_s({"retry-after": date})
    assert seconds is not None
    assert 28 < seconds <= 30


def test_headers_decide_over_the_class() -> None:
    error: UpstreamError = ServerError("x")
    add_retry_hints(error, {"x-should-retry": "false", "x-request-id": "r1", "retry-after": "2"})
    assert (error.should_retry, error.request_id, error.retry_after_s) == (False, "r1", 2.0)


@pytest.mark.parametrize(
    ("error", "attempt", "low", "high"),
    [
        (ServerError("x"), 1, 0.25, 0.5),
        (ServerError("x"), 2, 0.5, 1.0),
        (ServerError("x"), 9, 4.0, 8.0),
        (RateLimitError("x", retry_after_s=3), 1, 3, 3),
    ],
)
def test_waits_grow_with_jitter(
    error: UpstreamError, attempt: int, low: float, high: float
) -> None:
    wait_s = Retry(attempts=10).wait_s(error, attempt)
    assert wait_s is not None
    assert low <= wait_s <= high


@pytest.mark.parametrize(
    ("error", "attempt"),
    [
        (ServerError("x", should_retry=False), 1),
        (ServerError("x"), 3),
        (RateLimitError("x", retry_after_s=3600), 1),
    ],
)
def test_when_to_give_up(error: UpstreamError, attempt: int) -> None:
    assert Retry().wait_s(error, attempt) is None


async def heads(address: str, port: int = 0) -> bytes:
    """What a server reads of a request to `address`."""
    seen = bytearray()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.extend(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", port)
    port = server.sockets[0].getsockname()[1]
    async with transport() as made:
        request = HTTPRequest(address.format(port), {"authorization": "Bearer sk-mine"})
        response = await made.open(request, QUICK)
        assert await response.read(size_bytes_max=9) == b"ok"
        await response.close()
    server.close()
    return bytes(seen).lower()


@pytest.mark.parametrize("machine", ["default", "machine 127.0.0.1"])
async def test_users_of_netrc_are_for_other_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str
) -> None:
    path = tmp_path / ".netrc"
    path.write_text(f"{machine} login somebody password secret\n")
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))
    head = await heads("http://127.0.0.1:{}/x")
    assert head.count(b"authorization:") == 1
    assert b"authorization: bearer sk-mine" in head


@pytest.mark.parametrize(
    ("proxy", "user"),
    [
        ("http://127.0.0.1:{}", b""),
        ("127.0.0.1:{}", b""),
        ("http://me:p%40ss@127.0.0.1:{}", b"proxy-authorization: basic bwu6cebzcw=="),
    ],
)
async def test_proxies_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, proxy: str, user: bytes
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("http_proxy", proxy.format(port))
    monkeypatch.setenv("no_proxy", "near.test")
    head = await heads("http://far.test/x", port)
    assert head.startswith(b"post http://far.test/x http/1.1\r\n")
    assert user in head
    with pytest.raises(UpstreamConnectionError, match=r"near\.test"):
        await fetch("http://near.test/x")


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "https://u:secret@127.0.0.1:9"])
async def test_a_proxy_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(ConfigError, match="change HTTP_PROXY") as caught:
        await fetch("http://far.test/x")
    assert "secret" not in str(caught.value)
