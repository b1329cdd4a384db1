"""Lines in the system text that a client writes for its own vendor alone, new with each request.

No other vendor's cache would ever hit behind one, nor a key that is made of them.
"""

from __future__ import annotations

import re

from msgspec.structs import replace

from polycall.ir import Message, Part, Text

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


def have_nonces(messages: list[Message], dialect: str) -> bool:
    """Whether a system message has such a line."""
    for message in messages:
        if message.role == "system":
            for part in message.parts:
                if isinstance(part, Text) and without_nonces(part.text, dialect) != part.text:
                    return True
    return False


def without_nonce(part: Part, dialect: str) -> list[Part]:
    """The part without such lines; nothing where nothing else was in it."""
    if not isinstance(part, Text) or (text := without_nonces(part.text, dialect)) == part.text:
        return [part]
    return [replace(part, text=text)] if text.strip() else []
