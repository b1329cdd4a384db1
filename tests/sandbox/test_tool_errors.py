"""Whatever error a tool has, its program reads one: the run neither hangs nor fails in the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from polycall.sandbox import Limits, Sandbox

from .support import usable


class Silent(Exception):  # noqa: N818
    """Has no text."""

    def __str__(self) -> str:
        raise LookupError("no text")


class Closed(Exception):  # noqa: N818
    """Shows its arguments to nobody."""

    args = property(lambda _: 1 / 0)  # type: ignore[assignment]


def _named(name: str) -> type[Exception]:
    """An error that only has the name of a built-in one."""
    return type(name, (Exception,), {})


ERRORS: dict[str, Callable[[], Exception]] = {
    "a group": lambda: ExceptionGroup("several", [ValueError(1), KeyError(2)]),
    "a group by name": lambda: _named("ExceptionGroup")("x"),
    "a syntax error by name": lambda: _named("SyntaxError")("x", [1, 2]),
    "an error of text by name": lambda: _named("UnicodeDecodeError")("x"),
    "an error without text": Silent,
    "an error without arguments": Closed,
    "the end of an iterator": lambda: StopIteration("returned"),
    "the end of another": lambda: StopAsyncIteration("returned"),
    "half a character": lambda: ValueError("\ud800"),
    "a number that nobody writes": lambda: ValueError(10**6000),
    "a long text": lambda: OSError("x" * 3_000_000),
}
CODE = """
try:
    kept = await tool()
except Exception as error:
    kept = 'an error'
kept
"""


@pytest.mark.parametrize("tier", ["jail", "monty"])
async def test_a_program_reads_an_error_whatever_a_tool_raises(tier: str) -> None:
    await usable(tier)

    async def in_the_loop() -> None:
        raise make()

    def in_a_thread() -> None:
        raise make()

    limits = Limits(wall_s=5)
    async with Sandbox(tier, limits, pool=1) as sandbox:  # pyright: ignore[reportArgumentType]
        found: dict[str, Any] = {}
        for name, make in ERRORS.items():  # noqa: B007 - the tools use it
            for tool in (in_the_loop, in_a_thread):
                async with sandbox.session() as session:
                    result = await session.run(CODE, {"tool": tool})
                found[f"{name}, {tool.__name__}"] = (result.status, result.value)
    assert {name: each for name, each in found.items() if each != ("finished", "an error")} == {}
