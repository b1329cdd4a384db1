"""What the server makes of an application that does something wrong, and of silent connections."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn

from polycall._support.http_server import BoundedProtocol, Bounds, server_config
from polycall._support.listening import listen

ASK = b"GET /%b HTTP/1.1\r\nhost: here\r\n\r\n"
Send = Callable[[dict[str, Any]], Awaitable[None]]


class _Quick(BoundedProtocol):
    bounds = Bounds(head_s=0.3)


async def _application(scope: dict[str, Any], receive: Any, send: Send) -> None:
    name = scope["path"].strip("/")
    headers: list[tuple[bytes, bytes]] = [(b"content-length", b"4")]
    if name == "raises":
        raise RuntimeError("before any answer")
    if name == "line":
        headers.append((b"x-name", b"a\r\nx-other: b"))
    elif name == "name":
        headers.append((b"x name", b"a"))
    elif name == "framed":
        headers = [(b"transfer-encoding", b"chunked")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if name == "late":
        raise RuntimeError("after the head")
    body = b"12345" if name == "long" else b"123" if name == "short" else b"1234"
    await send({"type": "http.response.body", "body": body})
    if name == "twice":
        await send({"type": "http.response.body", "body": body})


async def _exchanged(data: bytes) -> bytes:
    """What comes back until the connection ends."""
    with listen("127.0.0.1", 0) as bound:
        config = server_config(_application, _Quick, loop="none", timeout_keep_alive=0.3)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[bound]))
        try:
            reader, writer = await asyncio.open_connection(*bound.getsockname())
            writer.write(data)
            answer = await asyncio.wait_for(reader.read(), 5)
            writer.close()
            return answer
        finally:
            server.should_exit = True
            await serving


@pytest.mark.parametrize("name", [b"raises", b"line", b"name", b"long", b"short"])
async def test_a_failed_answer_is_a_500_or_cut_and_the_last(
    name: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await _exchanged(ASK % name + ASK % b"good")
    assert answer.count(b"HTTP/1.1") <= 1
    assert b"x-other" not in answer
    if name in (b"raises", b"line", b"name"):
        assert answer.startswith(b"HTTP/1.1 500 ")
        assert b"connection: close\r\n" in answer
    assert "the application failed" in caplog.text


async def test_an_answer_that_breaks_off_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    answer = await _exchanged(ASK % b"late" + ASK % b"good")
    assert answer == b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"
    assert "after the head" in caplog.text


async def test_what_is_said_after_an_answer_is_not_sent(caplog: pytest.LogCaptureFixture) -> None:
    assert (await _exchanged(ASK % b"twice")).count(b"1234") == 1
    assert "the application failed" in caplog.text


async def test_framing_is_the_servers(caplog: pytest.LogCaptureFixture) -> None:
    answer = await _exchanged(ASK % b"framed")
    assert answer.endswith(b"\r\ntransfer-encoding: chunked\r\n\r\n4\r\n1234\r\n0\r\n\r\n")
    assert answer.count(b"transfer-encoding") == 1


@pytest.mark.parametrize(
    ("sent", "answers"),
    [
        (b"", 0),
        (b"GET / HT", 0),
        (ASK % b"good", 1),
        (ASK % b"good" * 3, 3),
        (ASK % b"good" + b"GET /", 1),
        (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n12", 1),
    ],
)
async def test_silent_connections_end(sent: bytes, answers: int) -> None:
    answer = await _exchanged(sent)
    assert answer.count(b"HTTP/1.1 200 OK") == answers


class _Measured(BoundedProtocol):
    most = 0

    def on_answered(self) -> None:
        _Measured.most = max(_Measured.most, self.transport.get_write_buffer_size())
        super().on_answered()


async def _large(scope: dict[str, Any], receive: Any, send: Send) -> None:
    size = b"%d" % LARGE
    headers = [(b"content-length", size)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"z" * LARGE})


LARGE = 300_000


@pytest.mark.parametrize("padding", [8_000, 30_000])
async def test_a2_answers_that_nobody_reads_are_not_made(padding: int) -> None:
    """One connection that sent ahead and read nothing took 780 MB in five seconds."""
    _Measured.most = 0
    with listen("127.0.0.1", 0) as bound:
        server = uvicorn.Server(server_config(_large, _Measured, loop="none"))
        serving = asyncio.create_task(server.serve(sockets=[bound]))
        reader, writer = await asyncio.open_connection(*bound.getsockname(), limit=1024)
        ask = b"GET / HTTP/1.1\r\nhost: here\r\nx: %b\r\n\r\n" % (b"y" * padding)
        try:
            asked = 0
            with contextlib.suppress(TimeoutError):
                while asked < 120:
                    writer.write(ask * 20)
                    asked += 20
                    await asyncio.wait_for(writer.drain(), 0.3)
            await asyncio.sleep(0.3)
            assert _Measured.most < LARGE + 128 * 1024
            # Whoever reads has all that was asked for.
            writer.write_eof()
            answers = await asyncio.wait_for(reader.read(), 20)
            assert answers.count(b"HTTP/1.1 200") == asked
        finally:
            writer.close()
            server.should_exit = True
            await serving
