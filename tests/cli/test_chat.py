"""`polycall chat` on a real terminal: Korean, Ctrl-C in an answer and in a tool, Ctrl-D."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Ctrl-C on a terminal reaches the process whose controlling terminal it is; a shell's background
# job ignores it.  Done by a program of its own: code between fork and exec may hang where this
# process has threads.
_ON_ITS_TERMINAL = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGINT, signal.SIG_DFL)
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """A program on a pseudo-terminal."""

    def __init__(self, words: list[str]) -> None:
        self._master, slave = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", "PYTHONUTF8": "1", "LC_ALL": "C.UTF-8"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _ON_ITS_TERMINAL, *words],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            start_new_session=True,
        )
        os.close(slave)
        self.screen = ""
        self._seen = 0

    def send(self, text: str) -> None:
        os.write(self._master, text.encode())

    def expect(self, pattern: str, *, within_s: float = 20) -> str:
        """Read until the pattern stands in what is new on the screen."""
        ends_at = time.monotonic() + within_s
        while True:
            found = re.search(pattern, self.screen[self._seen :])
            if found is not None:
                self._seen += found.end()
                return found.group()
            left_s = ends_at - time.monotonic()
            ready, _, _ = select.select([self._master], [], [], max(left_s, 0))
            assert ready, f"no {pattern!r} in {self.screen[self._seen :]!r}"
            try:
                self.screen += os.read(self._master, 65536).decode("utf-8", "replace")
            except OSError:  # the program has left its terminal
                raise AssertionError(f"ended before {pattern!r}: {self.screen!r}") from None

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)


@contextmanager
def chatting(model: str) -> Iterator[Terminal]:
    words = [sys.executable, "-m", "polycall", "chat", model, "--tools", "city_tools:both"]
    terminal = Terminal(words)
    try:
        terminal.expect("/help for help")
        terminal.expect("> ")
        yield terminal
    finally:
        terminal.close()


def test_a_conversation(folder: Path) -> None:
    with chatting("claude/sim-1") as terminal:
        terminal.send("서울 날씨 알려줘\n")
        terminal.expect(r'→ get_weather\(city="서울"\)')
        terminal.expect("맑음")
        terminal.expect(r"tokens in.*2 steps")
        terminal.expect("> ")
        terminal.send("/model acme/sim-1\n")
        terminal.expect("now acme/sim-1")
        terminal.send("도쿄 날씨는?\n")
        terminal.expect(r'→ get_weather\(city="도쿄"\)')
        terminal.expect(r"2 steps")
        terminal.send("/tools\n")
        terminal.expect("slow_report: A slow report")
        terminal.send("/reset\n")
        terminal.expect("forgotten")
        terminal.send("/nonsense\n")
        terminal.expect("/quit")
        terminal.send("/quit\n")
        terminal.expect("in all: .* 4 steps")
        assert terminal.process.wait(10) == 0


def test_ctrl_c_in_mid_stream_and_in_a_tool(folder: Path) -> None:
    with chatting("claude/fault-slow") as terminal:
        terminal.send("hello\n")
        terminal.expect("[a-z]")
        time.sleep(0.5)
        terminal.send("\x03")
        terminal.expect("stopped; the conversation continues", within_s=5)
        terminal.expect("> ")
        terminal.send("/model acme/sim-1\n")
        terminal.expect("now acme/sim-1")
        terminal.send("부산 보고서 slow report\n")
        terminal.expect(r"→ slow_report\(")
        terminal.send("\x03")
        terminal.expect("stopped; the conversation continues", within_s=5)
        terminal.expect("> ")
        # Between its prompt and its read, `input` takes no note of a signal before the next line.
        time.sleep(0.3)
        terminal.send("\x03")
        terminal.expect(r"\(Ctrl-D leaves\)")
        terminal.send("서울 날씨\n")
        terminal.expect("맑음")
        terminal.expect("2 steps")
        terminal.expect("> ")
        terminal.send("\x04")
        terminal.expect("in all")


def test_an_error_does_not_end_the_conversation(folder: Path) -> None:
    with chatting("acme/fault-500") as terminal:
        terminal.send("hello\n")
        terminal.expect("error: ")
        terminal.send("/model nobody/x\n")
        terminal.expect("no provider is called 'nobody'")
        terminal.send("/model acme/sim-1\n")
        terminal.send("hello\n")
        terminal.expect("no language model here")


def test_n15_two_pasted_lines_are_one_question(folder: Path) -> None:
    with chatting("claude/sim-1") as terminal:
        terminal.send("hello there\nand a second line\n")
        terminal.expect("1 step")
        terminal.expect("> ")
        terminal.send("\x04")
        terminal.expect("in all: .* 1 step")
