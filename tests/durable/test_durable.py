"""Durable runs as an application meets them: started, moved, asked about, cancelled."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from polycall import Agent, AgentContext, ToolContext
from polycall.agents import Approval, PausedRun
from polycall.durable import Durable, RunCancelledError, RunFailedError, Runs
from polycall.errors import RequestError
from polycall.ir import PartDelta, Request, ToolCall
from polycall.loop import ModelEvent
from polycall.testing import FunctionModel, ScriptedModel
from polycall.tools import tool


def call(call_id: str, name: str, **arguments: Any) -> ToolCall:
    return ToolCall(call_id, name, json.dumps(arguments))


def durable(url: str, *agents: Agent[Any, Any], **options: Any) -> Durable:
    return Durable(url, agents=agents, poll_s=0.02, lease_s=5.0, **options)


async def until(runs: Runs, run_id: str, state: str) -> Any:
    async with asyncio.timeout(20):
        while (info := await runs.show(run_id)).state != state:
            await asyncio.sleep(0.02)
    return info


class Shop:
    """Triage hands over to refunds, whose clerk needs an approval; variables are written."""

    def __init__(self, done: list[str]) -> None:
        self.done = done
        self.keys: list[str] = []

    @tool
    async def find_order(self, order_id: str, context: AgentContext[Any]) -> str:
        """Look an order up."""
        self.done.append(f"find {order_id}")
        self.keys.append(context.idempotency_key)
        context.variables["order"] = order_id
        return "a teapot for 40"

    @tool(needs_approval=True)
    async def refund(self, amount: int, context: AgentContext[Any]) -> str:
        """Pay money back."""
        self.done.append(f"refund {amount} to {context.deps}")
        return f"{amount} paid back"

    def agents(self, model: Any) -> Agent[Any, Any]:
        clerk = Agent("test/clerk", name="clerk", tools=[self.refund])
        refunds = Agent("test/refunds", name="refunds", tools=[clerk, self.find_order])
        return Agent("test/triage", name="triage", handoffs=[refunds], client=model)


BEFORE = [
    call("c1", "transfer_to_refunds", reason="broken"),
    [call("c2", "find_order", order_id="A1"), call("c3", "clerk", task="refund A1")],
    call("c4", "refund", amount=40),
]


async def test_a_run_waits_for_a_person_moves_and_goes_on(url: str) -> None:
    done: list[str] = []
    first = Shop(done)
    with ScriptedModel(BEFORE) as model:
        async with durable(url, first.agents(model), deps="Mina") as here:
            await here.start(
                "triage", "my teapot is broken", run_id="r", variables={"tone": "kind"}
            )
            info = await until(here, "r", "waiting")
            assert [(each.tool, each.agents) for each in info.approvals] == [
                ("refund", ["refunds", "clerk"])
            ]
    assert done == ["find A1"]
    # Another process, which knows nothing but the database; and one more, that only decides.
    with ScriptedModel(["clerk: done", "It is done."]) as model:
        async with durable(url, Shop(done).agents(model), deps="Mina") as there, Runs(url) as desk:
            info = await until(there, "r", "waiting")
            with pytest.raises(RequestError, match="no open approval 'x'"):
                await desk.allow("r", "x")
            await desk.allow("r", info.approvals[0].id, always=True)
            result = await there.handle("r").result()
            with pytest.raises(RequestError, match="open: none"):
                await desk.deny("r", info.approvals[0].id)
    assert (result.reason, result.text, result.output) == ("finished", "It is done.", "It is done.")
    assert result.history.variables == {"tone": "kind", "order": "A1"}
    assert result.history.agent == "refunds"
    assert result.history.allowed == ["clerk.refund"]
    assert result.agents == ["triage", "refunds", "refunds"]
    assert done == ["find A1", "refund 40 to Mina"]
    assert first.keys == ["r/call/2/c2"]


async def test_denied_and_expired(sqlite: str) -> None:
    done: list[str] = []
    for run_id, options in [("denied", {}), ("expired", {"approval_ttl_s": 0.1})]:
        with ScriptedModel([*BEFORE, "clerk: no", "Sorry."]) as model:
            async with durable(sqlite, Shop(done).agents(model), **options) as here:
                handle = await here.start("triage", "money", run_id=run_id)
                if run_id == "denied":
                    info = await until(here, run_id, "waiting")
                    await here.deny(run_id, info.approvals[0].id, "not on Sundays")
                assert (await handle.result()).text == "Sorry."
            reason = "not on Sundays" if run_id == "denied" else "nobody answered in time"
            assert reason in str(model.requests[3].messages[-1])
    assert done == ["find A1", "find A1"]


async def test_the_same_id_is_the_same_run(url: str) -> None:
    with ScriptedModel(["hello"]) as model:
        async with durable(url, Agent("test/m", name="a", client=model)) as here:
            first = await here.start("a", "hi", run_id="once")
            assert (await first.result()).text == "hello"
            again = await here.start("a", "something else", run_id="once")
            assert (await again.result()).text == "hello"
            assert [(run.id, run.prompt, run.state) for run in await here.list()] == [
                ("once", "hi", "finished")
            ]
            assert [name for name, _ in await here.steps("once")] == ["model/1"]


async def test_cancelled_and_resumed(url: str) -> None:
    begun = asyncio.Event()
    is_slow = True

    @tool
    async def work(n: int) -> str:
        """Work."""
        if n == 2 and is_slow:
            begun.set()
            await asyncio.sleep(60)
        return f"did {n}"

    def answer(request: Request) -> Any:
        said = sum(message.role == "assistant" for message in request.messages)
        return call(f"c{said}", "work", n=said) if said < 4 else "done"

    model = FunctionModel(answer)
    async with durable(url, Agent("test/m", name="a", tools=[work], client=model)) as here:
        handle = await here.start("a", "go", run_id="r")
        await begun.wait()
        await handle.cancel()
        with pytest.raises(RunCancelledError, match="'r' was cancelled"):
            await handle.result()
        asked = len(model.requests)
        is_slow = False
        await here.resume("r")
        assert (await handle.result()).text == "done"
        # Three answers were known: those of two finished calls, and the one that was cut off.
        assert (asked, len(model.requests)) == (3, 5)
        with pytest.raises(RequestError, match="it has finished"):
            await here.resume("r")


async def test_tasks_report_and_are_cancelled(url: str) -> None:
    @tool(background=True, concurrency=1)
    async def bake(what: str, context: ToolContext[Any]) -> str:
        """Bake."""
        await context.report(0.5, "rising")
        await asyncio.sleep(60 if what == "stone" else 0.1)
        return f"{what} is baked"

    def answer(request: Request) -> Any:
        match sum(message.role == "assistant" for message in request.messages):
            case 0:
                return call("a", "bake", what="bread")
            case 1:
                return call("b", "wait_for_tasks", deadline_s=20)
            case 2:
                return call("c", "bake", what="stone")
            case 3:
                begun = json.loads(request.messages[-1].parts[0].text)  # type: ignore[union-attr]
                return call("d", "cancel_task", task_id=begun["task_id"])
            case _:
                return "done"

    model = FunctionModel(answer)
    async with durable(url, Agent("test/m", name="a", tools=[bake], client=model)) as here:
        result = await (await here.start("a", "go", run_id="r")).result()
        tasks = {each.arguments["what"]: each for each in await here.tasks("r")}
    assert result.text == "done"
    assert {what: (each.state, each.progress) for what, each in tasks.items()} == {
        "bread": ("finished", 1.0),
        "stone": ("cancelled", tasks["stone"].progress),
    }
    assert tasks["bread"].result == "bread is baked"
    assert (tasks["bread"].run_id, tasks["bread"].message) == ("r", "rising")


async def test_a_run_that_fails_says_so_and_may_go_on_later(url: str) -> None:
    done: list[str] = []
    is_away = True

    @tool
    async def note(word: str) -> str:
        """Write a word down."""
        done.append(word)
        return "noted"

    def answer(request: Request) -> Any:
        if len(request.messages) == 1:
            return call("a", "note", word="tea")
        if is_away:
            raise ValueError("the provider is away")
        return "done"

    agent = Agent("test/m", name="a", tools=[note], client=FunctionModel(answer))
    async with durable(url, agent) as here, Runs(url) as desk:
        handle = await here.start(agent, "go", run_id="r")
        for still_away in (True, False):
            with pytest.raises(RunFailedError, match="ValueError: the provider is away"):
                await handle.result()
            info = await handle.info()
            assert (info.state, "provider is away" in info.error) == ("failed", True)
            is_away = still_away
            await desk.resume("r")
        assert (await handle.result()).text == "done"
        info = await handle.info()
        assert (info.state, info.error, done) == ("finished", "", ["tea"])


async def test_mistakes_are_told_at_once(sqlite: str) -> None:
    agent = Agent("test/m", name="a", client=ScriptedModel([]))
    async with durable(sqlite, agent) as here:
        with pytest.raises(RequestError, match="no agent 'b' here; known: a"):
            await here.start("b", "go")
        with pytest.raises(RequestError, match="no run 'x'"):
            await here.show("x")
        with pytest.raises(RequestError, match="in this process already"):
            await durable(sqlite, agent).__aenter__()
    for wrong in ("runs.db", "sqlite://", "sqlite:///:memory:", "mysql://x", "sqlite:////no/way/x"):
        with pytest.raises(RequestError):
            Durable(wrong, agents=[agent])
    twice = Agent("test/m", name="b", handoffs=[Agent("test/m", name="b")])
    with pytest.raises(RequestError, match="two agents are named 'b'"):
        durable(sqlite, twice)


async def test_nothing_in_the_database_is_code(sqlite: str) -> None:
    """DBOS's own format is pickle; here it is JSON, so that reading the database runs nothing."""
    with ScriptedModel(["hello"]) as model:
        async with durable(sqlite, Agent("test/m", name="a", client=model)) as here:
            await (await here.start("a", "hi", run_id="r")).result()
    with sqlite3.connect(sqlite.removeprefix("sqlite:///")) as connection:
        rows = [
            text
            for column in (
                "workflow_input.inputs",
                "workflow_output.output",
                "operation_outputs.output",
            )
            for (text,) in connection.execute(f"select {column} from {column.split('.')[0]}")
        ]
    connection.close()
    assert [list(json.loads(text)) for text in rows] == [["value"]] * 3


async def test_a_client_of_this_loop_is_used(sqlite: str) -> None:
    """Work is done on the loop that the application's own objects belong to."""
    loops: list[Any] = []

    @tool
    async def where() -> str:
        """Where this runs."""
        loops.append(asyncio.get_running_loop())
        return "here"

    with ScriptedModel([call("a", "where"), "done"]) as model:
        agent = Agent("test/m", name="a", tools=[where], client=model)
        async with durable(sqlite, agent) as here:
            await (await here.start("a", "go")).result()
    assert loops == [asyncio.get_running_loop()]
    # And the loop's own threads work again once it is over.
    assert await asyncio.to_thread(lambda: 1) == 1


async def test_the_page_s_own_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of docs/durable.md, in its order, as one program."""
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs/durable.md").read_text()
    define, pause, resume, last, plain, heard = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    space: dict[str, Any] = {"Path": Path, "PausedRun": PausedRun, "secret": "s"}
    space |= {"Approval": Approval, "ModelEvent": ModelEvent, "PartDelta": PartDelta}
    exec(define, space)
    render = space["render"]

    @tool(needs_approval=True)
    async def pay(amount: int) -> str:
        """Pay."""
        return "paid"

    def answer(request: Request) -> Any:
        said = sum(message.role == "assistant" for message in request.messages)
        if any("money" in message.text for message in request.messages):
            return call("p", "pay", amount=4) if said == 0 else "paid back"
        return call("r", "render", scene="forest") if said == 0 else "on its way"

    space["agent"] = Agent("test/m", tools=[render, pay], client=FunctionModel(answer))
    for block in (pause, resume, last):
        body = "\n".join("    " + line for line in block.splitlines())
        exec(f"async def part():\n{body}\n    globals().update(locals())\n", space)
        await space["part"]()
    assert space["run"].text == "paid back"
    assert space["result"].output == "on its way"
    assert "forest.mp4" in str(space["result"].history.messages)
    await asyncio.to_thread(exec, plain, space)
    assert space["result"].output == "on its way"
    async with Durable("sqlite:///heard.db", agents=[space["agent"]]) as space["durable"]:
        body = "\n".join("    " + line for line in heard.splitlines())
        exec(f"async def part():\n{body}\n    globals().update(locals())\n", space)
        await space["part"]()
    assert space["result"].output == "on its way"


async def test_programs_are_made_of_steps_too(sqlite: str) -> None:
    """Cut off in the middle of a program: what the program had is not fetched again."""
    done: list[str] = []
    begun = asyncio.Event()

    @tool(allowed_callers=["code"])
    async def rows(region: str) -> list[int]:
        """The rows of a region."""
        done.append(region)
        if len(done) == 2:
            begun.set()
            await asyncio.sleep(60)
        return list(range(100))

    code = "a = await rows('west')\nb = await rows('east')\nprint(sum(a) + sum(b))"

    def answer(request: Request) -> Any:
        said = sum(message.role == "assistant" for message in request.messages)
        return call("p", "run_code", code=code) if said == 0 else "added"

    def agent() -> Agent[Any, Any]:
        return Agent("test/m", name="a", tools=[rows], client=FunctionModel(answer), calling="code")

    async with durable(sqlite, agent()) as here:
        await here.start("a", "add", run_id="r")
        await begun.wait()
    async with durable(sqlite, agent()) as there:
        result = await there.handle("r").result()
        steps = [name.split(":")[0] for name, _ in await there.steps("r")]
    assert done == ["west", "east", "east"]
    assert result.history.messages[2].parts[0].text.strip() == "9900"  # type: ignore[union-attr]
    assert steps == ["model/1", *["call/1/p/rows"] * 2, "call/1/p", "model/2"]
