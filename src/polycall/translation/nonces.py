"""Lines in the system text that a client writes for its own vendor alone, new with each request.

No other vendor's cache would ever hit behind one, nor a key that is made of them.
"""

from __future__ import annotations

import re

_LINES = {
    "anthropic": re.compile(
        r"^[ \t]*x-anthropic-[\w-]+:[^\n]*(?:\n+|$)", re.MULTILINE | re.IGNORECASE
    )
}


def without_nonces(text: str, dialect: str) -> str:
    """The text as a model of this dialect is to read it."""
    for owner, line in _LINES.items():
        if owner != dialect and ("nthropic-" in text or "NTHROPIC-" in text):
            text = line.sub("", text)
    return text
