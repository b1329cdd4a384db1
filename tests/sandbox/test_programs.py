"""Programs such as a model writes give the same output as on stock Python."""

from __future__ import annotations

import sys

import pytest

from polycall.sandbox import Sandbox

from . import shop
from .support import HERE, Program, read_program, shared_ptc, usable

OWN = sorted((HERE / "programs").glob("*.py"))
# What monty cannot run of our own programs; docs/limitations/sandbox-monty.md says why.
BEYOND_MONTY = 30


async def failures(tier: str, programs: list[Program], functions: object) -> dict[str, str]:
    """The programs that did not give their output, with what they gave instead."""
    wrong: dict[str, str] = {}
    async with Sandbox(tier) as sandbox:  # pyright: ignore[reportArgumentType]
        for program in programs:
            async with sandbox.session() as session:
                tools = functions() if callable(functions) else functions
                result = await session.run(program.code, tools)
            if (result.status, result.stdout) != ("finished", program.stdout):
                wrong[program.name] = str(result.error or result.stdout)
    return wrong


async def own_programs() -> list[Program]:
    return [
        Program(path.stem, code := path.read_text("utf-8"), await shop.on_stock_python(code))
        for path in OWN
    ]


def shared_programs() -> list[Program]:
    return [read_program(path) for path in sorted((shared_ptc() / "benign").glob("*.py"))]


def shared_functions() -> object:
    sys.path.insert(0, str(shared_ptc()))
    try:
        import stub_tools  # pyright: ignore[reportMissingImports]
    finally:
        sys.path.pop(0)

    def fresh() -> object:
        stub_tools.reset()
        return stub_tools.TOOLS

    return fresh


async def test_own_programs_in_jail():
    await usable("jail")
    assert len(OWN) >= 40
    assert await failures("jail", await own_programs(), shop.functions) == {}


async def test_shared_programs_in_jail():
    await usable("jail")
    assert await failures("jail", shared_programs(), shared_functions()) == {}


async def test_shared_programs_in_monty():
    await usable("monty")
    wrong = await failures("monty", shared_programs(), shared_functions())
    # It runs three in five, and says of each of the others what it lacks.
    assert len(wrong) <= 8, wrong
    assert all(word.partition(":")[0].endswith("Error") for word in wrong.values()), wrong


async def test_own_programs_in_monty():
    await usable("monty")
    wrong = await failures("monty", await own_programs(), shop.functions)
    assert len(wrong) <= BEYOND_MONTY, sorted(wrong)


@pytest.mark.parametrize("path", OWN[:1], ids=lambda path: path.stem)
async def test_the_reference_is_stock_python(path: object):
    assert await shop.on_stock_python("print(len(await get_sales('Seoul')))") == "20\n"
