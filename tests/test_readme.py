"""What the README shows runs as it says, and prints what it says, without a key."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
MODELS = (
    "anthropic/claude-sonnet-4-6",
    "openai/gpt-5.4",
    "google/gemini-3.8-flash",
    "deepseek/deepseek-flash",
    "compatible/any",
)
# A block is a program, or lines that stand in one.
SDKS = """
from openai import OpenAI
from anthropic import Anthropic
from google import genai
KEY = "any"
"""
DURABLE = """
import asyncio
from polycall import Agent
from polycall.durable import Durable
desk = Agent("openai/gpt-5.4", name="desk")
async def main():
{block}
asyncio.run(main())
"""


def blocks(language: str) -> list[str]:
    text = README.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def printed(program: str, folder: Path) -> str:
    (folder / "example.py").write_text(program, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "polycall", "sim", sys.executable, "-X", "utf8", "example.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_it_is_a_page() -> None:
    assert len(README.read_text("utf-8").splitlines()) <= 150
    assert len(blocks("python")) == 4


@pytest.mark.parametrize("model", MODELS)
def test_the_first_example_prints_what_it_says(tmp_path: Path, model: str) -> None:
    program = blocks("python")[0]
    assert len(program.splitlines()) <= 15
    shown = re.search(r"^\$ polycall sim .*\n([^$]*)^\$", blocks("console")[1], re.MULTILINE)
    assert shown is not None
    assert printed(program.replace(MODELS[0], model), tmp_path) == shown[1]


@pytest.mark.parametrize("model", MODELS)
def test_the_agents_print_what_it_says(tmp_path: Path, model: str) -> None:
    program = blocks("python")[2]
    assert len(program.splitlines()) < 40
    assert printed(program.replace(MODELS[1], model), tmp_path) == blocks("text")[0]


def test_the_other_lines_run(tmp_path: Path) -> None:
    _, sdks, _, durable = blocks("python")
    assert printed(SDKS + sdks, tmp_path) == ""
    block = "".join(f"    {line}\n" for line in durable.splitlines())
    assert "no language model here" in printed(DURABLE.format(block=block), tmp_path)
