"""`polycall doctor`: what this machine offers, what is missing, and what would help.

A check is a coroutine function that gives findings; add one to `CHECKS` to have it asked.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from polycall.cli.installation import installation
from polycall.sandbox.checks import Check, examine

CHECKS: list[Callable[[], Awaitable[Sequence[Check]]]] = [installation, examine]

_MARKS = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


def add_parser(subparsers: Any) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "doctor",
        help="what this machine offers, what is missing, and what would help",
        description=(
            "Look at what polycall needs of this machine: versions, extras, configuration, keys, "
            "store and port, and which sandbox programs get and why. "
            "The exit status is 1 where something failed; a warning is not a failure."
        ),
        epilog="Example: polycall doctor --json",
    )
    parser.add_argument("--json", action="store_true", help="a JSON array")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print what was found."""
    findings = asyncio.run(_asked())
    if options.json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=1))
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            print(f"{_MARKS[finding.state]}  {finding.name:<{width}}  {finding.detail}")
    return int(any(finding.state == "fail" for finding in findings))


async def _asked() -> list[Check]:
    return [finding for check in CHECKS for finding in await check()]
