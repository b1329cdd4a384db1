"""`polycall trace`: a run as one file: looked at, continued, compared."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from polycall._support.private_files import write_private
from polycall.agents.saved import (
    Trace,
    diff_html,
    diff_lines,
    load_trace,
    replay,
    save_trace,
    summary_lines,
    trace_of,
)
from polycall.cli.named import named_agent
from polycall.errors import RequestError
from polycall.loop import Limits

_WORDS = {"show": 1, "replay": 1, "diff": 2}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command, and add its options."""
    parser.description = (
        "FILE is what run.save() wrote, .html or .jsonl. 'trace FILE' prints it, 'trace "
        "replay FILE --from N' continues from a step, 'trace diff FILE FILE' compares two."
    )
    parser.epilog = (
        "Example: polycall trace replay run.jsonl --from 3 --model anthropic/claude-opus-5"
    )
    parser.add_argument("words", nargs="+", metavar="FILE | replay FILE | diff FILE FILE")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write .html or .jsonl instead")
    parser.add_argument(
        "--from", dest="step", type=int, default=0, metavar="N", help="of replay: the first step"
    )
    parser.add_argument("--model", default="", help="of replay: who answers; else as recorded")
    parser.add_argument(
        "--edit",
        action="append",
        default=[],
        metavar="N=TEXT",
        help="of replay: another text for message N, counted from 0",
    )
    parser.add_argument(
        "--agent",
        default="",
        metavar="MODULE:NAME",
        help="of replay: an agent whose tools run; else tools give what was recorded",
    )
    parser.add_argument("--steps", type=int, default=20, help="of replay: so many at most")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Do what the words say."""
    words: list[str] = options.words
    # A file may have such a name, and is then written with its folder.
    action = words.pop(0) if words[0] in _WORDS and len(words) > 1 else "show"
    if len(words) != _WORDS[action]:
        raise RequestError(f"'trace {action}' takes {_WORDS[action]} file(s), not {len(words)}")
    if action == "diff":
        return _diff(options, words)
    trace = load_trace(words[0])
    if action == "replay":
        trace = asyncio.run(_replayed(options, trace))
    if options.out is not None:
        save_trace(trace, options.out)
        print(options.out)
        return 0
    for line in summary_lines(trace):
        print(line)
    return 0


async def _replayed(options: argparse.Namespace, trace: Trace) -> Trace:
    if options.step < 1:
        raise RequestError("say from which step: --from N, counted from 1")
    agent = named_agent(options.agent, "--agent") if options.agent else None
    done, replayed = await replay(
        trace,
        options.step,
        model=options.model,
        agent=agent,
        edits=dict(_edit(text) for text in options.edit),
        limits=Limits(steps=options.steps),
    )
    if replayed.unknown:
        names = ", ".join(sorted(set(replayed.unknown)))
        print(
            f"{len(replayed.unknown)} calls were not recorded, and gave an error: {names}",
            file=sys.stderr,
        )
    return trace_of(done)


def _edit(text: str) -> tuple[int, str]:
    number, sign, words = text.partition("=")
    if not sign or not number.isdecimal():
        raise RequestError(f"--edit takes N=TEXT, not {text!r}")
    return int(number), words


def _diff(options: argparse.Namespace, words: list[str]) -> int:
    one, other = (load_trace(word) for word in words)
    if options.out is not None:
        page = diff_html(one, other, (words[0], words[1]))
        write_private(options.out, page.encode("utf-8", "replace"))
        print(options.out)
        return 0
    for line in diff_lines(one, other):
        print(line)
    return 0
