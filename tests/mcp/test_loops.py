"""Servers' tools from another event loop than the one that connected them, and from none."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from polycall import Agent
from polycall.errors import RequestError
from polycall.ir import ToolCall
from polycall.mcp import McpTools, StdioServer, connect
from polycall.testing import FunctionModel
from polycall.tools import ToolContext, execute

from .support import STOCK, said


def server(tmp_path: Path) -> StdioServer:
    return StdioServer("stock", command=[sys.executable, str(STOCK), "stdio"], cwd=tmp_path)


def adder(tools: McpTools, name: str = "stock_add", arguments: str = '{"a":2,"b":3}') -> Any:
    call = ToolCall("c", name, arguments)
    model = FunctionModel(
        lambda request: (
            request.messages[-1].parts[0].text  # type: ignore[union-attr]
            if request.messages[-1].role == "tool"
            else call
        )
    )
    return Agent("test/m", tools=[tools], client=model)


def test_run_sync_calls_a_server_that_was_connected_without_a_loop(tmp_path: Path) -> None:
    with connect(server(tmp_path)) as tools:
        agent = adder(tools)
        assert [agent.run_sync("go").text for _ in range(2)] == ["5", "5"]
        with agent.stream_sync("go") as stream:
            assert "".join(stream.text()) == "5"
        # A loop of somebody's calls it as well, where its own runs on.
        assert asyncio.run(said(tools, "stock_add", a=1, b=1)) == "2"
    assert "is closed" in agent.run_sync("go").text


async def test_a_loop_that_runs_serves_the_calls_of_other_loops(tmp_path: Path) -> None:
    async with connect(server(tmp_path)) as tools:
        agent = adder(tools)
        runs = await asyncio.gather(*(asyncio.to_thread(agent.run_sync, "go") for _ in range(3)))
        assert [run.text for run in runs] == ["5"] * 3


async def test_progress_comes_to_the_loop_that_called_and_a_cancel_reaches_the_server(
    tmp_path: Path,
) -> None:
    heard: list[Any] = []

    async def elsewhere(tools: McpTools) -> None:
        async def report(progress: float, message: str) -> None:
            heard.append((progress, message, asyncio.get_running_loop() is here))

        here = asyncio.get_running_loop()
        context = ToolContext(deps=None, reporter=report)
        calling = asyncio.create_task(
            execute(ToolCall("c", "stock_slow", "{}"), tools, context=context)
        )
        async with asyncio.timeout(20):
            while not heard:
                await asyncio.sleep(0.02)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling

    async with connect(server(tmp_path)) as tools:
        await asyncio.to_thread(lambda: asyncio.run(elsewhere(tools)))
        assert await said(tools, "stock_add", a=1, b=1) == "2"
    assert heard == [(0.25, "begun", True)]


async def test_with_in_an_event_loop_is_refused_with_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="write 'async with connect"), connect(server(tmp_path)):
        pass


def test_a_loop_that_has_ended_is_named(tmp_path: Path) -> None:
    async def open_only() -> McpTools:
        return await connect(server(tmp_path)).__aenter__()

    runner = asyncio.Runner()
    tools = runner.run(open_only())
    assert "has ended; connect and run in one" in adder(tools).run_sync("go").text
    runner.run(tools.servers["stock"].close())
    runner.close()


async def test_a_notebooks_loop_that_waits_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Shell:
        @staticmethod
        def get_ipython() -> object:
            return object()

    async with connect(server(tmp_path)) as tools:
        monkeypatch.setitem(sys.modules, "IPython", Shell)  # type: ignore[arg-type]
        assert "waits for this call" in adder(tools).run_sync("go").text
        assert (await adder(tools).run("go")).text == "5"
