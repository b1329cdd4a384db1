"""Text on a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text without control characters: a model's words must not steer the terminal."""
    return "".join(
        c
        if c in "\n\t" or (c.isprintable() and not "\ud800" <= c <= "\udfff") or c == "\u200d"
        else "�"
        for c in text
    )
