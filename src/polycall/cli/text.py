"""Text on a terminal: the one place where what others wrote is cleaned before it is printed.

`cleaned` puts it around standard output and standard error for a whole command, so that no
command, log line or error message can forget it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, TextIO, cast

# Control characters but for a new line and a tab; what turns, hides or marks text unseen (bidi
# controls, zero-width characters, tags, separators of lines); halves of surrogates.  Joiners
# stay: Persian, Indic scripts and families of emoji are written with them.  A carriage return is
# harmless before a new line alone.  Unicode 16, general categories Cc, Cf, Cs, Zl and Zp.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2"
    "\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]|\r(?!\n)"
)


def printable(text: str) -> str:
    """The text with its control characters shown as JSON escapes, such as `\\u001b`.

    JSON text stays the same JSON: the escapes stand for the characters that they show.
    """
    return _UNSAFE.sub(lambda found: _escape(found[0]), text)


def printable_line(text: str) -> str:
    """`printable`, on one line: for names and ids, which must not begin a line of their own."""
    return printable(text).translate(_LINES)


_LINES = {10: "\\n", 9: "\\t", 13: "\\r"}


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


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
