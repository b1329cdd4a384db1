"""Stock clients at `/mcp`, each in a program of its own: a table in docs/mcp-gateway.md."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from polycall.sim import Simulation
from tests.gateway.harness import KEY, Gateway
from tests.gateway.mcp_claude_code import observe
from tests.gateway.mcp_support import REVISIONS, STOCK, TOKEN
from tests.gateway.mcp_wire import Wire
from tests.packages import from_npm, from_pypi

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "mcp-gateway.md"
BEGIN, END = (
    "<!-- clients: made by tests/gateway/test_mcp_clients.py -->",
    "<!-- end of clients -->",
)
_SCOPE = "@modelcontextprotocol"
NODE = (f"{_SCOPE}/sdk@1", f"{_SCOPE}/client@2", f"{_SCOPE}/inspector@2", "node@22")
STOPPED = "nap cancelled"
PYTHON = ("fastmcp>=4", "pydantic-ai-slim[mcp]")
ROWS = (
    "revision",
    "tools",
    "pages",
    "annotations",
    "calls",
    "errors",
    "structured content",
    "pictures",
    "audio",
    "progress",
    "cancellation",
    "logging",
    "resources",
    "pages of resources",
    "templates",
    "reading",
    "updates of resources",
    "changes of lists",
    "prompts",
    "completion",
    "forms",
    "approval",
    "tasks",
    "ping",
)


def run(command: list[str], *, within_s: float = 240, **options: Any) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=within_s, check=False, **options
    )
    assert done.returncode in (0, 5), done.stderr[
        -600:
    ]  # 5: the Inspector's word for a tool's error
    return done.stdout


@pytest.fixture(scope="module")
def node(request: pytest.FixtureRequest) -> Path:
    folder = from_npm(request, "node-mcp-clients", *NODE, has=f"{_SCOPE}/inspector")
    shutil.copy(HERE / "node" / "mcp_clients.mjs", folder / "mcp_clients.mjs")
    return folder


@pytest.fixture(scope="module")
def python(request: pytest.FixtureRequest) -> Path:
    config: Any = request.config
    folder: Path = config.cache.mkdir("python-mcp-clients")
    return from_pypi(folder, *PYTHON, has="fastmcp") / "python"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    place = tmp_path_factory.mktemp("clients")
    gateway = Gateway(
        place,
        f"""
[server]
mcp_processes = true
[mcp.stock]
command = ["{sys.executable}", "{STOCK}", "stdio"]
env = {{ MANY = "300", TOKEN = "{TOKEN}", LOG = "{place}/log" }}
ask_for = ["remove"]
task_after_s = 1.0
[[keys]]
key = "{KEY}"
name = "first"
""",
    ).start()
    yield gateway
    gateway.stop()


def inspector(folder: Path, url: str, era: str) -> dict[str, str]:
    """What its command line shows, one run for each feature."""
    binaries = folder / "node_modules" / ".bin"
    start = [str(binaries / "node"), str(binaries / "mcp-inspector"), "--cli", url]
    start += ["--transport", "http", "--header", f"Authorization: Bearer {KEY}"]
    start += ["--protocol-era", era, "--connect-timeout", "60000"]
    uri = "polycall://stock/memo://today"

    def shows(method: str, expected: str, *words: str) -> str:
        said = run([*start, "--method", method, *words], cwd=folder)
        return "yes" if expected in said else f"no: {said[-200:]}"

    def calls(tool: str, expected: str, *arguments: str) -> str:
        words = ["--tool-arg", *arguments] if arguments else []
        return shows("tools/call", expected, "--tool-name", f"stock_{tool}", *words)

    return {
        "tools": shows("tools/list", '"stock_add"'),
        "pages": shows("tools/list", '"stock_tool_299"'),
        "annotations": shows("tools/list", '"readOnlyHint": true'),
        "calls": calls("add", '"text": "5"', "a=2", "b=3"),
        "errors": calls("fail", '"isError": true'),
        "structured content": calls("add", '"result": 5', "a=2", "b=3"),
        "pictures": calls("picture", '"image/png"'),
        "audio": calls("sound", '"audio/wav"'),
        "resources": shows("resources/list", uri),
        "pages of resources": shows("resources/list", "memo://z/299"),
        "templates": shows("resources/templates/list", "polycall://stock/memo://{day}/items"),
        "reading": shows("resources/read", "오늘", "--uri", uri),
        "prompts": shows(
            "prompts/get", "Review", "--prompt-name", "stock_review", "--prompt-args", "code=x"
        ),
    }


def observed(gateway: Gateway, log: Path, ask: Callable[[str], dict[str, str]]) -> dict[str, str]:
    """What a client says, and what of it the wire and the server's log bear out."""
    wire = Wire(gateway.port)
    before = log.read_text("utf-8").count(STOPPED) if log.exists() else 0
    try:
        seen = ask(f"http://127.0.0.1:{wire.port}/mcp")
    finally:
        wire.close()
    versions: list[str] = re.findall(r"mcp-protocol-version: ([-\d]+)", wire.said, re.IGNORECASE)
    seen["revision"] = versions[-1]
    if "tasks" in seen and not re.search(r'"resultType": ?"task"', wire.heard):
        seen["tasks"] = "no: no task was made"
    if "cancellation" in seen:
        end = time.monotonic() + 20
        while log.read_text("utf-8").count(STOPPED) == before and time.monotonic() < end:
            time.sleep(0.1)
        if log.read_text("utf-8").count(STOPPED) == before:
            seen["cancellation"] = "no: the server heard of none"
    return seen


def by_script(command: list[str], **options: Any) -> dict[str, str]:
    return json.loads(run(command, **options).splitlines()[-1])


def test_the_table_of_clients(
    *,
    node: Path,
    python: Path,
    claude: Path,
    sim: Simulation,
    served: Gateway,
    tmp_path: Path,
) -> None:
    log = served.path.with_name("log")
    script, ours = str(HERE / "mcp_fastmcp.py"), str(HERE / "mcp_python_client.py")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    seen: dict[str, dict[str, str]] = {}
    for mode in REVISIONS:
        name = f"Python SDK 2, {'newest' if mode == 'auto' else 'handshake'}"
        command = [sys.executable, ours, mode]
        seen[name] = observed(
            served, log, lambda url, c=command: by_script([*c, url, KEY], env=environment)
        )
    for version in ("2", "1"):
        command = ["node", "mcp_clients.mjs", version]
        seen[f"TypeScript SDK {version}"] = observed(
            served, log, lambda url, c=command: by_script([*c, url, KEY], cwd=node)
        )
    for name, kind in (("FastMCP 4", "fastmcp"), ("PydanticAI", "pydantic")):
        command = [str(python), script, kind]
        seen[name] = observed(
            served, log, lambda url, c=command: by_script([*c, url, KEY], env=plain)
        )
    for era in ("modern", "legacy"):
        seen[f"Inspector, {era}"] = observed(
            served, log, lambda url, e=era: inspector(node, url, e)
        )
    seen["Claude Code 2"] = observe(claude, sim, served, tmp_path, log)
    table = f"| | {' | '.join(seen)} |\n|---|{'---|' * len(seen)}\n"
    for row in ROWS:
        cells = [found.get(row, "–").partition(":")[0] for found in seen.values()]
        table += f"| {row} | {' | '.join(cells)} |\n"
    print(json.dumps(seen, indent=1, ensure_ascii=False))
    print(table)
    wrong = [
        f"{name}: {row}: {said}"
        for name, found in seen.items()
        for row, said in found.items()
        if said.startswith("no")
    ]
    assert wrong == []
    head, begin, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, _, tail = rest.partition(END)
    assert begin, f"{PAGE} has no place for the table"
    if os.environ.get("POLYCALL_WRITE_DOCS"):
        PAGE.write_text(f"{head}{BEGIN}\n\n{table}\n{END}{tail}", "utf-8")
    assert table in PAGE.read_text("utf-8"), "write it anew: POLYCALL_WRITE_DOCS=1"
