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
import pathlib
import uuid
from collections.abc import Callable, Iterable, Mapping
from json.encoder import encode_basestring_ascii
from typing import Any, cast

DEPTH_MAX = 64
_INT_BITS_MAX = 4_000
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


class TooLarge(ValueError):
    """The plain form of a value would pass the bound on its size."""


class NotPlain(TypeError):
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
            raise TooLarge


def _scalar(value: object) -> Any:
    """The plain form of a leaf, or `NotImplemented` where the value is not one."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, enum.Enum):
        return _scalar(value.value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        if value.bit_length() > _INT_BITS_MAX:
            return f"<integer of {value.bit_length()} bits>"
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    plain_text = (decimal.Decimal, fractions.Fraction, uuid.UUID, pathlib.PurePath)
    if isinstance(value, (*plain_text, datetime.timedelta)):
        return str(value)
    return NotImplemented


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

    Strict: what JSON has no word for raises `NotPlain` with its place, too much `TooLarge`.
    """
    return _strict(value, _Budget(size_bytes), path, DEPTH_MAX - 2)


def result(value: object, *, size_bytes: int) -> Any:
    """As `arguments`, for the large results of tools: in C where the value is JSON already."""
    try:
        text = json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return arguments(value, size_bytes=size_bytes, path="result")
    if len(text) > size_bytes:
        raise TooLarge
    copy = json.loads(text)
    if depth_of(copy) > DEPTH_MAX:
        raise NotPlain(f"result: nested deeper than {DEPTH_MAX}")
    return copy


def _strict(value: object, budget: _Budget, path: str, depth: int) -> Any:
    budget.spend(2)
    leaf = _scalar(value)
    if leaf is not NotImplemented:
        budget.spend(json_bytes(leaf))
        return leaf
    if depth == 0:
        raise NotPlain(f"{path}: nested deeper than {DEPTH_MAX}")
    value = _unwrap(value)
    if isinstance(value, Mapping):
        result: dict[str, Any] = {}
        for key, item in cast(Mapping[object, object], value).items():
            name = _key(key)
            if name is None:
                raise NotPlain(f"{path}: a key of type {type(key).__name__!r} is not plain data")
            budget.spend(json_bytes(name) + 2)
            result[name] = _strict(item, budget, f"{path}[{name!r}]", depth - 1)
        return result
    if isinstance(value, (list, tuple, set, frozenset)):
        items = cast(Iterable[object], value)
        return [
            _strict(item, budget, f"{path}[{index}]", depth - 1) for index, item in enumerate(items)
        ]
    leaf = _scalar(value)
    if leaf is not NotImplemented:
        return leaf
    raise NotPlain(
        f"{path}: {type(value).__name__!r} is not plain data; pass numbers, strings, lists, dicts"
    )


def _key(key: object) -> str | None:
    if isinstance(key, str):
        return str(key)
    if key is None or isinstance(key, bool):
        return json.dumps(key)
    leaf = _scalar(key)
    if leaf is NotImplemented:
        return None
    return str(leaf)


def shown(value: object, *, size_bytes: int) -> tuple[Any, list[str]]:
    """The last value of a program as plain data no larger than a bound, and what was cut.

    Lenient: what has no plain form is shown as its `repr`.
    """
    try:
        return _show(value, _Budget(size_bytes), None, [], "value", DEPTH_MAX - 2), []
    except TooLarge:
        pass
    for shape in _SHAPES:
        cuts: list[str] = []
        try:
            cut = _show(value, _Budget(size_bytes), shape, cuts, "value", shape[2])
        except TooLarge:
            continue
        return cut, cuts[:20]
    return f"<{type(value).__name__}>", ["value: cut whole"]


def _show(
    value: object,
    budget: _Budget,
    shape: tuple[int, int, int] | None,
    cuts: list[str],
    path: str,
    depth: int,
) -> Any:
    budget.spend(2)
    leaf = _scalar(value)
    if leaf is not NotImplemented:
        return _show_leaf(leaf, budget, shape, cuts, path)
    if depth == 0:
        cuts.append(f"{path}: nested deeper than shown")
        return "… nested deeper …"
    value = _unwrap(value)
    if isinstance(value, Mapping):
        mapping = cast(Mapping[object, object], value)
        keys = list(mapping)
        kept = keys if shape is None else keys[: shape[0]]
        result: dict[str, Any] = {}
        for key in kept:
            name = _key(key)
            name = _repr(key) if name is None else name
            budget.spend(json_bytes(name) + 2)
            result[name] = _show(mapping[key], budget, shape, cuts, f"{path}[{name!r}]", depth - 1)
        if len(kept) < len(keys):
            cuts.append(f"{path}: {len(keys) - len(kept)} of {len(keys)} keys")
            result["…"] = f"{len(keys) - len(kept)} of {len(keys)} keys cut"
        return result
    if isinstance(value, (list, tuple, set, frozenset)):
        return _show_items(list(cast(Iterable[object], value)), budget, shape, cuts, path, depth)
    leaf = _scalar(value)
    if leaf is NotImplemented:
        leaf = _repr(value)
    return _show_leaf(leaf, budget, shape, cuts, path)


def _show_items(
    items: list[object],
    budget: _Budget,
    shape: tuple[int, int, int] | None,
    cuts: list[str],
    path: str,
    depth: int,
) -> list[Any]:
    if shape is None or len(items) <= shape[0]:
        return [
            _show(item, budget, shape, cuts, f"{path}[{index}]", depth - 1)
            for index, item in enumerate(items)
        ]
    tail = shape[0] // 4
    head = shape[0] - tail
    missing = len(items) - head - tail
    cuts.append(f"{path}: {missing} of {len(items)} items")
    numbered = list(enumerate(items))
    start = [_show(v, budget, shape, cuts, f"{path}[{i}]", depth - 1) for i, v in numbered[:head]]
    end = [_show(v, budget, shape, cuts, f"{path}[{i}]", depth - 1) for i, v in numbered[-tail:]]
    budget.spend(40)
    return [*start, f"… {missing} of {len(items)} items cut …", *end]


def _show_leaf(
    leaf: Any, budget: _Budget, shape: tuple[int, int, int] | None, cuts: list[str], path: str
) -> Any:
    if isinstance(leaf, str) and shape is not None and len(leaf) > shape[1]:
        tail = shape[1] // 4
        head = shape[1] - tail
        missing = len(leaf) - head - tail
        cuts.append(f"{path}: {missing} of {len(leaf)} characters")
        leaf = f"{leaf[:head]}… {missing} of {len(leaf)} characters cut …{leaf[-tail:]}"
    budget.spend(json_bytes(leaf))
    return leaf


def _repr(value: object) -> str:
    try:
        return repr(value)[:10_000]
    except Exception as error:  # noqa: BLE001  # a program's own __repr__ may raise anything
        return f"<{type(value).__name__}, whose repr raised {type(error).__name__}>"


def depth_of(value: object) -> int:
    """How deep plain lists and dicts are nested, without recursion; stops past `DEPTH_MAX`."""
    layer: list[Any] = [value]
    depth = 0
    while layer and depth <= DEPTH_MAX:
        inner: list[Any] = []
        for item in layer:
            kind = type(item)
            if kind is dict:
                inner.extend(item.values())
            elif kind in (list, tuple, set):
                inner.extend(item)
        layer = [item for item in inner if type(item) in _CONTAINERS]
        depth += bool(layer) or depth == 0
    return depth
