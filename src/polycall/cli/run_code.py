"""`polycall run-code`: run a program in the sandbox, with functions of yours as its tools."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from polycall.cli.named import named_value
from polycall.errors import RequestError
from polycall.sandbox import Journal, JournalError, Limits, RunResult, Sandbox, SandboxError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command, and add its options."""
    defaults = Limits()
    parser.description = (
        "Run a Python program where it can do no harm. The functions that --tools names are "
        "there to be awaited; the program's output and the value of its last expression are "
        "printed. The exit status is 1 where the program did not finish."
    )
    parser.epilog = "Example: polycall run-code report.py --tools shop:get_orders --wall 30"
    parser.add_argument("file", help="the program; - for the standard input")
    parser.add_argument(
        "--tools",
        action="append",
        default=[],
        metavar="MODULE:NAME",
        help="a function, a list of them, a dict by name or a Toolset; may be given several times",
    )
    parser.add_argument("--tier", default="auto", choices=("auto", "jail", "monty"))
    parser.add_argument("--wall", type=float, default=defaults.wall_s, help="seconds of a run")
    parser.add_argument("--memory", type=int, default=defaults.memory_mib, help="MiB of a run")
    parser.add_argument(
        "--package",
        action="append",
        default=[],
        metavar="PATH",
        help="a wheel or folder that the program may import, read-only; may be given several times",
    )
    parser.add_argument(
        "--journal", metavar="FILE", help="keep a journal there; resume from it where it has one"
    )
    parser.add_argument("--json", action="store_true", help="the whole result as a JSON object")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the program and print what came of it."""
    code = sys.stdin.read() if options.file == "-" else _text_of(options.file)
    functions = {name: each for tools in options.tools for name, each in _named(tools).items()}
    try:
        result = asyncio.run(_result(options, code, functions))
    except (SandboxError, ValueError) as error:
        raise RequestError(str(error)) from error
    if options.json:
        print(json.dumps(dataclasses.asdict(result), ensure_ascii=False, indent=1))
    else:
        _print(result)
    return int(not result.ok)


def _text_of(name: str) -> str:
    try:
        return Path(name).read_text("utf-8-sig")
    except OSError as error:
        raise RequestError(f"{name}: {error.strerror}") from None


async def _result(
    options: argparse.Namespace, code: str, functions: Mapping[str, Callable[..., Any]]
) -> RunResult:
    limits = Limits(wall_s=options.wall, cpu_s=options.wall, memory_mib=options.memory)
    journal = None if options.journal is None else Journal(options.journal)
    sandbox = Sandbox(options.tier, limits, packages=options.package, pool=0)
    async with sandbox, sandbox.session(journal=journal) as session:
        if journal is None or not len(journal):
            return await session.run(code, functions)
        result = await session.resume(journal, functions)
        if result is None:
            raise JournalError(f"{options.journal}: its last run has ended; nothing to resume")
        return result


def _named(name: str) -> dict[str, Callable[..., Any]]:
    _, value = named_value(name, "--tools", "shop:get_orders")
    if isinstance(value, Mapping):
        return dict(cast(Mapping[str, Callable[..., Any]], value))
    if callable(value):
        return {_name_of(value): value}
    if isinstance(value, Iterable):
        tools = list(cast(Iterable[object], value))
        if all(callable(item) for item in tools):
            return {_name_of(item): cast(Callable[..., Any], item) for item in tools}
    module_name, _, attribute = name.partition(":")
    raise RequestError(f"--tools {name}: {module_name} has no functions called {attribute!r}")


def _name_of(function: object) -> str:
    """The name that a model knows: a tool's own, else the function's."""
    return str(getattr(function, "name", None) or getattr(function, "__name__", ""))


def _print(result: RunResult) -> None:
    print(result.stdout, end="")
    if result.value is not None:
        print(json.dumps(result.value, ensure_ascii=False, indent=1))
    if result.stderr:
        print(result.stderr.rstrip("\n"), file=sys.stderr)
    for cut in result.cuts:
        print(f"cut: {cut}", file=sys.stderr)
    if not result.ok:
        calls = ", ".join(f"{call.name} ({call.outcome})" for call in result.calls) or "none"
        print(
            f"{result.status}: {result.error or 'waits for a tool'}; calls made: {calls}",
            file=sys.stderr,
        )
