"""Tools that system messages add and withdraw in the course of a conversation."""

from __future__ import annotations

from polycall.sim.script import ToolSpec
from polycall.sim.shape import JSON, list_in
from polycall.sim.vendors.anthropic_turns import Turns, refuse

_REMOVAL = "tool_removal"
_REFERENCES = ("tool_reference", "mcp_tool_reference", "mcp_toolset_reference")


def added_in(blocks: list[JSON]) -> list[str]:
    """The names of the tools that these blocks add."""
    changes = [each for block in blocks for each in [block, *changes_of(block)]]
    return [each["tool"].get("name", "") for each in changes if each["type"] == "tool_addition"]


def changes_of(summary: JSON) -> list[JSON]:
    """The changes of tools in what a summary stands for."""
    return list_in(summary, "tool_changes")


def allowed(turns: Turns, body: JSON, tools: list[ToolSpec]) -> frozenset[str] | None:
    """The tools that may be called now; `None` where none was withdrawn."""
    declared = {str(tool.get("name")) for tool in list_in(body, "tools")}
    withdrawn: set[str] = set()
    for role, blocks, position in turns:
        for block in blocks if role == "assistant" else []:
            changes = changes_of(block)
            withdrawn |= {each["tool"]["name"] for each in changes if each["type"] == _REMOVAL}
        for spot, block in enumerate(blocks if role == "system" else []):
            if block["type"] not in ("tool_addition", _REMOVAL):
                continue
            place = f"messages.{position}.content.{spot}.{block['type']}.tool"
            reference: JSON = block["tool"]
            if reference["type"] not in _REFERENCES:
                tags = ", ".join(map(repr, _REFERENCES))
                raise refuse(
                    f"{place}: Input tag '{reference['type']}' found using 'type' does not match "
                    f"any of the expected tags: {tags}"
                )
            if reference["type"] != "tool_reference":
                continue
            name = reference.get("name")
            if name not in declared:
                raise refuse(f"{place}.name: Tool '{name}' not found in provided tools")
            if block["type"] == _REMOVAL:
                withdrawn.add(name)
            else:
                withdrawn.discard(name)
    return frozenset(tool.name for tool in tools) - withdrawn if withdrawn else None
