"""Reads tables of a configuration into structs and collects every mistake with its line."""

from __future__ import annotations

import difflib
import functools
import json
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from polycall.config.secret_source import read_secret
from polycall.config.toml_lines import Key, TOMLLines
from polycall.errors import ConfigError

T = TypeVar("T", bound=Struct)

# What databases and timers can count with, in whatever unit.
NUMBER_MAX = 10**12
BUDGET_USD_MAX = 10**9  # a counter holds billionths of it
MISTAKES_MAX = 100  # nobody reads more at once, and to look for near names takes a while


@functools.cache
def _fields(kind: type[Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    return {field.encode_name: field for field in msgspec.structs.fields(kind)}


def _words(kind: Any) -> list[str]:
    """The words that a setting may be; none where it may be any text."""
    if typing.get_origin(kind) is typing.Literal:
        return [word for word in typing.get_args(kind) if isinstance(word, str)]
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        kinds = typing.get_args(kind)
        words = [word for each in kinds for word in _words(each)]
        return [*words, "true or false without quotes"] if words and bool in kinds else words
    return []


def _hint(name: str, known: Sequence[str]) -> str:
    """The nearest of the known names, in whatever case it was written, or all of them."""
    by_lower = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1)
    if near:
        return f"did you mean {by_lower[near[0]]!r}?"
    return "known: " + ", ".join(each for each in known if each)


class Reader:
    """Continues after a mistake, so that one run shows them all, or the first `MISTAKES_MAX`."""

    def __init__(
        self, text: str, name: str, environment: Mapping[str, str], folder: Path = Path()
    ) -> None:
        self._lines = TOMLLines(text)
        self._name = name
        self._environment = environment
        self._folder = folder
        self._values: dict[str, str] = {}
        self._mistakes: list[tuple[int, str]] = []
        self._more = 0
        self._noted: set[Key] = set()

    def note(self, path: Key, message: str) -> None:
        """One mistake at `path`."""
        self._noted.add(path)
        if len(self._mistakes) >= MISTAKES_MAX:
            self._more += 1
            return
        place = ".".join(map(str, path))
        self._mistakes.append((self._lines.line(path), f"{place}: {message}"))

    def has_noted(self, path: Key) -> bool:
        """Whether something at `path` is already known to be wrong."""
        return path in self._noted

    def variable(self, text: str, path: Key) -> str:
        """A value that may stand in the environment: `env:NAME`, or `env:NAME/path` for a URL."""
        if not text.startswith("env:"):
            return text
        name, slash, more = text.removeprefix("env:").partition("/")
        value = self._environment.get(name, "")
        if not value:
            self.note(path, f"the environment variable {name!r} is not set")
        if not slash or not value:
            return value
        return f"{value.rstrip('/').removesuffix('/' + more)}/{more}"

    def unknown(self, path: Key, known: Iterable[str], what: str) -> None:
        """A name that is none of `known`."""
        name = str(path[-1])
        if len(self._mistakes) >= MISTAKES_MAX:
            self.note(path, "")
            return
        names = sorted(known)
        self.note(path, f"{name!r} is not a {what}; {_hint(name, names)}")

    def misfit(self, path: Key, value: Any, kind: Any, error: msgspec.ValidationError) -> None:
        """A value of another kind than its setting's, or none of the words that the setting has."""
        words = _words(kind)
        if words and isinstance(value, str):
            self.note(path, f"{value!r} is not one of its values; {_hint(value, words)}")
        else:
            message = str(error)
            self.note(path, message[:1].lower() + message[1:])

    def table(self, kind: type[T], value: Any, path: Key) -> T | None:
        """The table as a struct of what is right in it; `None` where a needed value is wrong."""
        table = self.tables(value, path)
        if not isinstance(value, dict):
            return None
        fields = _fields(kind)
        good: dict[str, Any] = {}
        for key, item in table.items():
            field = fields.get(key)
            if field is None:
                self.unknown((*path, key), fields, "setting")
                continue
            try:
                good[key] = msgspec.convert(item, field.type)
            except msgspec.ValidationError as error:
                self.misfit((*path, key), item, field.type, error)
        for key, field in fields.items():
            if field.required and key not in table:
                self.note(path, f"{key!r} is missing")
        needed = [key for key, field in fields.items() if field.required]
        return kind(**good) if all(key in good for key in needed) else None

    def tables(self, value: Any, path: Key) -> dict[str, Any]:
        """A table of tables."""
        if not isinstance(value, dict):
            self.note(path, f"must be a table, got {type(value).__name__}")
            return {}
        return value  # pyright: ignore[reportUnknownVariableType]

    def check_numbers(self, table: Struct, path: Key, *, may_be_zero: bool = False) -> None:
        """Note the numbers of the table that are none to count with."""
        for field in _fields(type(table)).values():
            value = getattr(table, field.name)
            if not isinstance(value, int | float | Decimal) or isinstance(value, bool):
                continue
            most = BUDGET_USD_MAX if field.name == "budget_usd" else NUMBER_MAX
            is_nan = isinstance(value, Decimal) and value.is_nan()  # which nothing compares with
            if is_nan or not 0 <= value <= most or (value == 0 and not may_be_zero):
                least = "at least" if may_be_zero else "more than"
                place = (*path, field.name)
                self.note(place, f"must be {least} 0, at most {most}; got {value}")

    def value(self, text: str, path: Key) -> str:
        """A literal, or what is behind `env:`, `file:` or `cmd:`; empty where it is missing."""
        found = self._values.get(text)
        if found is None:
            try:
                found = read_secret(text, self._environment, self._folder)
            except ValueError as error:
                self.note(path, str(error))
                found = ""
            self._values[text] = found  # a command is run once, however many ask
        return found

    def secret(self, text: str, path: Key) -> str:
        """The same for what goes into a header."""
        found = self.value(text, path)
        if found.startswith("{"):
            # A cloud's credentials, which are signed with and go into no header.
            try:
                return json.dumps(json.loads(found), separators=(",", ":"))
            except ValueError as error:
                self.note(path, f"begins as JSON and cannot be read: {error}")
                return ""
        if any(not " " < character <= "~" for character in found):
            self.note(path, "holds a space, a line break or a character that no key has")
        return found

    def raise_mistakes(self) -> None:
        """Raise `ConfigError` if there was any mistake."""
        if self._mistakes:
            ordered = sorted(self._mistakes, key=lambda mistake: mistake[0])
            shown = [f"{self._name}:{line}: {text}" for line, text in ordered]
            if self._more:
                shown.append(f"{self._name}: {self._more} more mistakes; mend these first")
            raise ConfigError(shown)
