"""The shape of a vendor's requests as data: fields, types, bounds.

A `Kind` reads one value and raises `ShapeError`, which says what is wrong and where; each vendor
puts that into its own words.  Inside of another kind, an object is written as the dict of its
fields.  Nothing here knows a vendor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias, cast

from polycall._support import jsontext

JSON: TypeAlias = dict[str, Any]
Path: TypeAlias = tuple[str | int, ...]


class ShapeError(Exception):
    """`problem` is one of `unknown`, `missing`, `type`, `enum`, `range` and `length`."""

    def __init__(self, problem: str, path: Path, *, wanted: str = "", got: str = "") -> None:
        super().__init__(f"{problem} at {path}: wanted {wanted}, got {got}")
        self.problem = problem
        self.path = path
        self.wanted = wanted
        self.got = got

    @property
    def field(self) -> str:
        """The last name in the path."""
        return str(self.path[-1]) if self.path else ""


class Kind(Protocol):
    """Reads a value; gives it back with field names in one spelling."""

    json_types: frozenset[str]

    def read(self, value: Any, path: Path, proto: bool) -> Any:
        """`proto`: proto-JSON habits, that is snake_case or camelCase, and null for absent."""
        ...


Shape: TypeAlias = "Kind | Mapping[str, Shape]"


def kind_of(shape: Shape) -> Kind:
    """The kind that a shape stands for: a dict is an object with these fields."""
    return Obj(shape) if isinstance(shape, Mapping) else shape


def json_type(value: Any) -> str:
    """The name of a value's JSON type, integers apart from other numbers."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def camel(name: str) -> str:
    """`inline_data` as `inlineData`; a name without underscores stays as it is."""
    head, *rest = name.split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in rest) if head else name


class Anything:
    """Any JSON value, untouched."""

    json_types = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})

    def read(self, value: Any, path: Path, proto: bool) -> Any:
        """The value itself."""
        return value


class Scalar:
    """A string, number, integer, boolean or free object, with optional bounds."""

    def __init__(self, name: str, *, low: float | None = None, high: float | None = None) -> None:
        self.name = name
        self.low = low
        self.high = high
        self.json_types = frozenset({"integer", "number"} if name == "number" else {name})

    def read(self, value: Any, path: Path, proto: bool) -> Any:
        """The value, if it has the type and keeps the bounds."""
        if proto and self.name == "integer" and isinstance(value, str) and value.isdigit():
            value = int(value)
        if self.name == "integer" and isinstance(value, float) and value.is_integer():
            value = int(value)
        if json_type(value) not in self.json_types:
            raise ShapeError("type", path, wanted=self.name, got=json_type(value))
        if isinstance(value, str):
            self._check_bounds(len(value), path, "length")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            self._check_bounds(value, path, "range")
        return cast("Any", value)

    def _check_bounds(self, size: float, path: Path, problem: str) -> None:
        if self.low is not None and size < self.low:
            raise ShapeError(problem, path, wanted=f">= {self.low:g}", got=f"{size:g}")
        if self.high is not None and size > self.high:
            raise ShapeError(problem, path, wanted=f"<= {self.high:g}", got=f"{size:g}")


class Choice:
    """One of some strings."""

    json_types = frozenset({"string"})

    def __init__(self, *values: str) -> None:
        self.values = values

    def read(self, value: Any, path: Path, proto: bool) -> Any:
        """The value, if it is one of them."""
        if not isinstance(value, str):
            raise ShapeError("type", path, wanted="string", got=json_type(value))
        if value not in self.values:
            wanted = ", ".join(f"'{name}'" for name in self.values)
            raise ShapeError("enum", path, wanted=wanted, got=value)
        return value


class ListOf:
    """An array of one kind."""

    json_types = frozenset({"array"})

    def __init__(self, item: Shape, *, low: int = 0, high: int | None = None) -> None:
        self.item = kind_of(item)
        self.low = low
        self.high = high

    def read(self, value: Any, path: Path, proto: bool) -> Any:
        """All items, read."""
        if proto and isinstance(value, dict) and not isinstance(self.item, Anything):
            value = [value]
        if not isinstance(value, list):
            raise ShapeError("type", path, wanted="array", got=json_type(value))
        items = cast("list[Any]", value)
        if len(items) < self.low:
            raise ShapeError("length", path, wanted=f">= {self.low}", got=str(len(items)))
        if self.high is not None and len(items) > self.high:
            raise ShapeError("length", path, wanted=f"<= {self.high}", got=str(len(items)))
        return [self.item.read(item, (*path, index), proto) for index, item in enumerate(items)]


class MapOf:
    """An object whose names are data and whose values are of one kind."""

    json_types = frozenset({"object"})

    def __init__(self, item: Shape) -> None:
        self.item = kind_of(item)

    def read(self, value: Any, path: Path, proto: bool) -> Any:
        """All values, read; names as they are."""
        if not isinstance(value, dict):
            raise ShapeError("type", path, wanted="object", got=json_type(value))
        fields = cast("JSON", value)
        return {name: self.item.read(item, (*path, name), proto) for name, item in fields.items()}


class Obj:
    """An object with known fields; a name that ends in `!` is required."""

    json_types = frozenset({"object"})

    def __init__(self, fields: Mapping[str, Shape]) -> None:
        self.fields = {name.removesuffix("!"): kind_of(shape) for name, shape in fields.items()}
        self.required = [name.removesuffix("!") for name in fields if name.endswith("!")]

    def read(self, value: Any, path: Path, proto: bool) -> Any:
        """All fields, read; unknown ones and missing ones are refused."""
        if not isinstance(value, dict):
            raise ShapeError("type", path, wanted="object", got=json_type(value))
        result: JSON = {}
        for name, item in cast("JSON", value).items():
            known = camel(name) if proto and camel(name) in self.fields else name
            kind = self.fields.get(known)
            if kind is None:
                raise ShapeError("unknown", (*path, name))
            if proto and item is None:
                continue
            result[known] = kind.read(item, (*path, name), proto)
        for name in self.required:
            if name not in result:
                raise ShapeError("missing", (*path, name))
        return result


class Open(Obj):
    """An object whose other fields are of no concern: they stay as they are."""

    def read(self, value: Any, path: Path, proto: bool) -> Any:
        """The known fields, read, and the rest."""
        if not isinstance(value, dict):
            raise ShapeError("type", path, wanted="object", got=json_type(value))
        fields = cast("JSON", value)
        known = {name: item for name, item in fields.items() if name in self.fields}
        return {**fields, **super().read(known, path, proto)}


class Either:
    """One of several kinds, distinguished by JSON type."""

    def __init__(self, *shapes: Shape) -> None:
        self.kinds = [kind_of(shape) for shape in shapes]
        self.json_types = frozenset[str]().union(*(kind.json_types for kind in self.kinds))

    def read(self, value: Any, path: Path, proto: bool) -> Any:
        """The value as the first kind that takes its type."""
        found = json_type(value)
        for kind in self.kinds:
            if found in kind.json_types or (
                found == "number" and "integer" in kind.json_types and value.is_integer()
            ):
                return kind.read(value, path, proto)
        wanted = " or ".join(sorted(self.json_types))
        raise ShapeError("type", path, wanted=wanted, got=found)


class Tagged:
    """Objects distinguished by a string field; `default` is its value where it may be left out."""

    json_types = frozenset({"object"})

    def __init__(self, tag: str, shapes: Mapping[str, Shape], *, default: str = "") -> None:
        self.tag = tag
        self.kinds = {name: self._tagged(shape) for name, shape in shapes.items()}
        self.default = default

    def _tagged(self, shape: Shape) -> Obj:
        kind = kind_of(shape)
        assert isinstance(kind, Obj)
        fields = {
            f"{name}!" if name in kind.required else name: kind.fields[name] for name in kind.fields
        }
        return type(kind)({self.tag: Scalar("string"), **fields})

    def read(self, value: Any, path: Path, proto: bool) -> Any:
        """The value as its tag says."""
        if not isinstance(value, dict):
            raise ShapeError("type", path, wanted="object", got=json_type(value))
        name = cast("JSON", value).get(self.tag, self.default)
        if name == "" or name is None:
            raise ShapeError("missing", (*path, self.tag))
        if not isinstance(name, str):
            raise ShapeError("type", (*path, self.tag), wanted="string", got=json_type(name))
        kind = self.kinds.get(name)
        if kind is None:
            wanted = ", ".join(f"'{known}'" for known in self.kinds)
            raise ShapeError("enum", (*path, self.tag), wanted=wanted, got=name)
        return kind.read(cast("JSON", value), path, proto)


class Null:
    """`null` and nothing else."""

    json_types = frozenset({"null"})

    def read(self, value: Any, path: Path, proto: bool) -> Any:
        """Nothing."""
        if value is not None:
            raise ShapeError("type", path, wanted="null", got=json_type(value))


ANY = Anything()
STRING = Scalar("string")
INTEGER = Scalar("integer")
NUMBER = Scalar("number")
BOOLEAN = Scalar("boolean")
OBJECT = Scalar("object")


def nullable(shape: Shape) -> Kind:
    """The shape, or `null`."""
    return Either(Null(), shape)


def by_type(**shapes: Shape) -> Tagged:
    """Objects distinguished by their `type`."""
    return Tagged("type", shapes)


def object_in(parent: JSON, name: str) -> JSON:
    """The object under a name of a checked body; empty where absent or null."""
    value = parent.get(name)
    return cast("JSON", value) if isinstance(value, dict) else {}


def list_in(parent: JSON, name: str) -> list[Any]:
    """The array under a name of a checked body; empty where absent, null or no array."""
    value = parent.get(name)
    return cast("list[Any]", value) if isinstance(value, list) else []


def texts_in(parent: JSON, name: str) -> list[str]:
    """The strings under a name of a checked body, where one may stand for a list of one."""
    value = parent.get(name)
    return [value] if isinstance(value, str) else list_in(parent, name)


def parse_object(text: str) -> JSON | None:
    """The object that a text is in JSON; `None` for anything else."""
    try:
        value = jsontext.decode(text)
    except ValueError:
        return None
    return cast("JSON", value) if isinstance(value, dict) else None


def path_text(path: Path, *, brackets: bool) -> str:
    """`messages[0].content`, or `messages.0.content` without brackets."""
    text = ""
    for step in path:
        if isinstance(step, int) and brackets:
            text += f"[{step}]"
        else:
            text += f".{step}" if text else str(step)
    return text
