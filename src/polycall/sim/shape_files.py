"""The shapes of requests, read from the files in `shapes`: tables of named shapes.

| a shape | is |
|---|---|
| `"string"`, `"number -2..2"`, `"string ..64"` | a scalar, with bounds of its value or its length |
| `"object"`, `"any"`, `"null"` | an object of any fields, any value, no value |
| `["auto", "none"]` | one of these strings |
| `"part[]"`, `"part[1..4]"` | an array, with bounds of its length |
| `"{number}"` | an object whose names are data |
| `"string | part[]"` | one of several, distinguished by JSON type |
| `"part"` | the shape of this name in the same file |
| `{ "text!" = "string" }` | an object with these fields |
| `{ "by type" = {...} }` | objects distinguished by `type` |

A field `name!` is required, and `name?` may be null.  `"a, b"` are two fields of one shape.  `"<"`
names tables whose fields stand here too, and `"*" = true` lets other fields stay as they are.  With
`by type or text` an object without a `type` is a `text`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from importlib.resources import files
from typing import Any, cast

from polycall.sim.shape import (
    ANY,
    JSON,
    Choice,
    Either,
    Kind,
    ListOf,
    MapOf,
    Null,
    Obj,
    Open,
    Path,
    Scalar,
    Tagged,
    nullable,
)

_ARRAY = re.compile(r"(.+)\[(?:(\d*)\.\.(\d*))?\]")
_MAP = re.compile(r"\{(.+)\}")
_SCALAR = re.compile(r"(string|number|integer|boolean|object)(?: (-?\d*)\.\.(\d*))?")
_TAGGED = re.compile(r"by (\w+)(?: or (\w+))?")


class ShapeFile:
    """The shapes of one file, by name.  `choice` makes the kind of a list of strings."""

    def __init__(self, name: str, choice: Callable[..., Kind] = Choice) -> None:
        source = files("polycall.sim") / "shapes" / f"{name}.toml"
        self.tables: JSON = tomllib.loads(source.read_text(encoding="utf-8"))
        self._file = source.name
        self._choice = choice
        self._kinds: dict[str, Kind] = {}

    def __getitem__(self, name: str) -> Kind:
        """The shape of this name; raises `ValueError` where the file has none."""
        if name not in self._kinds:
            if name not in self.tables:
                raise ValueError(f"{self._file}: no shape is called {name!r}")
            self._kinds[name] = later = _Later()
            later.kind = self._kinds[name] = self._kind(self.tables[name])
        return self._kinds[name]

    def names(self, name: str) -> frozenset[str]:
        """The names of the fields, or of the tags, of a table."""
        return frozenset(field.rstrip("!?") for field in self._spread(self.tables[name])) - {"*"}

    def _spread(self, table: JSON) -> JSON:
        fields: JSON = {}
        for names, shape in table.items():
            if names == "<":
                for base in shape:
                    fields.update(self._spread(self.tables[base]))
            else:
                fields.update(dict.fromkeys(names.split(", "), shape))
        return fields

    def _kind(self, shape: Any) -> Kind:
        if isinstance(shape, list):
            return self._choice(*shape)
        if isinstance(shape, dict):
            return self._object(self._spread(cast("JSON", shape)))
        kinds = [self._kind_of_word(word) for word in shape.split(" | ")]
        return kinds[0] if len(kinds) == 1 else Either(*kinds)

    def _object(self, fields: JSON) -> Kind:
        is_open = fields.pop("*", False)
        kinds: dict[str, Kind] = {}
        for name, shape in fields.items():
            if tagged := _TAGGED.fullmatch(name):
                tags = {tag: self._kind(each) for tag, each in self._spread(shape).items()}
                return Tagged(tagged[1], tags, default=tagged[2] or "")
            kind = self._kind(shape)
            kinds[name.removesuffix("?")] = nullable(kind) if name.endswith("?") else kind
        return Open(kinds) if is_open else Obj(kinds)

    def _kind_of_word(self, word: str) -> Kind:
        if array := _ARRAY.fullmatch(word):
            item, low, high = array.groups()
            return ListOf(
                self._kind_of_word(item), low=int(low or 0), high=int(high) if high else None
            )
        if values := _MAP.fullmatch(word):
            return MapOf(self._kind_of_word(values[1]))
        if scalar := _SCALAR.fullmatch(word):
            low, high = (float(bound) if bound else None for bound in scalar.group(2, 3))
            return Scalar(scalar[1], low=low, high=high)
        if word == "null":
            return Null()
        return ANY if word == "any" else self[word]


class _Later:
    """A shape inside of itself."""

    json_types = frozenset({"object"})
    kind: Kind

    def read(self, value: Any, path: Path, proto: bool) -> Any:
        return self.kind.read(value, path, proto)
