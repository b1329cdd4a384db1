"""Attempts to break out, one after the other and ten at once, as root and as an ordinary user."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from .support import HERE, command_as_nobody, readable, run_python, shared_ptc, usable

HOST_MIB_MAX = 600


async def report(command: list[str], tier: str, folder: Path, at_once: int) -> dict[str, Any]:
    arguments = [tier, str(folder), "--at-once", str(at_once), "--wall", "1"]
    status, out, errors = await run_python([*command, "-m", "tests.sandbox.contain", *arguments])
    assert status == 0, errors
    return json.loads(out)


def check(found: dict[str, Any], count: int) -> None:
    assert {a["name"]: a["problems"] for a in found["attempts"] if a["problems"]} == {}
    assert len(found["attempts"]) == count
    left = ("connections", "pwned", "processes_left", "descriptors_left", "files_left")
    assert {name: found[name] for name in left} == {
        "connections": [],
        "pwned": False,
        "processes_left": [],
        "descriptors_left": 0,
        "files_left": [],
    }
    assert found["host_peak_mib"] < HOST_MIB_MAX


def attempts(which: str) -> Path:
    return readable(HERE / "escapes") if which == "own" else shared_ptc() / "escapes"


def user(who: str) -> list[str]:
    return [sys.executable] if who == "self" else command_as_nobody()


@pytest.fixture(autouse=True)
def no_canary_of_another_user() -> None:
    """The bait is made by whoever runs the attempts, and must be theirs to make."""
    folder = Path("/tmp/ptc_canary")
    if folder.exists():
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


@pytest.mark.parametrize("who", ["self", pytest.param("nobody", marks=pytest.mark.slow)])
@pytest.mark.parametrize("tier", ["jail", "monty"])
@pytest.mark.parametrize("which", [pytest.param("own", marks=pytest.mark.slow), "shared"])
async def test_contained_ten_at_once(tier: str, which: str, who: str):
    await usable(tier)
    command, folder = user(who), attempts(which)
    check(await report(command, tier, folder, 10), len(list(folder.glob("*.py"))))


@pytest.mark.parametrize("tier", ["jail", "monty"])
@pytest.mark.slow
async def test_contained_one_by_one(tier: str):
    await usable(tier)
    folder = attempts("own")
    check(await report(user("self"), tier, folder, 1), len(list(folder.glob("*.py"))))


@pytest.mark.slow
async def test_shared_attempts_one_by_one():
    await usable("jail")
    folder = attempts("shared")
    check(await report(user("self"), "jail", folder, 1), len(list(folder.glob("*.py"))))
