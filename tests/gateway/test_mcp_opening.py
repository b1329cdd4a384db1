"""A client that leaves as soon as it has read its session's name has that session."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from polycall.gateway.mcp import endpoint
from polycall.gateway.mcp.endpoint import _to_its_end  # pyright: ignore[reportPrivateUsage]
from tests.gateway.harness import KEY, Gateway
from tests.gateway.mcp_support import stock_table

INITIALIZE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "quick", "version": "1"},
}


@pytest.mark.parametrize("has_session", [True, False])
async def test_a_request_that_opened_a_session_goes_on_when_its_client_leaves(
    *, has_session: bool
) -> None:
    told = asyncio.Event()
    ends: list[str] = []

    async def handling() -> None:
        told.set()
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise
        ends.append("served")

    request = asyncio.create_task(_to_its_end(handling(), lambda: has_session))
    await told.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert ends == ["served" if has_session else "cancelled"]


async def test_a_request_that_does_not_end_in_time_is_cancelled_with_its_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(endpoint, "_OPENING_S", 0.01)
    told = asyncio.Event()
    ended = asyncio.Event()

    async def handling() -> None:
        told.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    request = asyncio.create_task(_to_its_end(handling(), lambda: True))
    await told.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    async with asyncio.timeout(5):
        await ended.wait()


async def status_and_session(gateway: Gateway, body: dict[str, Any], *more: str) -> list[str]:
    """The status of an answer and its session; the connection is closed in the midst of it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    data = json.dumps({"jsonrpc": "2.0", "id": 1, **body}).encode()
    head = [
        "POST /mcp HTTP/1.1",
        "host: gateway",
        f"authorization: Bearer {KEY}",
        "accept: application/json, text/event-stream",
        "content-type: application/json",
        f"content-length: {len(data)}",
        *more,
    ]
    writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + data)
    said = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    writer.transport.abort()
    sessions = [line.split()[1] for line in said.splitlines() if line.startswith("mcp-session-id")]
    return [said.split()[1], *sessions]


async def test_the_session_of_a_client_that_leaves_early_is_there(tmp_path: Path) -> None:
    keys = f'[[keys]]\nkey = "{KEY}"\nname = "first"\n'
    text = f"[server]\nmcp_processes = true\n{stock_table('stock', tmp_path / 'stock')}{keys}"
    gateway = Gateway(tmp_path, text).start()
    try:
        for _ in range(30):
            opening = {"method": "initialize", "params": INITIALIZE}
            _, session = await status_and_session(gateway, opening)
            more = (f"mcp-session-id: {session}", "mcp-protocol-version: 2025-11-25")
            assert (await status_and_session(gateway, {"method": "ping"}, *more))[0] == "200"
    finally:
        gateway.stop()
