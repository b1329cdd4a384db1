"""A server may end its own stream without end; a request's, a bounded number of times."""

from __future__ import annotations

import asyncio
from itertools import count
from types import SimpleNamespace
from typing import Any, cast

import anyio
import httpx2
import pytest
from mcp.client.streamable_http import StreamableHTTPTransport
from mcp.shared.message import SessionMessage

from polycall.mcp import comebacks
from polycall.mcp.comebacks import Comebacks

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


async def test_a_requests_stream_is_resumed_a_bounded_number_of_times() -> None:
    head = {"accept": "text/event-stream", "last-event-id": "7"}
    waiting = Comebacks()

    async def resume(times: int) -> None:
        for _ in range(times):
            await waiting.wait(httpx2.Request("GET", URL, headers=head))

    await asyncio.create_task(resume(300))
    with pytest.raises(httpx2.ReadError, match="ended more than 300 times"):
        await asyncio.create_task(resume(301))
