"""Stock packages of another language: the TypeScript library's client, and its example server.

They are installed from the registry into pytest's cache on first use.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from polycall.ir import Media, Text, ToolCall
from polycall.mcp import HttpServer, StdioServer, connect
from polycall.tools import ToolContext, execute
from tests.mcp.support import HERE, TRANSPORTS, call, nothing_left, said, until_it_answers
from tests.mcp.test_serving import ENVIRONMENT, NAMES, ROOT, SERVE, served, wait_for_file
from tests.packages import from_npm
from tests.servers import free_port

PACKAGES = ["@modelcontextprotocol/sdk@1", "@modelcontextprotocol/server-everything@2026.8.31"]
SCRIPT = HERE / "node" / "client.mjs"


@pytest.fixture(scope="session")
def node(request: pytest.FixtureRequest) -> Path:
    """A folder with the packages installed."""
    has = "@modelcontextprotocol/server-everything"
    folder = from_npm(request, "node-mcp", *PACKAGES, has=has)
    shutil.copy(SCRIPT, folder / SCRIPT.name)
    return folder


@asynccontextmanager
async def everything(
    node: Path, transport: str, port: int = 0
) -> AsyncIterator[StdioServer | HttpServer]:
    """The example server, over a transport."""
    script = "node_modules/@modelcontextprotocol/server-everything/dist/index.js"
    if transport == "stdio":
        yield StdioServer("every", command=["node", script, "stdio"], cwd=node)
        return
    port = port or free_port()
    process = await asyncio.create_subprocess_exec(
        *("node", script, "streamableHttp"),
        cwd=node,
        env={**os.environ, "PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port}/mcp"
        await until_it_answers(url)
        yield HttpServer("every", url=url)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_tools_of_the_example_server(
    node: Path, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "not-for-servers")
    heard: list[float] = []

    async def hear(progress: float, message: str) -> None:
        heard.append(progress)

    async with everything(node, transport) as server, nothing_left(), connect(server) as tools:
        assert tools.servers["every"].state == "connected"
        assert list(tools.tools) == sorted(tools.tools)
        assert await said(tools, "every_echo", message="안녕 🎉") == "Echo: 안녕 🎉"
        assert await said(tools, "every_get-sum", a=1, b=2) == "The sum of 1 and 2 is 3."
        image = (await call(tools, "every_get-tiny-image")).content[1]
        assert isinstance(image, Media)
        assert (image.kind, image.media_type) == ("image", "image/png")
        weather = await call(tools, "every_get-structured-content", location="New York")
        (data,) = weather.content
        assert isinstance(data, Text)
        assert sorted(json.loads(data.text)) == ["conditions", "humidity", "temperature"]
        links = await call(tools, "every_get-resource-links", count=1)
        assert json.loads(links.content[1].text)["type"] == "resource_link"
        if transport == "stdio":
            assert "not-for-servers" not in await said(tools, "every_get-env")
        long = ToolCall("c1", "every_trigger-long-running-operation", '{"duration":1,"steps":2}')
        done = await execute(long, tools, context=ToolContext(deps=None, reporter=hear))
        assert (done.is_error, heard) == (False, [0.5, 1.0])
        assert tools.notices == []
        assert "every_simulate-research-query" in tools.tools  # which runs as a task alone


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_our_tools_in_the_typescript_client(
    node: Path, transport: str, tmp_path: Path
) -> None:
    async def ask(*words: str) -> dict[str, Any]:
        process = await asyncio.create_subprocess_exec(
            *("node", str(node / SCRIPT.name), *words),
            cwd=ROOT,
            env={**ENVIRONMENT, "FOLDER": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        async with asyncio.timeout(30):
            out, error = await process.communicate()
        assert process.returncode == 0, error.decode()
        return json.loads(out)

    if transport == "stdio":
        seen = await ask(*SERVE)
    else:
        async with served() as url:
            seen = await ask(url)
            await wait_for_file(tmp_path / "cancelled")
    assert seen == {
        "names": NAMES,
        "weather": {"city": "서울 🏙️", "days": 1},
        "kinds": ["text", "image", "audio", "resource", "resource_link"],
        "failed": [True, "ValueError: nothing to see (없음)"],
        "cancelled": True,
        "steps": [0.25],
    }


async def test_a_server_that_was_started_anew_between_two_calls(node: Path) -> None:
    async with AsyncExitStack() as first:
        server = await first.enter_async_context(everything(node, "http"))
        assert isinstance(server, HttpServer)
        async with connect(server) as tools:
            assert await said(tools, "every_echo", message="1") == "Echo: 1"
            await first.aclose()
            port = int(server.url.split(":")[2].removesuffix("/mcp"))
            async with everything(node, "http", port):
                assert await said(tools, "every_echo", message="2") == "Echo: 2"
                assert tools.servers["every"].state == "connected"
