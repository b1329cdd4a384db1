"""What a docstring says of a function and its parameters, in any of the three usual styles."""

from __future__ import annotations

import inspect

import docstring_parser
from msgspec import Struct


class Docstring(Struct, frozen=True):
    """A docstring, taken apart.  Google, NumPy and Sphinx styles are told apart by themselves."""

    description: str = ""
    parameters: dict[str, str] = {}
    returns: str = ""


def parse_docstring(text: str | None) -> Docstring:
    """Take a docstring apart.  One that cannot be parsed is all description."""
    if not text or not text.strip():
        return Docstring()
    try:
        parsed = docstring_parser.parse(text)
    except docstring_parser.ParseError:
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


def _one_line(text: str | None) -> str:
    """Where a source file breaks its lines means nothing to a model."""
    return " ".join((text or "").split())
