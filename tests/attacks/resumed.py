"""Forged journals that are resumed; prints what was not contained as JSON.

    python -m tests.attacks.resumed TIER

A program of its own, so that the tests can run it as another user.  A forged journal is refused by
an error of the sandbox, or its program runs as any other; no tool is called for it, and nothing
else comes out.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from polycall.sandbox import Limits, Sandbox
from polycall.sandbox.errors import SandboxError

_CODE = """
try:
    kept = await f(1)
except Exception as error:
    kept = type(error).__name__
kept
"""
_LATER = "import datetime\nstr(datetime.datetime.now())"
_DEEP = "[" * 100_000 + "]" * 100_000


def _error(name: str, args: list[Any], message: str = "m") -> dict[str, Any]:
    return {"value": None, "error": {"name": name, "message": message, "args": args}}


CHANGES: dict[str, tuple[str, dict[str, Any]]] = {
    "a beginning after all dates": ("session", {"began": 9e11}),
    "a seed of many digits": ("session", {"seed": 10**4000}),
    "a seed below zero": ("session", {"seed": -(2**70)}),
    "another tier's words": ("session", {"tier": "\x1b[2Jjail"}),
    "a version of Python in parts": ("session", {"python": "3"}),
    "an id that is a path": ("session", {"id": "../../etc"}),
    "a run after all dates": ("run", {"now": 9e11}),
    "a run of a negative number": ("run", {"run": -1}),
    "tools that are attributes": ("run", {"tools": ["f", "__class__"]}),
    "a tool a hundred thousand times": ("run", {"tools": ["f"] * 100_000}),
    "a program of half a character": ("run", {"code": "x = '\ud800'"}),
    "a program in depth": ("run", {"code": "(" * 100_000}),
    "a program that asks for more": ("run", {"code": "await f(1)\nawait f(2)\nawait f(3)"}),
    "a call of an attribute": ("call", {"name": "f.__globals__"}),
    "a call before the first": ("call", {"id": 0}),
    "a call by a name as well": ("call", {"kwargs": {"self": 1}}),
    "a result in depth": ("done", {"value": [[[[[[[[]]]]]]]]}),
    "a result of half a character": ("done", {"value": "\ud800"}),
    "a result that steers a terminal": ("done", {"value": "\x1b[2J"}),
    "an error that leaves": ("done", _error("SystemExit", [1])),
    "an error that is a function": ("done", _error("eval", ["print('ran')"])),
    "an error that imports": ("done", _error("__import__", ["antigravity"])),
    "an error that checks its parts": ("done", _error("ExceptionGroup", ["x"])),
    "an error that takes its parts apart": ("done", _error("SyntaxError", ["x", [1]])),
    "an error that a coroutine returns by": ("done", _error("StopIteration", ["returned"])),
    "an error that nobody can write": ("done", _error("a\0\ud800", ["\ud800"], "\ud800")),
    "cancelled by a word": ("done", {"cancelled": "yes"}),
    "a turn by truth": ("turn", {"ids": [True]}),
    "a turn after all dates": ("turn", {"now": 9.9e11}),
    "a turn of what was never called": ("turn", {"ids": [7]}),
    "an end of another kind": ("end", {"status": "\x1b[2Jfinished"}),
    "an end of another run": ("end", {"run": 2}),
}


def _texts(lines: list[str]) -> dict[str, str]:
    """Journals that no change of a field makes."""
    head, run, call, *rest = lines
    pause = '{"kind":"pause","id":%d,"run":1}\n'
    return {
        "a line in depth": f"{head}{_DEEP}\n",
        "a field in depth": f'{head}{{"kind":"done","id":1,"run":1,"value":{_DEEP}}}\n',
        "no number of JSON": "".join(lines).replace('"now": ', '"now": NaN, "then": '),
        "digits without end": head.replace('"version": 1', '"version": ' + "9" * 5000),
        "two headers": head + "".join(lines),
        "everything twice": "".join(lines) * 2,
        "a run twice": head + run + "".join(lines[1:]),
        "no beginning": "".join(lines[1:]),
        "a mark before it": "\ufeff" + "".join(lines),
        "paused calls of nobody": head + run + pause % 9 + call + "".join(rest),
        "a pause a thousand times": "".join(lines[:-1]) + pause % 1 * 1000,
        "runs without number": head + run.replace('"run": 1', '"run": true'),
    }


async def _recorded(tier: str) -> list[dict[str, Any]]:
    async def f(value: int) -> int:
        return value + 1

    async with Sandbox(tier, pool=0) as sandbox, sandbox.session() as session:  # type: ignore[arg-type]
        await session.run(_CODE, {"f": f})
        return [dict(entry) for entry in session.journal.entries]


def journals(entries: list[dict[str, Any]]) -> dict[str, str]:
    """The forged journals by name."""
    lines = [json.dumps(entry) + "\n" for entry in entries]
    found = _texts(lines)
    for name, (kind, change) in CHANGES.items():
        place = next(n for n, entry in enumerate(entries) if entry["kind"] == kind)
        changed = json.dumps({**entries[place], **change}) + "\n"
        found[name] = "".join([*lines[:place], changed, *lines[place + 1 :]])
    return found


async def _problems(sandbox: Sandbox, text: str) -> list[str]:
    called: list[Any] = []

    async def f(*values: Any, **named: Any) -> None:
        called.append((values, named))

    problems: list[str] = []
    began = time.monotonic()
    try:
        async with sandbox.session() as session:
            resumed = await session.resume(text, {"f": f})
            later = await session.run(_LATER)
            shown = f"{resumed} {later}"
            if later.status != "finished":
                problems.append(f"the next run does not work: {later}")
    except SandboxError as refused:
        shown = str(refused)
    except Exception as error:
        shown = ""
        problems.append(f"{type(error).__name__}: {error}"[:200])
    if called:
        problems.append(f"called {called}")
    if "\x1b" in shown:
        problems.append("control characters")
    if time.monotonic() - began > sandbox.limits.wall_s + 5:
        problems.append("took long")
    return problems


async def report(tier: str) -> dict[str, list[str]]:
    """What was not contained, by the name of the journal; all names are in it."""
    found: dict[str, list[str]] = {}
    forged = journals(await _recorded(tier))
    async with Sandbox(tier, Limits(wall_s=3, memory_mib=128), pool=1) as sandbox:  # type: ignore[arg-type]
        for name, text in forged.items():
            found[name] = await _problems(sandbox, text)
    return found


if __name__ == "__main__":
    json.dump(asyncio.run(report(sys.argv[1])), sys.stdout)
