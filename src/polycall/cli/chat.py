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

from polycall.agents import partial_run
from polycall.cli.attachments import attached
from polycall.cli.running import Conversation, add_options, chosen_model
from polycall.cli.show import Show, summary
from polycall.client import Client
from polycall.errors import PolycallError, RequestError
from polycall.ir import Message, Part, Text, Usage
from polycall.profiles import LIVING

_PASTE_S = 0.05  # nobody types a line so fast
_FENCE = '"""'
_HELP = """\
/model PROVIDER/MODEL   continue with another model
/tools                  the tools of this conversation
/attach FILE            a file or an address for the next question
/reset                  begin another conversation
/quit                   leave (so does Ctrl-D)
a \\ at the end of a line continues with the next; pasted lines are one question, and so is what
stands between two lines of \"\"\"
Ctrl-C stops the answer under way."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command, and add its options."""
    parser.description = (
        "Talk to a model. Calls, results, tokens and cost are shown as they happen. Ctrl-C "
        "stops the answer under way, /help lists what else there is."
    )
    parser.epilog = f"Example: polycall chat {LIVING['google']} --tools weather:get_weather"
    add_options(parser)
    parser.add_argument(
        "words",
        nargs="*",
        metavar="MODEL",
        help="whom to talk to, without -m and a default model",
    )
    parser.set_defaults(run=run, schema=None)


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
        try:
            model, prompt = chosen_model(options, client)
            if prompt is not None:
                raise RequestError(
                    f"chat takes a model, and asks for the rest; {prompt!r} is for 'polycall run'"
                )
            conversation = Conversation(client, options, model)
            try:
                runner.run(conversation.open())
                if conversation.own is None:
                    # A typing mistake shows at once.
                    client.resolve(client.chain(conversation.model)[0])
                print(f"{conversation.name}; {len(conversation.tools)} tools; /help for help")
                return _talk(conversation, options, runner)
            finally:
                runner.run(conversation.close())
        finally:
            runner.run(client.close())


def _talk(conversation: Conversation, options: argparse.Namespace, runner: asyncio.Runner) -> int:
    total = _Total()
    files = attached(options.attach)
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
            if not _command(line, conversation, files):
                break
        elif line:
            message = Message("user", [*files, Text(line)])
            files = []
            _turn(conversation, message, runner, total)
    print(total.line())
    return 0


def _question() -> str:
    """Read a question: a line, those pasted with it, and those that a `\\` continues."""
    lines = [input("\n> ")]
    if lines[0].strip() == _FENCE:
        return _fenced()
    while not lines[0].startswith("/") and (lines[-1].endswith("\\") or _is_pasted()):
        lines.append(input("" if not lines[-1].endswith("\\") else "... "))
    return "\n".join(line.removesuffix("\\") for line in lines).strip()


def _fenced() -> str:
    """The lines up to the next fence, whatever they hold."""
    lines: list[str] = []
    while (line := input("... ")).strip() != _FENCE:
        lines.append(line)
    text = "\n".join(lines).strip()
    # A question is never taken for a command.
    return f" {text}" if text.startswith("/") else text


def _is_pasted() -> bool:
    """Whether more lines are there than anybody types at once; a pipe has a question a line."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    return bool(select.select([sys.stdin], [], [], _PASTE_S)[0])


def _turn(
    conversation: Conversation, message: Message, runner: asyncio.Runner, total: _Total
) -> None:
    show = Show()
    try:
        made = runner.run(conversation.turn(message, show))
    except KeyboardInterrupt:
        show.line("(stopped; the conversation continues from here)")
    except PolycallError as error:
        show.close_line()
        print(f"error: {error}", file=sys.stderr)
    except Exception as error:
        # Of a tool of one's own, which says that it leaves the run.
        if partial_run(error) is None:
            raise
        show.close_line()
        print(f"error: {type(error).__name__}: {error}", file=sys.stderr)
    else:
        total.add(made.usage, made.cost, len(made.steps))


def _command(line: str, conversation: Conversation, files: list[Part]) -> bool:
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
        case "/attach" if argument.strip():
            try:
                files += attached([argument.strip()])
            except PolycallError as error:
                print(f"error: {error}", file=sys.stderr)
            else:
                print(f"{len(files)} for the next question")
        case "/reset":
            conversation.new()
            print("forgotten: a new conversation begins")
        case _:
            print(_HELP)
    return True


class _Total:
    """The costs of the whole conversation."""

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
