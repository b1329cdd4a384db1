"""A26: a tool with `needs_approval` runs by no way at all unless a person was asked."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from polycall import Agent
from polycall.errors import ToolDefinitionError
from polycall.ir import JSON, Message, Request, Text, ToolCall
from polycall.loop import RunEnd, run_tools
from polycall.program import Programs
from polycall.sandbox import Sandbox
from polycall.sim import Simulation
from polycall.testing import ScriptedModel
from polycall.tools import AbstractToolset, Executor, FunctionTool, ToolContext, Toolset, tool
from polycall.tools import execute as execute_call
from polycall.tools.toolset import CombinedToolset

from ..cli.conftest import CONFIG
from ..cli.test_chat import Terminal

paid: list[int] = []


@tool(needs_approval=True, allowed_callers=["direct", "code"])
async def pay(amount: int) -> str:
    """Pay somebody (결제)."""
    paid.append(amount)
    return f"paid {amount}"


@pytest.fixture(autouse=True)
def nothing_paid() -> None:
    paid.clear()


class Foreign(AbstractToolset):
    """Somebody's own toolset, which asks nobody."""

    @property
    def tools(self) -> Mapping[str, FunctionTool[..., Any]]:
        return {"pay": pay}

    async def run(self, name: str, arguments: JSON, context: ToolContext[Any]) -> Any:
        return await pay.run(arguments, context)


WAYS: dict[str, Callable[[], AbstractToolset]] = {
    "plain": lambda: Toolset([pay]),
    "combined": lambda: CombinedToolset([Toolset([pay]), Toolset()]),
    "renamed": lambda: Toolset([pay]).renamed({"pay": "spend"}),
    "prefixed": lambda: Toolset([pay]).prefixed("shop"),
    "filtered": lambda: Toolset([pay]).filtered(["pay"]),
    "limited": lambda: Toolset([pay]).limited(5),
    "logged": lambda: Toolset([pay]).logged(lambda line: None),
    "foreign": Foreign,
    "wrapped four times": lambda: (
        Toolset([pay]).prefixed("가게").limited(5).logged(print).renamed({"가게_pay": "pay"})
    ),
    "two that are combined and filtered": lambda: CombinedToolset(
        [Toolset([pay]).filtered(["pay"]).limited(9), Toolset().prefixed("x")]
    ).filtered(lambda each: each.name == "pay"),
}


@pytest.mark.parametrize("way", WAYS)
async def test_a26_execute_and_run_tools_refuse_where_nobody_is_asked(way: str) -> None:
    toolset = WAYS[way]()
    name = next(iter(toolset.tools))
    call = ToolCall("c1", name, '{"amount": 40}')
    alone = await execute_call(call, toolset)
    in_a_loop = await Executor.of(toolset)(call)
    for result in (alone, in_a_loop):
        assert result.is_error
        assert "needs approval" in result.text
        assert "nothing was run" in result.text
    request = Request("test/m", [Message("user", [Text("pay")])], toolset.definitions)
    with ScriptedModel([[call], "then not"]) as model:
        events = [event async for event in run_tools(model, request, Executor.of(toolset))]
    assert isinstance(events[-1], RunEnd)
    assert paid == []


@pytest.mark.parametrize("way", WAYS)
async def test_a26_what_somebody_agrees_to_runs_however_the_toolset_is_wrapped(way: str) -> None:
    toolset = WAYS[way]()
    asked: list[JSON] = []

    def agree(each: FunctionTool[..., Any], arguments: JSON) -> bool:
        asked.append({each.name: arguments})
        return arguments["amount"] < 50

    name = next(iter(toolset.tools))
    approved = toolset.approved(agree).logged(lambda line: None)
    small = await execute_call(ToolCall("c1", name, '{"amount": 40}'), approved)
    large = await execute_call(ToolCall("c2", name, '{"amount": 90}'), approved)
    assert (small.text, paid) == ("paid 40", [40])
    assert "was not approved" in large.text
    assert asked == [{name: {"amount": 40}}, {name: {"amount": 90}}]


def _timed(function: Any) -> Any:
    @functools.wraps(function)
    async def timed(*positional: Any, **named: Any) -> Any:
        return await function(*positional, **named)

    return timed


@pytest.mark.parametrize(
    "around",
    [
        lambda: functools.partial(pay, amount=5),
        lambda: functools.partial(functools.partial(pay)),
        lambda: _timed(pay),
        lambda: _timed(functools.partial(_timed(pay))),
    ],
)
def test_a26_a_function_around_a_tool_is_refused(around: Callable[[], Any]) -> None:
    with pytest.raises(ToolDefinitionError, match="around the tool 'pay'.*wrap pay.function"):
        Agent("test/m", tools=[around()])
    with pytest.raises(ToolDefinitionError, match="around the tool 'pay'"):
        Toolset([around()])
    made = tool(_timed(pay.function), needs_approval=True)
    assert (made.name, made.needs_approval) == ("pay", True)


async def test_a26_an_agent_asks_once_and_not_twice() -> None:
    asked: list[str] = []
    calls = [ToolCall("c1", "pay", '{"amount": 1}')]
    with ScriptedModel([calls, "done"]) as model:
        agent = Agent("test/m", name="desk", tools=[pay], client=model)
        await agent.run("pay", approve=lambda request: asked.append(request.tool) or True)
    assert (asked, paid) == (["pay"], [1])


async def test_a26_an_agent_whose_run_nobody_watches_refuses() -> None:
    with ScriptedModel([[ToolCall("c1", "pay", '{"amount": 1}')], "done"]) as model:
        run = await Agent("test/m", name="desk", tools=[pay], client=model).run("pay")
    assert "nobody to ask" in run.history.messages[2].text or paid == []
    assert paid == []


async def test_a26_programs_outside_an_agent_refuse() -> None:
    code = "try:\n    await pay(amount=7)\nexcept ToolError as error:\n    print(error)"
    async with (
        Sandbox("monty", pool=0) as sandbox,
        Programs(Toolset([pay]), sandbox, calling="code") as programs,
    ):
        result = await programs(ToolCall("p1", "run_code", json.dumps({"code": code})))
    assert "needs approval" in result.text
    assert paid == []


async def test_a26_a_session_of_the_sandbox_takes_no_tool_that_needs_approval() -> None:
    async with Sandbox("monty", pool=0) as sandbox, sandbox.session() as session:
        for functions in ({"pay": pay}, {"safe": len, "spend": pay}):
            with pytest.raises(ValueError, match="needs approval"):
                await session.run("await pay(amount=1)", functions)
    assert paid == []


async def test_a26_a_background_task_runs_after_one_yes() -> None:
    @tool(needs_approval=True, background=True)
    async def ship(what: str) -> str:
        """Ship it."""
        paid.append(len(what))
        return "shipped"

    asked: list[str] = []
    calls = [ToolCall("c1", "ship", '{"what": "tea"}')]
    with ScriptedModel([calls, "on its way"]) as model:
        agent = Agent("test/m", name="desk", tools=[ship], client=model)
        run = await agent.run("ship", approve=lambda request: asked.append(request.tool) or True)
    assert (asked, paid, run.reason) == (["ship"], [3], "finished")


# The command line

TOOLS = '''
from pathlib import Path
from polycall import tool, Toolset

@tool(needs_approval=True)
def pay(amount: int, note: str = "") -> str:
    """Pay somebody (결제).

    Args:
        amount: how much (금액)
        note: a word to it
    """
    with Path("paid.txt").open("a") as file:
        print(amount, file=file)
    return f"paid {amount}"

one = [pay]
box = Toolset([pay]).prefixed("shop")
'''


@pytest.fixture(scope="module")
def simulation() -> Iterator[Simulation]:
    with Simulation() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path, simulation: Simulation, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "shop_tools.py").write_text(TOOLS, encoding="utf-8")
    config = CONFIG.format(
        compatible=simulation.base_url("compatible"), anthropic=simulation.base_url("anthropic")
    )
    (tmp_path / "polycall.toml").write_text(config, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACME_KEY", "any")
    return tmp_path


def polycall(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "polycall", *words],
        capture_output=True,
        text=True,
        input=stdin,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONUTF8": "1"},
    )


@pytest.mark.parametrize("tools", ["shop_tools:pay", "shop_tools:one", "shop_tools:box"])
def test_a26_polycall_run_and_chat_refuse_where_there_is_no_terminal(
    folder: Path, tools: str
) -> None:
    ran = polycall("run", "acme/sim-1", "결제 pay 40", "--tools", tools)
    assert "nobody to ask" in ran.stdout
    talked = polycall("chat", "acme/sim-1", "--tools", tools, stdin="결제 pay 40\ny\n")
    assert "nobody to ask" in talked.stdout
    assert not (folder / "paid.txt").exists()


def test_a26_run_code_takes_no_tool_that_needs_approval(folder: Path) -> None:
    (folder / "program.py").write_text("await pay(amount=1)")
    for tools in ("shop_tools:pay", "shop_tools:one", "shop_tools:box"):
        ran = polycall("run-code", "program.py", "--tools", tools, "--tier", "monty")
        assert ran.returncode == 1
        assert "needs approval" in ran.stderr
    assert not (folder / "paid.txt").exists()


@pytest.mark.parametrize(
    ("answer", "is_paid"), [("y", True), ("yes", True), ("", False), ("n", False), ("later", False)]
)
def test_a26_polycall_chat_asks_on_the_terminal(folder: Path, answer: str, is_paid: bool) -> None:
    words = [sys.executable, "-m", "polycall", "chat", "acme/sim-1", "--tools", "shop_tools:pay"]
    terminal = Terminal(words)
    try:
        terminal.expect("/help for help")
        terminal.expect("> ")
        terminal.send("결제 pay 40\n")
        terminal.expect("this call needs your approval")
        terminal.expect("tool: pay")
        terminal.expect('"amount": [0-9]+')
        terminal.expect(r"run it\? \[y/N/a/e\] ")
        assert not (folder / "paid.txt").exists()
        terminal.send(f"{answer}\n")
        terminal.expect("paid [0-9]+" if is_paid else "was not approved")
        terminal.expect("> ")
        assert (folder / "paid.txt").exists() == is_paid
    finally:
        terminal.close()


def test_a26_ctrl_c_at_the_question_runs_nothing(folder: Path) -> None:
    words = [sys.executable, "-m", "polycall", "chat", "acme/sim-1", "--tools", "shop_tools:pay"]
    terminal = Terminal(words)
    try:
        terminal.expect("> ")
        terminal.send("결제 pay 40\n")
        terminal.expect(r"run it\? \[y/N/a/e\] ")
        terminal.send("\x03")
        terminal.expect("stopped; the conversation continues", within_s=5)
        terminal.expect("> ")
        terminal.send("/quit\n")
        terminal.expect("in all")
        assert not (folder / "paid.txt").exists()
    finally:
        terminal.close()
