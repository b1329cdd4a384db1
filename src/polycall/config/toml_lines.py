"""On which line of a TOML text a value stands; the standard parser does not say.

Only for text that `tomllib` has already read without complaint, so this scanner need not judge.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeAlias

Key: TypeAlias = tuple[str | int, ...]

_SPACE = " \t"
# No setting stands deeper: what does is on the line of what is around it.
_DEPTH_MAX = 20
_KEY_PART = re.compile(r'"((?:[^"\\]|\\.)*)"|\'([^\']*)\'|([A-Za-z0-9_-]+)')


class TOMLLines:
    """Answers `line(path)`, where a path is keys and array indexes from the top.

    A place without a line of its own (inside an inline table, or a missing key) gets the line of
    the nearest table or value around it.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._lines: dict[Key, int] = {}
        self._array_sizes: dict[Key, int] = {}
        self._scan()

    def line(self, path: Key) -> int:
        """The line number, counted from 1."""
        for size in range(len(path), 0, -1):
            found = self._lines.get(path[:size])
            if found is not None:
                return found
        return 1

    def _scan(self) -> None:
        text, table = self._text, ()
        for number, start in self._statements():
            self._position = start
            if text.startswith("[[", start):
                self._position += 2
                name = self._resolve(self._dotted_key())
                index = self._array_sizes.get(name, 0)
                self._array_sizes[name] = index + 1
                table = (*name, index)
                for size in range(1, min(len(name), _DEPTH_MAX) + 1):
                    self._lines.setdefault(name[:size], number)
                self._lines[table] = number
            elif text.startswith("[", start):
                self._position += 1
                table = self._resolve(self._dotted_key())
                for size in range(1, min(len(table), _DEPTH_MAX)):
                    # A table that only others stand in begins with the first of them.
                    self._lines.setdefault(table[:size], number)
                self._lines[table] = number
            else:
                key = (*table, *self._dotted_key())
                for size in range(len(table) + 1, min(len(key), len(table) + _DEPTH_MAX) + 1):
                    self._lines.setdefault(key[:size], number)

    def _statements(self) -> Iterator[tuple[int, int]]:
        """Line number and position of each statement; values over several lines are one."""
        text, position, number = self._text, 0, 1
        while position < len(text):
            while position < len(text) and text[position] in " \t\r\n":
                number += text[position] == "\n"
                position += 1
            if position >= len(text):
                return
            if text[position] != "#":
                yield number, position
            end = self._statement_end(position)
            number += text.count("\n", position, end)
            position = end

    def _statement_end(self, position: int) -> int:
        text, depth = self._text, 0
        while position < len(text):
            character = text[position]
            if character in "\"'":
                position = self._string_end(position)
                continue
            if character == "#":
                newline = text.find("\n", position)
                position = len(text) if newline < 0 else newline
                continue
            if character == "\n" and depth <= 0:
                return position
            depth += (character in "[{") - (character in "]}")
            position += 1
        return position

    def _string_end(self, position: int) -> int:
        text, quote = self._text, self._text[position]
        delimiter = quote * 3 if text.startswith(quote * 3, position) else quote
        place = position + len(delimiter)
        while place < len(text):
            if text[place] == "\\" and quote == '"':
                place += 2
            elif text.startswith(delimiter, place):
                place += len(delimiter)
                # A string of three quotes may end with up to two quotes of its own.
                while len(delimiter) == 3 and text.startswith(quote, place):
                    place += 1
                return place
            else:
                place += 1
        return place

    def _dotted_key(self) -> Key:
        parts: list[str] = []
        while True:
            while self._text[self._position] in _SPACE:
                self._position += 1
            found = _KEY_PART.match(self._text, self._position)
            if found is None:
                return tuple(parts)
            quoted, literal, bare = found.groups()
            parts.append(quoted or literal or bare or "")
            self._position = found.end()
            while self._text[self._position] in _SPACE:
                self._position += 1
            if self._text[self._position] != ".":
                return tuple(parts)
            self._position += 1

    def _resolve(self, name: Key) -> Key:
        """A header's name with the index of each array of tables it passes through."""
        path: Key = ()
        for position, part in enumerate(name):
            path = (*path, part)
            size = self._array_sizes.get(path)
            if size is not None and position < len(name) - 1:
                path = (*path, size - 1)
        return path
