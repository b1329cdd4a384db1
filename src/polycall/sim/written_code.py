"""Programs for a tool that takes code: trivial ones, from the stubs that its description holds."""

from __future__ import annotations

import re

from polycall.sim.script import Call, ToolSpec
from polycall.sim.shape import JSON

_STUB = re.compile(
    r"^(?:async )?def (\w+)\((.*?)\)(?: ->[^\n]*)?:\s*(?:\n\s+)?(?:\"\"\"(.*?)\"\"\")?",
    re.MULTILINE | re.DOTALL,
)
_PARAMETER = re.compile(r"\s*(\w+)\s*:\s*(.+)", re.DOTALL)
_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}


def takes_code(tool: ToolSpec) -> bool:
    """Whether the one parameter is a program, and the description says what that may call."""
    properties: JSON = tool.parameters.get("properties") or {}
    return list(properties) == ["code"] and _STUB.search(tool.description) is not None


def stubs_of(description: str) -> list[ToolSpec]:
    """The functions that a description declares, as tools."""
    return [
        ToolSpec(match[1], match[3] or "", _schema(match[2]))
        for match in _STUB.finditer(description)
    ]


def _schema(signature: str) -> JSON:
    properties: JSON = {}
    required: list[str] = []
    for piece in _split(signature):
        found = _PARAMETER.fullmatch(piece)
        if found is None:
            continue
        kind, has_default, _ = found[2].partition("=")
        properties[found[1]] = _type_of(kind.strip())
        if not has_default:
            required.append(found[1])
    return {"type": "object", "properties": properties, "required": required}


def _type_of(kind: str) -> JSON:
    if kind.startswith("Literal["):
        return {"type": "string", "enum": re.findall(r"[\"']([^\"']*)[\"']", kind)}
    if kind.startswith("list["):
        return {"type": "array", "items": _type_of(kind[5:-1])}
    plain = kind.removesuffix(" | None")
    return {"type": _TYPES[plain]} if plain in _TYPES else {"type": "string"}


def _split(signature: str) -> list[str]:
    """The parameters, split at commas outside of brackets."""
    pieces: list[str] = [""]
    depth = 0
    for character in signature:
        depth += character in "[({"
        depth -= character in "])}"
        if character == "," and depth == 0:
            pieces.append("")
        else:
            pieces[-1] += character
    return pieces


def program(calls: list[Call]) -> str:
    """A program that makes the calls one after another and prints what they return."""
    lines = [
        f"print(await {call.name}({', '.join(f'{n}={v!r}' for n, v in call.arguments.items())}))"
        for call in calls
    ]
    return "\n".join(lines)
