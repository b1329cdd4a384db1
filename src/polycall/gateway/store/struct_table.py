"""Tables whose columns are the fields of a struct: lists are kept as JSON, money as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

from msgspec import convert
from msgspec.structs import asdict, replace

from polycall.errors import RequestError
from polycall.gateway.store.base import AdminRow, KeyRow, Operation, Query, TeamRow

RowT = TypeVar("RowT", AdminRow, KeyRow, TeamRow)


class StructTable(Generic[RowT]):
    """Operations on one such table; rows have an id, and a name that none has twice."""

    def __init__(self, name: str, kind: type[RowT], what: str) -> None:
        """`what` is what errors call a row."""
        self.name = name
        self.what = what
        self.fields: tuple[str, ...] = kind.__struct_fields__
        self._kind: type[RowT] = kind
        self._lists = {
            field
            for field, hint in get_type_hints(kind).items()
            if any(get_origin(each) is tuple for each in (hint, *get_args(hint)))
        }

    def columns(self, prefix: str = "") -> str:
        """All columns, each with the prefix."""
        return ", ".join(f"{prefix}{field}" for field in self.fields)

    def insert(self, row: RowT, advice: str) -> Operation[None]:
        """Keep a new row; `RequestError` with the advice where the name is taken."""
        marks = ", ".join("?" * len(self.fields))
        rows = yield Query(
            f"INSERT INTO {self.name} ({self.columns()}) VALUES ({marks}) "  # noqa: S608 - constant names
            "ON CONFLICT (name) DO NOTHING RETURNING id",
            tuple(self._values(row).values()),
        )
        if not rows:
            raise RequestError(f"there is, or was, {self.what} called {row.name!r}; {advice}")

    def all(self) -> Operation[list[RowT]]:
        """All rows that ever were, by name."""
        rows = yield Query(f"SELECT {self.columns()} FROM {self.name} ORDER BY name")  # noqa: S608 - constant names
        return [self.read(row) for row in rows]

    def find(self, name: str) -> Operation[RowT]:
        """The row of this name or id; `RequestError` where there is none."""
        found = yield from self.all()
        for row in found:
            if name in (row.name, row.id):
                return row
        known = ", ".join(row.name for row in found) or "none yet"
        raise RequestError(
            f"no {self.what.partition(' ')[2]} is called {name!r}; there are: {known}"
        )

    def change(self, row: RowT, changes: Mapping[str, Any]) -> Operation[RowT]:
        """Set these fields, and leave the rest as it is by now; gives the row with them."""
        changed = replace(row, **changes)
        values = self._values(changed)
        places = ", ".join(f"{field} = ?" for field in changes)
        yield Query(
            f"UPDATE {self.name} SET {places} WHERE id = ?",  # noqa: S608 - constant names
            (*(values[field] for field in changes), row.id),
        )
        return changed

    def read(self, values: tuple[Any, ...]) -> RowT:
        """The row with these columns."""
        fields = dict(zip(self.fields, values, strict=True))
        for field in self._lists:
            fields[field] = json.loads(fields[field])
        return convert(fields, self._kind)

    def _values(self, row: RowT) -> dict[str, Any]:
        values = asdict(row)
        for field, value in values.items():
            if field in self._lists:
                values[field] = json.dumps(value, ensure_ascii=False)
            elif isinstance(value, Decimal):
                values[field] = f"{value:f}"
        return values


ADMINS = StructTable("admins", AdminRow, "an administrator")
TEAMS = StructTable("teams", TeamRow, "a team")
KEYS = StructTable("keys", KeyRow, "a key")
