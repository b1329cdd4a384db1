"""The settings of coding agents for one gateway; docs/coding-agents.md is made of them.

`coding_agents.toml` has one table for each agent.
"""

from __future__ import annotations

import json
import re
import tomllib
from importlib.resources import files
from typing import Any, cast

import msgspec
from msgspec import Struct


class Gateway(Struct, frozen=True):
    """The gateway for the settings.  `key` is a variable (`$NAME`) or the key itself."""

    url: str = "http://127.0.0.1:8080"  # without a path
    key: str = "$POLYCALL_KEY"
    model: str = "anthropic/claude-sonnet-4-6"
    small: str = "anthropic/claude-haiku-4-5"


class File(Struct, frozen=True):
    """A file to write, or to add to."""

    path: str
    language: str
    text: str


class Settings(Struct, frozen=True):
    """The settings of one agent: files, variables of the environment, and how it is then run."""

    files: list[File] = []
    environment: dict[str, str] = {}
    command: str = ""
    notes: list[str] = []


class CodingAgent(Struct, frozen=True):
    """One agent.  `package` is what was looked at, `source` where its settings are described."""

    name: str
    title: str
    protocol: str
    package: str
    source: str
    table: dict[str, Any]

    def make(self, gateway: Gateway) -> Settings:
        """Its settings for this gateway."""
        table = _filled(self.table, {**msgspec.structs.asdict(gateway), "v1": f"{gateway.url}/v1"})
        for file in table.get("files", ()):
            file["language"] = file["path"].rpartition(".")[2]
            if "json" in file:
                file["text"] = json.dumps(file["json"], indent=2)
        return msgspec.convert(table, Settings)


def _filled(value: Any, names: dict[str, str]) -> Any:
    """The value with its names filled in; what is then the same in a list stands once."""
    if isinstance(value, str):
        return re.sub(r"<(\w+)>", lambda found: names[found[1]], value)
    if isinstance(value, dict):
        table = cast("dict[str, Any]", value)
        return {_filled(name, names): _filled(each, names) for name, each in table.items()}
    if isinstance(value, list):
        filled: list[Any] = []
        for each in cast("list[Any]", value):
            made = _filled(each, names)
            filled += [] if made in filled else [made]
        return filled
    return value


def _agents() -> tuple[CodingAgent, ...]:
    text = files("polycall.cli").joinpath("coding_agents.toml").read_text(encoding="utf-8")
    tables = tomllib.loads(text).items()
    return tuple(
        msgspec.convert({"name": name, **table, "table": table}, CodingAgent)
        for name, table in tables
    )


AGENTS = _agents()


def settings_page(agent: CodingAgent, gateway: Gateway) -> str:
    """The settings as Markdown, for the terminal and for the documentation."""
    settings = agent.make(gateway)
    lines = [f"## {agent.title}", "", f"{agent.package}; it speaks {agent.protocol}"]
    lines[-1] += f" ([its page]({agent.source}))."
    for file in settings.files:
        lines += ["", f"`{file.path}`:", "", f"```{file.language}", file.text, "```"]
    words = [f"export {name}={value}" for name, value in settings.environment.items()]
    words.append(settings.command)
    lines += ["", "```sh", *words, "```"]
    for note in settings.notes:
        lines += ["", note]
    return "\n".join(lines)
