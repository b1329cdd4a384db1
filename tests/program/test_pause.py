"""Pausing and resuming: here, in another process, after a kill; nothing runs twice."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from polycall.errors import RequestError
from polycall.ir import Text, ToolCall, ToolResult
from polycall.program import PausedProgram, PendingCall, Programs, ResultLater, with_result
from polycall.sandbox import DivergenceError, InDoubtError, Journal, Sandbox
from polycall.testing import ScriptedModel
from polycall.tools import AbstractToolset, Toolset, tool

from .support import call, collect, program, request

CODE = """\
import random, time
seen = [random.random(), time.time()]
price = await get_price("book")
answer = await ask("buy it?", price)
print(answer, price, len(seen))
await note("done")
"""


class PricedTools:
    """Tools of which one needs a person; their calls are noted."""

    def __init__(self, answer: str | None = None) -> None:
        self.calls: list[str] = []
        self.answer = answer
        self.tools = Toolset([self._get_price(), self._ask(), self._note()])

    def _get_price(self) -> Any:
        @tool(allowed_callers=["code"])
        async def get_price(thing: str) -> int:
            self.calls.append(f"get_price {thing}")
            return 12

        return get_price

    def _ask(self) -> Any:
        @tool(allowed_callers=["direct", "code"])
        async def ask(question: str, price: int = 0) -> str:
            self.calls.append(f"ask {question}")
            if self.answer is None:
                raise ResultLater
            return self.answer

        return ask

    def _note(self) -> Any:
        @tool(allowed_callers=["code"])
        async def note(text: str) -> None:
            self.calls.append(f"note {text}")

        return note

    def approved(self) -> AbstractToolset:
        """Notes need an approval, which comes later where there is no answer."""

        def approve(made: Any, arguments: Any) -> bool:
            if made.name == "note" and self.answer is None:
                raise ResultLater
            return self.answer != "no" or made.name != "note"

        return self.tools.approved(approve)


async def paused_run(jail: Sandbox, desk: PricedTools) -> tuple[PausedProgram, Any]:
    async with Programs(desk.tools, jail, calling="code") as programs:
        with ScriptedModel([program(CODE)]) as model:
            _, end = await collect(programs.run(model, request()))
    assert end.reason == "paused"
    assert programs.paused is not None
    return programs.paused, end


async def test_of_two_programs_at_once_the_one_that_waits_is_not_lost(jail: Sandbox) -> None:
    desk = PricedTools()
    async with Programs(desk.tools, jail, calling="code") as programs:
        both = [program("print(await ask('one?'))", "p1"), program("await note('two')", "p2")]
        with ScriptedModel([both]) as model:
            _, end = await collect(programs.run(model, request()))
    assert programs.paused is not None
    assert (end.reason, programs.paused.call_id) == ("paused", "p1")
    assert [run.status for run in programs.programs] == ["paused"]
    second = end.steps[0].results[1]
    assert (second.call_id, second.is_error) == ("p2", True)
    assert "no other can run now" in second.text
    assert desk.calls == ["ask one?"]


async def test_a_paused_program_goes_on_with_the_answer(jail: Sandbox) -> None:
    first, second = PricedTools(), PricedTools()
    paused, end = await paused_run(jail, first)
    assert paused.pending == [PendingCall("p1_2", 2, "ask", '{"question":"buy it?","price":12}')]
    assert end.messages[-1].parts[0].text == (
        '(the program is paused: the result of ask({"question":"buy it?","price":12}) comes later)'
    )
    stored = msgspec.json.decode(msgspec.json.encode(paused), type=PausedProgram)
    async with Programs(second.tools, jail, calling="code") as programs:
        result = await programs.resume(stored, answers={"p1_2": "yes"})
        messages = with_result(end.messages, result)
        with ScriptedModel(["bought"]) as model:
            _, last = await collect(programs.run(model, request()))
    assert result == ToolResult("p1", [Text("yes 12 2")], name="run_code")
    assert messages[-1].parts == [result]
    assert last.text == "bought"
    assert first.calls == ["get_price book", "ask buy it?"]
    assert second.calls == ["note done"]
    (run,) = programs.programs
    assert run.resumed
    assert [(each.call.id, each.call.name) for each in run.calls] == [
        ("p1_1", "get_price"),
        ("p1_2", "ask"),
        ("p1_3", "note"),
    ]
    assert [each.result.text for each in run.calls if each.result] == ["12", "yes", "null"]


@pytest.mark.parametrize(
    ("answer", "output"),
    [
        (ToolResult("x", [Text("no")], is_error=True), "ToolError: no"),
        (ValueError("nobody is there"), "ToolError: nobody is there"),
    ],
)
async def test_an_answer_may_be_a_failure(jail: Sandbox, answer: Any, output: str) -> None:
    paused, _ = await paused_run(jail, PricedTools())
    async with Programs(PricedTools().tools, jail, calling="code") as programs:
        result = await programs.resume(paused, answers={"p1_2": answer})
    assert result.is_error
    assert output in result.text


@pytest.mark.parametrize(("answer", "notes"), [("yes", ["note done"]), ("no", [])])
async def test_an_approval_may_come_later(jail: Sandbox, answer: str, notes: list[str]) -> None:
    first, second = PricedTools(), PricedTools(answer)
    async with Programs(first.approved(), jail, calling="code") as programs:
        result = await programs(program("await get_price('pen')\nawait note('done')\nprint('end')"))
        paused = programs.paused
    assert paused is not None
    assert "paused" in result.text
    async with Programs(second.approved(), jail, calling="code") as programs:
        resumed = await programs.resume(paused)
    assert (first.calls, second.calls) == (["get_price pen"], notes)
    assert resumed.is_error == (answer == "no")


async def test_what_can_go_on_goes_on_and_a_pause_can_come_again(jail: Sandbox) -> None:
    code = (
        "import asyncio\n"
        "print(await asyncio.gather(ask('a'), get_price('x'), ask('b')))\n"
        "print(await ask('c'))"
    )
    desk = PricedTools()
    async with Programs(desk.tools, jail, calling="code") as programs:
        await programs(program(code))
        paused = programs.paused
        assert paused is not None
        assert [each.id for each in paused.pending] == ["p1_1", "p1_3"]
        refused = await programs(program("1", "p2"))
        assert "a program is paused until its result comes" in refused.text
        await programs.resume(paused, answers={"p1_1": "A", "p1_3": "B"})
        again = programs.paused
        assert again is not None
        assert [(each.id, each.number) for each in again.pending] == [("p1_4", 4)]
        last = await programs.resume(again, answers={"p1_4": "C"})
        after = await programs(program("'alive'", "p3"))
    assert last.text == "['A', 12, 'B']\nC"
    assert after.text == "alive"
    assert desk.calls == ["ask a", "get_price x", "ask b", "ask c"]


async def test_a_divergence_is_an_error_that_names_the_call(jail: Sandbox) -> None:
    paused, _ = await paused_run(jail, PricedTools())
    changed = PausedProgram(paused.call_id, paused.journal.replace("book", "boot", 1), [])
    async with Programs(PricedTools().tools, jail, calling="code") as programs:
        with pytest.raises(DivergenceError, match=r"call 1 .*'get_price'"):
            await programs.resume(changed)


async def test_a_journal_without_a_paused_program_is_refused(jail: Sandbox) -> None:
    async with jail.session() as session:
        await session.run("1")
        journal = session.journal.to_json()
    async with Programs(PricedTools().tools, jail, calling="code") as programs:
        with pytest.raises(RequestError, match="holds no program to continue"):
            await programs.resume(PausedProgram("p1", journal, []))


async def test_a_direct_call_can_wait_as_well(jail: Sandbox) -> None:
    desk = PricedTools()
    async with Programs(desk.tools, jail, calling="direct") as programs:
        with ScriptedModel([call("ask", "c7", question="now?")]) as model:
            _, end = await collect(programs.run(model, request()))
        assert [each.id for each in programs.waiting] == ["c7"]
    assert end.reason == "paused"
    answered = with_result(end.messages, ToolResult("c7", [Text("yes")], name="ask"))
    assert answered[-1].parts == [ToolResult("c7", [Text("yes")], name="ask")]


_KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from polycall._support import jsontext
from polycall.ir import ToolCall
from polycall.program import Programs
from polycall.sandbox import Journal, Sandbox
from polycall.tools import tool

log = Path(sys.argv[1])

@tool(allowed_callers=["code"])
async def step(number: int) -> int:
    with log.open("a") as file:
        file.write(f"{number}\\n")
    if number == 3 and sys.argv[3] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    return number * 10

async def main():
    async with Sandbox("jail", pool=0) as sandbox:
        make = lambda: sandbox.session(journal=Journal(sys.argv[2]))
        async with Programs([step], make, calling="code") as programs:
            await programs(ToolCall("p1", "run_code", jsontext.encode({"code": sys.argv[4]})))

asyncio.run(main())
"""


async def test_a_killed_host_loses_nothing(jail: Sandbox, tmp_path: Path) -> None:
    log, journal = tmp_path / "log", tmp_path / "journal"
    code = "total = 0\nfor n in range(1, 6):\n    total += await step(n)\ntotal"
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _KILLED, str(log), str(journal), "die", code, env={**os.environ}
    )
    assert await child.wait() == -signal.SIGKILL

    @tool(allowed_callers=["code"])
    async def step(number: int) -> int:
        with log.open("a") as file:
            file.write(f"{number}\n")
        return number * 10

    kept = Journal(journal)
    kept.close()
    paused = PausedProgram("p1", kept.to_json(), [])
    async with Programs([step], jail, calling="code") as programs:
        with pytest.raises(InDoubtError, match="'step'"):
            await programs.resume(paused)
    # Nobody knows whether the third call did its work: only who says so lets it run again.
    async with Programs([step], jail, calling="code") as programs:
        result = await programs.resume(paused, retry=["step"])
    assert result.text == "150"
    assert log.read_text().split() == ["1", "2", "3", "3", "4", "5"]


def test_with_result_leaves_others_alone() -> None:
    made = ToolCall("c1", "ask")
    message = request().messages[0]
    assert with_result([message], ToolResult(made.id)) == [message]
