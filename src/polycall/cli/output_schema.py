"""`--schema`: the shape of an answer, as a JSON schema or in a few words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

from polycall._support import jsontext
from polycall.errors import RequestError
from polycall.ir import JSON

_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
_FIELD = re.compile(r"\s*(\w+)(?:\s+(str|int|float|bool))?(?:\s*:\s*(.*?))?\s*", re.DOTALL)


def output_schema(text: str) -> JSON:
    """A JSON schema from its text, a file's name, or words such as `name, age int: in years`.

    In words, fields are separated by commas (or by lines, where a description has commas); a field
    is text unless a type follows its name.
    """
    if text.lstrip().startswith("{"):
        return _decoded(text, "--schema")
    if "," not in text and "\n" not in text and (text.endswith(".json") or Path(text).is_file()):
        try:
            return _decoded(Path(text).read_text("utf-8-sig"), text)
        except OSError as error:
            raise RequestError(f"--schema: cannot read {text!r}: {error.strerror}") from None
    fields = text.split("\n" if "\n" in text else ",")
    properties: JSON = {}
    for field in filter(str.strip, fields):
        found = _FIELD.fullmatch(field)
        if found is None:
            raise RequestError(
                f"--schema: {field.strip()!r} is no field; write 'name' or 'name int: what it is', "
                "with str, int, float or bool, or give a JSON schema"
            )
        name, kind, about = found.groups()
        described = {"description": about} if about else {}
        properties[name] = {"type": _TYPES[kind or "str"], **described}
    if not properties:
        raise RequestError("--schema names no field; write for example 'name, age int'")
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _decoded(text: str, where: str) -> JSON:
    try:
        value: Any = jsontext.decode(text)
    except ValueError as error:
        raise RequestError(f"{where}: this is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise RequestError(f"{where}: a JSON schema is an object, not {value!r}")
    return cast("JSON", value)
