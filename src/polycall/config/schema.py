"""A JSON Schema of polycall.toml, made from the structs that the reader reads it into.

Editors complete and check a file with it (`polycall config schema`).  It describes single values.
Only the reader checks values together: the provider of a route, an address that is missing.
"""

from __future__ import annotations

import ast
import inspect
import io
import textwrap
import tokenize
from typing import Any

import msgspec
from msgspec import Struct

from polycall.config.admin import ContentSettings, OpenIDSettings
from polycall.config.loading import LOG_LEVELS, SECTIONS, WORKERS_MAX, RouteEntry
from polycall.config.mcp import OAuthSettings
from polycall.config.reader import BUDGET_USD_MAX, NUMBER_MAX
from polycall.providers.provider import Capabilities, Price
from polycall.providers.quirks import NAMED_QUIRKS
from polycall.translation.quirks import Quirks

JSON = dict[str, Any]

PORT_MAX = 65535
# Numbers that may be zero: the reader refuses it in all others.
_MAY_BE_ZERO = frozenset({"input", "output", "cached", "cache_write", "sample", "port", "weight"})
_MOST = {"budget_usd": BUDGET_USD_MAX, "port": PORT_MAX, "workers": WORKERS_MAX, "sample": 1}
_UNBOUNDED = Quirks  # whose numbers the reader takes as they are
_REFERENCE = "#/$defs/{name}"


def config_schema() -> JSON:
    """The schema, in draft 2020-12."""
    admin = (OpenIDSettings, ContentSettings)
    nested = (RouteEntry, Quirks, Price, Capabilities, OAuthSettings, *admin)
    kinds: list[type[Struct]] = [*SECTIONS.values(), *nested]
    _, found = msgspec.json.schema_components(kinds, ref_template=_REFERENCE)
    tables = {kind.__name__: _table(found[kind.__name__], kind) for kind in kinds}
    _nest(tables)
    sections: JSON = {name: _section(name, kind) for name, kind in SECTIONS.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "polycall.toml",
        "type": "object",
        "properties": sections,
        "additionalProperties": False,
        "$defs": tables,
    }


def _section(name: str, kind: type[Struct]) -> JSON:
    reference = {"$ref": _REFERENCE.format(name=kind.__name__)}
    match name:
        case "providers" | "models" | "mcp":
            return {"type": "object", "additionalProperties": reference}
        case "keys":
            return {"type": "array", "items": reference}
        case _:
            return reference


def _nest(tables: JSON) -> None:
    """Put in what the structs leave to the reader: tables within tables, and names."""

    def refer(kind: type[Struct]) -> JSON:
        return {"$ref": _REFERENCE.format(name=kind.__name__)}

    provider = tables["ProviderTable"]["properties"]
    quirks: JSON = tables["Quirks"]["properties"]
    for field in quirks.values():
        field.pop("default", None)  # it is the provider's own
    names = {"type": "string", "enum": sorted(NAMED_QUIRKS)}
    quirks["base"] = {**names, "description": "The named set that the other fields change."}
    provider["quirks"] = {"anyOf": [names, refer(Quirks)]}
    provider["prices"]["additionalProperties"] = refer(Price)
    provider["capabilities"]["additionalProperties"] = refer(Capabilities)
    entry = {"anyOf": [{"type": "string"}, refer(RouteEntry)]}
    tables["ModelTable"]["properties"]["route"] = {"type": "array", "items": entry, "minItems": 1}
    tables["Server"]["properties"]["log"]["enum"] = list(LOG_LEVELS)


def _table(schema: JSON, kind: type[Struct]) -> JSON:
    """The schema of one table, closed, with the comments of its fields."""
    notes = _comments(kind)
    properties = {
        name: _field("" if kind is _UNBOUNDED else name, field, notes.get(name, ""))
        for name, field in schema.get("properties", {}).items()
    }
    closed: JSON = {"type": "object", "properties": properties, "additionalProperties": False}
    if text := inspect.getdoc(kind):
        closed["description"] = text
    if required := schema.get("required"):
        closed["required"] = required
    return closed


def _field(name: str, field: JSON, note: str) -> JSON:
    """One value's schema; `name` is empty where its numbers have no bounds."""
    kinds: list[JSON] = [_value(name, each) for each in field.get("anyOf", [field])]
    kinds = [each for each in kinds if each.get("type") != "null"]
    shown: JSON = kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    if (default := field.get("default")) is not None:
        shown = {**shown, "default": list(default) if isinstance(default, tuple) else default}  # pyright: ignore[reportUnknownArgumentType]
    return {**shown, "description": note} if note else shown


def _value(name: str, schema: JSON) -> JSON:
    """One kind of value as TOML has it: a number where Python has a `Decimal`, and no null."""
    schema = {key: value for key, value in schema.items() if key != "default"}
    if schema.get("format") == "decimal":
        schema = {"type": "number"}
    if name and schema.get("type") in ("integer", "number"):
        least = "minimum" if name in _MAY_BE_ZERO else "exclusiveMinimum"
        schema = {**schema, least: 0, "maximum": _MOST.get(name, NUMBER_MAX)}
    return schema


def _comments(kind: type[Struct]) -> dict[str, str]:
    """The comment after each field; nothing where the source is not at hand."""
    try:
        source = textwrap.dedent(inspect.getsource(kind))
    except OSError:
        return {}
    lines = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT and token.line.split("#")[0].strip()
    }
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    return {
        node.target.id: lines[node.lineno]
        for node in definition.body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and node.lineno in lines
    }
