"""Descriptions of a function and its parameters, from a docstring of three usual styles."""

from __future__ import annotations

import inspect

import docstring_parser
from docstring_parser import Docstring as ParsedDocstring
from docstring_parser import DocstringStyle
from msgspec import Struct


class Docstring(Struct, frozen=True):
    """A docstring, taken apart.  Google, NumPy and Sphinx styles are recognized."""

    description: str = ""
    parameters: dict[str, str] = {}
    returns: str = ""


_STYLES = (DocstringStyle.GOOGLE, DocstringStyle.NUMPYDOC, DocstringStyle.REST)


def parse_docstring(text: str | None) -> Docstring:
    """Take a docstring apart.  One that says nothing of parameters is all description."""
    if not text or not text.strip():
        return Docstring()
    readings = [reading for style in _STYLES if (reading := _read(text, style)) is not None]
    # The style that finds most is the one it was written in; the first wins a tie.
    parsed = max(readings, key=lambda reading: len(reading.meta), default=None)
    if parsed is None or not parsed.meta:
        return Docstring(inspect.cleandoc(text))
    parameters = {
        # NumPy describes several at once: "x, y : float".
        name.strip().lstrip("*"): _one_line(parameter.description)
        for parameter in parsed.params
        for name in parameter.arg_name.split(",")
        if parameter.description
    }
    pieces = [parsed.short_description, parsed.long_description]
    description = "\n\n".join(piece.strip() for piece in pieces if piece and piece.strip())
    returns = _one_line(parsed.returns.description) if parsed.returns else ""
    return Docstring(description, parameters, returns)


def _read(text: str, style: DocstringStyle) -> ParsedDocstring | None:
    """The docstring as one of the styles; `None` where it cannot be that."""
    try:
        return docstring_parser.parse(text, style)
    except (docstring_parser.ParseError, LookupError, ValueError):
        return None  # one style stumbles over what another one means


def _one_line(text: str | None) -> str:
    """Join the lines: line breaks of a source file mean nothing to a model."""
    return " ".join((text or "").split())
