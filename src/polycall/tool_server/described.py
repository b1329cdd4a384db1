"""Descriptions of the functions behind `search` and `run`: as short as a model can use them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from polycall.errors import SchemaError
from polycall.ir import JSON
from polycall.program.stubs import Signature, StubWriter
from polycall.schema.refs import References
from polycall.schema.walk import array_at, as_schema, object_at
from polycall.tools.toolset import AnyTool

_FIELDS_MAX = 24
_STUB_CHARS_MAX = 4_000
_NAMESPACES_CHARS_MAX = 1_400
_ALTERNATIVES_MAX = 3

SEARCH = """\
Find functions for `run` by what they do. Gives typed Python signatures, best first. {count} \
functions{of}"""
RUN = """\
Run Python in a sandbox. Functions that `search` gives are there under their names: \
`await NAME(...)` gives parsed data and raises ToolError on failure. Run independent calls \
together: `await asyncio.gather(...)` (import asyncio). You read only what is printed and the \
last expression's value: filter and sum up in the code. No network, no files but /tmp."""
SESSION = "from an earlier result: keeps its variables"


def namespaces_text(namespaces: Iterable[str]) -> str:
    """The namespaces and how many functions each has, most first, within a bound."""
    counts = Counter(namespaces)
    shown: list[str] = []
    size = 0
    for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        text = f"{name} {count}"
        size += len(text) + 2
        if size > _NAMESPACES_CHARS_MAX:
            break
        shown.append(text)
    left = len(counts) - len(shown)
    more = f", and {left} more" if left else ""
    return f"{', '.join(sorted(shown))}{more}"


def stub_of(signature: Signature, tool: AnyTool, result: JSON | None) -> str:
    """The typed signature of a function, with the fields of its result."""
    stub = StubWriter().stub(signature, replace(tool, output_schema=data_schema(tool)))
    if len(stub) > _STUB_CHARS_MAX:
        stub = f"{stub[:_STUB_CHARS_MAX]}\n    # ... (cut; more fields)"
    hint = result_hint(result) if result is not None and tool.output_schema is None else ""
    return f"{stub}\n    # returns {hint}" if hint else stub


def data_schema(tool: AnyTool) -> JSON | None:
    """The schema of what a program gets: most servers wrap results that are no objects."""
    schema = tool.output_schema
    if schema is None or list(object_at(schema, "properties")) != ["result"]:
        return schema
    inner = as_schema(object_at(schema, "properties")["result"])
    return {**inner, "$defs": schema["$defs"]} if "$defs" in schema else inner


def result_hint(schema: JSON) -> str:
    """The shape of a result in one line: `list of {id, title, user {login, id}}`."""
    return _hint(schema, References(schema), 0)


def _hint(node: JSON, references: References, depth: int) -> str:
    try:
        node = references.resolved(node)
    except SchemaError:
        return ""
    branches = array_at(node, "anyOf") or array_at(node, "oneOf") or array_at(node, "allOf")
    if branches and not object_at(node, "properties"):
        texts = [_hint(as_schema(each), references, depth) for each in branches[:_ALTERNATIVES_MAX]]
        return " or ".join(dict.fromkeys(filter(None, texts)))
    if node.get("type") == "array":
        inner = _hint(as_schema(node.get("items") or {}), references, depth)
        return f"list of {inner}" if inner else "list"
    fields = object_at(node, "properties")
    if not fields:
        kind = node.get("type")
        return kind if depth == 0 and isinstance(kind, str) and kind != "object" else ""
    # Addresses of further requests, of which interfaces are full, say nothing of the thing.
    names = [name for name in fields if not name.endswith("_url")] or list(fields)
    shown = [_field(name, fields[name], references, depth) for name in names[:_FIELDS_MAX]]
    more = ", ..." if len(names) > _FIELDS_MAX else ""
    return f"{{{', '.join(shown)}{more}}}"


def _field(name: str, node: object, references: References, depth: int) -> str:
    schema = as_schema(node)
    if depth > 0:
        return name
    try:
        resolved = references.resolved(schema)
    except SchemaError:
        return name
    is_list = resolved.get("type") == "array"
    inner = as_schema(resolved.get("items") or {}) if is_list else resolved
    try:
        fields = list(object_at(references.resolved(inner), "properties"))
    except SchemaError:
        fields = []
    if not fields:
        return f"{name}[]" if is_list else name
    names = [each for each in fields if not each.endswith("_url")][:4]
    return f"{name}{'[]' if is_list else ''} {{{', '.join(names)}, ...}}"
