"""A dialect's words for how answers end and for what went wrong, read from its `words.toml`.

| table | has |
|---|---|
| `finish` | the words on the wire, by the finish reason that they mean |
| `ends` | the word for each finish reason |
| `errors` | words on the wire, by the class of error that they mean |
| `wire` | how each class of error is written |
"""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Any, TypeVar

from msgspec import convert

from polycall import errors
from polycall.ir import JSON, FinishReason

T = TypeVar("T")


class WordTables:
    """The tables of one dialect, by its package."""

    def __init__(self, package: str) -> None:
        source = files(package) / "words.toml"
        self.tables: JSON = tomllib.loads(source.read_text(encoding="utf-8"))

    def finish(self) -> dict[str, FinishReason]:
        """The meaning of each word for an end."""
        table = convert(self.tables["finish"], dict[FinishReason, list[str]])
        return {word: reason for reason, words in table.items() for word in words}

    def ends(self) -> dict[FinishReason, str]:
        """The word for each finish reason."""
        return convert(self.tables["ends"], dict[FinishReason, str])

    def classes(self, table: str = "errors") -> dict[str, type[errors.UpstreamError]]:
        """The class of error that each word means."""
        rows: dict[str, list[str]] = self.tables[table]
        return {word: _class(name) for name, words in rows.items() for word in words}

    def wire(self, kind: type[T]) -> dict[type[errors.PolycallError], T]:
        """The form of each class of error, as values of a kind."""
        return {_class(name): convert(row, kind) for name, row in self.tables["wire"].items()}


def _class(name: str) -> Any:
    return getattr(errors, name)
