"""One table for all: a program's call obeys what a direct call obeys, whoever runs the program."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import pydantic
import pytest

from polycall._support import jsontext
from polycall.ir import Message, Request, Text, ToolCall, ToolResult
from polycall.loop import RunEnd
from polycall.program import Programs
from polycall.sandbox import Sandbox
from polycall.sim import Program, Simulation, Turn
from polycall.sim.script import CallTool
from polycall.testing import ScriptedModel
from polycall.tools import AbstractToolset, ToolContext, Toolset, ToolStats, tool
from tests.agents.support import client_of

from .support import BOTH, collect, program, request

MODEL = "test/scripted"


class Outcome(NamedTuple):
    """All that can be seen of one call from outside."""

    result: ToolResult
    ran: list[str]
    logged: list[str]
    stats: dict[str, Any]
    context: list[Any]


class World:
    """Tools, and what was seen of their calls."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.logged: list[str] = []
        self.context: list[Any] = []
        self.tools = Toolset([self._add(), self._fail(), self._sleep(), self._direct_only()])

    def _add(self) -> Any:
        @tool(allowed_callers=BOTH)
        async def add(
            left: int, right: Annotated[int, pydantic.Field(le=10)], context: ToolContext[Any]
        ) -> dict[str, int]:
            self.ran.append(f"add {left} {right}")
            self.context.append((context.deps, context.model))
            return {"sum": left + right}

        return add

    def _fail(self) -> Any:
        @tool(allowed_callers=BOTH)
        def fail() -> str:
            self.ran.append("fail")
            raise ValueError("it is broken")

        return fail

    def _sleep(self) -> Any:
        @tool(allowed_callers=BOTH, deadline_s=0.05)
        async def sleep() -> str:
            self.ran.append("sleep")
            await asyncio.sleep(30)
            return "late"

        return sleep

    def _direct_only(self) -> Any:
        @tool(allowed_callers=BOTH)
        async def secret() -> object:
            self.ran.append("secret")
            return object()

        return secret


def plain(world: World) -> AbstractToolset:
    return world.tools


def refused(world: World) -> AbstractToolset:
    return world.tools.approved(lambda made, arguments: f"{made.name} is not for you")


def approved(world: World) -> AbstractToolset:
    async def approve(made: Any, arguments: Any) -> bool:
        world.logged.append(f"approve {made.name} {jsontext.encode(arguments)}")
        return True

    return world.tools.approved(approve)


def used_up(world: World) -> AbstractToolset:
    return world.tools.limited(0)


def logged(world: World) -> AbstractToolset:
    return world.tools.logged(lambda line: world.logged.append(line.partition(" after ")[0]))


class Case(NamedTuple):
    tool: str
    arguments: dict[str, Any]
    wrap: Callable[[World], AbstractToolset] = plain
    deadline_s: float | None = None
    is_error: bool = False
    words: str = ""
    ran: int = 1


CASES = {
    "a good call": Case("add", {"left": 1, "right": 2}, words='{"sum":3}'),
    "validation: a wrong type": Case(
        "add", {"left": "x", "right": 2}, is_error=True, words="do not fit 'add'", ran=0
    ),
    "validation: a bound": Case(
        "add", {"left": 1, "right": 11}, is_error=True, words="less than or equal to 10", ran=0
    ),
    "validation: missing": Case("add", {"left": 1}, is_error=True, words="right", ran=0),
    "validation: unknown": Case(
        "add", {"left": 1, "right": 1, "rihgt": 1}, is_error=True, words="'right'", ran=0
    ),
    "validation: mended": Case("add", {"left": "1", "right": 2}, words='{"sum":3}'),
    "approval: refused": Case(
        "add",
        {"left": 1, "right": 2},
        refused,
        is_error=True,
        words="the call of 'add' was not approved: add is not for you; nothing was run",
        ran=0,
    ),
    "approval: given": Case("add", {"left": 1, "right": 2}, approved, words='{"sum":3}'),
    "limits: used up": Case(
        "add", {"left": 1, "right": 2}, used_up, is_error=True, words="are used up", ran=0
    ),
    "deadline: the tool's": Case("sleep", {}, is_error=True, words="within 0.05 s"),
    "deadline: the run's": Case("sleep", {}, deadline_s=0.02, is_error=True, words="within 0.02 s"),
    "records: logged": Case("add", {"left": 1, "right": 2}, logged, words='{"sum":3}'),
    "records: a logged failure": Case(
        "fail", {}, logged, is_error=True, words="ValueError: it is broken"
    ),
    "a result that has no JSON": Case("secret", {}, is_error=True, words="JSON"),
}


async def directly(case: Case, sandbox: Sandbox) -> Outcome:
    made = ToolCall("c1", case.tool, jsontext.encode(case.arguments))
    return await outcome(case, sandbox, made, calling="direct")


async def by_program(case: Case, sandbox: Sandbox) -> Outcome:
    code = f"try:\n    await {case.tool}(**{case.arguments!r})\nexcept ToolError:\n    pass"
    return await outcome(case, sandbox, program(code), calling="code")


async def at_the_vendor(case: Case, sandbox: Sandbox, vendor: str) -> Outcome:
    """By a program that the simulated vendor runs."""

    async def run(call: CallTool, show: Callable[..., None]) -> None:
        await call(case.tool, **case.arguments)

    with Simulation() as sim:
        sim.script(vendor, "scripted", [Turn(program=Program("...", run)), Turn("done")])
        asked = Request(f"{vendor}/scripted", [Message("user", [Text("go")])])
        async with client_of(sim) as client:
            dialect = client.runs_programs(asked.model)
            world, stats = World(), ToolStats()
            async with programs_of(case, sandbox, world, stats, native=dialect) as programs:
                _, end = await collect(programs.run(client, asked))
                result = recorded(programs, end)
    assert sim.remaining(vendor, "scripted") == 0
    return Outcome(result, world.ran, world.logged, used(stats), world.context)


def programs_of(
    case: Case, sandbox: Sandbox, world: World, stats: ToolStats, **settings: Any
) -> Programs:
    return Programs(
        case.wrap(world),
        sandbox,
        context=ToolContext(deps="deps", model=MODEL),
        deadline_s=case.deadline_s,
        stats=stats,
        **settings,
    )


def used(stats: ToolStats) -> dict[str, Any]:
    table: dict[str, Any] = stats.table()
    return {model: row for model, row in table.items() if any(row.values())}


async def outcome(case: Case, sandbox: Sandbox, made: ToolCall, *, calling: Any) -> Outcome:
    world, stats = World(), ToolStats()
    async with programs_of(case, sandbox, world, stats, calling=calling) as programs:
        with ScriptedModel([made, "done"]) as model:
            _, end = await collect(programs.run(model, request()))
        result = recorded(programs, end)
    table: dict[str, Any] = stats.table()
    if calling == "code":
        # The call of run_code itself is one more valid call.
        table[MODEL]["valid"] -= 1
    table = {model: row for model, row in table.items() if any(row.values())}
    return Outcome(result, world.ran, world.logged, table, world.context)


def recorded(programs: Programs, end: RunEnd) -> ToolResult:
    """The result as the run's record has it, without the id of its call."""
    if not programs.programs:
        (result,) = end.steps[0].results
    else:
        (nested,) = programs.programs[0].calls
        assert nested.call.caller == programs.programs[0].id
        assert nested.result is not None
        result = nested.result
    return ToolResult("", result.content, is_error=result.is_error, name=result.name)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
async def test_nested_calls_obey_what_direct_calls_obey(case: Case, jail: Sandbox) -> None:
    direct = await directly(case, jail)
    nested = await by_program(case, jail)
    assert nested == direct
    for vendor in ("anthropic", "openai"):
        assert await at_the_vendor(case, jail, vendor) == direct
    assert (direct.result.is_error, len(direct.ran)) == (case.is_error, case.ran)
    assert case.words in direct.result.text


async def test_a_limit_counts_both_kinds_of_calls(jail: Sandbox) -> None:
    world = World()
    code = "for n in range(3):\n    print(await add(n, 1))"
    direct = ToolCall("c1", "add", '{"left": 5, "right": 5}')
    async with Programs(world.tools.limited(3), jail, context=ToolContext(deps=None)) as programs:
        await programs(direct)
        result = await programs(program(code))
        after = await programs(direct)
    assert result.text.splitlines()[:2] == ["{'sum': 1}", "{'sum': 2}"]
    assert "all 3 calls are used up" in result.text
    assert after.is_error
    assert world.ran == ["add 5 5", "add 0 1", "add 1 1"]


async def test_a_tool_is_closed_after_wrong_arguments_of_both_kinds(jail: Sandbox) -> None:
    world = World()
    wrong = ToolCall("c1", "add", '{"left": "x"}')
    code = (
        "for _ in range(2):\n"
        "    try:\n"
        "        await add('x')\n"
        "    except ToolError as error:\n"
        "        print(str(error)[:12])"
    )
    async with Programs(world.tools, jail, context=ToolContext(deps=None)) as programs:
        await programs(wrong)
        await programs(wrong)
        result = await programs(program(code))
    assert result.text.splitlines() == ["the argument", "'add' is clo"]
    assert world.ran == []
