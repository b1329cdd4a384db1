"""Coding agents from the registries do a task of ten steps on their own vendor's models and others.

Each gets the settings that `polycall agents` prints, and those that have it compact early.  It asks
for a model that it knows, which the gateway's alias gives it from each vendor.  The task is in
agent_task.py.  Agents are installed into pytest's cache on first use; what cannot be installed is
skipped, with a reason.
"""

from __future__ import annotations

import base64
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
from polycall.sim import Simulation, Turn
from tests.gateway.agent_task import FINAL, Model, picture, prepare, steps
from tests.gateway.harness import KEY, UPSTREAMS, Gateway, sim_config

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "coding-agents.md"
PROMPT = "Do the ten steps: search, read, write, edit, look at red.png, run it, and show it."


class Runner(NamedTuple):
    """How an agent is installed and run without a person.

    `model` is a name that the agent knows, for which the gateway has an alias: it then brings along
    all of its tools.  `settings` are merged into its file; they have it compact early.
    """

    package: str  # npm's, or PyPI's where it begins with `pypi:`
    program: str
    model: str
    words: list[str]
    environment: dict[str, str] = {}  # noqa: RUF012 - never changed
    settings: dict[str, Any] = {}  # noqa: RUF012
    files: dict[str, str] = {}  # noqa: RUF012 - more of its settings
    replaced: tuple[str, str] = ("", "")  # in its file of settings
    tools: str = ""  # of which agent, where not of its name
    is_blind: bool = False  # its command line reads no pictures
    overflows: bool = False  # compacts where the model says that it is too much
    first: list[str] = []  # noqa: RUF012 - a call before the task
    second: list[str] = []  # noqa: RUF012 - one after it: some compact before new words alone


QUIET = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "IS_SANDBOX": "1",
    "CLAUDE_CODE_AUTO_COMPACT_WINDOW": "100000",
    "CLAUDE_AUTOCOMPACT_PCT_OVERRIDE": "40",
}
# Windows that are small enough for a conversation to be compacted half-way.
CN_OPTIONS = json.dumps({"contextLength": 10000, "maxTokens": 1000})
PI_SETTINGS = {"compaction": {"enabled": True, "reserveTokens": 2000, "keepRecentTokens": 500}}
RUNNERS: dict[str, Runner] = {
    "claude-code": Runner(
        "@anthropic-ai/claude-code@2.1",
        "claude",
        "claude-sonnet-4-6",
        ["-p", PROMPT, "--dangerously-skip-permissions"],
        QUIET,
    ),
    "codex": Runner(
        "@openai/codex@0.169",
        "codex",
        "gpt-5.5",
        [
            *("exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"),
            *("-c", "model_auto_compact_token_limit=12000", PROMPT),
        ],
    ),
    "gemini": Runner(
        "@google/gemini-cli@0.61",
        "gemini",
        "gemini-3-pro-preview",
        ["-m", "MODEL", "--yolo", "--skip-trust", "-p", PROMPT],
        settings={"model": {"compressionThreshold": 0.013}},
        second=["-m", "MODEL", "--yolo", "--skip-trust", "--resume", "latest", "-p", "Go on."],
    ),
    "opencode": Runner(
        "opencode-ai@1.18",
        "opencode",
        "coder",
        ["run", PROMPT],
        settings={
            "provider": {
                "polycall": {
                    "models": {
                        "coder": {
                            "limit": {"context": 16000, "output": 4000},
                            "attachment": True,
                            "modalities": {"input": ["text", "image"], "output": ["text"]},
                        }
                    }
                }
            }
        },
    ),
    "qwen-code": Runner(
        "@qwen-code/qwen-code@0.15",
        "qwen",
        "qwen3.6-plus",
        ["--yolo", "-p", PROMPT],
        settings={
            "model": {
                "chatCompression": {"contextPercentageThreshold": 0.7},
                "generationConfig": {"contextWindowSize": 30000, "modalities": {"image": True}},
            }
        },
        second=["--yolo", "--continue", "-p", "Go on."],
    ),
    "crush": Runner("@charmland/crush@0.96", "crush", "coder", ["run", PROMPT]),
    "cline": Runner(
        "cline@3",
        "cline",
        "coder",
        ["-P", "openai-compatible", PROMPT],
        first=["auth", "-p", "openai", "-k", KEY, "-b", "URL", "-m", "MODEL"],
        overflows=True,
    ),
    "continue": Runner(
        "@continuedev/cli@1",
        "cn",
        "coder",
        ["-p", PROMPT, "--auto"],
        is_blind=True,
        replaced=("    roles:", f"    defaultCompletionOptions: {CN_OPTIONS}\n    roles:"),
    ),
    "pi": Runner(
        "@mariozechner/pi-coding-agent@0.73",
        "pi",
        "coder",
        ["--provider", "polycall", "--model", "coder", "--offline", "-p", PROMPT],
        files={".pi/agent/settings.json": json.dumps(PI_SETTINGS)},
        replaced=('"contextWindow": 200000', '"contextWindow": 9000'),
        second=[
            *("--provider", "polycall", "--model", "coder", "--offline", "--continue"),
            *("-p", "Go on."),
        ],
    ),
    "aider": Runner(
        "pypi:aider-chat==0.86.2",
        "aider",
        "coder",
        [
            *("--model", "openai/MODEL", "--weak-model", "openai/MODEL", "--yes", "--no-git"),
            *("--no-check-update", "--no-show-model-warnings", "--analytics-disable"),
            *("--message", PROMPT),
        ],
    ),
}
# What agents ask for, each a pattern; the small work of Claude Code has a model of its own.
STEPS_BEFORE_IT = 7  # compacted
PATTERNS = ("claude-*", "gpt-*", "gemini-*", "qwen*", "coder")
VENDORS = ("up-anthropic", "up-gemini", "up-responses", "up-deepseek")
CASES = [
    (agent, upstream)
    for agent, upstream in itertools.product(RUNNERS, VENDORS)
    if agent != "aider"  # which has no tools, and a test of its own
]
TEN = range(10)
DEADLINE_S = 1200  # of a run: a busy machine is slow
# The picture, as every wire carries it.
_PICTURE = base64.b64encode(picture()).decode()[:200]


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


def matrix_config(sim: Simulation, upstream: str) -> str:
    """A gateway for agents that ask for their own models, and get another vendor's."""
    aliases = "".join(f'[models."{name}"]\nroute = ["{upstream}/matrix"]\n' for name in PATTERNS)
    small = f'[models."claude-haiku-*"]\nroute = ["{upstream}/sim-1-mini"]\n'
    return sim_config(sim, f"[server]\nlossy = true\n{small}{aliases}")


def _merged(value: Any, more: Any) -> Any:
    if not isinstance(value, dict) or not isinstance(more, dict):
        return more
    return {**value, **{key: _merged(value.get(key), each) for key, each in more.items()}}


def run(name: str, program: Path, folder: Path, *, url: str) -> subprocess.CompletedProcess[str]:
    """Run an agent on its task, by the settings that `polycall agents` prints."""
    home, work = folder / "home", folder / "work"
    home.mkdir()
    runner = RUNNERS[name]
    model = runner.model
    agent = next(agent for agent in AGENTS if agent.name == name)
    settings = agent.make(Address(url, KEY, model, "claude-haiku-4-5"))
    for file in settings.files:
        path = home / file.path[2:] if file.path.startswith("~/") else work / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        text = file.text.replace("${{ secrets.POLYCALL_KEY }}", KEY)
        text = text.replace(*runner.replaced) if runner.replaced[0] else text
        if runner.settings:
            text = json.dumps(_merged(json.loads(text), runner.settings))
        path.write_text(text, "utf-8")
    for place, text in runner.files.items():
        (home / place).parent.mkdir(parents=True, exist_ok=True)
        (home / place).write_text(text, "utf-8")
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "NO_COLOR": "1", "CI": "1"}
    environment |= settings.environment | runner.environment
    done: subprocess.CompletedProcess[str] | None = None
    for words in filter(None, (runner.first, runner.words, runner.second)):
        filled = [word.replace("MODEL", model).replace("URL", f"{url}/v1") for word in words]
        done = subprocess.run(
            [str(program), *filled],
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
    assert done is not None
    return done


class Served(NamedTuple):
    """A gateway whose models are all of one upstream."""

    gateway: Gateway
    vendor: str


@pytest.fixture(scope="module")
def served(
    sim: Simulation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Served]]:
    gateways: dict[str, Gateway] = {}

    def serve(upstream: str) -> Served:
        if upstream not in gateways:
            folder = tmp_path_factory.mktemp("matrix")
            gateways[upstream] = Gateway(folder, matrix_config(sim, upstream)).start()
        return Served(gateways[upstream], UPSTREAMS[upstream][0])

    yield serve
    for gateway in gateways.values():
        assert gateway.stop() == 0, gateway.log
        assert "Traceback" not in gateway.log


def _warned(gateway: Gateway, before: int) -> set[str]:
    """What the gateway warned of in the rows of its ledger since then."""
    rows = gateway.ledger(before + 1)[before:]
    details = [json.loads(row["details"]) for row in rows if row["details"]]
    return {warning["feature"] for each in details for warning in each.get("warnings", [])}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "upstream"), CASES)
def test_ten_steps_with_a_picture_and_a_compaction(
    *,
    sim: Simulation,
    served: Callable[[str], Served],
    installed: Callable[[str], Path],
    tmp_path: Path,
    name: str,
    upstream: str,
) -> None:
    program, runner = installed(name), RUNNERS[name]
    gateway, vendor = served(upstream)
    work = tmp_path / "work"
    work.mkdir()
    prepare(work)
    half = STEPS_BEFORE_IT
    model = Model(
        steps(runner.tools or name, work),
        pauses_after=half if runner.second else 0,
        overflows_after=half if runner.overflows else 0,
    )
    sim.script(vendor, "matrix", model)
    received, rows = sim.received, len(gateway.ledger(0))
    done = run(name, program, tmp_path, url=gateway.url)
    said = f"{done.stdout[-3000:]}{done.stderr[-1500:]}\n{model.faults}"
    assert done.returncode == 0, said
    assert FINAL in done.stdout, said
    assert model.faults == []
    assert model.made == len(TEN)
    assert model.compactions, said
    assert model.carried_on, said
    assert (work / "notes.txt").read_text("utf-8") == "three 안녕\nend\n", said
    assert (work / "out.txt").read_text("utf-8") == "three 안녕\nend\n"
    sent = [json.dumps(each.body) for each in sim.since(received)]
    assert runner.is_blind or any(_PICTURE in text for text in sent)
    warned = _warned(gateway, rows)
    assert warned <= documented_warnings(), warned


@pytest.mark.slow
@pytest.mark.parametrize("upstream", VENDORS)
def test_aider_which_has_no_tools_writes_a_file(
    *,
    sim: Simulation,
    served: Callable[[str], Served],
    installed: Callable[[str], Path],
    tmp_path: Path,
    upstream: str,
) -> None:
    program = installed("aider")
    gateway, vendor = served(upstream)
    work = tmp_path / "work"
    work.mkdir()
    sim.script(vendor, "matrix", [Turn("notes.txt\n```\ntwo 안녕\n```\n")])
    done = run("aider", program, tmp_path, url=gateway.url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (work / "notes.txt").read_text("utf-8") == "two 안녕\n"


# ---------------------------------------------------------------------------------------------
# The page

_BEGIN, _END = "<!-- settings: made by a test -->", "<!-- end of settings -->"


def documented_warnings() -> set[str]:
    """The warnings that the page says agents get."""
    found = re.search(r"<!-- warnings -->\n(.*?)\n<!-- end -->", PAGE.read_text("utf-8"), re.DOTALL)
    assert found is not None
    return set(re.findall(r"^\| `([\w.]+)` \|", found[1], re.MULTILINE))


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
