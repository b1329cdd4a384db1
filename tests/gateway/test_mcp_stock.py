"""Stock servers behind `/mcp` and stock clients at it, over both transports.

Packages of npm are installed into pytest's cache on first use.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from polycall.sim import Call, Simulation, Turn
from tests.gateway.harness import KEY, Gateway
from tests.gateway.mcp_support import REVISIONS, mcp_client, stock_table, text_of
from tests.gateway.test_claude_code import SMALL
from tests.mcp.support import until_it_answers
from tests.packages import from_npm
from tests.servers import free_port

pytestmark = pytest.mark.slow

_SCOPE = "@modelcontextprotocol"
PACKAGES = [
    f"{_SCOPE}/server-everything@2026.8.31",
    f"{_SCOPE}/server-filesystem@2026.8.31",
    f"{_SCOPE}/server-memory@2026.8.31",
    f"{_SCOPE}/sdk@1",
    "@octokit/openapi@23.0.2",
]


@pytest.fixture(scope="session")
def packages(request: pytest.FixtureRequest) -> Path:
    folder = from_npm(request, "node-mcp-stock", *PACKAGES, has=f"{_SCOPE}/server-memory")
    return folder / "node_modules"


@pytest.fixture(scope="module")
def served(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    place = tmp_path_factory.mktemp("stock")
    files = place / "files"
    files.mkdir()
    (files / "한글.txt").write_text("안녕", encoding="utf-8")
    port = free_port()
    scope = packages / _SCOPE

    def script(name: str) -> str:
        return f"{scope / name / 'dist' / 'index.js'}"

    everything = subprocess.Popen(
        ["node", script("server-everything"), "streamableHttp"],
        env={**os.environ, "PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    config = f"""
[server]
mcp_processes = true
[mcp.every]
command = ["node", "{script("server-everything")}", "stdio"]
[mcp.remote]
url = "http://127.0.0.1:{port}/mcp"
[mcp.files]
command = ["node", "{script("server-filesystem")}", "{files}"]
[mcp.memory]
command = ["node", "{script("server-memory")}"]
env = {{ MEMORY_FILE_PATH = "{place}/memory.json" }}
[mcp.time]
command = ["{sys.executable}", "-m", "mcp_server_time"]
{stock_table("stock", place / "stock")}
[[keys]]
key = "{KEY}"
name = "first"
"""
    asyncio.run(until_it_answers(f"http://127.0.0.1:{port}/mcp"))
    gateway = Gateway(place, config).start()
    yield gateway
    gateway.stop()
    everything.kill()
    everything.wait()


@pytest.mark.parametrize("mode", REVISIONS)
async def test_the_stock_servers(served: Gateway, mode: str) -> None:
    async with mcp_client(served, mode=mode) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        for name in ("every_echo", "remote_echo", "files_read_text_file", "memory_read_graph"):
            assert name in names
        for server in ("every", "remote"):
            said = await client.call_tool(f"{server}_echo", {"message": "안녕 👋"})
            assert "안녕 👋" in text_of(said)
            total = await client.call_tool(f"{server}_get-sum", {"a": 2, "b": 3})
            assert "5" in text_of(total)
            picture = await client.call_tool(f"{server}_get-tiny-image", {})
            assert any(block.type == "image" for block in picture.content)
            shown = await client.call_tool(
                f"{server}_get-structured-content", {"location": "New York"}
            )
            assert isinstance(shown.structured_content, dict)
        path = str(served.folder / "files" / "한글.txt")
        read = await client.call_tool("files_read_text_file", {"path": path})
        assert "안녕" in text_of(read)
        outside = await client.call_tool("files_read_text_file", {"path": "/etc/passwd"})
        assert outside.is_error is True
        entity = {"name": "영희", "entityType": "person", "observations": ["likes tea"]}
        await client.call_tool("memory_create_entities", {"entities": [entity]})
        assert "영희" in text_of(await client.call_tool("memory_read_graph", {}))
        resources = (await client.list_resources()).resources
        assert any(each.uri.startswith("polycall://every/") for each in resources)
        read_back = await client.read_resource(
            next(each.uri for each in resources if each.uri.startswith("polycall://every/"))
        )
        assert read_back.contents
        prompts = {each.name for each in (await client.list_prompts()).prompts}
        assert any(name.startswith("every_") for name in prompts)


def test_the_typescript_library(packages: Path, served: Gateway) -> None:
    script = packages.parent / "mcp_client.mjs"
    shutil.copy(Path(__file__).with_name("node") / script.name, script)
    done = subprocess.run(
        ["node", str(script), f"{served.url}/mcp", KEY],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-500:]
    said = json.loads(done.stdout)
    assert {"stock_add", "files_read_text_file", "every_echo"} <= set(said["tools"])
    assert (said["sum"], said["picture"], said["asked"]) == (
        {"result": 5},
        "image",
        "accept: 영희",
    )
    assert "polycall://stock/memo://today" in said["resources"]
    assert "stock_review" in said["prompts"]


async def test_githubs_whole_interface(packages: Path, tmp_path: Path) -> None:
    document = packages / "@octokit" / "openapi" / "generated" / "api.github.com.json"
    if not document.exists():
        pytest.skip("the package has no document")
    config = f"""
[mcp.github]
openapi = "{document}"
address = "http://127.0.0.1:{free_port()}"
ask_for = "destructive"
[[keys]]
key = "{KEY}"
name = "first"
"""
    gateway = Gateway(tmp_path, config).start()
    try:
        async with mcp_client(gateway, "/mcp?mode=code") as client:
            tools = (await client.list_tools()).tools
            shown = json.dumps(
                [tool.model_dump(by_alias=True, exclude_none=True) for tool in tools]
            )
            assert len(shown) / 3 <= 1_100  # a token has more than three letters of this text
            assert "1223 functions" in shown or "functions in namespaces" in shown
            found = await client.call_tool("search", {"query": "merge a pull request"})
            assert "async def github_pulls_merge(" in text_of(found)
        async with mcp_client(gateway) as client:
            names: list[str] = []
            cursor = None
            while True:
                page = await client.list_tools(cursor=cursor)
                names += [tool.name for tool in page.tools]
                cursor = page.next_cursor
                if cursor is None:
                    break
            assert len(names) > 1_000
            assert len(names) == len(set(names))
    finally:
        gateway.stop()


def test_claude_code(sim: Simulation, claude: Path, served: Gateway, tmp_path: Path) -> None:
    server = {
        "type": "http",
        "url": f"{served.url}/mcp/stock",
        "headers": {"Authorization": f"Bearer {KEY}"},
    }
    servers = {"mcpServers": {"team": server}}
    (tmp_path / "mcp.json").write_text(json.dumps(servers))
    call = Call("mcp__team__stock_add", {"a": 20, "b": 22})
    sim.script("anthropic", "claude-sonnet-4-6", [Turn(calls=[call]), Turn("It is 42.")])
    words = ["-p", "How much is 20 + 22?", "--dangerously-skip-permissions"]
    words += ["--output-format", "json", "--strict-mcp-config"]
    words += ["--mcp-config", str(tmp_path / "mcp.json")]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "ANTHROPIC_BASE_URL": sim.base_url("anthropic"),
        "ANTHROPIC_API_KEY": KEY,
        "ANTHROPIC_MODEL": "claude-sonnet-4-6",
        "ANTHROPIC_SMALL_FAST_MODEL": SMALL,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "IS_SANDBOX": "1",
    }
    done = subprocess.run(
        [str(claude), *words],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[:600] + done.stderr[-600:]
    assert json.loads(done.stdout)["result"] == "It is 42."
    assert sim.remaining("anthropic", "claude-sonnet-4-6") == 0
    log = (served.folder / "stock" / "log").read_text("utf-8").splitlines()
    assert "add 20 22" in log
