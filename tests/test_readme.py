"""The README's first example prints what the README says it prints."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from polycall.sim import Simulation

README = Path(__file__).parents[1] / "README.md"

CONFIG = """
[providers.anthropic]
base_url = "{anthropic}"
api_key = "any"
[providers.google]
base_url = "{google}"
api_key = "any"
"""


def blocks(language: str) -> list[str]:
    text = README.read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("model", ["anthropic/sim-1", "google/sim-1"])
def test_the_first_example_prints_what_it_says(tmp_path: Path, model: str) -> None:
    program = blocks("python")[0].replace("anthropic/claude-sonnet-4.6", model)
    assert len(program.splitlines()) <= 15
    with Simulation() as simulation:
        text = CONFIG.format(
            anthropic=simulation.base_url("anthropic"), google=simulation.base_url("google")
        )
        (tmp_path / "polycall.toml").write_text(text, encoding="utf-8")
        (tmp_path / "example.py").write_text(program, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-X", "utf8", "example.py"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert (done.stderr, done.stdout) == ("", blocks("text")[0])


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README.read_text(encoding="utf-8")):
        assert (README.parent / target).exists(), target
