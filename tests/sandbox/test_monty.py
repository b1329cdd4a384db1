"""The tier monty behaves as the jail does, in what it can run."""

from __future__ import annotations

import asyncio
import json
import time
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from polycall.sandbox import Limits, Pause, RuntimeUnavailableError, Sandbox, Session
from polycall.sandbox.monty_runtime import MontyRuntime

from .support import TOOLS, usable


@pytest.fixture
async def monty() -> AsyncIterator[Sandbox]:
    sandbox = Sandbox("monty", Limits(wall_s=1.5, memory_mib=64, calls=30, concurrent_calls=3))
    try:
        await sandbox.__aenter__()
    except RuntimeUnavailableError as error:
        pytest.skip(f"no monty here: {error}")
    try:
        yield sandbox
    finally:
        await sandbox.close()


@pytest.fixture
async def session(monty: Sandbox) -> AsyncIterator[Session]:
    async with monty.session(seed=3) as session:
        yield session


async def test_value_output_state_and_calls(session: Session):
    result = await session.run("print('hi')\nx = await add(1, right=2)\nx", TOOLS)
    assert (result.status, result.stdout, result.value) == ("finished", "hi\n", 3)
    assert [(c.name, c.args, c.kwargs, c.value) for c in result.calls] == [
        ("add", (1,), {"right": 2}, 3)
    ]
    assert (await session.run("[x, _]")).value == [3, 3]


async def test_gathered_calls_are_bounded_and_side_by_side(session: Session):
    most = working = 0

    async def work() -> None:
        nonlocal most, working
        working += 1
        most = max(most, working)
        await asyncio.sleep(0.02)
        working -= 1

    code = "import asyncio\nawait asyncio.gather(*[work() for _ in range(12)])\n1"
    result = await session.run(code, {"work": work})
    assert (result.value, most) == (1, 3)


async def test_a_failure_has_its_line(session: Session):
    result = await session.run("a = 1\nawait fail('no row')", TOOLS)
    assert result.error is not None
    assert (result.status, result.error.type, result.error.message) == (
        "failed",
        "LookupError",
        "no row",
    )
    assert result.error.line == 2
    assert "await fail('no row')" in result.stderr


async def test_tools_errors_are_caught(session: Session):
    code = "try:\n    await fail('x')\nexcept ToolError as error:\n    print(type(error).__name__)"
    assert (await session.run(code, TOOLS)).stdout == "LookupError\n"


@pytest.mark.parametrize(
    "code", ["while True:\n    pass", "import time\ntime.sleep(60)", "await wait_ms(60_000)"]
)
async def test_the_wall_clock_counts_everything(session: Session, code: str):
    await session.run("kept = await add(1)", TOOLS)
    began = time.monotonic()
    result = await session.run(f"print('before')\n{code}", TOOLS)
    assert (result.status, result.stdout) == ("timeout", "before\n")
    assert time.monotonic() - began < 3
    assert (await session.run("kept", TOOLS)).value == 2


async def test_calls_and_memory_have_limits(session: Session):
    result = await session.run("for n in range(100):\n    await add(n)", TOOLS)
    assert (result.status, len(result.calls)) == ("failed", 30)
    assert "the limit on calls of a run is reached" in str(result.error)
    result = await session.run("'x' * 10**9")
    assert result.error is not None
    assert result.error.type == "MemoryError"


async def test_long_output_and_large_values_are_cut(session: Session):
    result = await session.run("for n in range(20_000):\n    print(n)\nlist(range(100_000))")
    assert result.stdout.startswith("0\n1\n")
    assert result.stdout.endswith("\n19999\n")
    assert len(result.cuts) == 2
    assert (await session.run("len(_)")).value == 100_000


async def test_a_call_that_is_not_awaited_is_not_made(session: Session):
    result = await session.run("pending = [wait_ms(5) for _ in range(3)]\nlen(pending)", TOOLS)
    assert (result.value, result.calls) == (3, ())


async def test_paused_and_resumed(monty: Sandbox):
    async def ask() -> None:
        raise Pause

    async def never(*_: object) -> None:
        raise AssertionError("called again")

    code = """
import asyncio, datetime, random, time
before = [random.random(), str(datetime.datetime.now()), time.time()]
numbers = await asyncio.gather(add(1), add(2), asyncio.sleep(0.01))
print(before)
answer = await ask()
[numbers, answer, before]
"""
    async with monty.session() as first:
        await first.run("x = await add(10)", TOOLS)
        result = await first.run(code, {**TOOLS, "ask": ask})
        assert result.status == "paused"
    async with monty.session() as second:
        tools = {**dict.fromkeys(TOOLS, never), "ask": ask}
        resumed = await second.resume(first.journal.to_json(), tools, answers={3: "yes"})
        assert resumed is not None
        assert (resumed.status, resumed.value[:2]) == ("finished", [[2, 3, None], "yes"])
        assert resumed.stdout == result.stdout
        assert (await second.run("x")).value == 11


async def test_no_files_no_environment_no_modules_of_the_system(session: Session):
    for code in ("open('/etc/passwd')", "import os\nos.environ", "import subprocess"):
        assert (await session.run(code)).status == "failed"


LARGE = {  # what a program gives, and what is kept of it
    "keys": "{str(n): n for n in range(300_000)}",
    "numbers": "list(range(1_000_000))",
    "lists": "[[]] * 1_000_000",
    "a text": "'x' * 20_000_000",
    "deep lists": "[[[[[n]]]] for n in range(200_000)]",
}


@pytest.fixture
async def large() -> AsyncIterator[Session]:
    await usable("monty")
    async with Sandbox("monty", Limits(wall_s=20)) as sandbox, sandbox.session() as session:
        yield session


@pytest.mark.parametrize("case", LARGE)
async def test_a20_a_large_value_is_made_in_another_process(large: Session, case: str):
    async with large as session:
        await session.run("1")
        tracemalloc.start()
        result = await session.run(f"made = {LARGE[case]}\nmade")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert (result.status, result.truncated) == ("finished", True)
        assert len(json.dumps(result.value)) <= session.limits.value_bytes
        assert peak < 2**21
        assert (await session.run("len(_)")).value == (await session.run("len(made)")).value


@pytest.mark.parametrize("case", LARGE)
async def test_a20_large_arguments_are_refused_in_another_process(large: Session, case: str):
    async with large as session:
        await session.run("1")
        tracemalloc.start()
        result = await session.run(f"await add({LARGE[case]})", TOOLS)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert result.error is not None
        assert (result.status, result.calls) == ("failed", ())
        assert result.error.message == "add: arguments of more than 1000000 bytes"
        assert peak < 2**21


async def test_a_session_goes_on_where_the_process_of_the_workers_has_ended(monty: Sandbox):
    async with monty.session() as session, monty.session() as other:
        await session.run("kept = await add(1)", TOOLS)
        await other.run("kept = 5")
        process = cast("MontyRuntime", monty.runtime).process
        assert process is not None
        process.kill()
        for each in (session, other):  # which may notice it only now
            assert (await each.run("1")).status in ("crashed", "finished")
        assert (await session.run("kept")).value == 2
        assert (await other.run("kept")).value == 5


async def test_no_variable_of_the_host_is_in_the_process_of_the_workers(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-host")
    async with Sandbox("monty") as monty:
        process = cast("MontyRuntime", monty.runtime).process
        assert process is not None
        environment = Path(f"/proc/{process.pid}/environ").read_bytes()
    assert b"sk-of-the-host" not in environment
    assert b"PYTHONPATH=" in environment
