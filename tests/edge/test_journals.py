"""A20: what the calls of programs may have the host hold."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from polycall import Toolset, tool
from polycall.ir import ToolCall, ToolResult
from polycall.sandbox import Journal, JournalError, JournalFullError, Limits, Sandbox
from polycall.tool_server import CodeMode, CodeToolset
from polycall.tools import execute

RESULT_CHARS = 300_000
LIMITS = Limits(journal_bytes=10 * RESULT_CHARS, journal_entries=100, wall_s=60)


@tool
async def get_page(number: int) -> str:
    """A long page."""
    return f"{number:x>{RESULT_CHARS}}"


TOOLS = Toolset([get_page])


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(limits=LIMITS) as made:
        yield made


@pytest.mark.parametrize(("size", "words"), [(400_000, "3000000 bytes"), (1, "100 entries")])
def test_a20_a_journal_takes_no_entry_beyond_its_bound(size: int, words: str) -> None:
    journal = Journal()
    with pytest.raises(JournalFullError, match=words):
        for _ in range(101):
            journal.append({"value": "x" * size}, LIMITS)
    assert journal.size_bytes <= LIMITS.journal_bytes


@pytest.mark.parametrize("text", ['{"kind":"x"}\n' * 1_000, "x" * 7_000_000])
async def test_a20_a_journal_beyond_its_bound_is_not_read(text: str, sandbox: Sandbox) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(JournalError, match="are read"):
            await sandbox.session().resume(text)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


LARGE: dict[str, Callable[[Path], object]] = {
    "bytes": lambda path: os.truncate(path, 2 * LIMITS.journal_bytes + 1),
    "bytes without end": lambda path: os.truncate(path, 1 << 40),
    "entries": lambda path: path.write_text('{"kind":"x"}\n' * 201),
}


@pytest.mark.parametrize("case", LARGE)
def test_a20_a_file_beyond_the_bound_of_a_journal_is_not_read(case: str, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_text('{"kind":"x"}\n' * 200 + "\n\n" + '{"kind":"cut o')
    whole = Journal(path, limits=LIMITS)
    assert len(whole) == 200
    whole.append({"kind": "y"})
    whole.close()
    assert path.read_text() == '{"kind":"x"}\n' * 200 + '{"kind":"y"}\n'
    LARGE[case](path)
    tracemalloc.start()
    try:
        for _ in range(2):  # a file that was refused is held by nobody
            with pytest.raises(JournalError, match="are read"):
                Journal(path, limits=LIMITS)
        assert tracemalloc.get_traced_memory()[1] < 300_000
    finally:
        tracemalloc.stop()


def test_a20_a_journal_written_under_larger_limits_is_opened_with_them(tmp_path: Path) -> None:
    path, limits = tmp_path / "journal", Limits(journal_entries=100_000)
    path.write_text('{"kind":"x"}\n' * 100_001)
    with pytest.raises(JournalError, match=r"Give the limits .* under: `Journal\(path, limits="):
        Journal(path)
    whole = Journal(path, limits=limits)
    assert len(whole) == 100_001
    whole.close()


async def test_a20_results_of_programs_are_held_once(sandbox: Sandbox) -> None:
    async def opened() -> Sandbox:
        return sandbox

    mode = CodeMode(TOOLS.tools, opened)

    async def call(made: ToolCall) -> ToolResult:
        return await execute(replace(made, caller="direct"), TOOLS)

    code = "for number in range(8):\n    page = await get_page(number)\nlen(page)"
    await mode.run("await get_page(1)", call, implicit="first")
    tracemalloc.start()
    try:
        said = await mode.run(code, call, implicit="second")
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        await mode.close()
    assert said.text == str(RESULT_CHARS)
    assert held < 10 * RESULT_CHARS


async def test_a_session_whose_journal_is_full_ends(sandbox: Sandbox) -> None:
    async def opened() -> Sandbox:
        return sandbox

    tools = CodeToolset(TOOLS, opened, implicit=lambda: "one")

    async def ran(code: str) -> ToolResult:
        return await execute(ToolCall("c", "run", json.dumps({"code": code})), tools)

    said = await ran("for number in range(20):\n    await get_page(number)")
    assert said.is_error
    assert "begin another session" in said.text
    assert (await ran("len(await get_page(1))")).text == str(RESULT_CHARS)
    await tools.close()
