"""Reading argument text that is nearly JSON, where there is one way to read it.

Single quotes, names without quotes, trailing commas, `True` and `None`, a code fence around it or
a special token behind it: the value is complete and unmistakable.  Text that ends too early is
never completed, and a bare word is never taken for a string.
"""

from __future__ import annotations

import re
from typing import Any

from polycall._support import jsontext
from polycall._support.fences import inside_fence

_NESTING_MAX = 100

_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![\w.])")
_WORD = re.compile(r"[^\W\d]\w*")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"|' + r"'(?:[^'\\]|\\.)*'", re.DOTALL)
_QUOTED_PIECE = re.compile(r'\\.|"|[\x00-\x1f]', re.DOTALL)
_FENCE = re.compile(r"```[a-zA-Z]*\s*\n")
_SPECIAL_TOKEN = re.compile(r"<[|｜][^<>\n]{1,40}[|｜]>")
_TOKEN_CHARS_MAX = 44

_WORDS = {
    "true": True,
    "True": True,
    "false": False,
    "False": False,
    "null": None,
    "None": None,
}


class CutOffError(ValueError):
    """The text ends before its value does."""


def read_relaxed(text: str) -> Any:
    """The one value that the text can mean.

    Raises `CutOffError` where it ends too early, `ValueError` where it is not clear.
    """
    stripped = _without_special_tokens(text)
    fenced = inside_fence(stripped, _FENCE)
    reader = _Reader(stripped if fenced is None else fenced.strip())
    value = reader.value(0)
    reader.finish()
    return value


def _without_special_tokens(text: str) -> str:
    """The text without those at its end, which a server did not take off."""
    end = len(text)
    while True:
        while end and text[end - 1].isspace():
            end -= 1
        start = text.rfind("<", max(end - _TOKEN_CHARS_MAX, 0), end)
        if start < 0 or _SPECIAL_TOKEN.fullmatch(text, start, end) is None:
            return text[:end].strip()
        end = start


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0

    def value(self, level: int) -> Any:
        """The value that begins here."""
        if level > _NESTING_MAX:
            raise ValueError("nested too deeply")
        self._skip_space()
        match self._peek():
            case "{":
                return self._object(level)
            case "[":
                return self._array(level)
            case '"' | "'":
                return self._string()
            case _:
                return self._number_or_word()

    def finish(self) -> None:
        """Nothing may follow."""
        self._skip_space()
        if self._position < len(self._text):
            raise self._unclear("something follows the value")

    def _object(self, level: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self._position += 1
        while not self._takes("}"):
            key = self._key()
            if key in found:
                raise self._unclear(f"{key!r} is given twice")
            if not self._takes(":"):
                raise self._unclear(f"no colon follows {key!r}")
            found[key] = self.value(level + 1)
            self._end_of_item("}")
        return found

    def _array(self, level: int) -> list[Any]:
        found: list[Any] = []
        self._position += 1
        while not self._takes("]"):
            found.append(self.value(level + 1))
            self._end_of_item("]")
        return found

    def _end_of_item(self, closing: str) -> None:
        if not self._takes(",") and self._peek() != closing:
            raise self._unclear(f"neither a comma nor {closing!r} follows a value")

    def _key(self) -> str:
        if self._peek() in ('"', "'"):
            return self._string()
        word = _WORD.match(self._text, self._position)
        if word is None:
            raise self._unclear("a name is expected")
        self._position = word.end()
        return word.group()

    def _string(self) -> str:
        found = _STRING.match(self._text, self._position)
        if found is None:
            raise CutOffError("a string has no end")
        self._position = found.end()
        quoted = found.group()
        inner = _QUOTED_PIECE.sub(_json_piece, quoted[1:-1])
        value = jsontext.decode(f'"{inner}"')
        assert isinstance(value, str)
        return value

    def _number_or_word(self) -> Any:
        number = _NUMBER.match(self._text, self._position)
        if number is not None:
            self._position = number.end()
            return jsontext.decode(number.group())
        word = _WORD.match(self._text, self._position)
        if word is None or word.group() not in _WORDS:
            raise self._unclear("a value is expected")
        self._position = word.end()
        return _WORDS[word.group()]

    def _skip_space(self) -> None:
        found = _SPACE.match(self._text, self._position)
        assert found is not None
        self._position = found.end()

    def _peek(self) -> str:
        """The next character that is not a space."""
        self._skip_space()
        if self._position >= len(self._text):
            raise CutOffError("the text ends before its value does")
        return self._text[self._position]

    def _takes(self, character: str) -> bool:
        if self._peek() != character:
            return False
        self._position += 1
        return True

    def _unclear(self, reason: str) -> ValueError:
        return ValueError(f"{reason} at character {self._position + 1}")


def _json_piece(found: re.Match[str]) -> str:
    r"""A piece of a quoted string in JSON's spelling: `\'` needs no mark there, `"` does."""
    piece = found.group()
    if piece == '"':
        return '\\"'
    if piece == "\\'":
        return "'"
    if len(piece) == 1:
        return f"\\u{ord(piece):04x}"
    return piece
