"""Tools and the choice among them: `toolConfig`, both ways.

The metadata of a tool, `metadata["bedrock-converse"]`: `definition` of a system tool, `fields` of a
specification that the middle language does not know, `cachePoint` for the mark behind it.
"""

from __future__ import annotations

from typing import Any, cast

from msgspec.structs import replace

from polycall.dialects.bedrock_converse.content import cache_points
from polycall.dialects.bedrock_converse.names import NAME
from polycall.ir import JSON, Request, Tool, ToolChoice
from polycall.schema import anthropic_strict
from polycall.schema.root import object_schema
from polycall.translation.quirks import Quirks
from polycall.translation.tool_descriptions import (
    as_function,
    note_absent_features,
)
from polycall.translation.wire import Losses, Path, ToolNames, chosen_tool, unread
from polycall.translation.wire import request_reader as reader

_SPEC = frozenset({"name", "description", "inputSchema", "strict"})
NO_CALLS = "Do not call any tool in this answer; answer in text."


# ---------------------------------------------------------------------------------------------
# Wire to middle language


def parse_tool_config(value: Any) -> tuple[list[Tool], ToolChoice | None]:
    """The tools and the choice."""
    config = {} if value is None else reader.object(value, "toolConfig")
    tools: list[Tool] = []
    for index, item in enumerate(reader.get_array(config, "tools", "toolConfig")):
        path = f"toolConfig.tools[{index}]"
        wire = reader.object(item, path)
        if "toolSpec" in wire:
            tools.append(_parse_tool(reader.object(wire["toolSpec"], f"{path}.toolSpec"), path))
        elif "cachePoint" in wire and tools:
            own = {**tools[-1].metadata.get(NAME, {}), "cachePoint": wire["cachePoint"]}
            tools[-1] = replace(tools[-1], metadata={NAME: own})
        else:
            kind = next(iter(wire), "tool")
            inner: Any = wire.get(kind)
            name: Any = cast("JSON", inner).get("name") if isinstance(inner, dict) else None
            own = {"definition": wire}
            tools.append(Tool(str(name or kind), kind="hosted", metadata={NAME: own}))
    return tools, _parse_choice(config)


def _parse_tool(spec: JSON, path: Path) -> Tool:
    where = f"{path}.toolSpec"
    more = unread(spec, _SPEC)
    schema = reader.get_object(spec, "inputSchema", where).get("json")
    return Tool(
        name=reader.string(spec.get("name"), f"{where}.name"),
        description=reader.get_string(spec, "description", where),
        parameters=None if schema is None else reader.object(schema, f"{where}.inputSchema.json"),
        strict=reader.get_bool(spec, "strict", where),
        metadata={NAME: {"fields": more}} if more else {},
    )


def _parse_choice(config: JSON) -> ToolChoice | None:
    wire = reader.get_object(config, "toolChoice", "toolConfig")
    if "auto" in wire:
        return ToolChoice("auto")
    if "any" in wire:
        return ToolChoice("required")
    if "tool" in wire:
        path = "toolConfig.toolChoice.tool"
        named = reader.object(wire["tool"], path)
        return ToolChoice("tool", [reader.string(named.get("name"), f"{path}.name")])
    return None


# ---------------------------------------------------------------------------------------------
# Middle language to wire


class ToolsRenderer:
    """Renders `toolConfig`; `says_none` is set where the prompt must say that none be called."""

    def __init__(
        self,
        request: Request,
        losses: Losses,
        names: ToolNames,
        quirks: Quirks,
        called: dict[str, str],
    ) -> None:
        """`called` are the names on the wire of the history's tools: each must be declared."""
        self._request = request
        self._losses = losses
        self._names = names
        self._quirks = quirks
        self._called = called
        self.says_none = False

    def config(self) -> JSON | None:
        """The value of `toolConfig`; `None` where there is nothing to declare."""
        choice, offered = self._choice()
        tools = [entry for tool in offered for entry in self._entries(tool)]
        declared = {entry["toolSpec"]["name"] for entry in tools if "toolSpec" in entry}
        for name in self._called:
            if name not in declared and (tools or not offered):
                self._losses.emulate("tools", f"{name!r} of the history is declared without fields")
                schema: JSON = {"type": "object", "properties": {}}
                tools.append({"toolSpec": {"name": name, "inputSchema": {"json": schema}}})
        if not tools:
            return None
        return {"tools": tools, **({"toolChoice": choice} if choice is not None else {})}

    def _choice(self) -> tuple[JSON | None, list[Tool]]:
        choice, offered = self._request.tool_choice, self._request.tools
        if not offered or choice is None:
            if choice is not None and choice.mode in ("required", "tool"):
                self._losses.refuse("tool_choice", "a call is forced, but no tool is offered")
            return None, offered
        if choice.mode == "hosted":
            self._losses.refuse_hosted(chosen_tool(choice), feature="tool_choice")
            return None, offered
        if choice.mode == "none":
            if not self._called:
                detail = "no tools are offered, since none may be called"
                self._losses.emulate("tool_choice", detail)
                return None, []
            self._losses.emulate("tool_choice", "the prompt says that no tool be called")
            self.says_none = True
            return None, offered
        if choice.names and not (choice.mode == "tool" and len(choice.names) == 1):
            self._losses.emulate("tool_choice", "only the allowed tools are offered")
            offered = [t for t in offered if t.kind == "hosted" or t.name in choice.names]
        if choice.mode == "auto":
            return {"auto": {}}, offered
        if choice.mode not in self._quirks.tool_choices or self._is_forbidden():
            self._losses.refuse("tool_choice", f"the model does not take {choice.mode!r}")
            return {"auto": {}}, offered
        if choice.mode == "tool":
            return {"tool": {"name": self._wire_name(choice.names[0])}}, offered
        return {"any": {}}, offered

    def _is_forbidden(self) -> bool:
        is_thinking = self._request.reasoning is not None
        return is_thinking and not self._quirks.forced_choice_while_reasoning

    def _wire_name(self, name: str) -> str:
        spaces = {tool.name: tool.namespace for tool in self._request.tools}
        return self._names.wire_name(name, spaces.get(name, ""))

    def _entries(self, tool: Tool) -> list[JSON]:
        own = tool.metadata.get(NAME, {})
        if tool.kind == "hosted":
            if "definition" not in own:
                self._losses.refuse_hosted(tool.name, path="tools")
                return []
            return [own["definition"]]
        spec = self._spec(tool, own)
        return [{"toolSpec": spec}, *cache_points(tool)]

    def _spec(self, tool: Tool, own: JSON) -> JSON:
        tool = as_function(tool, self._losses)
        absent = ("defer_loading", "allowed_callers", "output_schema")
        note_absent_features(tool, self._losses, *absent)
        spec: JSON = {"name": self._names.wire_name(tool.name, tool.namespace)}
        if tool.description:
            spec["description"] = tool.description
        root: JSON = {"type": "object", "properties": {}}
        if tool.parameters is not None:
            root = object_schema(tool.parameters)
        strict, root = self._strict(tool, root)
        spec["inputSchema"] = {"json": root}
        if strict is not None:
            spec["strict"] = strict
        return {**spec, **own.get("fields", {})}

    def _strict(self, tool: Tool, root: JSON) -> tuple[bool | None, JSON]:
        """Whether the tool is strict here, and its schema as strict tools have it."""
        if tool.strict and not self._quirks.strict_tools:
            self._losses.adjust("strict", "the target knows no strict tools")
            return None, root
        # What came over this wire was written for it: the vendor judges it.
        if not tool.strict or NAME in self._request.metadata:
            return tool.strict, root
        adapted = anthropic_strict(root)  # whose models are the ones that know strict tools here
        if adapted is None:
            self._losses.adjust("strict", f"off for {tool.name!r}: its schema has no strict form")
            return None, root
        if adapted != root:
            detail = f"that of {tool.name!r} is written as strict mode takes it"
            self._losses.adjust("inputSchema", detail)
        return True, adapted
