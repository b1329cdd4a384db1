"""`polycall log`: conversations of `run` and `chat`, listed, searched, shown and deleted."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from polycall._support import jsontext
from polycall._support.printable import printable_line
from polycall.cli.conversation_log import VARIABLE, ConversationLog, LoggedTurn, log_path
from polycall.cli.runs import clipped, moment, said
from polycall.cli.stored import past
from polycall.errors import RequestError

Act = Callable[[ConversationLog, argparse.Namespace], int]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command, and add its options."""
    parser.description = (
        "Look into the conversations of 'polycall run' and 'polycall chat'. They are kept in "
        f"one file for this user's eyes alone; {VARIABLE} names another file, or is 'off'. "
        "'polycall run -c' continues the last one."
    )
    parser.epilog = (
        "Example: polycall log search 환불 teapot; polycall log show 20261129-081500-a1b2c3"
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION")
    _add(actions, "list", "the newest turns first", _list).add_argument(
        "--model", default="", help="only those of this model"
    )
    searching = _add(actions, "search", "turns that have all the words", _search)
    searching.add_argument(
        "words", nargs="+", help="English words in any of their forms, or others"
    )
    _add(actions, "show", "a whole conversation", _show).add_argument("conversation", help="its id")
    deleting = _add(actions, "delete", "forget a conversation, or old ones", _delete)
    deleting.add_argument("conversation", nargs="?", help="its id")
    deleting.add_argument("--before", type=past, metavar="WHEN", help="a date, or 90d")
    _add(actions, "path", "where the log is", _path)
    for each in (actions.choices["list"], searching):
        each.add_argument("-n", "--limit", type=int, default=20, help="turns at most; default: 20")
    parser.set_defaults(run=functools.partial(_run, act=_list), model="", limit=20, json=False)


def _add(actions: Any, name: str, about: str, act: Act) -> Any:
    parser = actions.add_parser(name, help=about, description=about)
    parser.add_argument("--json", action="store_true", help="JSON instead of lines")
    parser.set_defaults(run=functools.partial(_run, act=act))
    return parser


def _run(options: argparse.Namespace, act: Act) -> int:
    path = log_path()
    if path is None:
        raise RequestError(f"nothing is kept: {VARIABLE} is 'off'")
    if act is not _path and not Path(path).exists():
        raise RequestError(f"there is no log at {path!r} yet; 'polycall run' and 'chat' make it")
    if act is _path:
        print(jsontext.encode(path) if options.json else path)
        return 0
    log = ConversationLog(path)
    try:
        return act(log, options)
    finally:
        log.close()


def _list(log: ConversationLog, options: argparse.Namespace) -> int:
    _check_limit(options.limit)
    return _print(log.newest(options.limit, options.model), options)


def _search(log: ConversationLog, options: argparse.Namespace) -> int:
    _check_limit(options.limit)
    return _print(log.search(" ".join(options.words), options.limit), options)


def _show(log: ConversationLog, options: argparse.Namespace) -> int:
    turns = log.turns(options.conversation)
    lines: list[str] = []
    for turn in turns:
        lines.append(f"# {moment(turn.at)}  {printable_line(turn.model)}  {_spent(turn)}")
        if turn.system and turn is turns[0]:
            lines.append(f"system: {turn.system}")
        lines.append(f"> {turn.prompt}\n{turn.answer}\n")
    return said(options, "\n".join(lines), turns)


def _delete(log: ConversationLog, options: argparse.Namespace) -> int:
    if (options.conversation is None) == (options.before is None):
        raise RequestError("write the id of a conversation, or --before WHEN")
    if options.conversation is not None:
        log.delete(options.conversation)
        number = 1
    else:
        number = log.delete_before(options.before)
    return said(options, f"{number} deleted", {"deleted": number})


def _path(log: ConversationLog, options: argparse.Namespace) -> int:
    raise AssertionError("a path needs no log")


def _print(turns: list[LoggedTurn], options: argparse.Namespace) -> int:
    lines: list[str] = []
    for turn in turns:
        names = f"{printable_line(turn.conversation)}  {moment(turn.at)}  "
        lines.append(f"{names}{printable_line(turn.model)}  {_spent(turn)}")
        lines.append(f"  > {clipped(turn.prompt)}\n  {clipped(turn.answer)}")
    return said(options, "\n".join(lines) or "nothing found", turns)


def _spent(turn: LoggedTurn) -> str:
    cost = "cost unknown" if turn.cost is None else f"${turn.cost}"
    ended = "" if turn.reason == "finished" else f"; ended by {turn.reason}"
    return f"{turn.input_tokens} in, {turn.output_tokens} out, {cost}{ended}"


def _check_limit(limit: int) -> None:
    if not 0 < limit <= 10_000:
        raise RequestError(f"--limit is from 1 to 10000, not {limit}")
