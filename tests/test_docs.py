"""The documentation's code runs, its configurations have no mistakes, its commands are there.

Pages whose examples say what they print are held to it beside what they are about:
tests/test_readme.py, tests/{agents,mcp,tools,tracing}/test_docs.py, tests/agents/test_examples.py.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from polycall.cli import COMMANDS, main
from polycall.config import CONFIG_VARIABLE, parse_config

ROOT = Path(__file__).parents[1]
PAGES = {page.stem: page for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]}

# What a page takes for granted: names that its reader has, or gives.
PRELUDES = {
    "agents": """
import json
import aiohttp
from polycall import Agent, Knowledge, ToolTree, WrittenTools, tool
from polycall.sandbox import Sandbox
from pathlib import Path
model = "openai/gpt-5.4"
agent = Agent(model)
Path("docs").mkdir()
Path("docs/a.md").write_text("# Tea")
Path("openapi.json").write_text('{"paths": {"/tea": {"get": {"operationId": "tea"}}}}')
Path("prices.csv").write_text("a,b\\n1,2")
async def send(to: str) -> None: "Send."
async def inbox() -> None: "Read."
async def create(title: str) -> None: "Plan."
async def get_order(order_id: str) -> None: "Look up."
""",
    "client": "",
    "code-mode": """
from pathlib import Path
Path("openapi.json").write_text('{"paths": {"/tea": {"get": {"operationId": "tea"}}}}')
""",
    "gateway": """
import boto3  # type: ignore[import-untyped]  # it has no types
import anthropic, ollama, openai
from google import genai
KEY = "any"
""",
    "programs": """
from openai import OpenAI
from polycall import Agent
KEY = "any"
""",
    "providers": """
import os
from pathlib import Path
from polycall import Agent, Client
config = Path(os.environ["POLYCALL_CONFIG"])
config.write_text(config.read_text().replace("providers.compatible", "providers.acme"))
client = Client()
async def get_weather(city: str) -> str: "The weather (날씨)."; return "snow"
""",
    "responses": """
import atexit, subprocess, sys
import openai
served = subprocess.Popen(
    [sys.executable, "-m", "polycall", "serve", "--port", "0"], stdout=subprocess.PIPE, text=True,
    stderr=subprocess.DEVNULL,
)
assert served.stdout is not None
URL, KEY = served.stdout.readline().split()[-1], "any"
def end() -> None:
    client.close()
    served.terminate()
    served.communicate()
atexit.register(end)
""",
    "refusals": "",
    "sandbox": "",
    "sessions": """
import re
from polycall import Agent
agent = Agent("openai/gpt-5.4")
CARD, text = re.compile("[0-9]{16}"), "My card is 4242424242424242."
SECRET = "a secret of sixteen characters, or more"
async def read_page(number: int) -> str: "Read a page."; return "words"
""",
    "saved-runs": """
from polycall import Agent, tool
@tool
async def weather(city: str) -> str: "The weather."; return "snow"
agent = Agent("openai/sim-1", tools=[weather])
""",
    "sim": "import json",
    "events": "",
    "settings": """
import base64
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
""",
    "telephone": """
import os
from polycall import Agent
os.environ["TWILIO_AUTH_TOKEN"] = "any"
host = Agent("openai/gpt-5.4", instructions="You are the host of a restaurant.")
""",
    "voice": "",
}
# What a reader's own program does in the end.
ENDINGS = {"providers": "await client.close()"}
# Their own tests run these.
ELSEWHERE = {"README", "durable", "mcp", "tools", "tracing", "web"}
# Their configuration is that of another program.
FOREIGN = {"coding-agents"}

ACME_NAME = "[providers.acme]"
ACME = f'{ACME_NAME}\ndialect = "openai-chat"\nbase_url = "https://llm.acme.example/v1"\n'
# Runs blocks one after the other, on one event loop, as an interactive Python would.
DRIVER = """
import ast, asyncio, inspect, sys
with asyncio.Runner() as runner:
    names = {"__name__": "page"}
    for number, block in enumerate(open("page.py", encoding="utf-8").read().split("\\0")):
        code = compile(block, f"block {number}", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        if code.co_flags & inspect.CO_COROUTINE:
            async def run(): await eval(code, names)
            runner.run(run())
        else:
            exec(code, names)
"""


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )


def test_every_page_with_code_is_run() -> None:
    with_code = {name for name, page in PAGES.items() if blocks(page, "python")}
    tested = PRELUDES.keys() | ELSEWHERE
    assert with_code == tested, (
        "a page with code is in PRELUDES here, or in ELSEWHERE by its own test"
    )


# Says where the configuration is, and keeps the simulation up until its input ends.
HOLDER = f"import os, sys; print(os.environ[{CONFIG_VARIABLE!r}], flush=True); sys.stdin.read()"


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The configuration that `polycall sim` gives its command: one simulation for all pages."""
    with subprocess.Popen(
        [sys.executable, "-m", "polycall", "sim", sys.executable, "-c", HOLDER],
        cwd=tmp_path_factory.mktemp("sim"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield Path(process.stdout.readline().strip()).read_text("utf-8")
        process.communicate(timeout=30)
    assert process.returncode == 0


@pytest.mark.parametrize("name", PRELUDES)
def test_the_code_of_the_page_runs(name: str, tmp_path: Path, simulated: str) -> None:
    shown = blocks(PAGES[name], "python")
    program = "\0".join([PRELUDES[name], *shown, ENDINGS.get(name, "")])
    (tmp_path / "page.py").write_text(program, encoding="utf-8")
    config = tmp_path / "sim.toml"
    store = f'url = "sqlite:///{tmp_path}/polycall.db"'
    text, places = re.subn('url = "sqlite:///.*"', store, simulated)
    assert places == 1, simulated
    config.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", DRIVER],
        cwd=tmp_path,
        env={**os.environ, CONFIG_VARIABLE: str(config)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


TUTORIAL = sorted((ROOT / "docs" / "tutorial").glob("*.md"))
# Runs every page in its own folder, as a reader's file, with one simulation for all.
PAGES_DRIVER = """
import json, subprocess, sys
from pathlib import Path
results = {}
for page in sorted(Path().glob("*/page.py")):
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "page.py"], cwd=page.parent, capture_output=True, timeout=60
    )
    said = done.stdout.decode(), done.stderr.decode()
    results[page.parent.name] = [done.returncode, *said]
Path("results.json").write_text(json.dumps(results))
"""


@pytest.fixture(scope="module")
def tutorial_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """Of each page: the exit status, and what its blocks printed."""
    folder = tmp_path_factory.mktemp("tutorial")
    for page in TUTORIAL:
        (folder / page.stem).mkdir()
        text = "\n".join(blocks(page, "python"))
        (folder / page.stem / "page.py").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "polycall", "sim", sys.executable, "-c", PAGES_DRIVER]
    subprocess.run(command, cwd=folder, check=True, timeout=240)
    return json.loads((folder / "results.json").read_text("utf-8"))


def test_the_tutorial_has_ten_pages_in_the_order_of_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text("utf-8")
    listed = re.findall(r"^\d+\. \[.*\]\(tutorial/(.*)\)$", index, re.MULTILINE)
    assert listed == [page.name for page in TUTORIAL]
    assert len(listed) == 10
    for page, after in pairwise(TUTORIAL):
        assert f"]({after.name})" in page.read_text("utf-8")


@pytest.mark.parametrize("page", TUTORIAL, ids=lambda page: page.stem)
def test_the_tutorial_prints_what_it_shows(page: Path, tutorial_runs: dict[str, list[Any]]) -> None:
    shown = "".join(blocks(page, "text"))
    assert shown
    assert tutorial_runs[page.stem] == [0, shown, ""]


class _Everything(Mapping[str, str]):
    """An environment in which every variable is set."""

    def __getitem__(self, name: str) -> str:
        return f"sqlite:///value-of-{name}"

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


@pytest.mark.parametrize("name", sorted(PAGES.keys() - FOREIGN))
def test_its_configurations_have_no_mistakes(name: str, tmp_path: Path) -> None:
    for text in blocks(PAGES[name], "toml"):
        whole = text
        if "providers.acme" in text and f"{ACME_NAME}\ndialect" not in text:  # the first goes on
            bare = "" if ACME_NAME in text else f"{ACME_NAME}\n"
            whole = (bare + text).replace(f"{ACME_NAME}\n", ACME)
        parse_config(whole, name=name, folder=tmp_path, environment=_Everything())


def commands() -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, page in PAGES.items():
        text = page.read_text("utf-8").replace("\\\n", " ")
        shown = re.findall(r"^(?: {4})?(?:\$ )?(polycall .*)$", text, re.MULTILINE)
        found += [(name, command) for command in shown if f"{command.split()[1]}" in COMMANDS]
    return found


@pytest.mark.parametrize(("name", "command"), commands())
def test_its_commands_are_there(
    name: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = shlex.split(command.partition("|")[0], comments=True)[1:]
    if words[0] == "sim":
        words = words[:1]  # what follows may be another program's
    plain = [word for word in words[:2] if re.fullmatch(r"[a-z][a-z-]*", word)]
    with pytest.raises(SystemExit) as ended:
        main([*plain, "--help"])
    help_text = capsys.readouterr().out
    missing = [word for word in words if word.startswith("--") and word not in help_text]
    assert (ended.value.code, missing) == (0, [])


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_links_lead_somewhere() -> None:
    broken: list[str] = []
    for page in [*PAGES.values(), *(ROOT / "docs").glob("*/*.md"), *ROOT.glob("*.md")]:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
            if target.startswith(("http://", "https://")):
                continue
            path, _, anchor = target.partition("#")
            other = (page.parent / path).resolve() if path else page
            if not other.exists() or (anchor and anchor not in anchors(other)):
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []
