"""Code mode: state, bounds, calls as direct ones, a person's word, and what breaks it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from bench import code_mode
from mcp import Client, StdioServerParameters

from polycall import Toolset, tool
from polycall.ir import ToolCall, ToolResult
from polycall.sandbox import Pause, Sandbox
from polycall.tool_server import CodeMode, CodeToolset
from polycall.tool_server.code_mode import ProgramPausedError
from polycall.tools import AbstractToolset, execute

CALLED: list[str] = []


@tool
def get_price(article: str) -> dict[str, int]:
    """The price of an article (가격)."""
    CALLED.append(f"get_price {article}")
    return {"won": 100 * len(article)}


@tool
def fail(word: str) -> str:
    """Fail with a word."""
    raise ValueError(word)


@tool(needs_approval=True)
def order(article: str) -> str:
    """Order an article."""
    CALLED.append(f"order {article}")
    return f"ordered {article}"


TOOLS = Toolset([get_price, fail, order])


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    CALLED.clear()
    async with Sandbox() as made:
        yield made


def mode_of(sandbox: Sandbox, **options: Any) -> CodeMode:
    async def opened() -> Sandbox:
        return sandbox

    return CodeMode(TOOLS.tools, opened, **options)


def toolset_of(sandbox: Sandbox, tools: AbstractToolset = TOOLS) -> CodeToolset:
    async def opened() -> Sandbox:
        return sandbox

    return CodeToolset(tools, opened, implicit=lambda: "one")


async def ran(tools: CodeToolset, code: str, **arguments: Any) -> ToolResult:
    return await execute(ToolCall("c1", "run", json.dumps({"code": code, **arguments})), tools)


async def test_variables_live_on_and_functions_are_typed(sandbox: Sandbox) -> None:
    tools = toolset_of(sandbox)
    found = await execute(ToolCall("c", "search", '{"query": "price 가격"}'), tools)
    assert "async def get_price(article: str) -> dict[str, int]:" in found.text
    assert (await ran(tools, "p = await get_price('차 🍵')\np")).text == '{"won":300}'
    assert (await ran(tools, "p['won'] + 1")).text == "301"
    helper = "async def twice(a):\n    return 2 * (await get_price(a))['won']\nawait twice('ab')"
    assert (await ran(tools, helper)).text == "400"
    assert (await ran(tools, "await twice('abc')")).text == "600"
    await tools.close()


async def test_a_failing_tool_is_an_exception_of_the_program(sandbox: Sandbox) -> None:
    tools = toolset_of(sandbox)
    code = "try:\n    await fail('빨강')\nexcept ToolError as error:\n    print('caught', error)"
    assert "caught ValueError: 빨강" in (await ran(tools, code)).text
    bad = await ran(tools, "await get_price(5)")
    assert bad.is_error is True
    unknown = await ran(tools, "await nothing_here()")
    assert unknown.is_error is True
    assert "NameError" in unknown.text
    refused = await ran(tools, "await order('tea')")
    assert refused.is_error is True
    assert CALLED == []
    await tools.close()


async def test_output_is_bounded(sandbox: Sandbox) -> None:
    tools = toolset_of(sandbox)
    for code in ("print('x' * 10**6)", "'x' * 10**6", "print(*range(10**5))"):
        assert len((await ran(tools, code)).text) < 20_000
    await tools.close()


@pytest.mark.parametrize(
    "arguments",
    [
        "{}",
        '{"code": 5}',
        '{"code": null}',
        '{"code": "x", "more": 1}',
        "[]",
        "{",
        '{"code": "x", "session": 7}',
    ],
)
async def test_arguments_that_do_not_fit(sandbox: Sandbox, arguments: str) -> None:
    tools = toolset_of(sandbox)
    assert (await execute(ToolCall("c", "run", arguments), tools)).is_error is True


@pytest.mark.parametrize("code", ["", "def", "\x00", "\ud800", "while True: pass", "1/0", "🙂"])
async def test_programs_that_do_not_work(code: str) -> None:
    from polycall.sandbox import Limits

    async with Sandbox(limits=Limits(wall_s=1.0, cpu_s=1.0)) as sandbox:
        tools = toolset_of(sandbox)
        result = await execute(ToolCall("c", "run", json.dumps({"code": code})), tools)
        assert isinstance(result.text, str)
        assert (await ran(tools, "40 + 2")).text.endswith("42")
        await tools.close()


async def test_two_programs_at_once(sandbox: Sandbox) -> None:
    tools = toolset_of(sandbox)
    results = await asyncio.gather(*(ran(tools, f"x{n} = {n}\nx{n}") for n in range(8)))
    assert [result.text for result in results] == [str(n) for n in range(8)]
    assert (await ran(tools, "sum([x0, x1, x2, x3, x4, x5, x6, x7])")).text == "28"
    await tools.close()


async def direct(call: ToolCall) -> ToolResult:
    return await execute(ToolCall(call.id, call.name, call.arguments_json), TOOLS)


async def test_sessions_are_their_owners_and_bounded(sandbox: Sandbox) -> None:
    mode = mode_of(sandbox, sessions_max=2)
    first = await mode.run("x = 1", direct, owner="a")
    name = first.text.partition("session=")[2][:16]
    assert (await mode.run("x", direct, owner="a", session=name)).text == "1"
    stolen = await mode.run("x", direct, owner="b", session=name)
    assert stolen.is_error is True
    for _ in range(3):
        await mode.run("y = 1", direct, owner="c")
    lost = await mode.run("x", direct, owner="a", session=name)
    assert "the session was lost" in lost.text
    await mode.close()


async def test_a_person_is_asked_and_no_call_is_made_again(sandbox: Sandbox) -> None:
    mode = mode_of(sandbox)
    words: dict[str, bool] = {}

    async def asking(call: ToolCall) -> ToolResult:
        if call.name == "order":
            if call.arguments_json not in words:
                raise Pause
            if not words.pop(call.arguments_json):
                return ToolResult(call.id, [], is_error=True)
            CALLED.append(f"order {call.arguments['article'] if call.arguments else ''}")
            return ToolResult(call.id, [])
        return await direct(call)

    code = (
        "price = await get_price('tea')\n"
        "await order('tea')\n"
        "try:\n    await order('rice')\nexcept ToolError:\n    print('no rice')\n"
        "price"
    )
    with pytest.raises(ProgramPausedError) as paused:
        await mode.run(code, asking, owner="a", implicit="here")
    assert [each.tool for each in paused.value.pending] == ["order"]
    words['{"article":"tea"}'] = True
    session = paused.value.session
    with pytest.raises(ProgramPausedError) as again:
        await mode.resume("a", session, asking)
    assert [each.arguments_json for each in again.value.pending] == ['{"article":"rice"}']
    words['{"article":"rice"}'] = False
    result = await mode.resume("a", session, asking)
    assert "no rice" in result.text
    assert '{"won":300}' in result.text
    assert CALLED == ["get_price tea", "order tea"]
    assert (await mode.run("price['won']", asking, owner="a", implicit="here")).text == "300"
    await mode.close()


async def test_the_command(tmp_path: Path) -> None:
    document = {
        "paths": {
            "/tea/{kind}": {
                "get": {
                    "operationId": "tea/get",
                    "summary": "Get tea",
                    "parameters": [
                        {
                            "name": "kind",
                            "in": "path",
                            "required": True,
                            "schema": {"type": "string"},
                        }
                    ],
                }
            }
        }
    }
    (tmp_path / "tea.json").write_text(json.dumps(document))
    module = "tests.tool_server.test_code_mode:TOOLS"
    words = ["-m", "polycall", "mcp", "serve", "--code", module]
    words += ["--openapi", str(tmp_path / "tea.json"), "--address", "http://127.0.0.1:9"]
    environment = {"PYTHONPATH": ":".join(sys.path)}
    parameters = StdioServerParameters(command=sys.executable, args=words, env=environment)
    async with Client(parameters) as client:
        names = [each.name for each in (await client.list_tools()).tools]
        assert names == ["search", "run"]
        found = await client.call_tool("search", {"query": "get tea"})
        assert "async def tea_get(" in getattr(found.content[0], "text", "")
        await client.call_tool("run", {"code": "x = await get_price('ab')"})
        kept = await client.call_tool("run", {"code": "x['won']"})
        assert getattr(kept.content[0], "text", "") == "200"
        gone = await client.call_tool("run", {"code": "await order('tea')"})
        assert gone.is_error is True
        lost = await client.call_tool("run", {"code": "await tea_get('green')"})
        assert "nothing was done" in getattr(lost.content[0], "text", "")


def test_the_bench_says_no_number_where_nothing_was_measured() -> None:
    with pytest.raises(SystemExit, match="no child has 'no such words'"):
        code_mode._cpu_s("no such words")
