"""Tools and the choice among them, which stands in `generation_config`."""

from __future__ import annotations

from typing import Any

from polycall.dialects.gemini_interactions.names import NAME, TOOL_NAME_LENGTH_MAX
from polycall.ir import JSON, Request, Tool, ToolChoice
from polycall.schema import gemini_json_schema
from polycall.translation.quirks import Quirks
from polycall.translation.tool_descriptions import (
    as_function,
    note_absent_features,
)
from polycall.translation.wire import Losses, ToolNames, chosen_tool, unread
from polycall.translation.wire import request_reader as reader

_FUNCTION = frozenset({"type", "name", "description", "parameters", "defer_loading"})
_MODES = ("auto", "any", "none", "validated")


def parse_tools(value: Any) -> list[Tool]:
    """The functions, and the vendor's own tools."""
    tools: list[Tool] = []
    for index, item in enumerate([] if value is None else reader.array(value, "tools")):
        path = f"tools[{index}]"
        wire = reader.object(item, path)
        kind = reader.string(wire.get("type"), f"{path}.type")
        if kind != "function":
            tools.append(Tool(kind, kind="hosted", metadata={NAME: {"definition": wire}}))
            continue
        parameters: Any = wire.get("parameters")
        own = unread(wire, _FUNCTION)
        tools.append(
            Tool(
                reader.string(wire.get("name"), f"{path}.name"),
                reader.get_string(wire, "description", path),
                None if parameters is None else reader.object(parameters, f"{path}.parameters"),
                defer_loading=reader.get_bool(wire, "defer_loading", path),
                metadata={NAME: own},
            )
        )
    return tools


def parse_choice(value: Any) -> ToolChoice | None:
    """`generation_config.tool_choice`: a word, or the tools that are allowed."""
    path = "generation_config.tool_choice"
    if value is None:
        return None
    names: list[str] = []
    if not isinstance(value, str):
        allowed = reader.get_object(reader.object(value, path), "allowed_tools", path)
        names = [reader.string(n, path) for n in reader.get_array(allowed, "tools", path)]
        value = allowed.get("mode") or "auto"
    word = reader.string(value, path).lower()
    if word not in _MODES:
        reader.fail(path, "one of " + ", ".join(_MODES), value)
    if word == "any":
        return ToolChoice("tool" if len(names) == 1 else "required", names)
    if word == "none":
        return ToolChoice("none")
    return ToolChoice("auto", names, {NAME: {"mode": word}})


class ToolsRenderer:
    """Renders the tools of one request."""

    def __init__(self, request: Request, losses: Losses, quirks: Quirks) -> None:
        self._request = request
        self._losses = losses
        self._quirks = quirks
        self.names = ToolNames("[A-Za-z0-9_-]", length_max=TOOL_NAME_LENGTH_MAX)

    def tools(self) -> list[JSON]:
        """The `tools` array."""
        return [wire for tool in self._request.tools if (wire := self._tool(tool)) is not None]

    def _tool(self, tool: Tool) -> JSON | None:
        own = tool.metadata.get(NAME, {})
        if tool.kind == "hosted":
            if "definition" not in own:
                self._losses.refuse_hosted(tool.name, path="tools")
                return None
            return dict(own["definition"])
        tool = as_function(tool, self._losses)
        if tool.strict:
            self._losses.emulate("strict", "the vendor has no strict tools")
        note_absent_features(tool, self._losses, "allowed_callers", "output_schema")
        wire: JSON = {"type": "function", "name": self._name(tool)}
        if tool.description.strip():
            wire["description"] = tool.description if own else tool.description.strip()
        if tool.parameters is not None:
            is_own = NAME in tool.metadata
            wire["parameters"] = tool.parameters if is_own else gemini_json_schema(tool.parameters)
        if tool.defer_loading is not None:
            wire["defer_loading"] = tool.defer_loading
        return {**wire, **own}

    def _name(self, tool: Tool) -> str:
        is_own = NAME in tool.metadata
        return tool.name if is_own else self.names.wire_name(tool.name, tool.namespace)

    def choice(self) -> JSON | str | None:
        """`tool_choice`; `None` where the request does not say."""
        choice, tools = self._request.tool_choice, self._request.tools
        if choice is None:
            return None
        if choice.mode == "hosted":
            self._losses.refuse_hosted(chosen_tool(choice), feature="tool_choice")
            return None
        if not tools and NAME not in self._request.metadata:
            if choice.mode in ("required", "tool"):
                self._losses.refuse("tool_choice", "a call is forced, but no tool is offered")
            return None
        if choice.mode not in ("auto", "none") and choice.mode not in self._quirks.tool_choices:
            self._losses.refuse("tool_choice", f"the model does not take {choice.mode!r}")
            return None
        word = {"auto": "auto", "none": "none"}.get(choice.mode, "any")
        word = choice.metadata.get(NAME, {}).get("mode", word)
        if not choice.names:
            return word
        named = {tool.name: self._name(tool) for tool in tools}
        names = [named.get(name, name) for name in choice.names]
        if word == "auto":
            word = "validated"  # a list of tools goes with these alone
        return {"allowed_tools": {"mode": word, "tools": names}}
