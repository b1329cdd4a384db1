"""Values of others as an error may show them."""

import reprlib
from typing import Any

_LENGTH = 60
_short = reprlib.Repr()
_short.maxstring = _short.maxother = _LENGTH


def brief(value: Any) -> str:
    """The beginning of a value's `repr`, made of no more than that."""
    if isinstance(value, str):
        shown = repr(value[:_LENGTH])
    elif isinstance(value, dict | list):
        shown = _short.repr(value)
    else:
        shown = repr(value)
    return shown if len(shown) <= _LENGTH else shown[: _LENGTH - 3] + "..."
