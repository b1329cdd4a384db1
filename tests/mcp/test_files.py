"""Files with `mcpServers` as other programs write them."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from polycall.errors import ConfigError
from polycall.mcp import HttpServer, StdioServer, load_servers


def loaded(tmp_path: Path, table: dict[str, Any]) -> list[Any]:
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps({"mcpServers": table}))
    return load_servers(path, {})


def test_l12_names_and_keys_of_other_programs_are_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="polycall.mcp"):
        found = loaded(
            tmp_path,
            {
                "file_system": {"command": "x", "autoApprove": ["read", "list"], "timeout": 60},
                "My Shop (prod)": {
                    "type": "streamableHttp",
                    "url": "https://shop.example/mcp",
                    "description": "the shop",
                    "timeout": 120_000,
                    "autoApprove": [],
                },
                "a.b": {"transport": "streamable_http", "url": "https://a.example/mcp"},
                "zed": {"command": "x", "alwaysAllow": ["read"], "x-icon": "disk"},
                "off": {"disabled": True, "type": "sse", "url": "x"},
            },
        )
    assert found == [
        StdioServer(
            "file_system",
            command=["x"],
            deadline_s=60,
            ask_for="everything",
            allowed_without_asking=("read", "list"),
        ),
        HttpServer("My_Shop_prod", url="https://shop.example/mcp", deadline_s=120),
        HttpServer("a_b", url="https://a.example/mcp"),
        StdioServer("zed", command=["x"], ask_for="everything", allowed_without_asking=("read",)),
    ]
    assert [record.getMessage() for record in caplog.records] == [
        "MCP server 'My_Shop_prod': 'description' has no effect here",
        "MCP server 'zed': 'x-icon' is unknown, and has no effect here",
    ]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"command": "x", "comand": "y"}, "did you mean 'command'"),
        ({"command": "x", "url": "https://a.example"}, "unknown url"),
        ({"command": "x", "timeout": "long"}, "timeout is a number above 0, not 'long'"),
        ({"command": "x", "timeout": True}, "timeout is a number above 0, not True"),
        ({"command": "x", "autoApprove": "all"}, "autoApprove is a list of tools' names"),
        ({"type": "sse", "url": "https://a.example"}, "'sse' is not spoken here"),
    ],
)
def test_l12_what_is_misspelt_is_refused_all_the_same(
    tmp_path: Path, entry: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match="mcpServers.a: ") as caught:
        loaded(tmp_path, {"a": entry})
    assert words in str(caught.value)
