"""Tools: `tools`, in OpenAI's shape.  This wire has no choice among them."""

from __future__ import annotations

from typing import Any

from polycall.dialects.ollama_chat.names import NAME
from polycall.ir import JSON, Request, Tool
from polycall.translation.tool_descriptions import (
    as_function,
    note_absent_features,
)
from polycall.translation.wire import Losses, ToolNames, unread
from polycall.translation.wire import request_reader as reader


def parse_tools(value: Any) -> list[Tool]:
    """The tools of a request; what has no function in it is of the vendor's own."""
    tools: list[Tool] = []
    for index, item in enumerate([] if value is None else reader.array(value, "tools")):
        path = f"tools[{index}]"
        wire = reader.object(item, path)
        if "function" not in wire:
            name = str(wire.get("type") or "tool")
            tools.append(Tool(name, kind="hosted", metadata={NAME: {"definition": wire}}))
            continue
        function = reader.object(wire["function"], f"{path}.function")
        where = f"{path}.function"
        parameters: Any = function.get("parameters")
        known = ("name", "description", "parameters")
        own: JSON = unread(function, known)
        tools.append(
            Tool(
                reader.string(function.get("name"), f"{where}.name"),
                reader.get_string(function, "description", where),
                None if parameters is None else reader.object(parameters, f"{where}.parameters"),
                metadata={NAME: {"function": own}} if own else {},
            )
        )
    return tools


class ToolsRenderer:
    """Renders the tools of one request."""

    def __init__(self, request: Request, losses: Losses) -> None:
        self._request = request
        self._losses = losses
        self.names = ToolNames(".", length_max=256)

    def tools(self) -> list[JSON]:
        """The `tools` array: those that may be called."""
        offered = self._offered()
        return [wire for tool in offered if (wire := self._tool(tool)) is not None]

    def _offered(self) -> list[Tool]:
        choice, tools = self._request.tool_choice, self._request.tools
        if choice is None:
            return tools
        if choice.mode == "none":
            if tools:
                detail = "no tools are offered, since none may be called"
                self._losses.emulate("tool_choice", detail)
            return []
        if choice.mode in ("required", "tool", "hosted"):
            self._losses.refuse("tool_choice", "this wire cannot force a call", path="tool_choice")
        if choice.names:
            self._losses.emulate("tool_choice", "only the allowed tools are offered")
            return [tool for tool in tools if tool.name in choice.names]
        return tools

    def _tool(self, tool: Tool) -> JSON | None:
        own = tool.metadata.get(NAME, {})
        if tool.kind == "hosted":
            if "definition" not in own:
                self._losses.refuse_hosted(tool.name, path="tools")
                return None
            return dict(own["definition"])
        tool = as_function(tool, self._losses)
        if tool.strict:
            self._losses.adjust("strict", "the target knows no strict tools")
        absent = ("defer_loading", "allowed_callers", "output_schema")
        note_absent_features(tool, self._losses, *absent)
        function: JSON = {"name": self.names.wire_name(tool.name, tool.namespace)}
        if description := tool.description.strip():
            function["description"] = description
        if tool.parameters is not None or NAME not in tool.metadata:
            function["parameters"] = tool.parameters or {"type": "object", "properties": {}}
        return {"type": "function", "function": {**function, **own.get("function", {})}}
