"""The guide's examples run, and print what it says."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters

from tests.mcp.support import http_program, until_it_answers

DOCS = Path(__file__).parents[2] / "docs"
GUIDE = DOCS / "mcp.md"


def test_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = GUIDE.read_text("utf-8")
    weather, *blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "weather.py").write_text(weather, "utf-8")
    (tmp_path / "guide.py").write_text("".join(blocks), "utf-8")
    # The command as it was installed beside this Python.
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")

    def run(*words: str) -> tuple[str, str]:
        done = subprocess.run(
            words, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
        )
        return done.stderr, done.stdout

    printed = "".join(re.findall(r"```text\n(.*?)```", text, re.DOTALL))
    assert run(sys.executable, "-X", "utf8", "guide.py") == ("", printed)
    shown = re.findall(r"^\$ (polycall mcp list .*)\n((?:[^$].*\n)*)", text, re.MULTILINE)
    assert [run("sh", "-c", command) for command, _ in shown] == [("", out) for _, out in shown]


def commands_of(name: str) -> list[list[str]]:
    """The commands of a page that serve code mode, as words."""
    text = (DOCS / name).read_text("utf-8").replace("\\\n", " ")
    found = re.findall(r"^\$ (?:claude mcp add \w+ -- )?(polycall mcp serve --code.*)", text, re.M)
    return [shlex.split(each, comments=True) for each in found]


@pytest.mark.parametrize("command", commands_of("code-mode.md"), ids=" ".join)
async def test_each_command_of_code_mode_serves_a_stock_client(
    command: list[str], tmp_path: Path
) -> None:
    (weather,) = re.findall(r"`weather.py`:\n\n```python\n(.*?)```", GUIDE.read_text("utf-8"), re.S)
    (tmp_path / "weather.py").write_text(weather, "utf-8")
    (servers,) = re.findall(r'^({"mcpServers".*})$', GUIDE.read_text("utf-8"), re.M)
    (tmp_path / "mcp.json").write_text(servers)
    responses = {"200": {"description": "fine"}}
    paths = {"/zen": {"get": {"operationId": "zen", "responses": responses}}}
    document = {"openapi": "3.1.0", "info": {"title": "x", "version": "1"}, "paths": paths}
    (tmp_path / "github.json").write_text(json.dumps(document))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "GITHUB_HEADER": "Bearer x"}

    async def tools(client: Client) -> list[str]:
        return [each.name for each in (await client.list_tools()).tools]

    if "--http" not in command:
        program, *words = command
        server = StdioServerParameters(command=program, args=words, env=environment, cwd=tmp_path)
        async with asyncio.timeout(120), Client(server) as client:
            assert await tools(client) == ["search", "run"]
        return
    words = ["-m", *command, "--port"]
    with http_program(*words, cwd=tmp_path) as (_, url):
        await until_it_answers(url)
        async with Client(url) as client:
            assert await tools(client) == ["search", "run"]
