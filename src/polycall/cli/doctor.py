"""`polycall doctor`: what this machine offers, what is missing, and what would help.

A check is a coroutine function that gives findings; add one to `CHECKS` to have it asked.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import importlib
import importlib.metadata
import json
import os
import platform
import re
import socket
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from polycall.cli.model_profile import check_names
from polycall.config import Config, default_path, load_config
from polycall.errors import ConfigError, PolycallError
from polycall.providers.catalogue import CATALOGUE
from polycall.sandbox.checks import Check, examine

_MARKS = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}
# Extras, and a module that each of them brings.
_EXTRAS = {
    "monty": "pydantic_monty",
    "postgres": "psycopg_pool",
    "opentelemetry": "opentelemetry.sdk",
    "redis": "redis",
    "durable": "dbos",
    "import": "yaml",
    "mcp": "mcp",
    "tokens": "bpe_openai",
    "retrieval": "numpy",
}
_PASSWORD = re.compile(r"(?<=:)[^:@/]+(?=@)")


async def examine_models() -> Sequence[Check]:
    """The models that the configuration names; nothing where there is no configuration."""
    path = default_path()
    if path is None:
        return []
    try:
        return check_names(load_config(path))
    except ConfigError as error:
        first = error.mistakes[0] if error.mistakes else str(error)
        return [Check("configuration", "fail", first)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command, and add its options."""
    parser.description = (
        "Look at what polycall needs of this machine: versions, extras, configuration, keys, "
        "store and port, which sandbox programs get and why, and whether the models that the "
        "configuration names have ended or end soon. "
        "The exit status is 1 where something failed; a warning is not a failure."
    )
    parser.epilog = "Example: polycall doctor --json"
    parser.add_argument(
        "--security",
        action="store_true",
        help="what of a configuration, its files and a running gateway is open",
    )
    parser.add_argument("--config", type=Path, help="with --security: its polycall.toml")
    parser.add_argument(
        "--url", default="", metavar="URL", help="with --security: a gateway that runs"
    )
    parser.add_argument("--json", action="store_true", help="a JSON array")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print what was found."""
    findings = asyncio.run(_asked(options))
    if options.json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=1))
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            print(f"{_MARKS[finding.state]}  {finding.name:<{width}}  {finding.detail}")
    return int(any(finding.state == "fail" for finding in findings))


async def _asked(options: argparse.Namespace) -> list[Check]:
    if options.security:
        security = importlib.import_module("polycall.cli.doctor_security")
        return await security.examine_security(options.config, options.url)
    return [finding for check in CHECKS for finding in await check()]


async def installation() -> Sequence[Check]:
    """Versions, extras, the configuration, keys, the store and the port of the gateway."""
    checks = [_versions(), _extras()]
    config = Config()
    path = default_path()
    try:
        config = load_config(path) if path is not None else Config()
    except PolycallError as error:
        checks.append(Check("configuration", "fail", f"{path}: {error}"))
    else:
        found = "none; the catalogue's providers are there without one"
        if path is not None:
            found = f"{path}: {len(config.providers)} providers, {len(config.models)} aliases"
        checks.append(Check("configuration", "ok", found))
    return [*checks, _keys(config), _store(config), _port(config)]


def _versions() -> Check:
    version = importlib.metadata.version("polycall")
    detail = f"polycall {version}, Python {platform.python_version()}, SQLite "
    return Check("versions", "ok", detail + sqlite3.sqlite_version)


def _extras() -> Check:
    there = [name for name, module in _EXTRAS.items() if _is_there(module)]
    missing = [name for name in _EXTRAS if name not in there]
    detail = f"installed: {', '.join(there) or 'none'}"
    if missing:
        detail += f"; not: {', '.join(missing)} (pip install 'polycall[NAME]')"
    return Check("extras", "ok", detail)


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of a package around it
        return False


def _keys(config: Config) -> Check:
    """Which providers have a key; no key is shown, nor a part of one."""
    providers = {**CATALOGUE, **config.providers}
    ready = [
        name
        for name, row in providers.items()
        if any(config.provider_keys.get(name, ()))
        or any(os.environ.get(variable) for variable in row.key_variables)
    ]
    if ready:
        return Check("keys", "ok", f"for {', '.join(sorted(ready))}")
    return Check(
        "keys",
        "warn",
        "none; set one such as OPENAI_API_KEY or ANTHROPIC_API_KEY, or try without: "
        "polycall sim polycall run openai/gpt-5.4 hello",
    )


def _store(config: Config) -> Check:
    url = config.store.url
    shown = _PASSWORD.sub("***", url)
    if not url.startswith("sqlite:///"):
        driver = "" if _is_there("psycopg") else "; it needs 'polycall[postgres]'"
        return Check("store", "warn" if driver else "ok", shown + driver)
    file = Path(config.folder, url.removeprefix("sqlite:///"))
    if not os.access(file if file.exists() else file.absolute().parent, os.W_OK):
        return Check("store", "warn", f"{shown}: {file} cannot be written to")
    state = "is there" if file.exists() else "will be made by polycall serve"
    return Check("store", "ok", f"{shown}: {file} {state}")


def _port(config: Config) -> Check:
    host, port = config.server.host, config.server.port
    with socket.socket() as probe:
        # As a server binds: one that has just ended does not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            words = f"{host}:{port} cannot be taken by polycall serve: {error.strerror or error}"
            return Check("port", "warn", words)
    return Check("port", "ok", f"{host}:{port} is free for polycall serve")


CHECKS: list[Callable[[], Awaitable[Sequence[Check]]]] = [installation, examine, examine_models]
