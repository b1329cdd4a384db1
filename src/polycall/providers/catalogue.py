"""The vendors polycall knows.  Their rows are data: `catalogue.toml`."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Any

from msgspec import convert

from polycall.providers.provider import Provider
from polycall.providers.quirks import ALL_QUIRKS
from polycall.translation.quirks import Quirks


def _read() -> dict[str, Provider]:
    source = files("polycall.providers") / "catalogue.toml"
    rows: dict[str, dict[str, Any]] = {}
    for name, row in tomllib.loads(source.read_text(encoding="utf-8")).items():
        like = row.pop("like", None)
        rows[name] = {**(rows[like] if like else {}), **row, "name": name}
    return {name: _provider(row) for name, row in rows.items()}


def _provider(row: dict[str, Any]) -> Provider:
    name = row.get("quirks")
    return convert({**row, "quirks": ALL_QUIRKS[name] if name else Quirks()}, Provider)


CATALOGUE = _read()
