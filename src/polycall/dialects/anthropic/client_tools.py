"""Tools of this wire that the client runs: bash, the text editor, memory, the computer.

The vendor's models know them by their type.  To any other model they are functions with the
documented fields; a call of one is a `tool_use` of the same name on every way, so nothing has to be
restored.  Their descriptions are in `client_tools.toml`, toolsets in `toolsets.py`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from polycall.dialects.anthropic.toolsets import TABLES, set_members, set_of
from polycall.ir import JSON, Tool

_ALONE = TABLES.members("alone")
_KIND = re.compile(r"(bash|text_editor|memory|computer)_(\d{8})")
# Actions and fields that the computer has from 20250124 on.
_LATER = frozenset(
    {
        *("left_mouse_down", "left_mouse_up", "triple_click", "scroll", "hold_key", "wait"),
        *("duration", "scroll_amount", "scroll_direction", "start_coordinate"),
    }
)


def parse_client_tool(definition: JSON, name: str) -> list[Tool]:
    """The functions that a tool or toolset of the client is elsewhere; none for others."""
    kind: Any = definition.get("type")
    if not isinstance(kind, str):
        return []
    if name_of_set := set_of(kind):
        return set_members(definition, name_of_set)
    found = _KIND.fullmatch(kind)
    if found is None:
        return []
    family, since = found[1], found[2]
    description, parameters = _ALONE[family]
    if family == "text_editor" and since >= "20250429":
        parameters = _without(parameters, {"undo_edit"})
    if family == "computer":
        width, height = definition.get("display_width_px"), definition.get("display_height_px")
        description = description.format(width=width, height=height)
        parameters = _without(parameters, _LATER if since < "20250124" else frozenset())
        if not definition.get("enable_zoom"):
            parameters = _without(parameters, {"zoom", "region"})
    metadata = {"anthropic": {"definition": definition}}
    return [Tool(name, description, parameters, metadata=metadata)]


def _without(parameters: JSON, gone: Collection[str]) -> JSON:
    """The parameters without these fields, and without these words of their enumerations."""
    kept: JSON = {}
    for name, field in parameters["properties"].items():
        if name not in gone:
            words = field.get("enum")
            kept[name] = (
                field if words is None else {**field, "enum": [w for w in words if w not in gone]}
            )
    return {**parameters, "properties": kept}
