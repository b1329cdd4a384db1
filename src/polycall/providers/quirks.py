"""The differences of each known server's use of a dialect from its defining vendor's.

The rows are data, with their evidence: `quirks.toml`.
"""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Any

from msgspec import convert

from polycall.translation.quirks import Quirks


def _read() -> tuple[dict[str, Quirks], dict[str, Quirks]]:
    """The families, which stand behind rows of the catalogue, and the servers, which have names."""
    source = files("polycall.providers") / "quirks.toml"
    tables = tomllib.loads(source.read_text(encoding="utf-8"))
    rows: dict[str, dict[str, Any]] = {}
    for name, row in (tables["families"] | tables["servers"]).items():
        base = row.pop("base", None)
        server = {"server": name} if name in tables["servers"] else {}
        rows[name] = {**(rows[base] if base else {}), **server, **row}
    made = {name: _quirks(row) for name, row in rows.items()}
    return made, {name: made[name] for name in tables["servers"]}


def _quirks(row: dict[str, Any]) -> Quirks:
    bounds = {field: None if value == "all" else value for field, value in row.items()}
    return convert(bounds, Quirks)


ALL_QUIRKS, NAMED_QUIRKS = _read()
