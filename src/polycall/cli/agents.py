"""`polycall agents`: the settings of coding agents for this gateway."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from msgspec.structs import asdict

from polycall._support.printable import printable_line
from polycall.cli.agent_settings import AGENTS, CodingAgent, Gateway, settings_page
from polycall.config import Config, default_path, load_config
from polycall.errors import ConfigError, RequestError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command, and add its options."""
    names = ", ".join(agent.name for agent in AGENTS)
    parser.description = (
        "Print the settings with which a coding agent uses this gateway: files, variables of "
        "the environment, and the command. Address and models come from polycall.toml; the "
        f"agents are {names}."
    )
    parser.epilog = "Example: polycall agents codex --model openai/gpt-5.4"
    parser.add_argument("agent", nargs="?", help="one of them; default: all")
    parser.add_argument("--config", type=Path, metavar="FILE", help="default: ./polycall.toml")
    parser.add_argument("--url", help="the gateway's address, without a path")
    parser.add_argument("--key", help="a client's key; default: the variable POLYCALL_KEY")
    parser.add_argument("--model", help="an alias, or provider/model; default: the first one")
    parser.add_argument("--small", help="the model for small work; default: as the other")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the settings."""
    agents = _chosen(arguments.agent)
    gateway = _gateway(arguments)
    if arguments.json:
        found = {agent.name: _as_json(agent, gateway) for agent in agents}
        print(json.dumps(found, indent=2))
        return 0
    print("\n\n".join(settings_page(agent, gateway) for agent in agents))
    if gateway.key.startswith("$"):
        words = "a key for it: polycall keys create NAME, then export POLYCALL_KEY=..."
        print(words, file=sys.stderr)
    return 0


def _chosen(name: str | None) -> tuple[CodingAgent, ...]:
    if name is None:
        return AGENTS
    found = tuple(agent for agent in AGENTS if agent.name == name)
    if not found:
        known = ", ".join(agent.name for agent in AGENTS)
        raise RequestError(f"there are no settings for {name!r}; there are {known}")
    return found


def _as_json(agent: CodingAgent, gateway: Gateway) -> dict[str, Any]:
    made = agent.make(gateway)
    files = [asdict(file) for file in made.files]
    return {**asdict(made), "files": files, "package": agent.package, "source": agent.source}


def _gateway(arguments: argparse.Namespace) -> Gateway:
    """The gateway of the configuration, with what the command line says instead."""
    path: Path | None = arguments.config or default_path()
    config = None if path is None else _config(path)
    model = arguments.model or _first_model(config) or Gateway().model
    url = arguments.url or (Gateway().url if config is None else config.server.local_url)
    if not url.startswith(("http://", "https://")):
        raise RequestError(f"{url!r} is no address; write http://HOST:PORT")
    values = (url.rstrip("/"), arguments.key or Gateway().key, model)
    for value in (*values, arguments.small or model):
        if value != printable_line(value) or any(mark in value for mark in "\"'`\\ "):
            raise RequestError(f"{value!r} cannot stand in settings: quotes, spaces, escapes")
    return Gateway(*values, arguments.small or _small_model(config) or model)


def _config(path: Path) -> Config:
    try:
        return load_config(path)
    except ConfigError as error:
        raise RequestError(f"{path} has mistakes; polycall serve --check shows them") from error


def _first_model(config: Config | None) -> str:
    """The first alias without a star, else the first model that a provider lists."""
    if config is None:
        return ""
    aliases = [name for name in config.models if "*" not in name]
    listed = [f"{name}/{models[0]}" for name, models in config.provider_models.items()]
    return next(iter([*aliases, *listed]), "")


def _small_model(config: Config | None) -> str:
    """An alias that is named for small work."""
    names = [] if config is None else [name for name in config.models if "*" not in name]
    return next((name for name in names if name in ("small", "fast", "mini", "haiku")), "")
