"""`polycall tasks`: background tasks of durable runs, listed, shown, resumed and cancelled."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from polycall._support.printable import printable_line
from polycall.cli.asking import call_lines
from polycall.cli.runs import add_action, add_database, add_limit, clipped, moment, said

if TYPE_CHECKING:
    from polycall.durable import Runs, TaskInfo


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command, and add its options."""
    parser.description = "Look after the background tasks of durable runs."
    parser.epilog = "Example: polycall tasks list --run order-17 --db sqlite:///runs.db"
    add_database(parser)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = add_action(actions, "list", "the newest tasks first", _list)
    listing.add_argument("--run", dest="run_id", default="", help="only those of this run")
    add_limit(listing)
    for name, about, act in (
        ("show", "one task: its progress, arguments and result", _show),
        ("resume", "let a cancelled task run again", _resume),
        ("cancel", "stop a task", _cancel),
    ):
        add_action(actions, name, about, act).add_argument("task", help="its id: RUN.TASK")


async def _list(runs: Runs, options: argparse.Namespace) -> int:
    found = await runs.tasks(options.run_id, limit=options.limit)
    return said(options, "\n".join(map(_line, found)) or "no tasks", found)


async def _show(runs: Runs, options: argparse.Namespace) -> int:
    task = await runs.task(options.task)
    lines = [_line(task), *(f"  {line}" for line in call_lines(task.tool, task.arguments))]
    if task.result:
        lines.append(f"result: {task.result}")
    return said(options, "\n".join(lines), task)


async def _resume(runs: Runs, options: argparse.Namespace) -> int:
    await runs.resume_task(options.task)
    return await _show(runs, options)


async def _cancel(runs: Runs, options: argparse.Namespace) -> int:
    await runs.cancel_task(options.task)
    return await _show(runs, options)


def _line(task: TaskInfo) -> str:
    said = f"  {clipped(task.message)}" if task.message else ""
    share = f"{task.progress:.0%}"
    started = moment(task.created_at)
    name, tool = printable_line(task.id), printable_line(task.tool)
    return f"{name}  {task.state:<9}  {share:>4}  {started}  {tool}{said}"
