"""The shape of a Converse request: AWS's service model, and its words for mistakes.

The model is a file of structures, `shapes/bedrock_converse.toml`.  A field is a structure, a
scalar, a list of either (`Block[]`) or a choice of strings; `text` is a string that is not empty,
`unit` a number from 0 to 1, and `name` and `id` are strings with a pattern.
"""

from __future__ import annotations

import re
from typing import Any, cast

from polycall.sim.shape import JSON, json_type
from polycall.sim.shape_files import ShapeFile

_STRUCTURES = ShapeFile("bedrock_converse").tables
_PATTERNS = {"name": r"[a-zA-Z0-9_-]{1,64}", "id": r"[a-zA-Z0-9_.:-]{1,64}"}


def problem(value: Any, shape: Any = "Request", path: str = "") -> str:
    """The problem of a value; empty where it has none."""
    if isinstance(shape, list):
        choices = tuple(cast("list[str]", shape))
        return "" if value in choices else f"{path}: {value!r} is not one of {choices!r}"
    if shape.endswith("[]"):
        if not isinstance(value, list):
            return f"{path}: expected a list, got {json_type(value)}"
        each = enumerate(cast("list[Any]", value))
        items = (problem(item, shape[:-2], f"{path}[{index}]") for index, item in each)
        return next(filter(None, items), "")
    if shape in _PATTERNS:
        fits = isinstance(value, str) and re.fullmatch(_PATTERNS[shape], value) is not None
        return "" if fits else f"{path}: {value!r} does not satisfy {_PATTERNS[shape]}"
    if shape in _STRUCTURES:
        return _structure(value, _STRUCTURES[shape], path)
    return _scalar(value, shape, path)


def _structure(value: Any, shape: JSON, path: str) -> str:
    if not isinstance(value, dict):
        return f"{path}: expected a structure, got {json_type(value)}"
    fields = cast("JSON", value)
    known = {name.removesuffix("!"): kind for name, kind in shape.items() if name != "|"}
    for name in shape:
        if name.endswith("!") and fields.get(name[:-1]) is None:
            return f"{path}.{name[:-1]}: is required"
    if "|" in shape and len(fields) != 1:
        return f"{path}: exactly one member is set in a union, got {sorted(fields)}"
    for name, each in fields.items():
        if name not in known:
            return f"{path}: extraneous key [{name}] is not permitted"
        if said := problem(each, known[name], f"{path}.{name}" if path else name):
            return said
    return ""


def _scalar(value: Any, kind: str, path: str) -> str:
    found = json_type(value)
    match kind:
        case "document":
            return ""
        case "string" | "blob":
            fits = found == "string"
        case "text":
            fits = found == "string" and bool(value)
        case "unit":
            fits = found in ("number", "integer") and 0 <= value <= 1
        case _:
            fits = found == kind
    return "" if fits else f"{path}: {value!r} is not a {kind}"
