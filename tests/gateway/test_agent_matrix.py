"""Coding agents from the registries do a task on models of other vendors than their own.

Each gets the settings that `polycall agents` prints, and nothing else.  A simulated model has it
write a file, edit it, and run a command; what the command printed has to reach the model.  Agents
are installed into pytest's cache on first use; what cannot be installed is skipped, with a reason.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from polycall.cli.agent_settings import AGENTS, settings_page
from polycall.cli.agent_settings import Gateway as Address
from polycall.sim import Call, Simulation, Turn
from tests.gateway.harness import KEY, UPSTREAMS, Gateway, sim_config

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "coding-agents.md"
PROMPT = "Make a file notes.txt, mend it, and show it."
FINAL = "All of it is done."
SHELL = "cat notes.txt && cp notes.txt out.txt"


class Runner(NamedTuple):
    """How an agent is installed and run without a person."""

    package: str  # npm's, or PyPI's where it begins with `pypi:`
    program: str
    words: list[str]
    write: str  # tools, and the names of their arguments
    edit: str
    shell: str
    environment: dict[str, str] = {}  # noqa: RUF012 - never changed
    first: list[str] = []  # noqa: RUF012 - a call before the task


def _write(runner: Runner, work: Path) -> Call:
    path, text = str(work / "notes.txt"), "one 안녕\n"
    match runner.program:
        case "codex":
            return Call("exec_command", {"cmd": "printf 'one 안녕\\n' > notes.txt"})
        case "cline":
            return Call("editor", {"path": path, "new_text": text})
        case "opencode":
            return Call(runner.write, {"filePath": path, "content": text})
        case "cn":
            return Call(runner.write, {"filepath": path, "content": text})
        case _:
            return Call(runner.write, {"file_path": path, "content": text})


def _edit(runner: Runner, work: Path) -> Call:
    path, old, new = str(work / "notes.txt"), "one 안녕", "two 안녕"
    match runner.program:
        case "codex":
            patch = (
                f"*** Begin Patch\n*** Update File: notes.txt\n@@\n-{old}\n+{new}\n*** End Patch"
            )
            return Call("exec_command", {"cmd": f"apply_patch <<'EOF'\n{patch}\nEOF"})
        case "cline":
            return Call("editor", {"path": path, "old_text": old, "new_text": new})
        case "opencode":
            return Call(runner.edit, {"filePath": path, "oldString": old, "newString": new})
        case "gemini":
            more = {"instruction": "mend it"}
            return Call(
                runner.edit, {"file_path": path, "old_string": old, "new_string": new, **more}
            )
        case _:
            return Call(runner.edit, {"file_path": path, "old_string": old, "new_string": new})


def _shell(runner: Runner) -> Call:
    match runner.program:
        case "codex":
            return Call(runner.shell, {"cmd": SHELL})
        case "cline":
            return Call(runner.shell, {"commands": [SHELL]})
        case "qwen":
            return Call(runner.shell, {"command": SHELL, "is_background": False})
        case "claude" | "opencode" | "crush":
            return Call(runner.shell, {"command": SHELL, "description": "show it"})
        case _:
            return Call(runner.shell, {"command": SHELL})


QUIET = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "IS_SANDBOX": "1",
}
RUNNERS: dict[str, Runner] = {
    "claude-code": Runner(
        "@anthropic-ai/claude-code@2.1",
        "claude",
        ["-p", PROMPT, "--dangerously-skip-permissions"],
        *("Write", "Edit", "Bash"),
        QUIET,
    ),
    "codex": Runner(
        "@openai/codex@0.169",
        "codex",
        ["exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", PROMPT],
        *("exec_command", "apply_patch", "exec_command"),
    ),
    "gemini": Runner(
        "@google/gemini-cli@0.61",
        "gemini",
        ["-m", "MODEL", "--yolo", "--skip-trust", "-p", PROMPT],
        *("write_file", "replace", "run_shell_command"),
    ),
    "opencode": Runner("opencode-ai@1.18", "opencode", ["run", PROMPT], *("write", "edit", "bash")),
    "qwen-code": Runner(
        "@qwen-code/qwen-code@0.15",
        "qwen",
        ["--yolo", "-p", PROMPT],
        *("write_file", "edit", "run_shell_command"),
    ),
    "crush": Runner("@charmland/crush@0.96", "crush", ["run", PROMPT], *("write", "edit", "bash")),
    "cline": Runner(
        "cline@3",
        "cline",
        ["-P", "openai-compatible", PROMPT],
        *("editor", "editor", "run_commands"),
        first=["auth", "-p", "openai", "-k", KEY, "-b", "URL", "-m", "MODEL"],
    ),
    "continue": Runner(
        "@continuedev/cli@1", "cn", ["-p", PROMPT, "--auto"], *("Write", "Edit", "Bash")
    ),
    "aider": Runner(
        "pypi:aider-chat==0.86.2",
        "aider",
        [
            *("--model", "openai/MODEL", "--weak-model", "openai/MODEL", "--yes", "--no-git"),
            *("--no-check-update", "--no-show-model-warnings", "--analytics-disable"),
            *("--message", PROMPT),
        ],
        *("", "", ""),
    ),
}
# The vendor that an agent is made for is left out, and taken by itself below.
OWN = {"claude-code": "up-anthropic", "codex": "up-responses", "gemini": "up-gemini"}
OTHERS = ("up-anthropic", "up-gemini", "up-responses", "up-deepseek")
CASES = [
    (agent, upstream)
    for agent, upstream in itertools.product(RUNNERS, OTHERS)
    if OWN.get(agent) != upstream
]


@pytest.fixture(scope="session")
def installed(request: pytest.FixtureRequest) -> Callable[[str], Path]:
    """Gives the program of an agent; skips where it cannot be installed."""
    config: Any = request.config
    found: dict[str, Path | str] = {}

    def install(name: str) -> Path:
        if name not in found:
            found[name] = _installed(config.cache.mkdir(f"agent-{name}"), RUNNERS[name])
        program = found[name]
        if isinstance(program, str):
            pytest.skip(program)
        return program

    return install


def _installed(folder: Path, runner: Runner) -> Path | str:
    if runner.package.startswith("pypi:"):
        program = folder / "bin" / runner.program
        commands = [
            [sys.executable, "-m", "venv", str(folder)],
            [str(folder / "bin" / "pip"), "install", "-q", runner.package.removeprefix("pypi:")],
        ]
    else:
        program = folder / "node_modules" / ".bin" / runner.program
        if shutil.which("npm") is None:
            return "npm is not installed"
        commands = [["npm", "install", "--no-audit", "--no-fund", "--silent", runner.package]]
    if program.exists():
        return program
    (folder / "package.json").write_text('{"private": true}')
    for command in commands:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=600, check=False
        )
        if done.returncode:
            return f"{runner.package} cannot be installed: {done.stderr.strip()[-200:]}"
    return program


@pytest.fixture(scope="module")
def lenient(sim: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("matrix")
    served = Gateway(folder, sim_config(sim, "[server]\nlossy = true")).start()
    yield served
    assert served.stop() == 0, served.log
    assert "Traceback" not in served.log


def turns(name: str, work: Path, upstream: str) -> list[Turn]:
    runner = RUNNERS[name]
    if name == "aider":  # which has no tools: the model writes whole files
        return [Turn("notes.txt\n```\ntwo 안녕\n```\n")]
    calls = [_write(runner, work), _edit(runner, work), _shell(runner)]
    if runner.program == "cn":  # which edits what was read alone
        calls.insert(1, Call("Read", {"filepath": str(work / "notes.txt")}))
        if upstream == "up-gemini":  # by a model's name it offers another tool
            edit = calls[2].arguments
            edits = [{key: edit[key] for key in ("old_string", "new_string")}]
            calls[2] = Call("MultiEdit", {"file_path": edit["file_path"], "edits": edits})
    steps = [Turn(f"Step {number}.", calls=[call]) for number, call in enumerate(calls)]
    return [*steps, Turn(FINAL)]


def run(
    name: str, program: Path, folder: Path, *, url: str, model: str, small: str
) -> subprocess.CompletedProcess[str]:
    """Run an agent on its task, told what `polycall agents` prints."""
    home, work = folder / "home", folder / "work"
    home.mkdir()
    agent = next(agent for agent in AGENTS if agent.name == name)
    settings = agent.make(Address(url, KEY, model, small))
    for file in settings.files:
        path = home / file.path[2:] if file.path.startswith("~/") else work / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.text.replace("${{ secrets.POLYCALL_KEY }}", KEY), "utf-8")
    runner = RUNNERS[name]
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "NO_COLOR": "1", "CI": "1"}
    environment |= settings.environment | runner.environment
    done: subprocess.CompletedProcess[str] | None = None
    for words in filter(None, (runner.first, runner.words)):
        filled = [word.replace("MODEL", model).replace("URL", f"{url}/v1") for word in words]
        done = subprocess.run(
            [str(program), *filled],
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
    assert done is not None
    return done


@pytest.mark.slow
@pytest.mark.parametrize(("name", "upstream"), CASES)
def test_a_task_on_another_vendors_model(
    *,
    sim: Simulation,
    lenient: Gateway,
    installed: Callable[[str], Path],
    tmp_path: Path,
    name: str,
    upstream: str,
) -> None:
    program = installed(name)
    vendor, model = UPSTREAMS[upstream][0], f"matrix-{name}"
    work = tmp_path / "work"
    work.mkdir()
    sim.script(vendor, model, turns(name, work, upstream))
    small = f"{upstream}/sim-1-mini"
    done = run(name, program, tmp_path, url=lenient.url, model=f"{upstream}/{model}", small=small)
    said = done.stdout[-3000:] + done.stderr[-1500:]
    assert done.returncode == 0, said
    assert (work / "notes.txt").read_text("utf-8") == "two 안녕\n", said
    assert sim.remaining(vendor, model) == 0, said
    if name == "aider":
        return
    assert FINAL in done.stdout
    assert (work / "out.txt").read_text("utf-8") == "two 안녕\n"
    last = next(
        each
        for each in reversed(sim.requests)
        if each.vendor == vendor and (model in each.path or each.body.get("model") == model)
    )
    sent = json.dumps(last.body, ensure_ascii=False)
    assert "two 안녕" in sent  # what the command printed
    assert all(f"Step {number}." in sent for number in range(len(turns(name, work, upstream)) - 1))


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
def test_a_task_on_the_simulation_of_its_own_vendor(
    sim: Simulation, lenient: Gateway, installed: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    program = installed(name)
    upstream = OWN[name]
    vendor, model = UPSTREAMS[upstream][0], f"own-{name}"
    work = tmp_path / "work"
    work.mkdir()
    sim.script(vendor, model, turns(name, work, upstream))
    full, small = f"{upstream}/{model}", f"{upstream}/sim-1-mini"
    done = run(name, program, tmp_path, url=lenient.url, model=full, small=small)
    said = done.stdout[-3000:] + done.stderr[-1500:]
    assert done.returncode == 0, said
    assert (work / "out.txt").read_text("utf-8") == "two 안녕\n", said
    assert sim.remaining(vendor, model) == 0


# ---------------------------------------------------------------------------------------------
# The page

_BEGIN, _END = "<!-- settings: made by a test -->", "<!-- end of settings -->"


def test_the_page_has_the_settings_that_the_command_prints() -> None:
    """Put what it gives between the two marks where this fails."""
    made = "\n\n".join(settings_page(agent, Address()) for agent in AGENTS)
    found = re.search(f"{_BEGIN}\n(.*)\n{_END}", PAGE.read_text("utf-8"), re.DOTALL)
    assert found is not None
    assert found.group(1) == made


def test_the_page_has_a_row_for_each_agent_that_is_run() -> None:
    rows = re.findall(r"^\| (\S+) \|(.*)\|$", PAGE.read_text("utf-8"), re.MULTILINE)
    shown = {name for name, _ in rows} & {agent.name for agent in AGENTS}
    assert shown == RUNNERS.keys()
