"""Programs of users, as pyright reads them in strict mode: right ones pass, wrong ones do not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

RIGHT = """
from dataclasses import dataclass
from typing import Any, Literal
from polycall import Agent, tool, triage
from polycall.agents import Guarded, Router, Sessions

@dataclass
class A:
    x: int

@dataclass
class B:
    y: int

@tool
def get_weather(city: str, unit: Literal["celsius", "fahrenheit"] = "celsius") -> dict[str, Any]:
    return {"city": city, "unit": unit}

agent = Agent("a/m", tools=[get_weather])
plain: str = agent.run_sync("x").output
value: dict[str, Any] = get_weather("Seoul")
either: A | B = Agent("a/m", output=A | B).run_sync("x").output
word: Literal["a", "b"] = Agent("a/m", output=Literal["a", "b"]).run_sync("x").output
many: list[A] = Agent("a/m", output=list[A]).run_sync("x").output
typed = Agent("a/m", output=A)
front = triage("a/m", [agent, typed])

async def main(sessions: Sessions) -> tuple[str, A, A]:
    session = sessions.open("a")
    await session.run(Router([agent], lambda words: "agent"), "x")
    run = await session.run(agent, "hi")
    if run.paused is not None:
        run = await session.resume(agent, run.paused)
    one = await session.run(typed, "hi")
    two = await session.run(Guarded(typed), "hi")
    return run.output, one.output, two.output
"""
WRONG = """
from polycall import Agent, tool

@tool
def get_weather(city: str) -> str:
    return city

get_weather(5)
number: int = Agent("a/m").run_sync("x").output
text: str = Agent("a/m", output=list[int]).run_sync("x").output
Agent("a/m").run_sync("x", histroy=[])
"""


def problems(folder: Path, code: str) -> set[int]:
    """The lines in which pyright finds an error."""
    program = folder / "program.py"
    program.write_text(code)
    settings = {
        "include": [str(program)],
        "typeCheckingMode": "strict",
        "extraPaths": [str(ROOT / "src")],
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "-p", str(folder), "--outputjson"]
    command += ["--pythonpath", sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    found = json.loads(done.stdout)["generalDiagnostics"]
    return {each["range"]["start"]["line"] for each in found if each["severity"] == "error"}


def test_l10_a_right_program_passes(tmp_path: Path) -> None:
    assert problems(tmp_path, RIGHT) == set()


def test_l10_a_wrong_program_does_not(tmp_path: Path) -> None:
    assert problems(tmp_path, WRONG) == {7, 8, 9, 10}
