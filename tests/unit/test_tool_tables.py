"""Tools of the client as data: what the notation means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from polycall.translation import tool_tables
from polycall.translation.tool_tables import ToolTables

WRITTEN = """
[schemas]
count = "integer: How many."
pair = { type = "array", items = "count", maxItems = 2 }

[schemas.place]
description = "Where."
fields = { "x!" = "integer", kind = ["point", "line"] }

[tools.look]
about = "Look."

[tools.move]
about = "Move: to a place."
fields = { "to!" = "place", steps = "count", "speed!" = "number: How fast: in m/s." }

[tools.draw]
about = "Draw."
fields = { "points!" = { type = "array", items = "place" }, size = "pair" }

[tools.mark]
about = "Mark."
fields = "place"
"""

COUNT = {"type": "integer", "description": "How many."}
PLACE: dict[str, Any] = {
    "type": "object",
    "properties": {"x": {"type": "integer"}, "kind": {"type": "string", "enum": ["point", "line"]}},
    "required": ["x"],
}


def test_tools_are_what_their_table_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.toml").write_text(WRITTEN, "utf-8")
    monkeypatch.setattr(tool_tables, "files", {"a.package": tmp_path}.__getitem__)
    place = {**PLACE, "description": "Where."}
    pair = {"type": "array", "items": COUNT, "maxItems": 2}
    speed = {"type": "number", "description": "How fast: in m/s."}
    assert ToolTables("a.package", "mine").members("tools") == {
        "look": ("Look.", {"type": "object", "properties": {}, "required": []}),
        "move": (
            "Move: to a place.",
            {
                "type": "object",
                "properties": {"to": place, "steps": COUNT, "speed": speed},
                "required": ["to", "speed"],
            },
        ),
        "draw": (
            "Draw.",
            {
                "type": "object",
                "properties": {"points": {"type": "array", "items": place}, "size": pair},
                "required": ["points"],
            },
        ),
        "mark": ("Mark.", PLACE),
    }
