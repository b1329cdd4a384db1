"""Hostile MCP servers over HTTP: an answer without an end is an error, and soon."""

from __future__ import annotations

import asyncio
import json
import sys
import time
import tracemalloc
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

import mcp_types as types
import pytest
from bench.door_upstream import BOMB
from mcp.client import stdio as mcp_stdio
from mcp.shared import jsonrpc_dispatcher
from mcp.shared.message import SessionMessage

from polycall.errors import ToolServerError
from polycall.mcp import HttpServer, StdioServer, connect, open_requests, stdio
from polycall.mcp.http_transport import HttpTransport
from polycall.mcp.stdio import _Lines  # pyright: ignore[reportPrivateUsage]
from polycall.mcp.watched_streams import Message
from tests.mcp.support import call

JSON_KIND = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
PIECE = b"10000\r\n" + b"a" * 65536 + b"\r\n"
HOSTILE: dict[str, tuple[bytes, bytes]] = {
    "an endless JSON body": (JSON_KIND + CHUNKED + b'1\r\n"\r\n', PIECE),
    "an endless body of no kind": (b"HTTP/1.1 200 OK\r\n" + CHUNKED, PIECE),
    "an endless error": (b"HTTP/1.1 500 No\r\ncontent-type: application/json\r\n" + CHUNKED, PIECE),
    "a body until the end": (JSON_KIND + b"\r\n", b"a" * 65536),
    "an endless event": (EVENTS + CHUNKED + b"6\r\ndata: \r\n", PIECE),
    "a bomb": (
        JSON_KIND + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(BOMB),
        BOMB,
    ),
    "endless headers": (b"HTTP/1.1 200 OK\r\n", b"x: y\r\n" * 9999),
}


@asynccontextmanager
async def server(first: bytes, piece: bytes, *, is_late: bool) -> AsyncGenerator[str]:
    """One that is hostile from the start, or with the first call of a tool."""
    writers: list[asyncio.StreamWriter] = []

    async def answer(writer: asyncio.StreamWriter, body: Any) -> None:
        method = body.get("method", "")
        results: dict[str, Any] = {
            "initialize": {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "x", "version": "1"},
            },
            "tools/list": {"tools": [{"name": "t", "inputSchema": {"type": "object"}}]},
        }
        if not method:
            return  # our answer, which it does not take
        if is_late and method != "tools/call":
            if "id" not in body:
                writer.write(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")
                return
            reply: dict[str, Any] = {"jsonrpc": "2.0", "id": body["id"]}
            if method in results:
                reply["result"] = results[method]
            else:
                reply["error"] = {"code": -32601, "message": "no such method"}
            data = json.dumps(reply).encode()
            writer.write(JSON_KIND + b"content-length: %d\r\n\r\n%b" % (len(data), data))
            return
        writer.write(first)
        while True:
            writer.write(piece)
            await writer.drain()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]
                data = await reader.readexactly(int(length or 0))
                if not head.startswith(b"POST"):
                    writer.write(b"HTTP/1.1 405 No\r\ncontent-length: 0\r\n\r\n")
                    continue
                await answer(writer, json.loads(data))

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/mcp"
    finally:
        listener.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("case", HOSTILE)
async def test_a19_answers_without_an_end_are_refused(case: str) -> None:
    tracemalloc.start()
    started = time.monotonic()
    try:
        async with server(*HOSTILE[case], is_late=False) as url:
            with pytest.raises(ToolServerError):
                async with connect(HttpServer("hostile", url=url, connect_s=20)):
                    pass
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.monotonic() - started < 15
    assert most < 120_000_000, f"{most / 1e6:.0f} MB"


@pytest.mark.parametrize("case", ["an endless JSON body", "an endless event", "a bomb"])
async def test_a19_a_call_is_bounded_as_well(case: str) -> None:
    async with (
        server(*HOSTILE[case], is_late=True) as url,
        connect(HttpServer("hostile", url=url, connect_s=20)) as tools,
    ):
        started = time.monotonic()
        result = await call(tools, next(iter(tools)).name)
        assert result.is_error
        assert time.monotonic() - started < 15


# The same over standard input and output

_STDIO = """
import json, sys
def say(value): print(json.dumps({"jsonrpc": "2.0", **value}), flush=True)
answers = {
    "initialize": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                   "serverInfo": {"name": "x", "version": "1"}},
    "tools/list": {"tools": [{"name": "t", "inputSchema": {"type": "object"}}]},
}
for line in sys.stdin:
    asked = json.loads(line)
    if asked.get("method") == "%s":
        while True:
            sys.stdout.write(%s)
    if "id" in asked:
        found = answers.get(asked["method"])
        say({"id": asked["id"], **({"result": found} if found else
            {"error": {"code": -32601, "message": "no such method"}})})
"""
ENDLESS_LINES = {"text": '"a" * 65536', "a message": '\'{"jsonrpc":"2.0","id":\' + \'[\' * 9999'}


@pytest.mark.parametrize("case", ENDLESS_LINES)
@pytest.mark.parametrize("when", ["initialize", "tools/call"])
async def test_a19_a_line_without_an_end_is_refused(case: str, when: str) -> None:
    command = [sys.executable, "-c", _STDIO % (when, ENDLESS_LINES[case])]
    hostile = StdioServer("hostile", command=command, connect_s=20)
    started = time.monotonic()
    tracemalloc.start()
    try:
        if when == "initialize":
            with pytest.raises(ToolServerError, match="a line of more than"):
                async with connect(hostile):
                    pass
        else:
            async with connect(hostile) as tools:
                result = await call(tools, next(iter(tools)).name)
                assert result.is_error
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 80_000_000, f"{most / 1e6:.0f} MB"
    assert time.monotonic() - started < 15


# Each as a line; the program reads no answer.
QUESTIONS = {
    "pings": '{"jsonrpc":"2.0","id":%d,"method":"ping"}',
    "roots": '{"jsonrpc":"2.0","id":"r%d","method":"roots/list"}',
    "what nobody knows": '{"jsonrpc":"2.0","id":%d,"method":"' + "x" * 3000 + '"}',
}


@pytest.mark.parametrize("kind", QUESTIONS)
async def test_a19_a_program_that_takes_no_answers_is_not_read(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It took 238 MiB in 20 s: all that it asked was answered, and no answer was taken."""
    monkeypatch.setattr(open_requests, "REQUESTS_MAX", 50)
    # It takes no cancellation and does not end with its input: neither is waited for long.
    monkeypatch.setattr(jsonrpc_dispatcher, "_ABANDON_WRITE_TIMEOUT", 0.1)
    monkeypatch.setattr(mcp_stdio, "PROCESS_TERMINATION_TIMEOUT", 0.1)
    read = 0
    parsed = stdio._message  # pyright: ignore[reportPrivateUsage]

    async def counting(line: bytes) -> Message:
        nonlocal read
        read += 1
        return await parsed(line)

    monkeypatch.setattr(stdio, "_message", counting)
    asks = f"{QUESTIONS[kind]!r} % (id(asked) + len(str(time.monotonic_ns()))) + chr(10)"
    program = "import time\n" + _STDIO % ("tools/call", asks)
    hostile = StdioServer("hostile", command=[sys.executable, "-c", program], deadline_s=1.5)
    async with connect(hostile) as tools:
        before = read
        result = await call(tools, next(iter(tools)).name)
        assert result.is_error
    # What was waiting in the pipe, for the program's input took some, and then no more.
    assert read - before < 4_000


async def test_a19_a_server_over_http_that_takes_no_answers_is_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The process grew by 188 MiB in 13,000 requests."""
    monkeypatch.setattr(open_requests, "REQUESTS_MAX", 50)
    read = 0
    handle = HttpTransport._handle_sse_event  # pyright: ignore[reportPrivateUsage]

    async def counting(*given: Any, **named: Any) -> bool:
        nonlocal read
        read += 1
        return await handle(*given, **named)

    monkeypatch.setattr(HttpTransport, "_handle_sse_event", counting)
    event = b'data: {"jsonrpc":"2.0","id":1,"method":"ping"}\n\n'
    piece = b"%x\r\n%b\r\n" % (len(event), event)
    async with server(EVENTS + CHUNKED, piece, is_late=True) as url:
        hostile = HttpServer("hostile", url=url, deadline_s=2)
        async with connect(hostile) as tools:
            result = await call(tools, next(iter(tools)).name)
            assert result.is_error
    assert 50 <= read < 100


async def test_a19_one_that_takes_them_may_ask_on() -> None:
    asked = open_requests.OpenRequests(None)
    request = types.JSONRPCRequest(jsonrpc="2.0", id=1, method="ping")
    answer = types.JSONRPCResponse(jsonrpc="2.0", id=1, result={})
    for _ in range(5 * open_requests.REQUESTS_MAX):
        await asked.note(SessionMessage(request))
        asked.sent(SessionMessage(answer))
    # One that is taken back has no answer.
    back = types.JSONRPCNotification(
        jsonrpc="2.0", method="notifications/cancelled", params={"requestId": 1}
    )
    for _ in range(5 * open_requests.REQUESTS_MAX):
        await asked.note(SessionMessage(request))
        await asked.note(SessionMessage(back))
    # What takes back what was never asked makes no room.
    false = [{"requestId": "1"}, {"requestId": 2}, {"requestId": [1]}, {}, None]
    for number in range(open_requests.REQUESTS_MAX):
        await asked.note(SessionMessage(request))
        said = back.model_copy(update={"params": false[number % len(false)]})
        await asked.note(SessionMessage(said))
    waiting = asyncio.ensure_future(asked.note(SessionMessage(request)))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    asked.sent(SessionMessage(answer))
    await asyncio.wait_for(waiting, 5)


def test_a19_lines_are_the_same_however_they_are_cut() -> None:
    data = b"".join(b"%d" % n * n + b"\n" for n in range(60)) + b"\n\nrest"
    whole = data.split(b"\n")[:-1]
    for size in (1, 3, 64, 10_000):
        lines = _Lines()
        found = [
            line for at in range(0, len(data), size) for line in lines.feed(data[at : at + size])
        ]
        assert found == whole
