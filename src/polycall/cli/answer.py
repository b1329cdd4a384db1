"""The answer of `polycall run` on standard output, and all else on standard error."""

from __future__ import annotations

import io
import os
import stat
import sys
from typing import TextIO

from polycall._support.printable import printable
from polycall.agents import AgentEvent
from polycall.cli.show import Show
from polycall.errors import RequestError
from polycall.ir import PartDelta, PartStart, Text
from polycall.loop import ModelEvent, RunEnd, StepEnd


class AnswerShow(Show):
    """Prints the answer to `out` and calls, reasoning, costs and warnings to `notes`.

    On a terminal the answer comes as it is written.  A file or a pipe gets the last answer alone:
    what a model says before it calls tools is a note.
    """

    def __init__(self, out: TextIO | None = None, notes: TextIO | None = None) -> None:
        super().__init__(notes or sys.stderr)
        self._answer = out or sys.stdout
        self._is_live = self._answer.isatty()
        self._is_in_text = False

    def event(self, event: AgentEvent) -> None:
        match event:
            case ModelEvent(event=PartStart(part=Text())):
                self.close_line()
                self._is_in_text = True
            case ModelEvent(event=PartDelta(text=text)) if self._is_in_text:
                if self._is_live:
                    self._say(text)
            case _:
                if isinstance(event, ModelEvent) and isinstance(event.event, PartStart):
                    self._is_in_text = False
                self._other(event)

    def _other(self, event: AgentEvent) -> None:
        if isinstance(event, StepEnd) and not self._is_live:
            response = event.step.response
            if response.tool_calls and response.text:
                self.line(response.text, dim=True)
        if isinstance(event, RunEnd):
            self._is_in_text = False
            text = event.text
            if not self._is_live and text and not _calls(event):
                self._say(text)
            if text and not text.endswith("\n") and not _calls(event):
                self._say("\n")
        elif self._is_live and self._is_in_text and not isinstance(event, ModelEvent):
            self._is_in_text = False
            self._say("\n")
        super().event(event)

    def _say(self, text: str) -> None:
        self._answer.write(printable(text))
        self._answer.flush()


def _calls(end: RunEnd) -> bool:
    return bool(end.steps and end.steps[-1].response.tool_calls)


def joined_prompt(prompt: str | None, stdin: TextIO) -> str:
    """The prompt, with standard input before it where something was piped or redirected.

    `-` asks for standard input itself.  Where no words and no input are there it is refused.
    """
    if prompt == "-":
        return _read(stdin)
    piped = _read(stdin) if _is_given(stdin) else ""
    words = _text(prompt or "", "the prompt")
    parts = [part for part in (piped.strip("\n"), words) if part]
    if not parts:
        raise RequestError(
            "there is no prompt; write it after the model, or pipe it: "
            "cat FILE | polycall run MODEL 'explain'"
        )
    return "\n\n".join(parts)


def _read(stdin: TextIO) -> str:
    try:
        found = stdin.read()
    except UnicodeDecodeError:
        found = "\udcff"
    return _text(found, "standard input")


def _text(text: str, what: str) -> str:
    """The text, where it is one: bytes of another encoding are refused, and nothing is sent."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RequestError(
            f"{what} is not text in UTF-8; convert it (iconv -f latin1 -t utf-8), or send a file "
            "as what it is: -a FILE"
        ) from None
    return text


def _is_given(stdin: TextIO) -> bool:
    """Whether somebody sends something: a pipe, a file or a socket, and no terminal or device."""
    try:
        mode = os.fstat(stdin.fileno()).st_mode
    except io.UnsupportedOperation:
        return isinstance(stdin, io.StringIO)
    except (OSError, ValueError, AttributeError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)
