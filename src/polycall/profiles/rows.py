"""The rows of data, read from the files in the wheel: one file a vendor, each read once.

A mistake in a file is a programming error and raises `ValueError` with the file's name; the tests
read all of them.
"""

from __future__ import annotations

import functools
import re
import tomllib
from datetime import date
from importlib import resources
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from polycall.profiles.features import FEATURES

Value: TypeAlias = bool | int | str | list[Any]

_META = frozenset({"models", "source", "since", "until", "at"})


class Source(Struct, frozen=True, forbid_unknown_fields=True):
    """The address where a row was read, and the day."""

    url: str
    read: date


class Row(Struct, frozen=True):
    """The values of one feature for the models of a pattern, from `since` and before `until`.

    `at` names the servers (`Quirks.server`) where it is so: others may serve the same weights
    otherwise.
    """

    pattern: re.Pattern[str]
    feature: str
    value: Value
    source: Source
    since: date | None = None
    until: date | None = None
    at: frozenset[str] = frozenset()

    def holds(self, model: str, day: date, server: str = "") -> bool:
        """Whether the row is for this model on this day, at this server.

        `since` is when the vendor began to behave so; a model is never older than its rows, so it
        only matters where an `until` of an earlier row ends there.
        """
        if self.until is not None and day >= self.until:
            return False
        if self.at and server not in self.at:
            return False
        return self.pattern.fullmatch(model) is not None


class Newest(Struct, frozen=True, forbid_unknown_fields=True):
    """The model whose rules hold for names of a pattern that no list has."""

    pattern: str
    like: str


class Retired(Struct, frozen=True, forbid_unknown_fields=True):
    """Names that end, or ended, on a day."""

    names: list[str]
    on: date
    instead: str
    source: str


class Names(Struct, frozen=True, forbid_unknown_fields=True):
    """The names that a vendor's own list has."""

    source: str
    known: list[str]
    older: list[str] = []  # with rows of their own, and no longer in the vendor's list


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    source: dict[str, Source]
    names: Names
    row: list[dict[str, Any]]
    dialects: list[str]
    newest: list[Newest] = []
    retired: list[Retired] = []


class Vendor(Struct, frozen=True):
    """All that one file says."""

    dialects: frozenset[str]
    known: frozenset[str]
    older: frozenset[str]
    rows: tuple[Row, ...]
    newest: tuple[Newest, ...]
    retired: dict[str, Retired]
    sources: dict[str, Source]


class Family(Struct, frozen=True, forbid_unknown_fields=True):
    """Which file the names of a pattern belong to."""

    name: str
    pattern: str
    price_id: str = ""
    open: bool = False
    domains: list[str] = []  # of the vendor's own servers


class _Index(Struct, frozen=True, forbid_unknown_fields=True):
    vendor: list[Family]


@functools.cache
def families() -> tuple[tuple[re.Pattern[str], Family], ...]:
    """The patterns that say whose model a name is, in order."""
    index = msgspec.convert(_read("index"), _Index)
    return tuple((re.compile(family.pattern), family) for family in index.vendor)


@functools.cache
def load(vendor: str) -> Vendor:
    """The rows of one vendor."""
    try:
        file = msgspec.convert(_read(vendor), _File)
        rows = tuple(row for table in file.row for row in _rows(table, file.source))
    except (msgspec.ValidationError, KeyError, re.error) as error:
        raise ValueError(f"profiles/data/{vendor}.toml: {error}") from error
    return Vendor(
        dialects=frozenset(file.dialects),
        known=frozenset(file.names.known),
        older=frozenset(file.names.older),
        rows=rows,
        newest=tuple(file.newest),
        retired={name: each for each in file.retired for name in each.names},
        sources=file.source,
    )


def vendors() -> list[str]:
    """The names of all files."""
    return list(dict.fromkeys(family.name for _, family in families()))


def _rows(table: dict[str, Any], sources: dict[str, Source]) -> list[Row]:
    pattern = re.compile("|".join(f"(?:{each})" for each in table["models"]))
    made: list[Row] = []
    for feature, value in table.items():
        if feature in _META:
            continue
        if feature not in FEATURES:
            raise KeyError(f"{feature!r} is not a feature")
        source = sources[table["source"]]
        dates = (table.get("since"), table.get("until"))
        made.append(Row(pattern, feature, value, source, *dates, frozenset(table.get("at", ()))))
    return made


def _read(name: str) -> dict[str, Any]:
    data = resources.files("polycall.profiles").joinpath("data", f"{name}.toml")
    return tomllib.loads(data.read_text(encoding="utf-8"))
