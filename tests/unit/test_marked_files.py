"""Files that people write may begin with a byte order mark, as editors on Windows put it there."""

from __future__ import annotations

import codecs
import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from polycall.agents import ToolTree
from polycall.cli import import_
from polycall.cli.output_schema import output_schema
from polycall.config import load_config
from polycall.errors import ConfigError
from polycall.mcp.servers import load_servers
from polycall.tool_server.openapi_tools import load_document
from polycall.transport.aiohttp_transport import AiohttpTransport

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "integer"}}}


def written(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_bytes(codecs.BOM_UTF8 + text.replace("\n", "\r\n").encode())
    return file


def test_a_configuration(tmp_path: Path) -> None:
    file = written(tmp_path, "polycall.toml", "[server]\nport = 8081\n")
    assert load_config(file).server.port == 8081
    wrong = written(tmp_path, "wrong.toml", "[server]\n\nprot = 8081\n")
    with pytest.raises(ConfigError, match="wrong.toml:3: server.prot: 'prot' is not a setting"):
        load_config(wrong)


def test_tools_and_servers(tmp_path: Path) -> None:
    servers = {"mcpServers": {"a": {"url": "http://127.0.0.1:1/mcp"}}}
    file = written(tmp_path, "mcp.json", json.dumps(servers))
    assert [server.name for server in load_servers(file)] == ["a"]
    folder = tmp_path / "tools"
    folder.mkdir()
    written(folder, "mail.json", json.dumps({"name": "send", "parameters": SCHEMA}))
    assert "mail.send" in ToolTree.from_folder(folder, lambda name, arguments: name).tools


@pytest.mark.parametrize("text", ['{\n"openapi": "3.1.0"}', "openapi: 3.1.0\n"])
async def test_an_openapi_document(tmp_path: Path, text: str) -> None:
    written(tmp_path, "api", text)
    assert await load_document("api", tmp_path, AiohttpTransport()) == {"openapi": "3.1.0"}


def test_a_schema_and_a_configuration_of_another_gateway(tmp_path: Path) -> None:
    assert output_schema(str(written(tmp_path, "s.json", json.dumps(SCHEMA)))) == SCHEMA
    config = "model_list:\n- model_name: fast\n  litellm_params: {model: openai/gpt-5.4}\n"
    source, out = written(tmp_path, "config.yaml", config), tmp_path / "polycall.toml"
    given = Namespace(file=source, kind="litellm", name="", out=out, force=False)
    assert import_.run(given) == 0
    assert 'route = ["openai/gpt-5.4"]' in out.read_text()
