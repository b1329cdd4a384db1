"""Tools of stock MCP servers, over both transports: calls, failures, what is left behind."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from polycall import Agent, ToolContext, ToolTree
from polycall.errors import RequestError, ToolDefinitionError, ToolServerError
from polycall.ir import Media, Text, ToolCall, ToolResult
from polycall.mcp import HttpServer, McpTool, McpTools, McpToolset, StdioServer, connect
from polycall.testing import ScriptedModel
from polycall.tools import execute
from tests.mcp.support import (
    STOCK,
    TRANSPORTS,
    call,
    children,
    http_program,
    kill,
    nothing_left,
    said,
    stock,
    until_it_answers,
)

NAMES = ["add", "change", "die", "fail", "greet", "picture", "rows", "slow", "wait_for"]
ROWS = '[{"city":"서울","degrees":3},{"city":"도쿄","degrees":5}]'


@pytest.fixture
def mood(tmp_path: Path) -> Path:
    return tmp_path / "mood"


@pytest.fixture(params=TRANSPORTS)
async def tools(request: pytest.FixtureRequest, mood: Path) -> AsyncIterator[McpTools]:
    """A stock server's tools; at the end no task and no process is left."""
    async with (
        stock(request.param, "stock", mood, prefix="") as server,
        nothing_left(),
        connect(server) as found,
    ):
        yield found


async def test_results_of_all_kinds(tools: McpTools) -> None:
    assert list(tools.tools) == NAMES
    assert await call(tools, "add", a=1, b=2) == ToolResult("c1", [Text("3")], name="add")
    assert await said(tools, "greet", name="민지") == "안녕하세요, 민지 🎉"
    assert (await call(tools, "rows")).content == [Text(ROWS)]
    (picture,) = (await call(tools, "picture")).content
    assert isinstance(picture, Media)
    assert (picture.kind, picture.media_type, picture.data[:8]) == (
        "image",
        "image/png",
        "iVBORw0K",
    )
    failed = await call(tools, "fail")
    assert failed == ToolResult("c1", [Text("Error executing tool fail")], True, "fail")
    # Checked here, before anything is sent.
    assert (await said(tools, "add", a="x", b=2)).startswith("the arguments do not fit 'add'")
    assert (await said(tools, "greet", name="cut \ud83d")).endswith("call again with whole ones")
    assert tools.servers["stock"].state == "connected"
    assert "did you mean 'greet'" in await said(tools, "great", name="x")


async def test_two_at_once(tools: McpTools) -> None:
    both = await asyncio.gather(
        said(tools, "wait_for", other="ab"), said(tools, "wait_for", other="ba")
    )
    assert both == ["met ab", "met ba"]


async def test_a_deadline_reaches_the_server(tools: McpTools, mood: Path) -> None:
    heard: list[tuple[float, str]] = []

    async def hear(progress: float, message: str) -> None:
        heard.append((progress, message))

    context = ToolContext(deps=None, reporter=hear)
    started = time.monotonic()
    result = await execute(ToolCall("c1", "slow"), tools, context=context, deadline_s=0.5)
    assert result.text == "the tool did not finish within 0.5 s; it may have done its work"
    assert time.monotonic() - started < 5
    assert heard == [(0.25, "begun")]
    async with asyncio.timeout(5):
        while not mood.with_name("cancelled").exists():
            await asyncio.sleep(0.02)
    assert await said(tools, "add", a=20, b=22) == "42"


async def test_a_cancelled_call_reaches_the_server(tools: McpTools, mood: Path) -> None:
    calling = asyncio.create_task(call(tools, "slow"))
    await asyncio.sleep(0.3)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    async with asyncio.timeout(5):
        while not mood.with_name("cancelled").exists():
            await asyncio.sleep(0.02)
    assert await said(tools, "add", a=20, b=22) == "42"


async def test_a_program_that_dies_in_a_call_is_started_anew(mood: Path) -> None:
    others = children()
    async with stock("stdio", "stock", mood) as server, nothing_left(), connect(server) as tools:
        waiting = asyncio.create_task(said(tools, "stock_slow"))
        await asyncio.sleep(0.3)
        (pid,) = children() - others
        kill(pid)
        assert await waiting == "MCP server 'stock' ended during 'slow'; it may have done its work"
        assert tools.servers["stock"].state == "lost"
        assert await said(tools, "stock_add", a=1, b=1) == "2"
        assert tools.servers["stock"].state == "connected"
        assert pid not in children()
        # One that ends between two calls is not noticed by the next.
        (pid,) = children() - others
        kill(pid)
        async with asyncio.timeout(5):
            while tools.servers["stock"].state != "lost":
                await asyncio.sleep(0.01)
        assert await said(tools, "stock_add", a=2, b=2) == "4"
        died = await call(tools, "stock_die")
        assert died.is_error
        assert died.text == "MCP server 'stock' ended during 'die'; it may have done its work"


async def test_an_address_that_dies_in_a_call_is_reached_anew(mood: Path) -> None:
    with http_program(str(STOCK), "http", mood=mood) as (pid, url):
        await until_it_answers(url)
        async with nothing_left(), connect(HttpServer("stock", url=url)) as tools:
            waiting = asyncio.create_task(said(tools, "stock_slow"))
            await asyncio.sleep(0.3)
            kill(pid)
            text = "MCP server 'stock' ended during 'slow'; it may have done its work (SSE stream "
            assert await waiting == f"{text}ended without a response)"
            lost = await said(tools, "stock_add", a=1, b=1)
            assert lost.startswith("MCP server 'stock' cannot be reached: ConnectError")
            port = int(url.split(":")[2].removesuffix("/mcp"))
            with http_program(str(STOCK), "http", mood=mood, port=port):
                await until_it_answers(url)
                assert await said(tools, "stock_add", a=1, b=1) == "2"


async def test_names_of_several_servers_do_not_meet(mood: Path) -> None:
    async with (
        stock("stdio", "one", mood) as one,
        stock("stdio", "two", mood, ask_for="writes") as two,
        nothing_left(),
        connect(one, two) as tools,
    ):
        assert list(tools.tools) == [
            f"{server}_{name}" for server in ("one", "two") for name in NAMES
        ]
        assert await said(tools, "two_add", a=1, b=2) == "3"
        asking = [name for name, tool in tools.tools.items() if tool.needs_approval]
        assert asking == [f"two_{name}" for name in NAMES if name != "add"]
        tool = tools["one_fail"]
        assert isinstance(tool, McpTool)
        assert (tool.server, tool.is_read_only, tool.is_destructive) == ("one", False, False)
        with pytest.raises(ToolDefinitionError, match="two MCP servers named 'one'"):
            async with connect(one, one):
                pass
    async with (
        stock("stdio", "one", mood, prefix="") as one,
        stock("stdio", "two", mood, prefix="") as two,
    ):
        with pytest.raises(ToolDefinitionError, match="two MCP servers have a tool named 'add'"):
            async with nothing_left(), connect(one, two):
                pass


async def test_an_agent_asks_before_what_writes(mood: Path) -> None:
    calls = [
        ToolCall("a", "shop_add", '{"a":1,"b":2}'),
        ToolCall("b", "shop_greet", '{"name":"K"}'),
    ]
    asked: list[str] = []

    def decide(request: object) -> str:
        asked.append(repr(request))
        return "not today"

    async with stock("stdio", "shop", mood, ask_for="writes") as server, connect(server) as tools:
        with ScriptedModel([calls, "done"]) as model:
            agent = Agent("test/m", name="desk", tools=[tools], client=model)
            run = await agent.run("hello", approve=decide)
    assert asked == ["ApprovalRequest(desk: shop_greet, {'name': 'K'})"]
    assert [result.text for result in run.steps[0].results] == [
        "3",
        "the call of 'shop_greet' was not approved: not today; nothing was run",
    ]


GARBAGE = """
import sys
for line in sys.stdin:
    print("{words}", flush=True)
"""
LYING = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    method = asked.get("method")
    if "id" not in asked:
        continue
    if method == "initialize":
        result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                  "serverInfo": {"name": "liar", "version": "1"}}
    elif method == "tools/list":
        result = TOOLS
    elif method == "tools/call":
        result = {"content": "not a list"}
    else:
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"],
                          "error": {"code": -32601, "message": "no"}}), flush=True)
        continue
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
"""
TOOL = '{"name": "t", "inputSchema": {"type": "object"}}'
BROKEN = '{"name": "broken", "inputSchema": {"type": "object", "properties": {"a": {"type": 3}}}}'


def program(text: str, **options: Any) -> StdioServer:
    return StdioServer("odd", command=[sys.executable, "-c", text], **options)


@pytest.mark.parametrize(
    ("server", "told"),
    [
        (
            program(GARBAGE.replace("{words}", "hello"), connect_s=1.5),
            "did not answer within 1.5 s (it wrote",
        ),
        (program("print('bye')"), "cannot be reached: MCPError"),
        (
            program("import sys; sys.exit('no key is set (열쇠)')"),
            "cannot be reached: MCPError: Connection closed (it said: no key is set (열쇠))",
        ),
        (StdioServer("odd", command=["/nonexistent/x"]), "cannot be reached: FileNotFoundError"),
        (HttpServer("odd", url="http://127.0.0.1:9/mcp"), "cannot be reached: ConnectError"),
        (
            program(LYING.replace("TOOLS", '{"tools": 3}')),
            "gave an invalid answer to tools/list",
        ),
    ],
    ids=["garbage", "ends", "complains", "absent", "refused", "lying"],
)
async def test_a_server_that_cannot_be_used(server: StdioServer | HttpServer, told: str) -> None:
    async with nothing_left():
        with pytest.raises(ToolServerError) as caught:
            async with connect(server):
                pass
    assert str(caught.value).startswith(f"MCP server 'odd' {told}")


async def test_garbage_for_one_call_and_one_tool() -> None:
    listed = f'{{"tools": [{TOOL}, {BROKEN}]}}'
    async with nothing_left(), connect(program(LYING.replace("TOOLS", listed))) as tools:
        assert list(tools.tools) == ["odd_t"]
        assert [(each.tool, each.kind) for each in tools.notices] == [("broken", "unusable")]
        text = await said(tools, "odd_t")
        assert text.startswith("MCP server 'odd' gave an invalid answer to 't': ")


async def test_names_and_commands_are_checked() -> None:
    for make in (
        lambda: StdioServer("a b", command=["x"]),
        lambda: StdioServer("a", command="x y"),
        lambda: HttpServer("a", url="ftp://x"),
        lambda: HttpServer("a", url="http://x", ask_for="writing"),
        lambda: McpToolset(HttpServer("a", url="http://x"), changed=cast("Any", "approve")),
    ):
        with pytest.raises(RequestError):
            make()


async def test_servers_are_branches_of_a_tree(mood: Path) -> None:
    calls = [
        ToolCall("a", "search_tools", '{"query":"add two numbers"}'),
        ToolCall("b", "one.add", '{"a":20,"b":22}'),
    ]
    async with (
        stock("stdio", "one", mood, ask_for=["greet"]) as one,
        stock("stdio", "two", mood) as two,
        nothing_left(),
        connect(one, two) as tools,
    ):
        tree = ToolTree(tools.servers, about={"one": "the first"}, found_max=2)
        assert list(tree.leaves) == [f"{name}.{tool}" for name in ("one", "two") for tool in NAMES]
        assert [name for name, tool in tree.leaves.items() if tool.needs_approval] == ["one.greet"]
        with ScriptedModel([[calls[0]], [calls[1]], "done"]) as model:
            run = await Agent("test/m", tools=[tree], client=model).run("What is 20 and 22?")
        found, added = [step.results[0].text for step in run.steps[:2]]
        about = "Add two numbers (더하기 ➕)."
        assert json.loads(found) == {"found": {"one.add": about, "two.add": about}}
        assert added == "42"
        assert await said(tree, "two.rows") == ROWS
        # The tree follows what a server announces, and what is withheld of it.
        assert await said(tree, "two.change", word="rudely") == "changed"
        async with asyncio.timeout(5):
            while "two.brand_new" not in tree.tools:
                await asyncio.sleep(0.02)
        assert "two.greet" not in tree.tools
        assert await said(tree, "two.brand_new") == "new"
        assert [each.name for each in tree.search("not there before", limit=1)] == ["two.brand_new"]


async def test_a_program_gets_data(mood: Path) -> None:
    code = "rows = await stock_rows()\nprint(sum(row['degrees'] for row in rows))"
    call = ToolCall("a", "run_code", json.dumps({"code": code}))
    async with (
        stock("stdio", "stock", mood, allowed_callers=("direct", "code")) as server,
        connect(server) as tools,
    ):
        with ScriptedModel([[call], "done"]) as model:
            agent = Agent("test/m", tools=[tools], client=model, calling="code")
            run = await agent.run("Sum the degrees.")
    assert run.steps[0].results[0].text.strip() == "8"


async def test_an_ask_for_that_names_nothing_is_a_mistake(mood: Path) -> None:
    async with stock("stdio", "stock", mood, ask_for=["great"]) as server, nothing_left():
        with pytest.raises(ToolDefinitionError, match="ask_for names 'great', which MCP server"):
            async with connect(server):
                pass


async def test_a_server_from_the_registry() -> None:
    pytest.importorskip("mcp_server_time", reason="mcp-server-time is not installed")
    command = [sys.executable, "-m", "mcp_server_time", "--local-timezone", "Asia/Seoul"]
    async with nothing_left(), connect(StdioServer("time", command=command)) as tools:
        assert list(tools.tools) == ["time_convert_time", "time_get_current_time"]
        converted = await call(
            tools,
            "time_convert_time",
            source_timezone="Asia/Seoul",
            time="09:30",
            target_timezone="Asia/Kolkata",
        )
        (shown,) = converted.content
        assert isinstance(shown, Text)
        assert json.loads(shown.text)["time_difference"] == "-3.5h"
        failed = await call(tools, "time_get_current_time", timezone="Asia/Nowhere")
        assert failed.is_error
