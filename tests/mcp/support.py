"""What the tests of MCP share: stock servers over both transports, calls, and what is left."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from polycall.ir import ToolCall, ToolResult
from polycall.mcp import HttpServer, StdioServer
from polycall.tools import AbstractToolset, execute
from tests.servers import free_port

HERE = Path(__file__).parent
STOCK = HERE / "stock.py"
TRANSPORTS = ("stdio", "http")


async def call(toolset: AbstractToolset, name: str, /, **arguments: Any) -> ToolResult:
    """One call on the path of all calls."""
    return await execute(ToolCall("c1", name, json.dumps(arguments)), toolset)


async def said(toolset: AbstractToolset, name: str, /, **arguments: Any) -> str:
    """The text of its result."""
    return (await call(toolset, name, **arguments)).text


@contextmanager
def http_program(
    *words: str, mood: Path | None = None, port: int = 0, cwd: Path | None = None
) -> Generator[tuple[int, str]]:
    """A program that serves HTTP at the port that is its last word; its process and address."""
    port = port or free_port()
    environment = {**os.environ, **({"MOOD": str(mood)} if mood else {})}
    process = subprocess.Popen(
        [sys.executable, *words, str(port)],
        env=environment,
        cwd=cwd,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}/mcp"
    try:
        yield process.pid, url
    finally:
        process.kill()
        process.wait()


async def until_it_answers(url: str) -> None:
    """Wait until somebody speaks HTTP there."""

    def ask() -> bool:
        try:
            urllib.request.urlopen(url, timeout=1).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    async with asyncio.timeout(20):
        while not await asyncio.to_thread(ask):
            await asyncio.sleep(0.05)


@asynccontextmanager
async def stock(
    transport: str, name: str, mood: Path, **options: Any
) -> AsyncGenerator[StdioServer | HttpServer]:
    """The stock server, over a transport."""
    if transport == "stdio":
        command = [sys.executable, str(STOCK), "stdio"]
        yield StdioServer(name, command=command, env={"MOOD": str(mood)}, **options)
        return
    with http_program(str(STOCK), "http", mood=mood) as (_, url):
        await until_it_answers(url)
        yield HttpServer(name, url=url, **options)


def children() -> set[int]:
    """The processes that this one has started and that still are."""
    found = Path(f"/proc/self/task/{os.getpid()}/children").read_text("utf-8").split()
    return {int(pid) for pid in found}


@asynccontextmanager
async def nothing_left() -> AsyncGenerator[None]:
    """Checks that the block leaves no task and no process behind."""
    tasks, processes = asyncio.all_tasks(), children()
    yield
    # A fixture ends in another task than it began in.
    assert asyncio.all_tasks() - tasks - {asyncio.current_task()} == set()
    assert children() - processes == set()


def kill(pid: int) -> None:
    """Kill a process that a test has started."""
    os.kill(pid, signal.SIGKILL)
