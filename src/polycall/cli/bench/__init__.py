"""`polycall bench`: what programs save, and how well models do with them.

compare.py    the three forms of one task, driven through the loop; their table and chart
cases.py      the tasks of the comparison
tasks.py      many tasks with any model, in three modes
tokens.py     counting tokens
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from polycall.cli.bench.cases import cases
from polycall.cli.bench.compare import chart, compare, table
from polycall.cli.bench.tasks import MODES, run_tasks, summary
from polycall.cli.bench.tokens import tokenizer
from polycall.profiles import LIVING
from polycall.sandbox import SandboxError
from polycall.sim import VENDORS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command, and add its options."""
    parser.description = "Compare direct and programmatic calling."
    parser.epilog = "Example: polycall bench programs --json"
    kinds = parser.add_subparsers(title="benchmarks", metavar="BENCHMARK", required=True)
    _add_programs(kinds)
    _add_tasks(kinds)


def _add_programs(kinds: Any) -> None:
    parser = kinds.add_parser(
        "programs",
        help="sequential, parallel and programmatic calling of the same tasks",
        description=(
            "Run tasks in three forms through the tool loop, against a simulated provider with "
            "scripted models: no language model, no key, no network. Counts tokens, round trips "
            "and bytes, and shows what calling='auto' chooses. Needs a sandbox (polycall doctor)."
        ),
        epilog="Example: polycall bench programs --rows 10000 --write docs",
    )
    parser.add_argument("--rows", type=int, default=10_000, help="rows of a region (10000)")
    parser.add_argument("--vendor", choices=VENDORS, default="openai", help="whose protocol")
    parser.add_argument("--write", metavar="FOLDER", help="write the table and the chart there")
    parser.add_argument("--json", action="store_true", help="one JSON object a task")
    parser.set_defaults(run=_run_programs)


def _add_tasks(kinds: Any) -> None:
    parser = kinds.add_parser(
        "tasks",
        help="tasks with tools and known answers, in modes code, json and text",
        description=(
            "Give a model tasks and compare its answers, as M3ToolEval does: by programs (code), "
            "by its own tool calls (json), and by calls written in its text (text). Tasks are JSON "
            "lines {id, domain, question, expected, tools}; tools are functions in a Python file."
        ),
        epilog=(
            "Example: polycall bench tasks --tasks tasks.jsonl --tools tools.py "
            f"--model {LIVING['openai']} --modes code,json"
        ),
    )
    parser.add_argument("--tasks", required=True, type=Path, help="JSON lines, a task each")
    parser.add_argument("--tools", required=True, type=Path, help="Python file with the functions")
    parser.add_argument("--model", default="scripted/model", help="provider/model")
    parser.add_argument("--modes", default=",".join(MODES), help="of code, json, text")
    parser.add_argument("--script", type=Path, help="answers instead of a model, as JSON lines")
    parser.add_argument("--steps", type=int, default=10, help="the most turns of a task (10)")
    parser.add_argument("--json", action="store_true", help="one JSON object a task and mode")
    parser.set_defaults(run=_run_tasks)


def _run_programs(options: argparse.Namespace) -> int:
    try:
        rows = asyncio.run(compare(cases(options.rows), options.vendor))
    except SandboxError as error:
        print(f"polycall bench: {error}", file=sys.stderr)
        return 1
    _, how = tokenizer()
    if options.write:
        folder = Path(options.write)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "programs-table.md").write_text(table(rows, how), "utf-8")
        (folder / "programs.svg").write_text(chart(rows), "utf-8")
    for row in rows:
        if options.json:
            print(json.dumps(msgspec.to_builtins(row)))
    if not options.json:
        print(table(rows, how))
    return 0 if all(row.is_right for row in rows) else 1


def _run_tasks(options: argparse.Namespace) -> int:
    modes = [mode.strip() for mode in options.modes.split(",")]
    try:
        outcomes = asyncio.run(
            run_tasks(
                options.tasks,
                options.tools,
                model=options.model,
                modes=modes,
                script=options.script,
                steps_max=options.steps,
            )
        )
    except SandboxError as error:
        print(f"polycall bench: {error}", file=sys.stderr)
        return 1
    if options.json:
        for outcome in outcomes:
            print(json.dumps(msgspec.to_builtins(outcome), ensure_ascii=False))
    else:
        print(summary(outcomes))
    return 0
