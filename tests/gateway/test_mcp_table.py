"""Stock servers behind `/mcp`, each feature beside what the server shows at its own door.

The first gateway starts the servers (stdio); a second one has each of them at the first one's
address (streamable HTTP).  Clients speak the newest revision and the one before it.  The table is
printed into docs/mcp-gateway.md: `POLYCALL_WRITE_DOCS=1`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import StdioServerParameters

from tests.gateway.harness import KEY, Gateway
from tests.gateway.mcp_features import ABSENT, FEATURES, NOTHING, Plan, Side, direct, observe
from tests.gateway.mcp_support import REVISIONS, STOCK, mcp_client
from tests.gateway.scripted import scripted
from tests.gateway.test_mcp_stock import packages as packages
from tests.origins import Handler, started
from tests.packages import from_pypi

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "mcp-gateway.md"
BEGIN, END = "<!-- servers: made by tests/gateway/test_mcp_table.py -->", "<!-- end of servers -->"
# By their environments: one of them needs an older library.
PYTHON_SERVERS = {
    "": ("mcp-server-git", "mcp-server-time", "mcp-server-fetch"),
    "old": ("mcp-server-sqlite", "mcp<2"),
}
SAID = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "small",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


def installed(config: Any) -> Path:
    """Where the servers of PyPI are."""
    folder: Path = config.cache.mkdir("python-mcp-stock")
    for place, wanted in PYTHON_SERVERS.items():
        from_pypi(folder / place, *wanted, has=wanted[0])
    return folder


class Page(Handler):
    """A page to fetch."""

    def do_GET(self) -> None:
        is_page = self.path == "/page"
        body = b"<html><body><h1>Hello</h1></body></html>" if is_page else b""
        self.answer(body, 200 if is_page else 404, "text/html")


@pytest.fixture(scope="module")
def commands(
    request: pytest.FixtureRequest, packages: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, tuple[list[str], dict[str, str], Plan]]]:
    place = tmp_path_factory.mktemp("servers")
    python = installed(request.config)
    scope = packages / "@modelcontextprotocol"
    web = started(Page)
    root = str(place / "files")
    for folder in ("files", "elsewhere"):
        (place / folder).mkdir()
    (place / "files" / "한글.txt").write_text("안녕", encoding="utf-8")
    (place / "repository").mkdir()
    subprocess.run(["git", "init", "-q", str(place / "repository")], check=True)

    def node(name: str, *words: str) -> list[str]:
        return ["node", str(scope / name / "dist" / "index.js"), *words]

    entity = {"name": "영희", "entityType": "person", "observations": ["likes tea"]}
    page = f"http://127.0.0.1:{web.server_address[1]}"
    yield {
        "everything": (
            node("server-everything", "stdio"),
            {},
            Plan(
                ("echo", {"message": "안녕 👋"}),
                fail=("get-sum", {"a": "x"}),
                picture=("get-tiny-image", {}),
                structured=("get-structured-content", {"location": "New York"}),
                links=("get-resource-links", {"count": 2}),
                embedded=("get-resource-reference", {"resourceType": "Text", "resourceId": 1}),
                slow=("trigger-long-running-operation", {"duration": 1, "steps": 2}),
                logging=("toggle-simulated-logging", {}),
                roots=("get-roots-list", {}),
                root=root,
                changes=("gzip-file-as-resource", {"name": "a.gz", "data": "data:,a"}),
                template_uri="demo://resource/dynamic/text/1",
                updates=("toggle-subscriber-updates", {}),
                prompt=("args-prompt", {"city": "Seoul"}),
                completion=("completable-prompt", "department", "E"),
                sampling=("trigger-sampling-request", {"prompt": "Hello"}),
                form=("trigger-elicitation-request", {}),
                page=("trigger-url-elicitation", {"url": "https://example.com/page"}),
                task=("simulate-research-query", {"topic": "tea"}),
            ),
        ),
        "filesystem": (
            node("server-filesystem", str(place / "elsewhere")),  # until it is told of roots
            {},
            Plan(
                ("read_text_file", {"path": str(place / "files" / "한글.txt")}),
                fail=("read_text_file", {"path": "/etc/passwd"}),
                structured=("list_allowed_directories", {}),
                roots=("list_allowed_directories", {}),
                root=root,
            ),
        ),
        "memory": (
            node("server-memory"),
            {"MEMORY_FILE_PATH": str(place / "memory.json")},
            Plan(
                ("create_entities", {"entities": [entity]}),
                fail=("create_entities", {"entities": "none"}),
                structured=("read_graph", {}),
            ),
        ),
        "git": (
            [str(python / "bin" / "mcp-server-git"), "--repository", str(place / "repository")],
            {},
            Plan(
                ("git_status", {"repo_path": str(place / "repository")}),
                fail=("git_show", {"repo_path": str(place / "repository"), "revision": "none"}),
            ),
        ),
        "time": (
            [str(python / "bin" / "mcp-server-time")],
            {},
            Plan(
                ("get_current_time", {"timezone": "Asia/Seoul"}),
                fail=("get_current_time", {"timezone": "Nowhere/At_all"}),
            ),
        ),
        "sqlite": (
            [
                str(python / "old" / "bin" / "mcp-server-sqlite"),
                "--db-path",
                str(place / "test.db"),
            ],
            {},
            Plan(
                ("list_tables", {}),
                fail=("read_query", {"query": "SELECT * FROM nothing"}),
                prompt=("mcp-demo", {"topic": "tea"}),
            ),
        ),
        "fetch": (
            [
                str(python / "bin" / "mcp-server-fetch"),
                "--ignore-robots-txt",
                "--allow-private-ips",
            ],
            {},
            Plan(
                ("fetch", {"url": f"{page}/page"}),
                fail=("fetch", {"url": f"{page}/nothing"}),
                prompt=("fetch", {"url": f"{page}/page"}),
            ),
        ),
        "sdk": (
            [sys.executable, str(STOCK), "stdio"],
            {},
            Plan(
                ("add", {"a": 2, "b": 3}),
                fail=("fail", {}),
                picture=("picture", {}),
                audio=("sound", {}),
                structured=("rows", {}),
                slow=("nap", {"seconds": 0.5}),
                logging=("log", {}),
                changes=("grow", {"name": "x"}),
                template_uri="memo://monday/items",
                updates=("touch", {"uri": "memo://monday/items"}),
                prompt=("review", {"code": "x"}),
                completion=("review", "code", "mon"),
                sampling=("ask_model", {}),
                form=("ask_name", {}),
            ),
        ),
    }
    web.shutdown()
    web.server_close()


@pytest.fixture(scope="module")
def gateways(
    commands: dict[str, tuple[list[str], dict[str, str], Plan]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Gateway]]:
    places = [tmp_path_factory.mktemp(name) for name in ("near", "far")]
    keys = f'[[keys]]\nkey = "{KEY}"\nname = "first"\n'
    with scripted() as upstream:
        upstream.say("small", SAID)
        head = (
            "[server]\nmcp_processes = true\n[providers.script]\n"
            f'dialect = "openai-chat"\nbase_url = "{upstream.base_url}/v1"\napi_key = "sk-1"\n'
        )
        tables = ""
        for name, (command, env, plan) in commands.items():
            words = ", ".join(f'"{word}"' for word in command)
            pairs = ", ".join(f'{key} = "{value}"' for key, value in env.items())
            tables += f"[mcp.{name}]\ncommand = [{words}]\nenv = {{ {pairs} }}\n"
            tables += f'sampling = "script/small"\nroots = [{_root(plan)}]\n'
        near = Gateway(places[0], head + tables + keys).start()
        tables = "".join(
            f'[mcp.{name}]\nurl = "{near.url}/mcp/{name}"\n'
            f'headers = {{ Authorization = "Bearer {KEY}" }}\nsampling = "script/small"\n'
            for name in commands
        )
        far = Gateway(places[1], head + tables + keys).start()
        yield {"stdio": near, "HTTP": far}
        far.stop()
        near.stop()


def _root(plan: Plan) -> str:
    return f'"file://{plan.root}"' if plan.root else ""


def differing(
    seen: dict[str, dict[str, Any]], at_home: dict[str, Any], feature: str
) -> tuple[str, list[str]]:
    """A cell of the table, and where it is not as at the server's own door."""
    expected = at_home[feature]
    if expected == ABSENT or (isinstance(expected, str) and expected.startswith("error")):
        return ABSENT, []
    if expected == NOTHING:
        return f"{NOTHING} at home", ["home"]
    wrong = [way for way, found in seen.items() if found[feature] != expected]
    if not wrong:
        return "yes", []
    if len(wrong) == len(seen):
        return "no", wrong
    return f"but {', '.join(wrong)}", wrong


async def test_the_table_of_servers(
    commands: dict[str, tuple[list[str], dict[str, str], Plan]], gateways: dict[str, Gateway]
) -> None:
    cells: dict[str, dict[str, str]] = {name: {} for name, _, _ in FEATURES}
    told: list[str] = []
    for name, (command, env, plan) in commands.items():
        server = StdioServerParameters(command=command[0], args=command[1:], env=env or None)
        async with direct(server, "auto", _root(plan).strip('"')) as (client, side):
            at_home = await observe(client, side, plan)
        seen: dict[str, dict[str, Any]] = {}
        for transport, gateway in gateways.items():
            start = f"{name}_" if transport == "stdio" else f"{name}_{name}_"
            for mode in REVISIONS:
                side = Side(name, start)
                async with mcp_client(gateway, mode=mode, **side.options) as client:
                    way = f"{transport} {'2026' if mode == 'auto' else '2025'}"
                    seen[way] = await observe(client, side, plan)
        for feature, _, _ in FEATURES:
            cells[feature][name], wrong = differing(seen, at_home, feature)
            for way in wrong:
                there = repr(seen.get(way, at_home)[feature])[:300]
                told.append(f"{name} {way} {feature}: {there}, not {at_home[feature]!r:.300}")
    table = f"| | {' | '.join(commands)} |\n|---|{'---|' * len(commands)}\n"
    for feature, row in cells.items():
        table += f"| {feature} | {' | '.join(row[name] for name in commands)} |\n"
    print("\n".join([*told, table]))
    head, begin, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, _, tail = rest.partition(END)
    assert begin, f"{PAGE} has no place for the table"
    if os.environ.get("POLYCALL_WRITE_DOCS"):
        PAGE.write_text(f"{head}{BEGIN}\n\n{table}\n{END}{tail}", "utf-8")
    assert table in PAGE.read_text("utf-8"), "\n".join([*told, "write it: POLYCALL_WRITE_DOCS=1"])
