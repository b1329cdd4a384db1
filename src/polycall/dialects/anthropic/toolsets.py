"""Toolsets of this wire: one entry for many tools of the client, whose calls name the set."""

from __future__ import annotations

import re
from typing import Any

from msgspec import Struct

from polycall.ir import JSON, Tool
from polycall.translation.tool_tables import ToolTables

_SET = re.compile(r"(\w+)_toolset_\d{8}")


class Toolset(Struct, frozen=True):
    """The members of a set, and those of them that are off unless `configs` turns them on."""

    members: dict[str, tuple[str, JSON]]
    off: frozenset[str] = frozenset()


TABLES = ToolTables("polycall.dialects.anthropic", "client_tools")
TOOLSETS = {
    "computer": Toolset(TABLES.members("computer")),
    "browser": Toolset(
        TABLES.members("browser"),
        frozenset({"file_upload", "read_console", "read_network", "javascript_exec"}),
    ),
}


def set_of(kind: str) -> str:
    """The name of a set by the type of its entry; empty for every other tool."""
    found = _SET.fullmatch(kind)
    return found[1] if found and found[1] in TOOLSETS else ""


def set_members(definition: JSON, name: str) -> list[Tool]:
    """The tools of a set that are on; the first has the entry for its own wire."""
    configs: Any = definition.get("configs") or {}
    toolset = TOOLSETS[name]
    tools: list[Tool] = []
    for member, (description, parameters) in toolset.members.items():
        config: Any = configs.get(member) if isinstance(configs, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        enabled: Any = config.get("enabled") if isinstance(config, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if not (member not in toolset.off if enabled is None else enabled):
            continue
        notes: JSON = {"in_set": True} if tools else {"definition": definition}
        metadata = {"anthropic": notes}
        tools.append(Tool(member, description, parameters, namespace=name, metadata=metadata))
    return tools
