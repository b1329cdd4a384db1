"""Text of others as a person may see it: nothing hides, turns or erases a part of it."""

from __future__ import annotations

import re

# Control characters but for a new line and a tab; what turns, hides or marks text unseen (bidi
# controls, zero-width characters, tags, separators of lines); halves of surrogates.  Joiners
# stay: Persian, Indic scripts and families of emoji are written with them.  A carriage return is
# harmless before a new line alone.  Unicode 16, general categories Cc, Cf, Cs, Zl and Zp, and the
# letters and marks that nobody sees.  The console's page has the same (`UNSAFE` in console.js).
_UNSAFE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891"
    "\u08e2\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
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
