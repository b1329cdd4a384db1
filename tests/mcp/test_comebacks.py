"""A server may end its streams without end; each is read on where it ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import chain, count
from types import SimpleNamespace
from typing import Any, cast

import anyio
import httpx2
import pytest
from mcp import MCPError
from mcp.client.streamable_http import StreamableHTTPTransport
from mcp.shared.message import ClientMessageMetadata, SessionMessage
from mcp_types import CONNECTION_CLOSED, JSONRPCNotification, JSONRPCRequest

from polycall.errors import ToolServerError
from polycall.mcp import HttpServer, comebacks
from polycall.mcp.comebacks import Comebacks
from polycall.mcp.connection import Connection
from polycall.mcp.http_transport import HttpTransport, StreamEndedError, http_transport

URL = "http://server/mcp"


@pytest.fixture(autouse=True)
def _minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at the clock is a minute after the one before: nothing has to wait."""
    minutes = count(step=60)
    clock = SimpleNamespace(monotonic=lambda: float(next(minutes)))
    monkeypatch.setattr(comebacks, "time", clock)


async def test_the_servers_own_stream_is_opened_again_without_end() -> None:
    """As the protocol's library does it, from the place where it ended."""
    opened: list[str] = []
    done = asyncio.Event()

    async def answer(request: httpx2.Request) -> httpx2.Response:
        opened.append(request.headers.get("last-event-id", ""))
        if len(opened) == 700:
            done.set()
            await asyncio.sleep(60)
        body = f"id: {len(opened)}\nretry: 1\ndata:\n\n"
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, text=body)

    hooks = {"request": [Comebacks().wait]}
    transport = StreamableHTTPTransport(URL)
    transport.session_id = "s"
    streams = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    writing, reading = cast("tuple[Any, Any]", streams)
    mock = httpx2.MockTransport(answer)
    async with httpx2.AsyncClient(transport=mock, event_hooks=hooks) as http, writing, reading:
        stream = asyncio.create_task(transport.handle_get_stream(http, writing))
        wait = asyncio.create_task(done.wait())
        async with asyncio.timeout(60):
            await asyncio.wait({stream, wait}, return_when=asyncio.FIRST_COMPLETED)
        stream.cancel()
        wait.cancel()
        await asyncio.wait({stream, wait})
    assert opened == ["", *map(str, range(1, 700))]


RESULT = '{"jsonrpc":"2.0","id":1,"result":{}}'


async def read_on(answers: Iterator[httpx2.Response]) -> tuple[list[str], Any]:
    """From which places a request's stream was read on, and what came of the request."""
    opened: list[str] = []

    async def answer(request: httpx2.Request) -> httpx2.Response:
        opened.append(request.headers.get("last-event-id", ""))
        return next(answers)

    hooks = {"request": [Comebacks().wait]}
    mock = httpx2.MockTransport(answer)
    asked = JSONRPCRequest(jsonrpc="2.0", id=1, method="tools/call")
    async with (
        httpx2.AsyncClient(transport=mock, event_hooks=hooks) as http,
        http_transport(URL, http) as (reading, writing),
        asyncio.timeout(60),
    ):
        await writing.send(SessionMessage(asked))
        found = await reading.receive()
    assert isinstance(found, SessionMessage)
    return opened, found.message


def events(text: str) -> httpx2.Response:
    return httpx2.Response(200, headers={"content-type": "text/event-stream"}, text=text)


async def test_a_requests_stream_is_read_on_as_often_as_it_ends() -> None:
    """The protocol's library goes deeper with each: some three hundred are all that it can."""
    ended = (events(f"id: {number}\nretry: 0\ndata:\n\n") for number in range(2_500))
    opened, found = await read_on(chain(ended, [events(f"data: {RESULT}\n\n")]))
    assert opened == ["", *map(str, range(2_500))]
    assert found.result == {}


async def test_a_stream_that_cannot_be_read_on_ends_its_request_in_words() -> None:
    """From the place of the last event: what was read is not read again."""
    refused = (httpx2.Response(status) for status in (500, 404, 200))
    streams = chain([events("id: 7\nretry: 0\ndata:\n\n")], refused)
    opened, found = await read_on(streams)
    assert opened == ["", "7", "7", "7"]
    words = "its stream ended without an answer, and cannot be read on: SSEError: "
    assert found.error.message.startswith(words)
    streams = chain(
        [events("id: 7\nretry: 0\ndata:\n\n"), httpx2.Response(503)],
        [events("id: 8\ndata:\n\n"), httpx2.Response(503), httpx2.Response(503)],
        [events(f"data: {RESULT}\n\n")],
    )
    opened, found = await read_on(streams)
    assert (opened, found.result) == (["", "7", "7", "8", "8", "8"], {})


async def test_a_stream_that_ends_at_once_and_says_nothing_ends_its_request() -> None:
    """It would be opened again each second; events between make another try of it."""
    silent = ": nothing to tell\n\n"
    streams = chain(
        [events("id: 7\nretry: 0\ndata:\n\n"), events(silent), events(silent)],
        [events("id: 8\ndata:\n\n"), events(silent), httpx2.Response(503), events(silent)],
    )
    opened, found = await read_on(streams)
    assert opened == ["", "7", "7", "7", "8", "8", "8"]
    assert found.error.message == (
        "its stream ended without an answer, and cannot be read on: it ends at once"
    )


async def test_a_stream_that_was_open_for_long_may_end_in_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A proxy ends what says nothing for a minute, as often as it likes."""
    minutes = count(step=60)
    clock = SimpleNamespace(monotonic=lambda: float(next(minutes)))
    monkeypatch.setattr("polycall.mcp.http_transport.time", clock)
    ended = (events(": nothing to tell\n\n") for _ in range(20))
    begin = [events("id: 7\nretry: 0\ndata:\n\n")]
    opened, found = await read_on(chain(begin, ended, [events(f"data: {RESULT}\n\n")]))
    assert (opened, found.result) == (["", *["7"] * 21], {})


@pytest.mark.parametrize("version", ["2025-06-18", "2025-11-25", "2026-07-28"])
@pytest.mark.parametrize("way", ["never ends", "is to be read on", "never answers"])
async def test_nothing_reads_the_stream_of_a_request_that_was_cancelled(
    version: str, way: str
) -> None:
    """Whatever the server does with it; others under way stay."""
    told: list[str] = []

    class Endless(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"id: 7\ndata:\n\n"
            await asyncio.sleep(600)

    async def answer(request: httpx2.Request) -> httpx2.Response:
        sent = json.loads(request.content or b"{}")
        if sent.get("method") == "notifications/cancelled":
            told.append(sent["params"]["requestId"])
            return httpx2.Response(202)
        if way == "never answers":
            await asyncio.sleep(600)
        if way == "never ends":
            head = {"content-type": "text/event-stream"}
            return httpx2.Response(200, headers=head, stream=Endless())
        return events("id: 7\nretry: 600000\ndata:\n\n")

    def is_reading(name: str) -> bool:
        return name in transport._in_flight_posts  # pyright: ignore[reportPrivateUsage]

    made: list[HttpTransport] = []
    mock = httpx2.MockTransport(answer)
    headers = ClientMessageMetadata(headers={"mcp-protocol-version": version})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HttpTransport, "__init__", noting(made))
        async with (
            asyncio.timeout(60),
            httpx2.AsyncClient(transport=mock) as http,
            http_transport(URL, http) as (_, writing),
        ):
            (transport,) = made
            for name in ("a", "b"):
                asked = JSONRPCRequest(jsonrpc="2.0", id=name, method="tools/call")
                await writing.send(SessionMessage(asked, headers))
            while not (is_reading("a") and is_reading("b")):
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            over = JSONRPCNotification(
                jsonrpc="2.0", method="notifications/cancelled", params={"requestId": "a"}
            )
            await writing.send(SessionMessage(over, headers))
            while is_reading("a"):
                await asyncio.sleep(0.01)
            assert is_reading("b")
    assert told == ([] if version == "2026-07-28" else ["a"])


def noting(made: list[HttpTransport]) -> Callable[..., None]:
    begin = HttpTransport.__init__

    def begun(self: HttpTransport, *given: Any, **options: Any) -> None:
        begin(self, *given, **options)
        made.append(self)

    return begun


async def test_an_answer_that_breaks_off_leaves_those_of_others() -> None:
    """Calls of many keys share a server: each one's answer has a stream of its own."""
    connection = Connection(HttpServer("s", url=URL), lambda: asyncio.sleep(0))
    asked = connection._asked  # pyright: ignore[reportPrivateUsage]
    is_done = asyncio.Event()

    async def broken() -> None:
        raise MCPError(CONNECTION_CLOSED, "SSE stream ended without a response")

    other = asyncio.create_task(asked(is_done.wait(), "b"))
    await asyncio.sleep(0)
    words = r"ended during a; it may have done its work \(SSE stream ended without a response\)"
    with pytest.raises(StreamEndedError, match=words):
        await asked(broken(), "a")
    is_done.set()
    assert await other is True
    with pytest.raises(ToolServerError, match=words) as alone:
        await asked(broken(), "a")
    assert not isinstance(alone.value, StreamEndedError)
