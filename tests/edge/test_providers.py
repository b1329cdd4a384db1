"""Hostile and failing providers: what they can take is bounded, what they were asked is paid."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import threading
import time
import tracemalloc
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from bench.door_upstream import BOMB, bomb

from polycall.config import parse_config
from polycall.errors import PolycallError, ProtocolError, UpstreamConnectionError
from polycall.gateway.app import Gateway
from polycall.gateway.passthrough.stream import Observer
from polycall.providers.dialects import DIALECTS
from polycall.transport.base import Deadlines, HTTPRequest, push_to
from polycall.transport.http1 import HTTP1Transport
from tests.edge.test_redaction import ask, events, whole

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream" + CHUNKED[15:]
Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter, int], Awaitable[None]]


class Provider:
    """Runs `script` for each request; `requests` are the heads that came."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.requests: list[bytes] = []
        self.url = ""
        self.writers: list[asyncio.StreamWriter] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        with suppress(OSError, asyncio.IncompleteReadError):
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]
                await reader.readexactly(int(length or 0))
                self.requests.append(head)
                await self._script(reader, writer, len(self.requests))
        writer.close()


@asynccontextmanager
async def provider(script: Script) -> AsyncGenerator[Provider]:
    found = Provider(script)
    server = await asyncio.start_server(found, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield found
    finally:
        server.close()
        for writer in found.writers:
            writer.transport.abort()
        await asyncio.sleep(0.05)


def endless(first: bytes, piece: bytes) -> Script:
    async def script(_: Any, writer: asyncio.StreamWriter, __: int) -> None:
        writer.write(first)
        while True:
            writer.write(piece)
            await writer.drain()

    return script


GZIP = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n"
DEFLATED = bomb("deflate")
HOSTILE: dict[str, tuple[bytes, bytes]] = {
    "endless headers": (b"HTTP/1.1 200 OK\r\n", b"".join(b"x%d: y\r\n" % n for n in range(999))),
    "one endless header": (b"HTTP/1.1 200 OK\r\nx: ", b"a" * 65536),
    "one endless name": (b"HTTP/1.1 200 OK\r\n", b"a" * 65536),
    "an endless reason": (b"HTTP/1.1 200 ", b"a" * 65536),
    "endless trailers": (CHUNKED + b"0\r\n", b"x: y\r\n" * 9999),
    "one endless trailer": (CHUNKED + b"0\r\nx: ", b"a" * 65536),
    "an endless extension": (CHUNKED + b"1;", b"a" * 65536),
    "an extension a chunk": (CHUNKED, b"1;%b\r\nx\r\n" % (b"a" * 9000)),
    "endless interim answers": (b"", b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\n" * 999),
    "a bomb": (GZIP % len(BOMB), BOMB),
    "a bomb in chunks": (
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n",
        b"%x\r\n%b\r\n" % (len(BOMB), BOMB),
    ),
    "a bomb by deflate": (
        GZIP.replace(b"gzip", b"deflate") % len(DEFLATED),
        DEFLATED,
    ),
    "a folded line without end": (b"HTTP/1.1 200 OK\r\nx: y\r\n", b" z\r\n" * 9999),
    "an encoding nobody knows": (
        b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 999999999\r\n\r\n",
        b"a" * 65536,
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
async def test_a17_hostile_answers_are_bounded(case: str) -> None:
    slowest = 0.0

    async def watch() -> None:
        nonlocal slowest
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            slowest = max(slowest, time.monotonic() - before - 0.01)

    async with provider(endless(*HOSTILE[case])) as hostile:
        transport = HTTP1Transport(trust_environment=False)
        watching = asyncio.create_task(watch())
        started = time.monotonic()
        tracemalloc.start()
        try:
            with pytest.raises(ProtocolError):
                request = HTTPRequest(hostile.url, {}, b"{}")
                http = await transport.open(request, Deadlines(5, 5, 20))
                try:
                    await http.read(size_bytes_max=20_000_000)
                finally:
                    await http.close()
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            watching.cancel()
            await transport.close()
    assert most < 50_000_000, f"{most / 1e6:.0f} MB"
    assert time.monotonic() - started < 5
    assert slowest < 0.5


async def test_a17_a_provider_that_compresses_is_still_read() -> None:
    body = json.dumps({"text": "compressible " * 9999}).encode()
    packed = gzip.compress(body)

    async def script(_: Any, writer: asyncio.StreamWriter, __: int) -> None:
        writer.write(GZIP % len(packed) + packed)

    async with provider(script) as found:
        transport = HTTP1Transport(trust_environment=False)
        http = await transport.open(HTTPRequest(found.url, {}, b"{}"), Deadlines(5, 5, 5))
        assert await http.read(size_bytes_max=1_000_000) == body
        await transport.close()


async def test_a17_trailers_of_an_answer_are_no_headers() -> None:
    async def script(_: Any, writer: asyncio.StreamWriter, __: int) -> None:
        writer.write(CHUNKED + b"2\r\n{}\r\n0\r\nretry-after: 9\r\nx-request-id: evil\r\n\r\n")

    async with provider(script) as found:
        transport = HTTP1Transport(trust_environment=False)
        http = await transport.open(HTTPRequest(found.url, {}, b"{}"), Deadlines(5, 5, 5))
        assert await http.read(size_bytes_max=1_000_000) == b"{}"
        assert set(http.headers) == {"transfer-encoding"}
        await transport.close()


@pytest.mark.parametrize("size", [1, 7, 4096])
@pytest.mark.parametrize("hides", [False, True])
def test_a17_a_frame_in_pieces_is_looked_at_once(size: int, hides: bool) -> None:
    text = "x" * (3_000_000 if size == 4096 else 20_000)
    data = events(text) + events("y")
    observer = Observer(DIALECTS["openai-chat"], hides_usage=hides, is_sse=True)
    started = time.monotonic()
    out = b"".join(observer.feed(data[at : at + size]) for at in range(0, len(data), size))
    assert out + observer.close() == data
    assert observer.ended
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("piece", [b"data: " + b"x" * 999_994, b": c" * 333_333, b"\r" * 999_999])
def test_a17_an_endless_frame_ends(piece: bytes) -> None:
    observer = Observer(DIALECTS["openai-chat"], hides_usage=False, is_sse=True)
    started = time.monotonic()
    with pytest.raises(PolycallError, match="larger than"):
        for _ in range(200):
            observer.feed(piece)
    assert time.monotonic() - started < 5


class Flood:
    """Sends one endless stream from a thread, as fast as it is taken."""

    def __init__(self, piece: bytes) -> None:
        self._piece = piece
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError), self._listener, self._listener.accept()[0] as peer:
            peer.recv(65536)
            peer.sendall(CHUNKED)
            while True:
                peer.sendall(b"%x\r\n%b\r\n" % (len(self._piece), self._piece))

    def __enter__(self) -> Flood:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(10)


@pytest.mark.parametrize("piece", [b"data: {}\n\n" * 6_000, b"x" * 1_000_000])
def test_a17_a_provider_that_sends_without_pause_leaves_others_their_turn(piece: bytes) -> None:
    """libuv reads a busy socket 32 times in a row: 8 MB before anybody else is looked at."""
    uvloop = pytest.importorskip("uvloop")
    taken = largest = 0

    def take(data: bytes) -> None:
        nonlocal taken
        taken += len(data)
        time.sleep(0.002)  # so that more is there whenever the loop looks

    async def watch() -> None:
        nonlocal largest
        before = taken
        while True:
            await asyncio.sleep(0)
            largest, before = max(largest, taken - before), taken

    async def main(url: str) -> None:
        transport = HTTP1Transport(trust_environment=False)
        http = await transport.open(HTTPRequest(url, {}, b"{}"), Deadlines(5, 5, 20))
        watching = asyncio.create_task(watch())
        reading = asyncio.create_task(push_to(http, take))
        while taken < 20_000_000:
            await asyncio.sleep(0.01)
        for task in (reading, watching):
            task.cancel()
        await http.close()
        await transport.close()

    with Flood(piece) as flood, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(flood.url))
    assert 0 < largest <= 1_000_000


@pytest.mark.parametrize("text", ["x" * 60_000, "물" * 9])
async def test_a17_a_translated_stream_is_bounded_as_a_whole_answer_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    monkeypatch.setattr("polycall.providers.provider.STREAM_BYTES_MAX", 2_000_000)
    delta = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    frame = b"data: " + json.dumps({"id": "c", "choices": [delta]}).encode() + b"\n\n"
    piece = frame * (100_000 // len(frame) + 1)
    script = endless(CHUNKED, b"%x\r\n%b\r\n" % (len(piece), piece))
    async with provider(script) as hostile, budgeted(tmp_path, hostile.url) as served:
        status, _, body = await ask(served, "/v1/messages", stream=True)
    assert status == 200
    assert len(body) < 8_000_000
    assert b"event: error" in body
    assert b"larger than 2000000 bytes" in body


@pytest.mark.parametrize("piece", [b": x\n\n" * 9_999, b"\n" * 60_000, b"event: ping\n\n" * 5_000])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_a17_a_stream_that_says_nothing_is_given_up(
    tmp_path: Path, path: str, piece: bytes
) -> None:
    script = endless(EVENTS, b"%x\r\n%b\r\n" % (len(piece), piece))
    async with (
        provider(script) as hostile,
        budgeted(tmp_path, hostile.url, "total_s = 1.0") as served,
    ):
        tracemalloc.start()
        status, _, body = await ask(served, path, stream=True)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert status in (502, 504)
    assert len(body) < 1000
    assert most < 30_000_000


# A9


async def closes_the_second(_: Any, writer: asyncio.StreamWriter, number: int) -> None:
    if number == 2:
        writer.close()
    else:
        writer.write(OK)


async def resets_the_second(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
) -> None:
    if number == 2:
        writer.transport.abort()
    else:
        writer.write(OK)


async def closes_late(_: Any, writer: asyncio.StreamWriter, number: int) -> None:
    if number == 2:
        await asyncio.sleep(0.2)  # it has worked on it
        writer.close()
    else:
        writer.write(OK)


async def begins_a_status(_: Any, writer: asyncio.StreamWriter, number: int) -> None:
    writer.write(OK if number != 2 else b"HTTP/1.")
    if number == 2:
        writer.close()


async def says_that_it_works(_: Any, writer: asyncio.StreamWriter, number: int) -> None:
    writer.write(OK if number != 2 else b"HTTP/1.1 102 Processing\r\n\r\n")
    if number == 2:
        await asyncio.sleep(0.05)
        writer.transport.abort()


@pytest.mark.parametrize(
    "script",
    [closes_the_second, resets_the_second, closes_late, begins_a_status, says_that_it_works],
)
async def test_a9_a_post_is_not_sent_twice(script: Script) -> None:
    async with provider(script) as found:
        transport = HTTP1Transport(trust_environment=False)
        request = HTTPRequest(found.url, {}, b"{}")
        http = await transport.open(request, Deadlines(5, 5, 5))
        await http.read(size_bytes_max=10)
        with pytest.raises(UpstreamConnectionError) as caught:
            await transport.open(request, Deadlines(5, 5, 5))
        assert caught.value.was_sent
        assert len(found.requests) == 2
        await transport.close()


async def test_a9_a_get_may_be_sent_again() -> None:
    async with provider(closes_the_second) as found:
        transport = HTTP1Transport(trust_environment=False)
        request = HTTPRequest(found.url, {}, method="GET")
        for _ in range(2):
            http = await transport.open(request, Deadlines(5, 5, 5))
            await http.read(size_bytes_max=10)
        assert len(found.requests) == 3
        await transport.close()


async def test_a9_what_cannot_connect_was_not_sent() -> None:
    transport = HTTP1Transport(trust_environment=False)
    with pytest.raises(UpstreamConnectionError) as caught:
        await transport.open(HTTPRequest("http://127.0.0.1:1/v1", {}, b"{}"), Deadlines(5, 5, 5))
    assert not caught.value.was_sent
    await transport.close()


# A8


@asynccontextmanager
async def budgeted(tmp_path: Path, url: str, more: str = "") -> AsyncGenerator[Gateway]:
    config = parse_config(
        f'[providers.up]\ndialect="openai-chat"\nbase_url="{url}"\napi_key="sk-up-0123456789"\n'
        f"[providers.up.prices]\nm = {{input = 1000000.0, output = 1000000.0}}\n"
        f"[server]\nattempts = 3\nwait_s_max = 1.0\n{more}\n",
        folder=tmp_path,
        environment={},
    )
    served = Gateway(config)
    try:
        yield served
    finally:
        await served.close()


async def rows(served: Gateway) -> list[Any]:
    found: list[Any] = []
    add = served.store.add_row

    def keep(row: Any) -> None:
        found.append(row)
        add(row)

    served.store.add_row = keep  # type: ignore[method-assign]
    return found


async def silent(reader: asyncio.StreamReader, _: Any, __: int) -> None:
    await reader.read()


async def cut(_: Any, writer: asyncio.StreamWriter, __: int) -> None:
    writer.close()


async def garbage(_: Any, writer: asyncio.StreamWriter, __: int) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnope")


async def half(_: Any, writer: asyncio.StreamWriter, __: int) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n{")
    await asyncio.sleep(0.05)
    writer.close()


async def refused(_: Any, writer: asyncio.StreamWriter, __: int) -> None:
    writer.write(b"HTTP/1.1 500 X\r\ncontent-length: 2\r\n\r\n{}")


async def cut_once(_: Any, writer: asyncio.StreamWriter, number: int) -> None:
    if number == 1:
        writer.close()
        return
    body = whole("hi")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize("script", [silent, cut, garbage, half])
async def test_a8_what_a_provider_has_is_paid(
    tmp_path: Path, script: Script, path: str, stream: bool
) -> None:
    more = "total_s = 0.5" if script is silent else ""
    async with provider(script) as found, budgeted(tmp_path, found.url, more) as served:
        written = await rows(served)
        status, *_ = await ask(served, path, stream=stream)
        (row,) = written
        assert row.outcome != "ok"
        assert status >= 500
        assert row.cost_usd is not None
        assert float(row.cost_usd) > 0
        # Each time that it was sent, and neither more nor less often.
        assert row.attempts == len(found.requests)
        assert float(row.cost_usd) == row.input_tokens
        assert row.input_tokens % row.attempts == 0
        assert row.is_estimate
        if script is silent:
            assert row.attempts == 1, "what is over is not begun again"


async def page(_: Any, writer: asyncio.StreamWriter, __: int) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 13\r\n\r\n"
    writer.write(head + "<h1>안</h1>!".encode())


async def nothing(_: Any, writer: asyncio.StreamWriter, __: int) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("script", [page, nothing])
async def test_a8_what_is_no_answer_may_have_been_one(
    tmp_path: Path, script: Script, stream: bool
) -> None:
    async with provider(script) as found, budgeted(tmp_path, found.url) as served:
        written = await rows(served)
        status, *_ = await ask(served, "/v1/chat/completions", stream=stream)
        (row,) = written
        assert (row.outcome, status) == ("error", 502)
        assert row.attempts == len(found.requests)
        assert float(row.cost_usd) == row.input_tokens > 0


async def test_a8_a_shorter_patience_is_paid_too(tmp_path: Path) -> None:
    async with provider(silent) as found, budgeted(tmp_path, found.url) as served:
        written = await rows(served)
        status, *_ = await ask(
            served, "/v1/chat/completions", headers=[(b"x-server-timeout", b"0.5")]
        )
        assert (status, len(found.requests)) == (504, 1)
        assert float(written[0].cost_usd) > 0


async def test_a8_what_was_refused_is_not_paid(tmp_path: Path) -> None:
    async with provider(refused) as found, budgeted(tmp_path, found.url) as served:
        written = await rows(served)
        status, *_ = await ask(served, "/v1/chat/completions")
        assert status >= 500
        assert written[0].cost_usd is None
    async with budgeted(tmp_path, "http://127.0.0.1:1/v1") as served:
        written = await rows(served)
        await ask(served, "/v1/chat/completions")
        assert written[0].cost_usd is None


async def test_a8_an_answer_pays_for_what_was_lost_before_it(tmp_path: Path) -> None:
    async with provider(cut_once) as found, budgeted(tmp_path, found.url) as served:
        written = await rows(served)
        status, *_ = await ask(served, "/v1/chat/completions")
        assert (status, len(found.requests), written[0].attempts) == (200, 2, 2)
        assert float(written[0].cost_usd) > 2, "an input and an output token, and the lost input"
