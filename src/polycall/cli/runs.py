"""`polycall runs`: durable runs, listed, shown, decided about, resumed and cancelled."""

from __future__ import annotations

import argparse
import asyncio
import functools
import importlib
import os
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from polycall._support import jsontext
from polycall._support.printable import printable_line
from polycall.cli.asking import call_lines
from polycall.errors import RequestError

if TYPE_CHECKING:
    from polycall.agents.pausing import Approval
    from polycall.durable import RunInfo, Runs

_PROMPT_LENGTH_MAX = 60
VARIABLE = "POLYCALL_RUNS"
# Of `polycall.durable`, which is not for every command.
_STATES = ("queued", "running", "waiting", "finished", "failed", "cancelled")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command, and add its options."""
    parser.description = (
        "Look after the durable runs of a database, from any machine that reaches it."
    )
    parser.epilog = (
        "Example: polycall runs show order-17 --db sqlite:///runs.db; then "
        "polycall runs allow order-17 call/2/c4 --db sqlite:///runs.db"
    )
    add_database(parser)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = add_action(actions, "list", "the newest runs first", _list)
    listing.add_argument("--state", choices=_STATES, help="only those in this state")
    add_limit(listing)
    for name, about, act in (
        ("show", "one run: its steps, tasks and open approvals", _show),
        ("resume", "let a run that was cancelled, or failed, continue from its last step", _resume),
        ("cancel", "stop a run and its tasks", _cancel),
        ("save", "write a finished run as one file, .html or .jsonl", _save),
        ("allow", "let a call run that waits for a person", _allow),
        ("deny", "refuse a call that waits for a person", _deny),
    ):
        action = add_action(actions, name, about, act)
        action.add_argument("id", help="the run's id")
        if name in ("allow", "deny"):
            action.add_argument("approval", help="its id, as `show` says it")
        if name == "allow":
            action.add_argument("--always", action="store_true", help="and each further one")
            action.add_argument(
                "--digest", default="", help="only if the call still is the one `show` printed"
            )
        if name == "save":
            action.add_argument("--out", required=True, metavar="FILE", help="what to write")
        if name == "deny":
            action.add_argument("--reason", default="", help="which the model reads")


def add_database(parser: argparse.ArgumentParser) -> None:
    """The options that all actions have."""
    parser.add_argument(
        "--db",
        default=os.environ.get(VARIABLE, ""),
        metavar="URL",
        help=f"sqlite:///FILE or postgresql://...; {VARIABLE} stands for it",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_limit(parser: argparse.ArgumentParser) -> None:
    """Add the option for the number of rows in a list."""
    parser.add_argument("--limit", type=int, default=50, help="so many at most")


def moment(seconds: float) -> str:
    """A time as people here write it."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def clipped(text: str) -> str:
    """One line of a text that may be long, and may hold anything."""
    line = printable_line(" ".join(text.split()))
    return line if len(line) <= _PROMPT_LENGTH_MAX else line[: _PROMPT_LENGTH_MAX - 1] + "…"


def add_action(
    actions: Any,
    name: str,
    about: str,
    act: Callable[[Runs, argparse.Namespace], Awaitable[int]],
) -> argparse.ArgumentParser:
    """One action; it takes the common options too, which may stand before it or after it."""
    parser: argparse.ArgumentParser = actions.add_parser(name, help=about, description=about)
    parser.add_argument("--db", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    parser.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS
    )
    parser.set_defaults(run=functools.partial(_acted, act=act))
    return parser


def _acted(
    options: argparse.Namespace, *, act: Callable[[Runs, argparse.Namespace], Awaitable[int]]
) -> int:
    if not options.db:
        raise RequestError(f"say where the runs are: --db sqlite:///runs.db, or {VARIABLE}")
    try:
        durable = importlib.import_module("polycall.durable")
    except ModuleNotFoundError as error:
        raise RequestError(f"{error.name} is missing; install 'polycall[durable]'") from None

    async def run() -> int:
        async with durable.Runs(options.db) as runs:
            return await act(runs, options)

    return asyncio.run(run())


def _line(run: RunInfo) -> str:
    name, agent = printable_line(run.id), printable_line(run.agent)
    return f"{name}  {run.state:<9}  {moment(run.created_at)}  {agent}: {clipped(run.prompt)}"


async def _list(runs: Runs, options: argparse.Namespace) -> int:
    found = await runs.list(state=options.state, limit=options.limit)
    return said(options, "\n".join(map(_line, found)) or "no runs", found)


async def _show(runs: Runs, options: argparse.Namespace) -> int:
    run = await runs.show(options.id)
    steps, tasks = await runs.steps(run.id), await runs.tasks(run.id)
    if options.json:
        rows = [{"name": name, "seconds": seconds} for name, seconds in steps]
        digests = {each.id: each.digest for each in run.approvals}
        print(jsontext.encode({"run": run, "steps": rows, "tasks": tasks, "digests": digests}))
        return 0
    print(_line(run))
    if run.executor:
        print(f"last at: {printable_line(run.executor)}")
    if run.error:
        print(f"error: {printable_line(run.error)}")
    for name, seconds in steps:
        print(f"  step {printable_line(name)}  {seconds:.3f} s")
    for task in tasks:
        share = f" {task.progress:.0%} {clipped(task.message)}" if task.state == "running" else ""
        print(f"  task {printable_line(task.id)}  {printable_line(task.tool)}  {task.state}{share}")
    for approval in run.approvals:
        _print_approval(approval)
    return 0


def _print_approval(approval: Approval) -> None:
    """A call that waits, whole: who decides must see all of what is decided about."""
    print(f"  waits {printable_line(approval.id)}  digest {approval.digest}")
    print(f"    agents: {printable_line(' > '.join(approval.agents))}")
    if approval.why:
        print(f"    why: {printable_line(approval.why)}")
    for line in call_lines(approval.tool, approval.arguments):
        print(f"    {line}")


async def _resume(runs: Runs, options: argparse.Namespace) -> int:
    await runs.resume(options.id)
    return said(options, f"{options.id} continues", await runs.show(options.id))


async def _cancel(runs: Runs, options: argparse.Namespace) -> int:
    await runs.cancel(options.id)
    info = await runs.show(options.id)
    return said(options, f"{options.id} is {info.state}", info)


async def _save(runs: Runs, options: argparse.Namespace) -> int:
    from polycall.agents.saved.page import save_trace  # noqa: PLC0415 - for this action alone
    from polycall.agents.saved.trace import trace_of_messages  # noqa: PLC0415 - for this action alone

    info = await runs.show(options.id)
    if info.state != "finished":
        raise RequestError(f"the run {options.id!r} is {info.state}; what is saved has finished")
    result = await runs.result(options.id)
    trace = trace_of_messages(
        result.history.messages,
        agent=info.agent,
        reason=result.reason,
        usage=result.usage,
        cost=result.cost,
    )
    save_trace(trace, options.out)
    return said(options, options.out, {"file": options.out})


async def _allow(runs: Runs, options: argparse.Namespace) -> int:
    await runs.allow(options.id, options.approval, always=options.always, digest=options.digest)
    words = f"{printable_line(options.approval)} may run"
    return said(options, words, await runs.show(options.id))


async def _deny(runs: Runs, options: argparse.Namespace) -> int:
    await runs.deny(options.id, options.approval, options.reason)
    return said(options, f"{options.approval} is refused", await runs.show(options.id))


def said(options: argparse.Namespace, words: str, value: Any) -> int:
    print(jsontext.encode(value) if options.json else words)
    return 0
