"""Writes a configuration of ours."""

from __future__ import annotations

import json
import re
from typing import Any

from polycall.cli.importing.found import Found, ProviderRow
from polycall.ir import JSON
from polycall.providers.catalogue import CATALOGUE

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def toml(found: Found) -> str:
    """The whole file."""
    lines = [f"# Made by `polycall import` from {found.source}."]
    if found.server:
        lines += ["", "[server]", *_fields(found.server)]
    for name, table in found.tables.items():
        lines += ["", f"[{name}]", *_fields(table)]
    for row in found.providers.values():
        lines += ["", *_provider(row)]
    for name, route in found.models.items():
        lines += ["", f"[models.{_key(name)}]"]
        if len(route) == 1:
            lines.append(f"route = [{_target(route[0])}]")
        else:
            lines += ["route = [", *(f"    {_target(each)}," for each in route), "]"]
    for key in found.keys:
        lines += ["", "[[keys]]", *_fields(key)]
    if found.notes:
        lines += ["", "# Without a counterpart, or not the same here:"]
        lines += [f"#   {line}" for line in found.notes]
    return "\n".join(lines) + "\n"


def _provider(row: ProviderRow) -> list[str]:
    table: JSON = {}
    known = CATALOGUE.get(row.kind)
    if known is not None and known.places:
        # A cloud's row has more to it than a dialect and an address.
        if row.name != row.kind:
            table["like"] = row.kind
        if row.base_url:
            table["base_url"] = row.base_url
        table.update(row.place)
    elif row.name != row.kind or row.base_url:
        table["dialect"] = known.dialect if known else "openai-chat"
        table["base_url"] = row.base_url or (known.base_url if known else "")
        if known is not None and known.tools_dialect is not None and not row.base_url:
            table["tools_dialect"] = known.tools_dialect
        if known is not None and known.dialect == "openai-chat":
            table["quirks"] = row.kind
    if row.auth:
        table["auth"] = row.auth
    if row.keys:
        table["api_key"] = row.keys[0] if len(row.keys) == 1 else row.keys
    lines = [f"[providers.{_key(row.name)}]", *_fields(table)]
    if row.serves:
        lines += [f"[providers.{_key(row.name)}.serves]", *_fields({**row.serves})]
    if row.prices:
        lines.append(f"[providers.{_key(row.name)}.prices]")
        lines += [f"{_key(model)} = {_inline(price)}" for model, price in row.prices.items()]
    return lines


def _target(target: JSON) -> str:
    return _text(target["model"]) if len(target) == 1 else _inline(target)


def _fields(table: JSON) -> list[str]:
    return [f"{_key(name)} = {_value(value)}" for name, value in table.items()]


def _inline(table: JSON) -> str:
    return "{ " + ", ".join(_fields(table)) + " }"


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case list():
            return "[" + ", ".join(_value(each) for each in value) + "]"  # pyright: ignore[reportUnknownVariableType]
        case _:
            return _text(str(value))


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _text(text: str) -> str:
    # JSON's escapes are TOML's too; what a terminal could not show stays readable text.
    return json.dumps(text, ensure_ascii=False)
