"""`polycall doctor`: what this machine offers, what is missing, and what would help.

A check is a coroutine function that gives findings; add one to `CHECKS` to have it asked.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import importlib
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from polycall.cli.installation import installation
from polycall.cli.model_profile import check_names
from polycall.config import default_path, load_config
from polycall.errors import ConfigError
from polycall.sandbox.checks import Check, examine


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


CHECKS: list[Callable[[], Awaitable[Sequence[Check]]]] = [installation, examine, examine_models]

_MARKS = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


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
