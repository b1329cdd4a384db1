"""Text on a terminal: the one place where what others wrote is cleaned before it is printed.

`cleaned` puts it around standard output and standard error for a whole command, so that no
command, log line or error message can forget it.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from polycall._support.printable import printable


class CleanStream:
    """A text stream whose `write` cleans; `styled` adds what polycall itself says to a terminal."""

    def __init__(self, inner: TextIO) -> None:
        self._inner = inner

    def write(self, text: str) -> int:
        """Write the text, cleaned; how many characters of it were taken, as streams say it."""
        self._inner.write(printable(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write each, cleaned."""
        for line in lines:
            self.write(line)

    def styled(self, before: str, text: str, after: str) -> None:
        """Write `text` cleaned, between sequences of our own."""
        self._inner.write(f"{before}{printable(text)}{after}")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def clean_stream(stream: TextIO) -> CleanStream:
    """`stream` with a `write` that cleans; the same one where it does already."""
    return stream if isinstance(stream, CleanStream) else CleanStream(stream)


@contextmanager
def cleaned(*, for_good: bool = False) -> Generator[None]:
    """Clean what is printed on standard output and standard error, as long as the block lasts.

    `for_good` leaves it so: a traceback that ends the process is printed after the block.
    """
    before = sys.stdout, sys.stderr
    # A process may have been started without either.
    out, error = (stream and cast("TextIO", clean_stream(stream)) for stream in before)
    sys.stdout, sys.stderr = out, error
    try:
        yield
    finally:
        # Who put a stream of their own there meanwhile takes it away again.
        if not for_good and sys.stdout is out and sys.stderr is error:
            sys.stdout, sys.stderr = before
