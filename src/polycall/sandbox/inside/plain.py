"""Values as plain JSON-like data, and the structural cut of those that are too large.

The host uses it as well, for tiers whose values arrive as Python objects.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import fractions
import json
import math
import pathlib
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping
from json.encoder import encode_basestring_ascii
from typing import Any, cast

DEPTH_MAX = 64
_INT_BITS_MAX = 4_000
_INT_SHORT = 1 << 32
_CUTS_MAX = 20
# What stands in the place of what was cut.
_MARK_BYTES = 80
_CONTAINERS = (dict, list, tuple, set)

# (items of a list or a dict that are kept, characters of a string, depth), tried in order.
_SHAPES = [
    (1_000, 20_000, 40),
    (300, 5_000, 24),
    (100, 2_000, 16),
    (40, 800, 10),
    (16, 300, 6),
    (8, 120, 4),
    (4, 60, 3),
]


class TooLargeError(ValueError):
    """The plain form of a value would pass the bound on its size."""


class NotPlainError(TypeError):
    """A value that has no plain form, with the place where it stands."""


def json_bytes(value: object) -> int:
    """Bytes of a leaf as JSON, or a little more."""
    if isinstance(value, str):
        return len(encode_basestring_ascii(value)) + 1
    return 25 if isinstance(value, float) else len(repr(value)) + 2


class _Budget:
    def __init__(self, size_bytes: int) -> None:
        self.left = size_bytes

    def spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise TooLargeError


def _scalar(value: object) -> Any:
    """The plain form of a leaf, or `NotImplemented` where the value is not one."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, enum.Enum):
        return _scalar(value.value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    plain_text = (decimal.Decimal, fractions.Fraction, uuid.UUID, pathlib.PurePath)
    if isinstance(value, (*plain_text, datetime.timedelta)):
        return str(value)
    return NotImplemented


def _not_json(leaf: object) -> str:
    """Why a leaf would not arrive as it is; empty where it would."""
    if isinstance(leaf, float) and not math.isfinite(leaf):
        return f"{leaf} is not a number of JSON"
    if isinstance(leaf, int) and leaf.bit_length() > _INT_BITS_MAX:
        return f"an integer of {leaf.bit_length()} bits; {_INT_BITS_MAX} at most"
    if isinstance(leaf, str) and not leaf.isascii():
        try:
            leaf.encode("utf-8")
        except UnicodeEncodeError:
            return "text with half of a surrogate pair"
    return ""


def _unwrap(value: object) -> object:
    """One layer off the things that libraries wrap plain data in; the value itself otherwise."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    to_dict: Callable[[], object] | None = getattr(value, "_asdict", None)
    if callable(to_dict) and isinstance(value, tuple):
        return to_dict()
    # numpy scalars and arrays, pandas frames and series: by shape, so that neither is imported.
    module = type(value).__module__.partition(".")[0]
    if module == "numpy" and hasattr(value, "tolist"):
        return cast(Any, value).tolist()
    if module == "pandas":
        if hasattr(value, "columns") and hasattr(value, "to_dict"):
            return cast(Any, value).to_dict("records")
        if hasattr(value, "to_dict"):
            return cast(Any, value).to_dict()
        if hasattr(value, "tolist"):
            return cast(Any, value).tolist()
    return value


def arguments(value: object, *, size_bytes: int, path: str = "arguments") -> Any:
    """A tool's argument as plain data.

    Strict: what JSON has no word for, or would change on its way, raises `NotPlainError` with its
    place, too much of it `TooLargeError`.
    """
    return _strict(value, _Budget(size_bytes), path, DEPTH_MAX - 2)


def result(value: object, *, size_bytes: int) -> Any:
    """Check a result as `arguments` does, for the large results of tools: in C if it is JSON
    already.
    """
    if value is None or type(value) is bool or (type(value) is int and abs(value) < _INT_SHORT):
        return value
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        size = len(text) if text.isascii() else len(text.encode("utf-8"))
    except (TypeError, ValueError, RecursionError):
        # Half of a surrogate pair is among these.
        return arguments(value, size_bytes=size_bytes, path="result")
    if size > size_bytes:
        raise TooLargeError
    if type(value) is str:
        return value
    if not _is_json(value):
        return arguments(value, size_bytes=size_bytes, path="result")
    copy = json.loads(text)
    if depth_of(copy) > DEPTH_MAX:
        raise NotPlainError(f"result: nested deeper than {DEPTH_MAX}")
    return copy


def _is_json(value: object) -> bool:
    """Whether all keys are text, so that no two are one in JSON, and no integer is too long."""
    layer: list[Any] = [value]
    while layer:
        inner: list[Any] = []
        for item in layer:
            if isinstance(item, dict):
                mapping = cast(dict[Any, Any], item)
                if not all(isinstance(key, str) for key in mapping):
                    return False
                inner.extend(mapping.values())
            elif isinstance(item, (list, tuple)):
                inner.extend(cast(Iterable[Any], item))
            elif isinstance(item, int) and item.bit_length() > _INT_BITS_MAX:
                return False
        layer = inner
    return True


def _strict(value: object, budget: _Budget, path: str, depth: int) -> Any:
    budget.spend(4)
    leaf = _scalar(value)
    if leaf is not NotImplemented:
        return _kept(leaf, budget, path)
    if depth == 0:
        raise NotPlainError(f"{path}: nested deeper than {DEPTH_MAX}")
    value = _unwrap(value)
    if isinstance(value, Mapping):
        result: dict[str, Any] = {}
        for key, item in cast(Mapping[object, object], value).items():
            if problem := _not_json(key):
                raise NotPlainError(f"{path}: a key: {problem}")
            name = _key(key)
            if name is None:
                raise NotPlainError(
                    f"{path}: a key of type {type(key).__name__!r} is not plain data"
                )
            if name in result:
                raise NotPlainError(f"{path}: two keys are {name!r} in JSON, one is {key!r}")
            _kept(name, budget, f"{path}: a key")
            result[name] = _strict(item, budget, f"{path}[{name!r}]", depth - 1)
        return result
    if isinstance(value, (list, tuple, set, frozenset)):
        items = cast(Iterable[object], value)
        return [
            _strict(item, budget, f"{path}[{index}]", depth - 1) for index, item in enumerate(items)
        ]
    leaf = _scalar(value)
    if leaf is not NotImplemented:
        return _kept(leaf, budget, path)
    raise NotPlainError(
        f"{path}: {type(value).__name__!r} is not plain data; pass numbers, strings, lists, dicts"
    )


def _kept(leaf: Any, budget: _Budget, path: str) -> Any:
    """The leaf, which has to arrive as it is."""
    problem = _not_json(leaf)
    if problem:
        raise NotPlainError(f"{path}: {problem}")
    budget.spend(json_bytes(leaf) + 2)
    return leaf


def _key(key: object) -> str | None:
    if isinstance(key, str):
        return str(key)
    if key is None or isinstance(key, bool):
        return json.dumps(key)
    leaf = _scalar(key)
    if leaf is NotImplemented:
        return None
    # Python refuses to write out an integer that is too long.
    return _as_text(leaf) if _not_json(leaf) and isinstance(leaf, int) else str(leaf)


def shown(value: object, *, size_bytes: int) -> tuple[Any, list[str]]:
    """The last value of a program as plain data no larger than a bound, and what was cut.

    Lenient: what has no plain form is shown as its `repr`.
    """
    for shape in (None, *_SHAPES):
        view = _View(size_bytes, shape)
        try:
            return view.of(value, "value", view.depth_max), view.cuts[:_CUTS_MAX]
        except TooLargeError:
            continue
    return f"<{type(value).__name__}>", ["value: cut whole"]


class _View:
    """Shows a value in one shape: all of it, or no more than so much of each part."""

    def __init__(self, size_bytes: int, shape: tuple[int, int, int] | None) -> None:
        self.cuts: list[str] = []
        self._budget = _Budget(size_bytes)
        everything = (sys.maxsize, sys.maxsize, DEPTH_MAX - 2)
        self._items_max, self._characters_max, self.depth_max = shape or everything

    def of(self, value: object, path: str, depth: int) -> Any:
        self._budget.spend(4)
        leaf = _scalar(value)
        if leaf is not NotImplemented:
            return self._leaf(leaf, path)
        if depth == 0:
            self.cuts.append(f"{path}: nested deeper than shown")
            return self._leaf("… nested deeper …", path)
        value = _unwrap(value)
        if isinstance(value, Mapping):
            return self._mapping(cast(Mapping[object, object], value), path, depth)
        if isinstance(value, (list, tuple, set, frozenset)):
            return self._items(list(cast(Iterable[object], value)), path, depth)
        leaf = _scalar(value)
        return self._leaf(_repr(value) if leaf is NotImplemented else leaf, path)

    def _mapping(self, mapping: Mapping[object, object], path: str, depth: int) -> dict[str, Any]:
        keys = list(mapping)
        kept = keys[: self._items_max]
        result: dict[str, Any] = {}
        for key in kept:
            name = _key(key)
            if name is None or name in result:
                if name is not None:
                    self.cuts.append(f"{path}: two keys are {name!r} in JSON")
                name = _repr(key)
                while name in result:
                    name += "′"
            name = self._leaf(name, path)
            self._budget.spend(2)
            result[name] = self.of(mapping[key], f"{path}[{name!r}]", depth - 1)
        if len(kept) < len(keys):
            cut = f"{len(keys) - len(kept)} of {len(keys)} keys"
            self.cuts.append(f"{path}: {cut}")
            self._budget.spend(_MARK_BYTES)
            result["…"] = f"{cut} cut"
        return result

    def _items(self, items: list[object], path: str, depth: int) -> list[Any]:
        numbered = list(enumerate(items))
        if len(items) <= self._items_max:
            return [self.of(item, f"{path}[{index}]", depth - 1) for index, item in numbered]
        tail = self._items_max // 4
        head = self._items_max - tail
        cut = f"{len(items) - head - tail} of {len(items)} items"
        self.cuts.append(f"{path}: {cut}")
        self._budget.spend(_MARK_BYTES)
        start = [self.of(item, f"{path}[{index}]", depth - 1) for index, item in numbered[:head]]
        end = [self.of(item, f"{path}[{index}]", depth - 1) for index, item in numbered[-tail:]]
        return [*start, f"… {cut} cut …", *end]

    def _leaf(self, leaf: Any, path: str) -> Any:
        if isinstance(leaf, str) and len(leaf) > self._characters_max:
            tail = self._characters_max // 4
            head = self._characters_max - tail
            cut = f"{len(leaf) - head - tail} of {len(leaf)} characters"
            self.cuts.append(f"{path}: {cut}")
            leaf = f"{leaf[:head]}… {cut} cut …{leaf[-tail:]}"
        if not isinstance(leaf, float) and (problem := _not_json(leaf)):
            # An integer says itself that it was cut.
            if isinstance(leaf, str):
                self.cuts.append(f"{path}: {problem}, shown as text")
            leaf = _as_text(leaf)
        self._budget.spend(json_bytes(leaf))
        return leaf


def _as_text(leaf: object) -> str:
    """A leaf that JSON does not have, in words."""
    if isinstance(leaf, int):
        return f"<integer of {leaf.bit_length()} bits>"
    return str(leaf).encode("utf-8", "backslashreplace").decode("utf-8")


def _repr(value: object) -> str:
    try:
        return repr(value)[:10_000]
    except Exception as error:  # noqa: BLE001  # a program's own __repr__ may raise anything
        return f"<{type(value).__name__}, whose repr raised {type(error).__name__}>"


def depth_of(value: object) -> int:
    """The depth of nested plain lists and dicts, without recursion; stops past `DEPTH_MAX`."""
    layer: list[Any] = [value] if type(value) in _CONTAINERS else []
    depth = 0
    while layer and depth <= DEPTH_MAX:
        inner: list[Any] = []
        for item in layer:
            inner.extend(cast(dict[Any, Any], item).values() if type(item) is dict else item)
        layer = [item for item in inner if type(item) in _CONTAINERS]
        depth += 1
    return depth
