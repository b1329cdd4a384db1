"""C10: Claude Code finishes a task on the simulation of its vendor, directly and by the gateway."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from polycall.sim import Call, Simulation, Turn
from tests.gateway.harness import KEY, UPSTREAMS, Gateway

COMMAND = "echo 안녕 > made.txt && cat made.txt"
PROMPT = "Make a file made.txt with a greeting."
FINAL = "The file is there."
CALL = Call("Bash", {"command": COMMAND, "description": "make it"})
SMALL = "claude-haiku-4-5"


def run(claude: Path, folder: Path, url: str, model: str, small: str) -> dict[str, Any]:
    """The task, and Claude Code's own report on it."""
    home, work = folder / "home", folder / "work"
    home.mkdir()
    work.mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": KEY,
        "ANTHROPIC_MODEL": model,
        "ANTHROPIC_SMALL_FAST_MODEL": small,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "IS_SANDBOX": "1",
    }
    words = ["-p", PROMPT, "--dangerously-skip-permissions", "--output-format", "json"]
    done = subprocess.run(
        [str(claude), *words],
        cwd=work,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[:600] + done.stderr[-600:]
    assert (work / "made.txt").read_text() == "안녕\n"
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "model", ["claude-opus-5-5", pytest.param("claude-sonnet-4-6", marks=pytest.mark.slow)]
)
def test_c10_on_the_simulation(sim: Simulation, claude: Path, tmp_path: Path, model: str) -> None:
    turns = [Turn(calls=[CALL], reasoning="I make it."), Turn(FINAL, reasoning="Done.")]
    sim.script("anthropic", model, turns)
    report = run(claude, tmp_path, sim.base_url("anthropic"), model, SMALL)
    assert (report["is_error"], report["result"]) == (False, FINAL)
    assert sim.remaining("anthropic", model) == 0


@pytest.mark.parametrize(
    "upstream",
    [
        "up-gemini",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("up-anthropic", "up-responses")),
    ],
)
def test_c10_by_the_gateway(
    *, sim: Simulation, gateway: Gateway, claude: Path, tmp_path: Path, upstream: str
) -> None:
    vendor = UPSTREAMS[upstream][0]
    sim.script(vendor, "coder-claude", [Turn(calls=[CALL]), Turn(FINAL)])
    small = f"{upstream}/sim-1-mini"
    report = run(claude, tmp_path, gateway.url, f"{upstream}/coder-claude", small)
    assert (report["is_error"], report["result"]) == (False, FINAL)
    assert sim.remaining(vendor, "coder-claude") == 0
