"""Coding agents from the npm registry finish a task on a model of another vendor.

They are installed into pytest's cache on first use.  Each is told the gateway's address, a key and
a model, as docs/coding-agents.md says, and nothing else.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from polycall.sim import Call, Simulation, Turn
from tests.gateway.harness import KEY, UPSTREAMS, Gateway, sim_config
from tests.packages import from_npm

PACKAGES = {
    "codex": "@openai/codex@0.169",
    "gemini": "@google/gemini-cli@0.61",
    "opencode": "opencode-ai@1.18",
}
COMMAND = "echo 안녕 > made.txt && cat made.txt"
PROMPT = "Make a file made.txt with a greeting."
FINAL = "The file is there."


@pytest.fixture(scope="session")
def agents(request: pytest.FixtureRequest) -> Path:
    """A folder with the agents' commands."""
    folder = from_npm(request, "coding-agents", *PACKAGES.values(), has=".bin/opencode")
    return folder / "node_modules" / ".bin"


@pytest.fixture(scope="module")
def lenient(sim: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that drops, with a warning, the hosted tools that agents bring along."""
    served = Gateway(
        tmp_path_factory.mktemp("agents"), sim_config(sim, "[server]\nlossy = true")
    ).start()
    yield served
    assert served.stop() == 0, served.log


def codex(home: Path, work: Path, url: str, model: str) -> tuple[list[str], dict[str, str]]:
    (home / ".codex").mkdir()
    (home / ".codex" / "config.toml").write_text(
        f'model = "{model}"\nmodel_provider = "polycall"\n'
        f'[model_providers.polycall]\nname = "polycall"\nbase_url = "{url}/v1"\n'
        'env_key = "POLYCALL_KEY"\nwire_api = "responses"\n'
    )
    words = ["exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", PROMPT]
    return words, {"POLYCALL_KEY": KEY}


def gemini(home: Path, work: Path, url: str, model: str) -> tuple[list[str], dict[str, str]]:
    settings = {
        "security": {
            "auth": {"selectedType": "gemini-api-key"},
            "folderTrust": {"enabled": False},
        },
        "privacy": {"usageStatisticsEnabled": False},
        "general": {"disableAutoUpdate": True},
    }
    (home / ".gemini").mkdir()
    (home / ".gemini" / "settings.json").write_text(json.dumps(settings))
    words = ["-m", model, "--yolo", "-p", PROMPT]
    return words, {"GEMINI_API_KEY": KEY, "GOOGLE_GEMINI_BASE_URL": url}


def opencode(home: Path, work: Path, url: str, model: str) -> tuple[list[str], dict[str, str]]:
    titles = f"{model}-titles"
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "options": {"baseURL": f"{url}/v1", "apiKey": KEY},
        "models": {model: {}, titles: {}},
    }
    settings = {"provider": {"polycall": provider}, "small_model": f"polycall/{titles}"}
    (work / "opencode.json").write_text(json.dumps(settings))
    return ["run", "-m", f"polycall/{model}", PROMPT], {}


CASES = [
    (codex, "up-anthropic", Call("exec_command", {"cmd": COMMAND})),
    (codex, "up-gemini", Call("exec_command", {"cmd": COMMAND})),
    (gemini, "up-anthropic", Call("run_shell_command", {"command": COMMAND})),
    (gemini, "up-responses", Call("run_shell_command", {"command": COMMAND})),
    (opencode, "up-gemini", Call("bash", {"command": COMMAND, "description": "make it"})),
    (opencode, "up-anthropic", Call("bash", {"command": COMMAND, "description": "make it"})),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("agent", "upstream", "call"),
    [pytest.param(*case, id=f"{case[0].__name__}-{case[1]}") for case in CASES],
)
def test_a_task_with_a_tool_call(
    *,
    sim: Simulation,
    lenient: Gateway,
    agents: Path,
    tmp_path: Path,
    agent: Any,
    upstream: str,
    call: Call,
) -> None:
    vendor = UPSTREAMS[upstream][0]
    model = f"coder-{agent.__name__}"
    sim.script(vendor, model, [Turn(text="I make it.", calls=[call]), Turn(text=FINAL)])
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    words, more = agent(home, work, lenient.url, f"{upstream}/{model}")
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "NO_COLOR": "1", **more}
    done = subprocess.run(
        [str(agents / agent.__name__), *words],
        cwd=work,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert FINAL in done.stdout
    assert (work / "made.txt").read_text() == "안녕\n"
    # The model saw what its command printed.
    asked = [each for each in sim.requests if each.vendor == vendor]
    last = next(each for each in reversed(asked) if model in each.path or model in str(each.body))
    assert "안녕" in json.dumps(last.body, ensure_ascii=False)
    assert sim.remaining(vendor, model) == 0
