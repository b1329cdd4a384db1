"""`polycall runs` and `polycall tasks`, on the database of a process that works meanwhile."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from polycall import Agent, ToolContext
from polycall.agents.saved import load_trace
from polycall.durable import Durable
from polycall.ir import ToolCall
from polycall.testing import ScriptedModel
from polycall.tools import tool


async def polycall(*words: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "polycall", *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, error = await process.communicate()
    return process.returncode or 0, out.decode(), error.decode()


async def test_a_run_is_looked_after_from_the_command_line(sqlite: str) -> None:
    @tool(needs_approval=True)
    async def refund(amount: int) -> str:
        """Pay back."""
        return f"{amount} paid"

    @tool(background=True)
    async def pack(what: str, context: ToolContext[Any]) -> str:
        """Pack a parcel."""
        await context.report(0.25, "looking for\x1b[31m a box")
        await asyncio.sleep(60)
        return "packed"

    calls = [
        ToolCall("a", "pack", '{"what":"tea"}'),
        ToolCall("b", "refund", '{"amount":40}'),
        ToolCall("c", "refund", '{"amount":90}'),
    ]
    with ScriptedModel([calls, "40 are on their way."]) as model:
        agent = Agent("test/m", name="desk", tools=[refund, pack], client=model)
        async with Durable(sqlite, agents=[agent], poll_s=0.02) as here:
            handle = await here.start("desk", "my teapot\nis broken", run_id="r1")
            async with asyncio.timeout(20):
                while len((await handle.info()).approvals) < 2:
                    await asyncio.sleep(0.02)
            db = ("--db", sqlite)
            status, out, _ = await polycall("runs", "list", *db)
            assert (status, out.split()[:2]) == (0, ["r1", "waiting"])
            assert out.rstrip().endswith("desk: my teapot is broken")
            _, out, _ = await polycall("runs", *db, "show", "r1")
            shown = [line for line in out.splitlines() if not line.startswith("  step")]
            place = next(n for n, line in enumerate(shown) if line.startswith("  waits call/1/b "))
            assert shown[place + 1 : place + 4] == [
                *("    agents: desk", "    tool: refund", '    "amount": 40')
            ]
            assert "\x1b" not in out
            _, out, _ = await polycall("tasks", "list", "--run", "r1", "--json", *db)
            (task,) = json.loads(out)
            assert (task["tool"], task["arguments"]) == ("pack", {"what": "tea"})
            _, out, _ = await polycall("tasks", "cancel", task["id"], *db)
            assert out.split()[:2] == [task["id"], "cancelled"]
            assert (await polycall("runs", "allow", "r1", "call/1/b", *db))[0] == 0
            _, out, _ = await polycall("runs", "deny", "r1", "call/1/c", "--reason", "no", *db)
            assert out == "call/1/c is refused\n"
            assert (await handle.result()).text == "40 are on their way."
            said = next(each for each in model.requests[1].messages if each.role == "tool")
            results = [part.text for part in said.parts]  # type: ignore[union-attr]
            assert results[1:] == [
                "40 paid",
                "the call of 'refund' was not approved: no; nothing was run",
            ]
            end = model.requests[1].messages[-1].text
            assert end.splitlines()[0] == f"[task {task['id'].split('.')[1]} (pack): cancelled]"
            _, out, _ = await polycall("runs", "show", "r1", "--json", *db)
            shown = json.loads(out)
            assert shown["run"]["state"] == "finished"
            saved = Path(sqlite.removeprefix("sqlite:///")).with_name("run.html")
            assert (await polycall("runs", "save", "r1", "--out", str(saved), *db))[0] == 0
            trace = load_trace(saved)
            assert (trace.agent, trace.reason, len(trace.steps)) == ("desk", "finished", 2)
            assert trace.messages[-1].text == "40 are on their way."
            assert {step["name"] for step in shown["steps"]} == {
                *("model/1", "call/1/a", "call/1/b", "call/1/c", "model/2")
            }


async def test_mistakes(tmp_path: Path, sqlite: str) -> None:
    assert await polycall("runs", "list") == (
        1,
        "",
        "polycall runs: say where the runs are: --db sqlite:///runs.db, or POLYCALL_RUNS\n",
    )
    status, _, error = await polycall("runs", "list", "--db", f"sqlite:///{tmp_path}/none.db")
    assert (status, "there are no durable runs at" in error) == (1, True)
    assert list(tmp_path.iterdir()) == []
    async with Durable(sqlite, agents=[Agent("test/m", client=ScriptedModel([]))]):
        pass
    for words, said in [
        (("runs", "show", "x"), "there is no run 'x'"),
        (("runs", "resume", "x"), "there is no run 'x'"),
        (("tasks", "show", "x"), "there is no task 'x'"),
    ]:
        status, _, error = await polycall(*words, "--db", sqlite)
        assert (status, said in error) == (1, True)
    assert (await polycall("runs", "list", "--db", sqlite))[1] == "no runs\n"
    assert (await polycall("tasks", "list", "--json", "--db", sqlite))[1] == "[]\n"
