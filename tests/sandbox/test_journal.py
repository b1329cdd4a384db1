"""A journal brings a session back: results are not fetched twice, and a divergence is named."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from polycall.sandbox import (
    DivergenceError,
    InDoubtError,
    Journal,
    JournalError,
    Pause,
    Sandbox,
)

from . import journey
from .support import TOOLS, run_python, usable


async def paused() -> None:
    raise Pause


class Counted:
    """A tool that counts its calls."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    async def __call__(self, number: int) -> int:
        self.calls.append(number)
        return number * 10


async def test_a_finished_session_comes_back_with_its_state(jail: Sandbox):
    tool = Counted()
    async with jail.session() as first:
        await first.run("import random\na = await tool(1)", {"tool": tool})
        await first.run("b = await tool(2)\nc = random.random()", {"tool": tool})
        before = await first.run("[a, b, c, random.random()]")
    async with jail.session() as second:
        assert await second.resume(first.journal.to_json()) is None
        after = await second.run("[a, b, c]")
        assert after.value == before.value[:3]
    assert tool.calls == [1, 2]


async def test_a_paused_run_goes_on_elsewhere(jail: Sandbox):
    tool = Counted()
    code = "print('start')\na = await tool(1)\nb = await approve()\nprint('end')\n[a, b]"
    async with jail.session() as first:
        result = await first.run(code, {"tool": tool, "approve": paused})
    assert (result.status, result.stdout) == ("paused", "start\n")
    assert [call.outcome for call in result.calls] == ["ok", "pending"]
    pending = result.calls[1].id
    async with jail.session() as second:
        resumed = await second.resume(
            first.journal, {"tool": tool, "approve": paused}, answers={pending: "yes"}
        )
    assert resumed is not None
    assert (resumed.status, resumed.stdout, resumed.value) == (
        "finished",
        "start\nend\n",
        [10, "yes"],
    )
    assert [call.replayed for call in resumed.calls] == [True, True]
    assert tool.calls == [1]


async def test_what_else_can_be_done_is_done_before_a_pause(jail: Sandbox):
    code = "import asyncio\nr = await asyncio.gather(approve(), wait_ms(40), add(1))\nr"
    async with jail.session() as first:
        result = await first.run(code, {**TOOLS, "approve": paused})
    assert [call.outcome for call in result.calls] == ["pending", "ok", "ok"]

    async def approve() -> str:
        return "yes"

    async def never(*_: object) -> None:
        raise AssertionError("called again")

    async with jail.session() as second:
        tools = {"wait_ms": never, "add": never, "square": never, "fail": never}
        resumed = await second.resume(first.journal, {**tools, "approve": approve})
    assert resumed is not None
    assert (resumed.status, resumed.value) == ("finished", ["yes", 40, 2])


async def test_a_pause_can_come_twice(jail: Sandbox):
    code = "a = await ask(1)\nb = await ask(2)\n[a, b]"

    async def ask(_: int) -> None:
        raise Pause

    journal: Journal | str = ""
    async with jail.session() as session:
        assert (await session.run(code, {"ask": ask})).status == "paused"
        journal = session.journal
    for number, answer in ((1, "one"), (2, "two")):
        async with jail.session() as session:
            result = await session.resume(journal, {"ask": ask}, answers={number: answer})
            journal = session.journal.to_json()
    assert result is not None
    assert (result.status, result.value) == ("finished", ["one", "two"])


async def test_time_and_chance_are_the_same_in_a_replay(jail: Sandbox):
    code = """
import datetime, os, random, secrets, tempfile, time, uuid
shown = [
    time.time(), time.monotonic(), time.perf_counter_ns(), str(datetime.datetime.now()),
    str(datetime.date.today()), str(datetime.datetime.now(datetime.UTC)), time.strftime("%H:%M:%S"),
    random.random(), random.Random().random(), str(uuid.uuid4()), str(uuid.uuid1()),
    os.urandom(8).hex(), secrets.token_hex(8), hash("text"), list({"a", "b", "c", "d"}),
    tempfile.gettempprefix(),
]
time.sleep(0.05)
shown.append(time.monotonic())
await stop()
shown
"""
    async with jail.session() as first:
        assert (await first.run(code, {"stop": paused})).status == "paused"
    values: list[Any] = []
    for _ in range(2):
        async with jail.session() as session:
            result = await session.resume(first.journal, {"stop": paused}, answers={1: None})
            assert result is not None
            values.append(result.value)
    assert values[0] == values[1]
    assert len(values[0]) == 17


async def test_time_is_true_to_the_clock(jail: Sandbox):
    import time

    async with jail.session() as session:
        result = await session.run(
            "import time, asyncio\na = time.time()\nawait asyncio.sleep(0.1)\n[a, time.time()]"
        )
    started, ended = result.value
    assert abs(started - time.time()) < 1
    assert 0.09 < ended - started < 0.3


@pytest.mark.parametrize(
    ("change", "call_id", "words"),
    [
        (("await tool(2)", "await tool(3)"), 2, "call 2 has other arguments"),
        (("await tool(2)", "await other(2)"), 2, "call 2 has other name 'other'"),
        (("await tool(2)", "await tool(2); await tool(9)"), 3, "call 3 has other arguments"),
        (("await tool(2)\n", "\n"), 2, "call 2 has other arguments"),
        (("await tool(2)\nawait tool(4)\n", ""), 2, "ended after 1 of 3 calls"),
    ],
)
async def test_a_divergence_names_the_call(
    jail: Sandbox, change: tuple[str, str], call_id: int, words: str
):
    tool = Counted()
    functions = {"tool": tool, "other": tool, "stop": paused}
    async with jail.session() as session:
        code = "await tool(1)\nawait tool(2)\nawait tool(4)\n"
        await session.run(code + "await stop()", functions)
    entries = [json.loads(line) for line in session.journal.to_json().splitlines()]
    entries = [e for e in entries if e["kind"] != "pause" and e.get("name") != "stop"]
    entries = [e for e in entries if e["kind"] != "end"]
    for entry in entries:
        if entry["kind"] == "run":
            entry["code"] = code.replace(*change)
    changed = "\n".join(json.dumps(entry) for entry in entries)
    async with jail.session() as session:
        with pytest.raises(DivergenceError, match=words) as raised:
            await session.resume(changed, functions)
    assert raised.value.call_id == call_id
    assert tool.calls == [1, 2, 4]


async def test_a_call_in_doubt_is_not_made_again_unasked(jail: Sandbox):
    tool = Counted()
    async with jail.session() as session:
        await session.run("await tool(1)\nawait tool(2)", {"tool": tool})
    entries = [json.loads(line) for line in session.journal.to_json().splitlines()]
    last_done = max(index for index, entry in enumerate(entries) if entry["kind"] == "done")
    cut = "\n".join(json.dumps(entry) for entry in entries[:last_done])
    async with jail.session() as session:
        with pytest.raises(InDoubtError, match=r"2 \('tool'\)") as raised:
            await session.resume(cut, {"tool": tool})
    assert raised.value.calls == (2,)
    assert tool.calls == [1, 2]
    async with jail.session() as session:
        result = await session.resume(cut, {"tool": tool}, answers={2: 7})
        assert result is not None
        assert result.value == 7
    async with jail.session() as session:
        result = await session.resume(cut, {"tool": tool}, retry={"tool"})
        assert result is not None
        assert result.value == 20
    assert tool.calls == [1, 2, 2]


@pytest.mark.parametrize("answer", [object(), {1, 2}.__iter__(), [float("nan")], "\ud83d"])
async def test_an_answer_that_no_tool_can_give_is_refused(jail: Sandbox, answer: Any):
    async with jail.session() as session:
        await session.run("await stop()", {"stop": paused})
    async with jail.session() as second:
        with pytest.raises(TypeError, match="the answer to call 1: result"):
            await second.resume(session.journal, {"stop": paused}, answers={1: answer})


async def test_only_a_new_session_resumes(jail: Sandbox):
    async with jail.session() as session:
        await session.run("1")
        with pytest.raises(JournalError, match="only a new session"):
            await session.resume(session.journal.to_json())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "does not begin with its session"),
        ("{", "line 1 of the journal is not JSON"),
        ("[]", "line 1 of the journal is not an object"),
        ('{"kind": "session", "version": 9}', "version 9"),
        (
            '{"kind":"session","version":1,"tier":"monty","python":"3.11.7","seed":1,"began":1}',
            "made on tier 'monty'",
        ),
        (
            '{"kind":"session","version":1,"tier":"jail","python":"2.7","seed":1,"began":1}\n'
            '{"kind":"call","run":1}',
            "an entry 'call' whose 'id' is None",
        ),
    ],
)
async def test_a_journal_that_is_none_is_refused(jail: Sandbox, text: str, words: str):
    async with jail.session() as session:
        with pytest.raises(JournalError, match=words):
            await session.resume(text)


def test_a_torn_last_line_is_left_out(tmp_path: Path):
    path = tmp_path / "journal"
    journal = Journal(path, fsync=True)
    journal.append({"kind": "session"})
    journal.append({"kind": "run", "run": 1})
    journal.close()
    path.write_bytes(path.read_bytes() + b'{"kind": "ca')
    journal = Journal(path)
    assert journal.entries == [{"kind": "session"}, {"kind": "run", "run": 1}]
    journal.append({"kind": "end", "run": 1})
    journal.close()
    assert len(Journal.from_json(path.read_text()).entries) == 3


async def killed_and_resumed(folder: Path, tier: str, stop: str, place: int) -> dict[str, Any]:
    """Runs the journey in a process that dies at a call, and goes on in another."""
    files = [str(folder / f"journal-{stop}-{place}"), str(folder / f"log-{stop}-{place}")]
    module = [sys.executable, "-m", "tests.sandbox.journey"]
    status, _, errors = await run_python([*module, "run", tier, *files, stop, str(place)])
    assert status == -signal.SIGKILL, errors
    status, out, errors = await run_python([*module, "resume", tier, *files])
    assert status == 0, errors
    outcome = json.loads(out)
    outcome["log"] = Path(files[1]).read_text().splitlines()
    return outcome


@pytest.mark.parametrize("stop", ["pause", "kill"])
async def test_killed_at_random_places_and_resumed_in_a_new_process(tmp_path: Path, stop: str):
    await usable("jail")
    expected = await journey.run("jail", tmp_path / "journal", tmp_path / "log", "never", 0)
    assert expected["status"] == "finished"
    log = (tmp_path / "log").read_text().splitlines()
    places = random.Random(stop).sample(range(1, journey.CALLS + 1), 5)
    gate = asyncio.Semaphore(2)

    async def one(place: int) -> dict[str, Any]:
        async with gate:
            return await killed_and_resumed(tmp_path, "jail", stop, place)

    for place, outcome in zip(places, await asyncio.gather(*map(one, places)), strict=True):
        assert outcome["status"] == "finished", (place, outcome)
        assert outcome["stdout"] == expected["stdout"], place
        assert outcome["value"] == expected["value"]
        # Nothing is called again but what was in flight at the kill, which `retry` allows.
        again = Counter[str](outcome["log"]) - Counter(log)
        assert again <= Counter(outcome["in_doubt"]), place
        # On a busy machine the time for a slow call may be over before it is made.
        left = Counter(log) - Counter(outcome["log"])
        assert [each for each in left if not each.startswith("slow_stock")] == [], place
        assert stop == "kill" or not again, place
        assert outcome["calls"] == journey.CALLS
