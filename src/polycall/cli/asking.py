"""Approvals on the terminal: a call is shown whole, and a person says whether it runs."""

from __future__ import annotations

import asyncio
import codecs
import json
import os
import sys
from typing import Any, cast

from polycall._support import jsontext
from polycall._support.printable import printable_line
from polycall.agents import ApprovalRequest
from polycall.agents.approval_backend import Answer, Edited
from polycall.errors import RequestError
from polycall.ir import JSON

_ANSWER_BYTES_MAX = 65_536
_HELP = "y runs it, a runs it and each later call of this tool, e edits its arguments, n refuses"


class TerminalApproval:
    """Asks on the terminal about calls of tools that need approval; one question at a time.

    Where standard input or the screen is no terminal there is nobody to ask, and the answer is no.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def __call__(self, request: ApprovalRequest) -> Answer:
        """Whether the call may run, and with which arguments; a text is a no for the model."""
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            return "there is nobody to ask, since this is not a terminal"
        async with self._turn:
            print("? this call needs your approval:", file=sys.stderr)
            for line in _request_lines(request):
                print(f"  {line}", file=sys.stderr)
            answer = await _asked("run it? [y/N/a/e] ")
            while answer == "?":
                print(f"  {_HELP}", file=sys.stderr)
                answer = await _asked("run it? [y/N/a/e] ")
            if answer.lower() in ("e", "edit"):
                return await _edited()
        request.always = answer.lower() in ("a", "always")
        if request.always or answer.lower() in ("y", "yes"):
            return True
        return f"the user said {answer!r}" if answer.lower() not in ("", "n", "no") else False


def call_lines(tool: str, arguments: JSON) -> list[str]:
    """A call for the eyes of a person who decides: a line for each argument, whole and cleaned."""
    lines = [f"tool: {printable_line(tool)}"]
    for name, value in arguments.items():
        text = json.dumps(value, ensure_ascii=False)
        lines.append(
            f"{printable_line(json.dumps(name, ensure_ascii=False))}: {printable_line(text)}"
        )
    return lines if arguments else [*lines, "(no arguments)"]


def _request_lines(request: ApprovalRequest) -> list[str]:
    lines = call_lines(request.tool, request.arguments)
    if len(request.agents) > 1:
        lines.insert(0, f"agents: {printable_line(' > '.join(request.agents))}")
    return [*lines, f"why: {printable_line(request.why)}"] if request.why else lines


async def _edited() -> Answer:
    """Other arguments, as one line of JSON; a refusal where none are typed."""
    while True:
        text = await _asked("arguments as JSON on one line, or nothing to refuse: ")
        if not text:
            return False
        try:
            value: Any = jsontext.decode(text)
        except ValueError as error:
            print(f"  this is no JSON: {error}", file=sys.stderr)
            continue
        if isinstance(value, dict):
            try:
                return Edited(cast("JSON", value))
            except RequestError as error:
                print(f"  {error}", file=sys.stderr)
                continue
        print('  arguments are an object, such as {"amount": 9}', file=sys.stderr)


async def _asked(question: str) -> str:
    print(question, end="", file=sys.stderr, flush=True)
    return (await _line(sys.stdin.fileno())).strip()


async def _line(descriptor: int) -> str:
    """A line that is typed; can be cancelled, as a thread that reads cannot."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[str] = loop.create_future()
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = ""

    def read() -> None:
        nonlocal text
        data = os.read(descriptor, _ANSWER_BYTES_MAX)
        text += decoder.decode(data)
        if (not data or "\n" in text or len(text) > _ANSWER_BYTES_MAX) and not ready.done():
            ready.set_result(text)

    loop.add_reader(descriptor, read)
    try:
        return await ready
    finally:
        loop.remove_reader(descriptor)
