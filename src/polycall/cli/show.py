"""A run on the terminal: text as it comes, calls, results, tokens and cost.

`AnswerShow` puts the answer on standard output, and all else on standard error.
"""

from __future__ import annotations

import io
import json
import os
import stat
import sys
from decimal import Decimal
from typing import Any, TextIO

from polycall._support.printable import printable, printable_line
from polycall.agents import AgentEvent, HandoffEvent, ProgressEvent, TaskEvent
from polycall.cli.text import clean_stream
from polycall.errors import RequestError
from polycall.ir import PartDelta, PartStart, Reasoning, Text, ToolCall, ToolResult, Usage, Warning
from polycall.loop import CallEnd, CallStart, ModelEvent, RunEnd, StepEnd, ToolEvent

_RESULT_LENGTH_MAX = 300


class Show:
    """Prints the events of a run.  Colours only on a terminal, and not where NO_COLOR is set."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = clean_stream(out or sys.stdout)
        self._colours = (
            self._out.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        )
        self._arrows = _arrows(self._out)
        self._warned: list[Warning] = []
        self._open = ""  # the kind of text that the current line holds

    def event(self, event: AgentEvent) -> None:
        """Print one event."""
        match event:
            case ModelEvent(event=PartStart(part=part)):
                self._open_part(part)
            case ModelEvent(event=PartDelta(text=text)) if self._open:
                self._write(text, dim=self._open == "reasoning")
            case CallStart(call=call):
                self.line(
                    f"{self._arrows[0]} {printable_line(call.name)}({shown_arguments(call)})",
                    dim=True,
                )
            case CallEnd(call=call, result=result):
                self.line(
                    f"{self._arrows[1]} {printable_line(call.name)}: {_shortened(result)}", dim=True
                )
            case StepEnd(step=step):
                for warning in step.response.warnings:
                    if warning not in self._warned:
                        self.line(f"! {warning.feature}: {warning.detail}", dim=True)
                        self._warned.append(warning)
            case RunEnd():
                self.end(event)
            case ToolEvent(call=call, event=ProgressEvent(progress, message)):
                self.line(_progress(call.name, progress, message), dim=True)
            case TaskEvent(task=task):
                state = task.state if task.is_over else ""
                self.line(_progress(task.tool, task.progress, task.message, state), dim=True)
            case ToolEvent(event=HandoffEvent(target=target)):
                self.line(f"{self._arrows[0]} {printable_line(target)}", dim=True)
            case _:
                pass

    def end(self, end: RunEnd) -> None:
        """Print what a run took, and why it ended where that was not the model's own end."""
        if end.reason != "finished":
            self.line(f"stopped: {end.reason}")
        self.line(summary(end.usage, end.cost, len(end.steps)), dim=True)

    def line(self, text: str, *, dim: bool = False) -> None:
        """Print a line of its own."""
        self.close_line()
        self._write(text, dim=dim)
        self._write("\n")

    def close_line(self) -> None:
        """End a line that is open."""
        if self._open:
            self._write("\n")
            self._open = ""

    def _open_part(self, part: Any) -> None:
        self.close_line()
        if isinstance(part, Text):
            self._open = "text"
            self._write(part.text)
        elif isinstance(part, Reasoning):
            self._open = "reasoning"
            self._write(part.text, dim=True)

    def _write(self, text: str, *, dim: bool = False) -> None:
        if dim and self._colours and text:
            self._out.styled("\x1b[2m", text, "\x1b[0m")
        else:
            self._out.write(text)
        self._out.flush()


def _arrows(out: Any) -> tuple[str, str]:
    """Arrows as the output can show them."""
    try:
        "→←".encode(out.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return "->", "<-"
    return "→", "←"


def summary(usage: Usage, cost: Decimal | None, steps: int) -> str:
    """Tokens, cost and steps in one line; an unknown price is said so."""
    cached = f" ({usage.cached_tokens} cached)" if usage.cached_tokens else ""
    thought = f" ({usage.reasoning_tokens} reasoning)" if usage.reasoning_tokens else ""
    price = "unknown" if cost is None else f"${cost:.6f}"
    plural = "step" if steps == 1 else "steps"
    return (
        f"{usage.input_tokens} tokens in{cached}, {usage.output_tokens} out{thought}; "
        f"cost {price}; {steps} {plural}"
    )


def shown_arguments(call: ToolCall) -> str:
    """A call's arguments as Python would take them; the raw text where they are no object."""
    if call.arguments is None:
        return printable_line(call.arguments_json)
    return ", ".join(
        f"{printable_line(name)}={json.dumps(value, ensure_ascii=False)}"
        for name, value in call.arguments.items()
    )


def _progress(tool: str, progress: float, message: str, state: str = "") -> str:
    words = ", ".join(printable_line(each) for each in (state, message) if each)
    return f"· {printable_line(tool)}: {progress:.0%}{f', {words}' if words else ''}"


def _shortened(result: ToolResult) -> str:
    text = result.text.replace("\n", " ")
    if len(text) > _RESULT_LENGTH_MAX:
        text = f"{text[:_RESULT_LENGTH_MAX]}… ({len(text)} characters)"
    others = len(result.content) - sum(isinstance(part, Text) for part in result.content)
    media = f" [+{others} media]" if others else ""
    return f"{'error: ' if result.is_error else ''}{text}{media}"


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
