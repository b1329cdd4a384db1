"""`polycall chat`: a conversation in the terminal."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import os
import select
import sys
from typing import Any

from polycall.cli.running import Conversation, add_options
from polycall.cli.show import Show, summary
from polycall.client import Client
from polycall.errors import PolycallError
from polycall.ir import Message, Text, Usage
from polycall.profiles import LIVING

_PASTE_S = 0.05  # nobody types a line so fast
_HELP = """\
/model PROVIDER/MODEL   continue with another model
/tools                  the tools of this conversation
/reset                  forget the conversation
/quit                   leave (so does Ctrl-D)
a \\ at the end of a line continues with the next; pasted lines are one question
Ctrl-C stops the answer under way."""


def add_parser(subparsers: Any) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "chat",
        help="a conversation in the terminal",
        description=(
            "Talk to a model. Calls, results, tokens and cost are shown as they happen. Ctrl-C "
            "stops the answer under way, /help lists what else there is."
        ),
        epilog=f"Example: polycall chat {LIVING['google']} --tools weather:get_weather",
    )
    add_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Talk until Ctrl-D or /quit."""
    with contextlib.suppress(ImportError):
        # Line editing, where the platform has it; Python turns bracketed paste off by itself.
        readline = importlib.import_module("readline")
        if os.environ.get("TERM") != "dumb":
            readline.parse_and_bind("set enable-bracketed-paste on")
    # One loop for all turns: the client's connections belong to it.
    with asyncio.Runner() as runner:
        client = Client(config=options.config)
        conversation = Conversation(client, options)
        client.resolve(client.chain(conversation.model)[0])  # a typing mistake shows at once
        _start(conversation, options)
        try:
            runner.run(conversation.open())
            print(f"{conversation.model}; {len(conversation.tools)} tools; /help for help")
            return _talk(conversation, options, runner)
        finally:
            runner.run(conversation.close())
            runner.run(client.close())


def _talk(conversation: Conversation, options: argparse.Namespace, runner: asyncio.Runner) -> int:
    total = _Total()
    while True:
        try:
            line = _question()
        except EOFError:
            print()
            break
        except KeyboardInterrupt:
            print("\n(Ctrl-D leaves)")
            continue
        if line.startswith("/"):
            if not _command(line, conversation, options):
                break
        elif line:
            _turn(conversation, line, runner, total)
    print(total.line())
    return 0


def _question() -> str:
    """What is asked: a line, those that were pasted with it, and those that a `\\` goes on with."""
    lines = [input("\n> ")]
    while not lines[0].startswith("/") and (lines[-1].endswith("\\") or _is_pasted()):
        lines.append(input("" if not lines[-1].endswith("\\") else "... "))
    return "\n".join(line.removesuffix("\\") for line in lines).strip()


def _is_pasted() -> bool:
    """Whether more lines are there than anybody types at once; a pipe has a question a line."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    return bool(select.select([sys.stdin], [], [], _PASTE_S)[0])


def _turn(conversation: Conversation, line: str, runner: asyncio.Runner, total: _Total) -> None:
    show = Show()
    try:
        end = runner.run(conversation.turn(Message("user", [Text(line)]), show))
    except KeyboardInterrupt:
        show.line("(stopped; the conversation continues from the last whole step)")
    except PolycallError as error:
        show.close_line()
        print(f"error: {error}", file=sys.stderr)
    else:
        total.add(end.usage, end.cost, len(end.steps))


def _command(line: str, conversation: Conversation, options: argparse.Namespace) -> bool:
    """Do what a `/` line says; false ends the conversation."""
    name, _, argument = line.partition(" ")
    match name:
        case "/quit" | "/exit":
            return False
        case "/model" if argument.strip():
            try:
                conversation.client.resolve(conversation.client.chain(argument.strip())[0])
            except PolycallError as error:
                print(f"error: {error}", file=sys.stderr)
            else:
                conversation.model = argument.strip()
                print(f"now {conversation.model}")
        case "/tools":
            for each in conversation.tools:
                print(f"{each.name}: {each.description.partition(chr(10))[0]}")
        case "/reset":
            _start(conversation, options)
            print("forgotten")
        case _:
            print(_HELP)
    return True


def _start(conversation: Conversation, options: argparse.Namespace) -> None:
    system = [Message("system", [Text(options.system)])] if options.system else []
    conversation.messages = system


class _Total:
    """What the whole conversation took."""

    def __init__(self) -> None:
        self._usage = Usage()
        self._cost: Any = 0
        self._steps = 0

    def add(self, usage: Usage, cost: Any, steps: int) -> None:
        """One turn more; an unknown cost makes the sum unknown."""
        self._usage += usage
        self._steps += steps
        self._cost = None if cost is None or self._cost is None else self._cost + cost

    def line(self) -> str:
        """The sum in one line."""
        return f"in all: {summary(self._usage, self._cost, self._steps)}"
