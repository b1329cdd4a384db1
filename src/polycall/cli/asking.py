"""Approvals on the terminal: a call is shown whole, and a person says whether it runs."""

from __future__ import annotations

import asyncio
import codecs
import json
import os
import sys

from polycall.cli.text import printable_line
from polycall.ir import JSON
from polycall.tools.toolset import AnyTool

_ANSWER_BYTES_MAX = 4096


class TerminalApproval:
    """Asks on the terminal about calls of tools that need approval; one question at a time.

    Where standard input or the screen is no terminal there is nobody to ask, and the answer is no.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def __call__(self, tool: AnyTool, arguments: JSON) -> bool | str:
        """Whether the call may run; a text is a no, which the model reads."""
        if not tool.needs_approval:
            return True
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            return "there is nobody to ask, since this is not a terminal"
        async with self._turn:
            print("? this call needs your approval:", file=sys.stderr)
            for line in call_lines(tool.name, arguments):
                print(f"  {line}", file=sys.stderr)
            print("run it? [y/N] ", end="", file=sys.stderr, flush=True)
            answer = (await _line(sys.stdin.fileno())).strip()
        if answer.lower() in ("y", "yes"):
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
