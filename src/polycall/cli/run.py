"""`polycall run`: one prompt, with tools, to its answer."""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import Any

from polycall._support import jsontext
from polycall.cli.answer import AnswerShow, joined_prompt
from polycall.cli.running import Conversation, add_options
from polycall.client import Client
from polycall.ir import Message, Text
from polycall.loop import RunEnd
from polycall.profiles import LIVING


def add_parser(subparsers: Any) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "run",
        help="one prompt, with tools, to its answer",
        description=(
            "Ask a model once, run the tools it calls, and print what happens. The answer goes to "
            "standard output, everything else to standard error; with --quiet nothing else is "
            "printed. What is piped in stands before the prompt: cat FILE | polycall run MODEL "
            "'explain'."
        ),
        epilog=(
            f"Example: polycall run {LIVING['anthropic']} '서울 날씨 알려줘' "
            "--tools weather:get_weather"
        ),
    )
    add_options(parser)
    parser.add_argument(
        "prompt", nargs="?", help="what to ask, after what is piped in; - is standard input"
    )
    parser.add_argument("--no-stream", action="store_true", help="ask for whole answers")
    parser.add_argument("--quiet", action="store_true", help="print the answer alone")
    parser.add_argument("--json", action="store_true", help="print the run as one JSON object")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the prompt; fails where the run did not come to its own end."""
    prompt = joined_prompt(options.prompt, sys.stdin)
    end = asyncio.run(_run(options, prompt))
    if options.json:
        print(jsontext.encode(_as_json(end)))
    elif options.quiet:
        print(end.text)
    return 0 if end.reason == "finished" else 1


async def _run(options: argparse.Namespace, prompt: str) -> RunEnd:
    show = None if options.quiet or options.json else AnswerShow()
    async with Client(config=options.config) as client:
        conversation = Conversation(client, options)
        if options.system:
            conversation.messages = [Message("system", [Text(options.system)])]
        message = Message("user", [Text(prompt)])
        try:
            await conversation.open()
            return await conversation.turn(message, show, stream=not options.no_stream)
        finally:
            await conversation.close()


def _as_json(end: RunEnd) -> dict[str, Any]:
    return {
        "reason": end.reason,
        "text": end.text,
        "messages": end.messages,
        "steps": len(end.steps),
        "usage": end.usage,
        "cost_usd": None if end.cost is None else str(end.cost),
        "warnings": [warning for step in end.steps for warning in step.response.warnings],
    }
