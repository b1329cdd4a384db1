"""A program's life: its calls, its data, its errors, and what the model reads of it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

from polycall._support import jsontext
from polycall.cli.bench.tokens import tokenizer
from polycall.ir import Media, Text, ToolCall, ToolResult
from polycall.loop import RunEnd, ToolEvent
from polycall.program import Bounds, NestedCall, Programs, code_tool
from polycall.sandbox import Limits, Sandbox
from polycall.testing import ScriptedModel
from polycall.tools import Executor, ToolContext, Toolset, tool, tool_from_schema

from .support import BOTH, call, collect, program, request, results, shop


async def run_code(programs: Programs, code: str, call_id: str = "p1") -> ToolResult:
    return await programs(program(code, call_id))


async def test_only_the_output_reaches_the_model(jail: Sandbox) -> None:
    code = (
        "import asyncio\n"
        "north, south = await asyncio.gather(get_orders('north', 2), get_orders(region='south'))\n"
        "print(len(north + south))\n"
        "sum(order['amount'] for order in north + south)"
    )
    async with Programs(shop(), jail, calling="code") as programs:
        with ScriptedModel([program(code), "40 in all"]) as model:
            seen, end = await collect(programs.run(model, request()))
    assert results(end) == [ToolResult("p1", [Text("5\nvalue: 40.0")], name="run_code")]
    (run,) = programs.programs
    assert (run.id, run.status, run.output) == ("p1", "finished", "5\nvalue: 40.0")
    assert [each.call for each in run.calls] == [
        ToolCall("p1_1", "get_orders", '{"region":"north","limit":2}', caller="p1"),
        ToolCall("p1_2", "get_orders", '{"region":"south"}', caller="p1"),
    ]
    assert [each.result.text for each in run.calls if each.result] == [
        '[{"id":"n0","amount":0.0,"month":0},{"id":"n1","amount":10.0,"month":1}]',
        '[{"id":"s0","amount":0.0,"month":0},{"id":"s1","amount":10.0,"month":1},'
        '{"id":"s2","amount":20.0,"month":2}]',
    ]
    nested = [event.event for event in seen if isinstance(event, ToolEvent)]
    assert [each.call.id for each in nested if isinstance(each, NestedCall)] == ["p1_1", "p1_2"]
    names = [[tool.name for tool in each.tools] for each in model.requests]
    assert names == [["delete_shop", "run_code"]] * 2


async def test_what_a_tool_returns_is_data_of_its_own_type(jail: Sandbox) -> None:
    values: dict[str, Any] = {
        "text": "7",
        "number": 7,
        "nothing": None,
        "rows": [{"a": 1}],
        "json": '{"a": 1}',
        "empty": "",
        "truth": True,
    }

    @tool(allowed_callers=["code"])
    async def get(key: str) -> Any:
        return values[key]

    async def by_wire(arguments: dict[str, Any]) -> Any:
        return ToolResult("", [Text('[{"b": 2}]')])

    async def picture(arguments: dict[str, Any]) -> Any:
        return [Text("see"), Media("image", media_type="image/png", data="aGk=")]

    tools = [
        get,
        tool_from_schema("by_wire", "", None, by_wire, allowed_callers=["code"]),
        tool_from_schema("picture", "", None, picture, allowed_callers=["code"]),
    ]
    keys = ", ".join(repr(key) for key in values)
    code = f"[[await get(k) for k in [{keys}]], await by_wire(), await picture()]"
    async with jail.session() as session, Programs(tools, session) as programs:
        await run_code(programs, f"out = {code}")
        result = await session.run("out")
    assert result.value == [
        list(values.values()),
        [{"b": 2}],
        [
            {"type": "text", "text": "see"},
            {"type": "media", "kind": "image", "media_type": "image/png", "data": "aGk="},
        ],
    ]


async def test_failures_are_exceptions_of_both_kinds(jail: Sandbox) -> None:
    code = (
        "for expected in (ToolError, LookupError):\n"
        "    try:\n"
        "        await find('none')\n"
        "    except expected as error:\n"
        "        print(type(error).__name__, error)\n"
        "try:\n"
        "    await charge('n1', -1)\n"
        "except ToolError as error:\n"
        "    print(str(error).splitlines()[0])"
    )
    async with Programs(shop(), jail, context=ToolContext(deps="me")) as programs:
        result = await run_code(programs, code)
    assert result.text.splitlines() == [
        "LookupError no order 'none'",
        "LookupError no order 'none'",
        "the arguments do not fit 'charge', so nothing was run:",
    ]


async def test_an_error_shows_its_lines_and_the_calls_that_were_made(jail: Sandbox) -> None:
    code = (
        "rows = await get_orders('north')\n"
        "print('got', len(rows))\n"
        "await charge('n1', 5)\n"
        "rows[9]['amount']"
    )
    async with Programs(shop(), jail) as programs:
        result = await run_code(programs, code)
    assert result.is_error
    first, *middle = result.text.splitlines()
    assert first == "got 3"
    assert any("line 4" in line for line in middle)
    assert "    rows[9]['amount']" in middle
    assert middle[-4:] == [
        "IndexError: list index out of range",
        "calls that had been made:",
        '- get_orders({"region":"north"}): ok',
        '- charge({"order":"n1","amount":5}): ok',
    ]
    assert programs.programs[0].status == "failed"


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("x = 1", "(the program printed nothing and its last expression has no value: "),
        ("'only a value'", "only a value"),
        ("{'a': [1, None]}", '{"a":[1,null]}'),
        ("print('one')\n2", "one\nvalue: 2"),
        ("import sys\nprint('aside', file=sys.stderr)\n3", "3\nstderr: aside"),
    ],
)
async def test_what_a_finished_program_shows(jail: Sandbox, code: str, text: str) -> None:
    async with Programs(shop(), jail) as programs:
        result = await run_code(programs, code)
    assert not result.is_error
    assert result.text.startswith(text)


async def test_the_output_is_bounded(jail: Sandbox) -> None:
    bounds = Bounds(output_chars=200)
    async with Programs(shop(), jail, bounds=bounds) as programs:
        printed = await run_code(programs, "print('a' * 5000)\n'z' * 5000")
        failed = await run_code(programs, "print('a' * 5000)\nraise ValueError('b' * 5000)")
    assert len(printed.text) < 300
    assert printed.text.startswith("a" * 100)
    assert "characters left out; print less" in printed.text
    assert len(failed.text) < 450


async def test_variables_live_on_and_a_lost_session_is_told(jail: Sandbox) -> None:
    async with Programs(shop(), lambda: jail.session(idle_s=0.2)) as programs:
        await run_code(programs, "kept = 41")
        assert (await run_code(programs, "kept + 1")).text == "42"
        await asyncio.sleep(0.5)
        lost = await run_code(programs, "'kept' in globals()")
    assert lost.text.splitlines() == [
        "(the session was lost: variables of earlier programs are gone)",
        "false",
    ]


async def test_no_name_reaches_a_tool_that_is_not_open(jail: Sandbox) -> None:
    calls: list[str] = []
    names = ["delete_shop", "tools.delete_shop", "__import__('tools').delete_shop", "run_code"]
    async with Programs(shop(calls), jail) as programs:
        texts = [(await run_code(programs, f"await {name}()")).text for name in names]
        # What a sandbox that was broken into could send: the executor itself refuses.
        forged = await programs(ToolCall("x.1", "delete_shop", "{}", caller="x"))
    assert calls == []
    assert [text.splitlines()[-2].partition(":")[0] for text in texts] == [
        "NameError",
        "NameError",
        "ModuleNotFoundError",
        "NameError",
    ]
    assert forged.is_error
    assert forged.text == (
        "'delete_shop' may only be called directly, and not from a program; nothing was run"
    )


async def test_a_tool_for_programs_alone_is_not_called_directly(jail: Sandbox) -> None:
    calls: list[str] = []
    async with Programs(shop(calls), jail) as programs:
        result = await programs(call("charge", order="n1", amount=5))
    assert (result.is_error, calls) == (True, [])


async def test_code_tool_works_in_a_toolset_of_ones_own(jail: Sandbox) -> None:
    async with jail.session() as session:
        made = code_tool(shop(), session)
        executor = Executor(Toolset([made]), context=ToolContext(deps="an application"))
        result = await executor(program("await find('n1')"))
    assert (made.name, result.text) == ("run_code", "7")


async def test_the_context_reaches_nested_tools(jail: Sandbox) -> None:
    calls: list[str] = []
    context = ToolContext(deps="the application", model="test/scripted")
    async with Programs(shop(calls), jail, context=context) as programs:
        await run_code(programs, "await find('n1')")
    assert calls == ["find n1 for the application"]


async def test_names_that_python_does_not_have(jail: Sandbox) -> None:
    async def echo(arguments: dict[str, Any]) -> Any:
        return arguments

    schema = {
        "type": "object",
        "properties": {"from": {"type": "string"}, "to-place": {"type": "string"}},
        "required": ["from"],
    }
    made = tool_from_schema("travel.book", "", schema, echo, allowed_callers=["code"])
    shadow = tool_from_schema("list", "", None, echo, allowed_callers=["code"])
    code = (
        "[await travel_book('a', 'b'), await travel_book(from_='a', to_place='b'), "
        "await travel_book(**{'from': 'a', 'to-place': 'b'}), await list_(), list((1, 2))]"
    )
    async with Programs([made, shadow], jail) as programs:
        result = await run_code(programs, code)
    pair = '{"from":"a","to-place":"b"}'
    assert result.text == f"[{pair},{pair},{pair},{{}},[1,2]]"


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("find()", "- order: "),
        ("find('a', 'b')", "TypeError: find() takes 1 positional arguments but 2 were given"),
        ("find('a', order='b')", "TypeError: find() got multiple values for argument 'order'"),
        ("find('a', colour='red')", "- colour: there is no such parameter"),
    ],
)
async def test_wrong_arguments(jail: Sandbox, expression: str, message: str) -> None:
    calls: list[str] = []
    async with Programs(shop(calls), jail) as programs:
        result = await run_code(programs, f"await {expression}")
    assert message in result.text
    assert calls == []


async def test_a_large_direct_result_is_parked(jail: Sandbox) -> None:
    @tool(allowed_callers=BOTH)
    async def rows(count: int) -> list[dict[str, int]]:
        return [{"n": n, "square": n * n} for n in range(count)]

    direct = [call("rows", "c1", count=3000), call("rows", "c2", count=2)]
    code = "sum(row['square'] for row in rows_result_1)"
    async with Programs([rows], jail) as programs:
        with ScriptedModel([direct, program(code), "done"]) as model:
            _, end = await collect(programs.run(model, request()))
    large, small, answer = results(end)
    assert large.text.startswith("(the result has ")
    what = "a list of objects with the keys n, square, 3000 items"
    assert f"is in the variable 'rows_result_1' of run_code: {what}" in large.text
    assert len(large.text) < 1_300
    assert small.text == '[{"n":0,"square":0},{"n":1,"square":1}]'
    assert answer.text == str(sum(n * n for n in range(3000)))
    assert [[tool.name for tool in each.tools] for each in model.requests] == [
        ["rows"],
        ["run_code"],
        ["run_code"],
    ]
    assert [(each.form, each.rule) for each in programs.decisions] == [
        ("direct", "estimate"),
        ("code", "parked"),
    ]


async def test_a_session_of_ones_own_that_is_closed_is_an_error(jail: Sandbox) -> None:
    async with jail.session() as session:
        programs = Programs(shop(), session)
        await run_code(programs, "1")
    result = await run_code(programs, "2", "p2")
    assert result.is_error
    assert result.text.startswith("the program could not run: session ")
    assert [run.status for run in programs.programs] == ["finished", "killed"]


async def test_a_program_that_runs_too_long_is_told_so(jail: Sandbox) -> None:
    code = (
        "await get_orders('north')\n"
        "for n in range(25):\n"
        "    await charge(str(n), 1)\n"
        "while True: pass"
    )
    limits = Limits(wall_s=1.5)
    async with Sandbox("jail", limits, pool=0) as quick, Programs(shop(), quick) as programs:
        result = await run_code(programs, code)
        after = await run_code(programs, "'alive'", "p2")
    lines = result.text.splitlines()
    assert lines[0] == "the program was stopped (timeout): ran longer than 1.5 s"
    assert lines[2] == '- get_orders({"region":"north"}): ok'
    assert lines[-1] == "- and 6 more"
    assert after.text == "alive"
    assert programs.programs[0].status == "timeout"
    assert programs.programs[0].result_bytes > 25 * len("charged 1")


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        ({"a": "x" * 30_000, "b": 1}, "an object with the keys a, b"),
        ("y" * 30_000, "text of 30000 characters"),
        ([1] * 30_000, "a list, 30000 items"),
    ],
)
async def test_a_preview_says_what_the_data_are(jail: Sandbox, value: Any, seen: str) -> None:
    @tool(allowed_callers=BOTH)
    async def get() -> Any:
        return value

    async with Programs([get], jail) as programs:
        first = await programs(call("get"))
        again = await run_code(programs, "get_result_1 == await get()")
    assert f"of run_code: {seen}\n" in first.text
    assert again.text == "true"


async def test_what_cannot_be_parked_is_given_as_it_is(jail: Sandbox) -> None:
    @tool(allowed_callers=BOTH)
    async def get() -> str:
        return "z" * 400_000

    limits = Limits(result_bytes=100_000)
    async with Sandbox("jail", limits, pool=0) as small, Programs([get], small) as programs:
        result = await programs(call("get"))
    assert len(result.text) == 400_000
    assert programs.parked == []


async def test_a_run_without_programs_is_an_ordinary_run(jail: Sandbox) -> None:
    async with Programs(shop(), jail, calling="direct") as programs:
        with ScriptedModel([call("get_orders", region="north", limit=1), "one"]) as model:
            _, end = await collect(programs.run(model, request()))
    assert isinstance(end, RunEnd)
    assert end.reason == "finished"
    names = [tool.name for tool in model.requests[0].tools]
    assert names == ["get_orders", "delete_shop", "find", "slow"]
    assert all(not tool.allowed_callers for tool in model.requests[0].tools)


@pytest.mark.parametrize(
    "code", ["```python\n1 + 1\n```", "```\n1 + 1```\n", " ```py\n1 + 1\n``` "]
)
async def test_a_fence_around_the_program_is_no_part_of_it(jail: Sandbox, code: str) -> None:
    async with Programs(shop(), jail) as programs:
        assert (await run_code(programs, code)).text == "2"


async def test_a_cancelled_run_leaves_nothing_running(jail: Sandbox) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    @tool(allowed_callers=["code"])
    async def wait() -> None:
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async with Programs([wait], jail) as programs:
        running = asyncio.create_task(run_code(programs, "await wait()"))
        await began.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert ended.is_set()
        assert (await run_code(programs, "'again'", "p2")).text.splitlines()[-1] == "again"


async def test_a_program_may_give_up_on_a_call(jail: Sandbox) -> None:
    code = (
        "import asyncio\n"
        "try:\n"
        "    await asyncio.wait_for(forever(), 0.1)\n"
        "except TimeoutError:\n"
        "    print('gave up')\n"
        "1 / 0"
    )

    @tool(allowed_callers=["code"])
    async def forever() -> None:
        await asyncio.sleep(60)

    async with Programs([forever], jail) as programs:
        result = await run_code(programs, code)
    assert result.text.splitlines()[0] == "gave up"
    assert result.text.splitlines()[-1] == "- forever({}): no answer yet; it may have done its work"


async def test_context_variables_reach_tools_and_stay_apart(jail: Sandbox) -> None:
    trace: ContextVar[str] = ContextVar("trace", default="none")

    @tool(allowed_callers=["code"])
    async def mark(name: str) -> str:
        trace.set(f"{trace.get()}/{name}")
        await asyncio.sleep(0.01)
        return trace.get()

    trace.set("run")
    code = "import asyncio\nprint(await asyncio.gather(mark('a'), mark('b')))\nawait mark('c')"
    async with Programs([mark], jail) as programs:
        result = await run_code(programs, code)
    assert result.text == "['run/a', 'run/b']\nvalue: run/c"


async def test_among_500_tools_a_program_finds_the_one(jail: Sandbox) -> None:
    async def by_number(arguments: dict[str, Any]) -> dict[str, Any]:
        return {"got": arguments["id"]}

    schema = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
    kinds = ["invoice", "ticket", "branch", "parcel", "payment"]
    tools = [
        tool_from_schema(
            f"{kinds[n % 5]}_action_{n}",
            f"Does thing {n} with a {kinds[n % 5]}.",
            schema,
            by_number,
            output_schema={"type": "object", "properties": {"got": {"type": "string"}}},
            allowed_callers=["code"],
        )
        for n in range(500)
    ]
    code = (
        "found = await search_tools('parcel thing 123')\n"
        "print(found[0]['signature'])\n"
        "print((await describe_tool(found[0]['name'])).splitlines()[0])\n"
        "(await parcel_action_123('x'))['got']"
    )
    async with Programs(tools, jail) as programs:
        with ScriptedModel([program(code), "done"]) as model:
            _, end = await collect(programs.run(model, request()))
    assert results(end)[0].text.splitlines() == [
        "parcel_action_123(id: str) -> ParcelAction123Result",
        "class ParcelAction123Result(TypedDict):",
        "value: x",
    ]
    assert len(model.requests[0].tools) == 1
    assert tokens_of(model.requests[0].tools[0]) < 3_000
    assert [each.call.name for each in programs.programs[0].calls] == ["parcel_action_123"]


def tokens_of(offered: Any) -> int:
    count, _ = tokenizer()
    return count(jsontext.encode(offered))


async def test_run_code_is_not_there_where_direct_calls_were_asked_for(jail: Sandbox) -> None:
    async with Programs(shop(), jail, calling="direct") as programs:
        result = await run_code(programs, "1")
    assert result.is_error
    assert result.text.startswith("tool 'run_code' is not registered")


@pytest.mark.usefixtures("jail")
def test_the_example_of_the_page_runs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "programs.md").read_text("utf-8")
    example = page.partition("```python\n")[2].partition("```")[0]
    done = subprocess.run(
        [sys.executable, "-c", example], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "74992500.0\n"
