"""Our tools, as stock MCP clients see them: both transports, both generations of the protocol."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, ClientSession, MCPError, StdioServerParameters, stdio_client

from polycall import ToolContext, Toolset, tool
from polycall.mcp import HttpServer, StdioServer, connect, mcp_server, serve_http
from tests.mcp.support import HERE, TRANSPORTS, nothing_left, said

ROOT = HERE.parents[1]
SERVE = [sys.executable, "-m", "polycall", "mcp", "serve", "tests.mcp.ours:tools"]
ENVIRONMENT = {**os.environ, "PYTHONUTF8": "1"}
NAMES = ["get_weather", "picture", "fail", "lie", "half", "slow", "wait_for", "more"]


@asynccontextmanager
async def served(*options: str, **variables: str) -> AsyncIterator[str]:
    """`polycall mcp serve --http` as a process; its address."""
    command = [*SERVE, "--http", "--port", "0", *options]
    environment = {**ENVIRONMENT, **variables}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            line = (await process.stdout.readline()).decode()
        assert line.startswith("polycall mcp on http://127.0.0.1:"), line
        yield line.split()[-1]
    finally:
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 10) in (0, -signal.SIGTERM)


def parameters(*options: str) -> StdioServerParameters:
    command, *words = [*SERVE, *options]
    return StdioServerParameters(command=command, args=words, env=ENVIRONMENT, cwd=ROOT)


@asynccontextmanager
async def a_client(transport: str, **options: Any) -> AsyncIterator[Client]:
    """The library's client, of either generation of the protocol."""
    if transport == "stdio":
        async with Client(parameters(), **options) as client:
            yield client
        return
    async with served() as url, Client(url, **options) as client:
        yield client


async def wait_for_file(path: Path) -> None:
    async with asyncio.timeout(5):
        while not path.exists():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_stock_client_lists_and_calls(transport: str, mode: str, tmp_path: Path) -> None:
    async with nothing_left(), a_client(transport, mode=mode) as client:
        listed = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert list(listed) == NAMES
        weather = listed["get_weather"]
        assert weather.description == "The weather in a city (날씨 ☀️)."
        assert weather.input_schema["required"] == ["city"]
        assert weather.output_schema is not None
        result = await client.call_tool("get_weather", {"city": "서울 🏙️", "days": "2"})
        (text,) = result.content
        assert json.loads(text.text) == {"city": "서울 🏙️", "days": 2}
        assert result.structured_content == {"city": "서울 🏙️", "days": 2}
        shown = (await client.call_tool("picture")).model_dump(exclude_none=True, by_alias=True)
        assert [block["type"] for block in shown["content"]] == [
            "text", "image", "audio", "resource", "resource_link",
        ]  # fmt: skip
        for name, arguments, told in (
            ("fail", {}, "ValueError: nothing to see (없음)"),
            ("lie", {}, 'the tool ran, but its result does not fit its own output schema: "x"'),
            ("get_weather", {"town": "x"}, "the arguments do not fit 'get_weather'"),
            ("get_wether", {}, "tool 'get_wether' is not registered; did you mean 'get_weather'?"),
            ("refund", {"amount": 3}, "'refund' is not served here"),
            ("rows", {}, "'rows' is not served here"),
        ):
            failed = await client.call_tool(name, arguments)
            assert failed.is_error, name
            assert failed.content[0].text.startswith(told), failed
        cut = await client.call_tool("half", {"how": "text"})
        assert cut.content[0].text == "cut ���"
        failed = await client.call_tool("half", {"how": "data"})
        assert failed.content[0].text.startswith(
            "the tool ran, and its result cannot be written as JSON"
        )
        folder = str(tmp_path)
        both = await asyncio.gather(
            client.call_tool("wait_for", {"folder": folder, "other": "ab"}),
            client.call_tool("wait_for", {"folder": folder, "other": "ba"}),
        )
        assert [each.content[0].text for each in both] == ["met ab", "met ba"]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_call_is_cancelled_and_tells_how_far_it_is(transport: str, tmp_path: Path) -> None:
    heard: list[tuple[float, float | None, str | None]] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, total, message))

    async with nothing_left(), a_client(transport) as client:
        calling = asyncio.create_task(
            client.call_tool("slow", {"folder": str(tmp_path)}, progress_callback=hear)
        )
        async with asyncio.timeout(5):
            while not heard:
                await asyncio.sleep(0.02)
        calling.cancel()
        await wait_for_file(tmp_path / "cancelled")
        assert heard == [(0.25, 1.0, "begun")]
        assert not (await client.call_tool("get_weather", {"city": "x"})).is_error


async def test_a_session_made_by_hand() -> None:
    shop = parameters("--with-approval", "--name", "shop")
    async with stdio_client(shop) as streams, ClientSession(*streams) as session:
        begun = await session.initialize()
        assert (begun.server_info.name, begun.capabilities.tools.list_changed) == ("shop", True)
        listed = {tool.name: tool for tool in (await session.list_tools()).tools}
        assert listed["refund"].annotations.destructive_hint is True
        result = await session.call_tool("refund", {"amount": 3})
        assert result.content[0].text == "3 paid"
        with pytest.raises(MCPError):
            await session.list_prompts()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_our_own_client_on_our_own_server(transport: str) -> None:
    @asynccontextmanager
    async def our_server() -> AsyncIterator[StdioServer | HttpServer]:
        if transport == "stdio":
            yield StdioServer("ours", command=SERVE, env=ENVIRONMENT, cwd=ROOT)
            return
        async with served() as url:
            yield HttpServer("ours", url=url)

    async with our_server() as server, nothing_left(), connect(server) as tools:
        assert list(tools.tools) == sorted(f"ours_{name}" for name in NAMES)
        assert await said(tools, "ours_get_weather", city="부산") == '{"city":"부산","days":1}'
        assert await said(tools, "ours_more") == "added"
        async with asyncio.timeout(5):
            while "ours_brand_new" not in tools.tools:
                await asyncio.sleep(0.02)
        failed = await said(tools, "ours_brand_new")
        assert failed == "ValueError: nothing to see (없음)"


async def test_a_key_keeps_others_out() -> None:
    async with served("--key-variable", "OUR_KEY", OUR_KEY="열쇠-1") as url:

        def status(headers: dict[str, str]) -> int:
            asked = urllib.request.Request(url, b"{}", headers)
            try:
                with urllib.request.urlopen(asked, timeout=5) as answer:
                    return answer.status
            except urllib.error.HTTPError as error:
                with error:
                    return error.code

        assert await asyncio.to_thread(status, {}) == 401
        assert await asyncio.to_thread(status, {"Authorization": "Bearer no"}) == 401
    async with served("--key-variable", "OUR_KEY", OUR_KEY="k-1") as url:
        right = HttpServer("ours", url=url, headers={"Authorization": "Bearer k-1"})
        assert "k-1" not in repr(right)
        async with connect(right) as tools:
            assert await said(tools, "ours_get_weather", city="x") == '{"city":"x","days":1}'
        wrong = HttpServer("ours", url=url, headers={"Authorization": "Bearer k-2"})
        with pytest.raises(Exception, match=r"^MCP server 'ours' .*\(HTTP status 401\)$"):
            async with connect(wrong):
                pass


async def test_a_page_of_another_host_does_not_get_in() -> None:
    async with served() as url:

        def status(**headers: str) -> int:
            asked = urllib.request.Request(
                url, b"{}", {"Content-Type": "application/json", **headers}
            )
            try:
                with urllib.request.urlopen(asked, timeout=5) as answer:
                    return answer.status
            except urllib.error.HTTPError as error:
                with error:
                    return error.code

        assert await asyncio.to_thread(status, Host="evil.example") == 421
        assert await asyncio.to_thread(status, Origin="http://evil.example") == 403


async def test_a_server_made_in_a_program() -> None:
    @tool
    async def who(context: ToolContext[str]) -> str:
        """Who is served."""
        return context.deps

    server = mcp_server(Toolset([who]), name="here", deps="민지")
    addresses: asyncio.Queue[str] = asyncio.Queue()
    async with nothing_left():
        serving = asyncio.create_task(serve_http(server, announce=addresses.put_nowait))
        url = await addresses.get()
        async with connect(HttpServer("here", url=url)) as tools:
            assert await said(tools, "here_who") == "민지"
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
