"""`polycall run`: one prompt, with tools, to its answer."""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import Any

from polycall._support import jsontext
from polycall.agents import Run, partial_run
from polycall.cli.attachments import attached
from polycall.cli.running import Conversation, add_options, chosen_model, plain
from polycall.cli.show import AnswerShow, joined_prompt
from polycall.client import Client
from polycall.errors import PolycallError
from polycall.ir import Message, Text
from polycall.profiles import LIVING


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command, and add its options."""
    parser.description = (
        "Ask a model once, run the tools it calls, and print what happens. The answer goes to "
        "standard output, everything else to standard error; with --quiet nothing else is "
        "printed. What is piped in stands before the prompt: cat FILE | polycall run MODEL "
        "'explain'."
    )
    parser.epilog = (
        f"Example: polycall run {LIVING['anthropic']} '서울 날씨 알려줘' "
        "--tools weather:get_weather; polycall run -c 'and tomorrow?'"
    )
    add_options(parser)
    parser.add_argument(
        "words",
        nargs="*",
        metavar="MODEL PROMPT",
        help="whom to ask (without -m and a default model), and what, after what is piped in; - is "
        "standard input",
    )
    parser.add_argument(
        "--schema",
        metavar="SCHEMA",
        help="the answer's shape: a JSON schema, a file with one, or words: 'name, age int'",
    )
    parser.add_argument("--no-stream", action="store_true", help="ask for whole answers")
    parser.add_argument("--quiet", action="store_true", help="print the answer alone")
    parser.add_argument("--json", action="store_true", help="print the run as one JSON object")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the prompt; fails where the run did not come to its own end."""
    client = Client(config=options.config)
    model, words = chosen_model(options, client)
    message = _message(options, words)
    # Before there is an event loop: modules of one's own may run agents while they are loaded.
    conversation = Conversation(client, options, model)
    try:
        made, text = asyncio.run(_run(options, client, conversation, message))
    except Exception as error:
        # Of a tool of one's own, which says that it leaves the run.
        if isinstance(error, PolycallError) or partial_run(error) is None:
            raise
        print(f"polycall run: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(text)
    elif options.quiet:
        print(made.text)
    return 0 if made.reason == "finished" else 1


async def _run(
    options: argparse.Namespace, client: Client, conversation: Conversation, message: Message
) -> tuple[Run[Any], str]:
    show = None if options.quiet or options.json else AnswerShow()
    async with client:
        try:
            await conversation.open()
            made = await conversation.turn(message, show, stream=not options.no_stream)
            return made, jsontext.encode(_as_json(made, conversation))
        finally:
            await conversation.close()


def _message(options: argparse.Namespace, words: str | None) -> Message:
    takes_input = "-" in options.attach
    prompt = (words or "") if takes_input else joined_prompt(words, sys.stdin)
    return Message("user", [*attached(options.attach), Text(prompt)])


def _as_json(made: Run[Any], conversation: Conversation) -> dict[str, Any]:
    is_typed = made.has_output and made.value != made.text
    output = {"output": plain(made.value)} if is_typed else {}
    return {
        "reason": made.reason,
        "text": made.text,
        **output,
        "messages": made.messages,
        "steps": len(made.steps),
        "usage": made.usage,
        "cost_usd": None if made.cost is None else str(made.cost),
        "warnings": made.warnings,
        "conversation": conversation.id,
    }
