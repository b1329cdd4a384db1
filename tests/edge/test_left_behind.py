"""A connection that is over leaves nothing behind, whatever came over it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import weakref
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from bench.strangers import kinds

from polycall._support.http_server import Bounds, server_config
from polycall.gateway.processes.server import GatewayProtocol
from tests.edge.test_doors import MODELS, UP, serving

KEY = '[[keys]]\nkey="sk-good-0123456789"\nname="good"\n'
MORE = {
    "a body beyond its bound": b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 9999\r\n\r\n"
    + b"a" * 9999,
    "requests sent ahead": b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n" * 100,
    "a request that was answered": b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
}


async def visit(port: int, data: bytes) -> None:
    """Send it, and leave: at once, or after what is answered."""
    for waits in (False, True):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(0.05 if waits else 0.001):
                await reader.read()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@pytest.fixture
def no_collector() -> Any:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def test_a2_no_connection_waits_for_the_collector(tmp_path: Path, no_collector: None) -> None:
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    seen = 0
    async with serving(tmp_path, UP + MODELS + KEY) as served:

        class Protocol(GatewayProtocol):
            gateway = served
            bounds = Bounds(head_s=0.3, body_s=0.3, linger_s=0.1, body_bytes_max=1000)

            def __init__(self, *arguments: Any, **options: Any) -> None:
                nonlocal seen
                super().__init__(*arguments, **options)
                alive.add(self)
                seen += 1

        config = server_config(served, Protocol, loop="none")
        config.load()
        server = uvicorn.Server(config)
        server.lifespan = config.lifespan_class(config)
        bound = socket.create_server(("127.0.0.1", 0))
        await server.startup([bound])
        port = bound.getsockname()[1]
        sent = {**kinds(), **MORE}
        await asyncio.gather(*(visit(port, data) for data in sent.values()))
        async with asyncio.timeout(10):
            while alive:
                await asyncio.sleep(0.05)
        await server.shutdown([bound])
    assert seen == 2 * len(sent)
