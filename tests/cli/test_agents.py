"""`polycall agents`: settings that parse, filled in for this gateway."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from polycall.cli import main
from polycall.cli.agent_settings import AGENTS

CONFIG = """
[server]
host = "0.0.0.0"
port = 9090
[providers.house]
dialect = "openai-chat"
base_url = "https://llm.example/v1"
models = ["qwen3"]
[models."claude-*"]
route = ["house/qwen3"]
[models.coder]
route = ["house/qwen3"]
[models.small]
route = ["house/qwen3"]
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "polycall.toml"
    path.write_text(CONFIG, encoding="utf-8")
    return str(path)


def test_all_agents_are_filled_in(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["agents", "--config", config, "--json", "--key", "sk-pc-x"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == {agent.name for agent in AGENTS}
    for name, settings in found.items():
        text = json.dumps(settings)
        assert "http://127.0.0.1:9090" in text, name
        assert "coder" in text, name
        assert "sk-pc-x" in text, name
        for file in settings["files"]:
            if file["language"] == "json":
                json.loads(file["text"])
            elif file["language"] == "toml":
                tomllib.loads(file["text"])
    assert "small" in found["claude-code"]["environment"]["ANTHROPIC_DEFAULT_HAIKU_MODEL"]


def test_one_agent_and_options(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--url", "https://llm.example/", "--model", "house/qwen3", "--small", "coder"]
    assert main(["agents", "opencode", "--config", config, *words]) == 0
    shown = capsys.readouterr()
    assert '"baseURL": "https://llm.example/v1"' in shown.out
    assert '"polycall/coder"' in shown.out
    assert "Codex" not in shown.out
    assert "polycall keys create" in shown.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["emacs"], "there are no settings for 'emacs'"),
        (["codex", "--url", "llm.example"], "no address"),
        (["codex", "--model", 'a"b'], "cannot stand in settings"),
        (["codex", "--key", "a\x1bb"], "cannot stand in settings"),
        (["codex", "--small", "a b"], "cannot stand in settings"),
        (["codex", "--config", "/nonexistent.toml"], "nonexistent"),
    ],
)
def test_mistakes(
    words: list[str], told: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["agents", *words]) == 1
    assert told in capsys.readouterr().err
