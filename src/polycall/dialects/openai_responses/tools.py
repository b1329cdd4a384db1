"""Tools and tool choice.

Namespaces are groups on the wire and a field in the middle language.  Hosted tools keep their
definition whole: they mean something to this vendor only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from polycall.dialects.openai_responses.client_tools import (
    CLIENT_TOOLS,
    PLACED_IN_ITEM,
    parse_client_tool,
)
from polycall.dialects.openai_responses.names import NAME, mark, others, own
from polycall.ir import JSON, Request, Tool, ToolChoice
from polycall.schema import openai_strict
from polycall.translation.conversation import selected
from polycall.translation.quirks import Quirks
from polycall.translation.tool_descriptions import with_examples
from polycall.translation.tool_list_cache import rendered_once
from polycall.translation.tool_roots import plain_root
from polycall.translation.wire import Losses, ToolName, ToolNames, chosen_tool, request_reader

_FUNCTION_KNOWN = frozenset(
    {
        "type",
        "name",
        "description",
        "parameters",
        "strict",
        "output_schema",
        "defer_loading",
        "allowed_callers",
    }
)
_CUSTOM_KNOWN = frozenset(
    {"type", "name", "description", "format", "defer_loading", "allowed_callers"}
)
_CALLERS_IN = {"programmatic": "code"}
_CALLERS_OUT = {"code": "programmatic"}
_NAMED_CHOICES = frozenset({"function", "custom"})
_VALID_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")

# ---------------------------------------------------------------------------------------------
# Reading


def parse_tools(values: list[Any]) -> list[Tool]:
    """All tools of a request, those of namespaces among them."""
    tools: list[Tool] = []
    for position, value in enumerate(values):
        where = f"tools[{position}]"
        definition = request_reader.object(value, where)
        kind = request_reader.get_string(definition, "type", where)
        inner = definition.get("tools")
        if kind == "namespace" and inner:
            namespace = request_reader.get_string(definition, "name", where)
            fields = others(definition, ("type", "name", "tools"))
            for index, member in enumerate(request_reader.array(inner, f"{where}.tools")):
                tools.append(_parse_tool(member, f"{where}.tools[{index}]", namespace, fields))
        else:
            tools.append(_parse_tool(definition, where, "", None))
    return tools


def _parse_tool(value: Any, path: str, namespace: str, namespace_fields: JSON | None) -> Tool:
    definition = request_reader.object(value, path)
    kind = request_reader.get_string(definition, "type", path)
    if kind not in _NAMED_CHOICES:
        clients = None if namespace else parse_client_tool(definition, {})
        if clients is not None:
            return clients
        notes = {"definition": definition, **_in_namespace(namespace_fields)}
        return Tool(kind, kind="hosted", namespace=namespace, metadata=mark(notes))
    name = request_reader.get_string(definition, "name", path)
    if not name:
        request_reader.fail(f"{path}.name", "a tool's name", definition.get("name"))
    notes: JSON = _in_namespace(namespace_fields)
    grammar: JSON | None = None
    if kind == "custom":
        fields = others(definition, _CUSTOM_KNOWN)
        format_ = request_reader.get_object(definition, "format", path)
        if format_.get("type") == "grammar" and {*format_} <= {"type", "syntax", "definition"}:
            grammar = others(format_, ("type",))
        elif format_:
            fields["format"] = format_
    else:
        fields = others(definition, _FUNCTION_KNOWN)
        # What was not said must not be said for the client either: the defaults are the vendor's.
        for key in ("parameters", "strict"):
            if key not in definition:
                notes.setdefault("absent", []).append(key)
            elif definition[key] is None:
                fields[key] = None
    if definition.get("description") == "":
        fields["description"] = ""
    if fields:
        notes["fields"] = fields
    parameters = definition.get("parameters")
    callers = request_reader.get_array(definition, "allowed_callers", path)
    output_schema = request_reader.get_object(definition, "output_schema", path)
    return Tool(
        name=name,
        description=request_reader.get_string(definition, "description", path),
        parameters=None
        if parameters is None or kind == "custom"
        else request_reader.object(parameters, f"{path}.parameters"),
        kind="custom" if kind == "custom" else "function",
        strict=request_reader.get_bool(definition, "strict", path),
        grammar=grammar,
        output_schema=output_schema or None,
        defer_loading=request_reader.get_bool(definition, "defer_loading", path),
        allowed_callers=[
            _CALLERS_IN.get(caller, caller)
            for caller in (request_reader.string(each, path) for each in callers)
        ],
        namespace=namespace,
        metadata=mark(notes) or {NAME: {}},
    )


def tools_in_items(items: list[Any], known: Sequence[Tool]) -> list[Tool]:
    """The tools that input items offer, and the request does not have yet."""
    seen = {(tool.namespace, tool.name) for tool in known}
    found: list[Tool] = []
    for item in selected(items, _offers):
        offered: Any = item.get("tools")
        for tool in parse_tools(offered if isinstance(offered, list) else []):  # pyright: ignore[reportUnknownArgumentType]
            if (tool.namespace, tool.name) in seen:
                continue
            seen.add((tool.namespace, tool.name))
            noted = {**own(tool.metadata), PLACED_IN_ITEM: True}
            found.append(replace(tool, metadata={**tool.metadata, **mark(noted)}))
    return found


_OFFERING = frozenset({"additional_tools", "tool_search_output"})


def _offers(item: Any) -> bool:
    """Whether it has tools that the client runs."""
    if not isinstance(item, dict) or item.get("type") not in _OFFERING:  # pyright: ignore[reportUnknownMemberType]
        return False
    return bool(item.get("execution") != "server")  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]


def _in_namespace(fields: JSON | None) -> JSON:
    return {} if fields is None else {"namespace": fields}


def parse_tool_choice(value: Any, path: str) -> ToolChoice | None:
    """Every form of `tool_choice`; what only this vendor knows becomes mode `hosted`."""
    if value is None:
        return None
    if isinstance(value, str):
        if value == "auto" or value == "none" or value == "required":  # noqa: PLR1714 - narrows
            return ToolChoice(value)
        request_reader.fail(path, "'auto', 'none', 'required' or an object", value)
    choice = request_reader.object(value, path)
    kind = request_reader.get_string(choice, "type", path)
    if kind in _NAMED_CHOICES:
        name = request_reader.get_string(choice, "name", path)
        if not name:
            request_reader.fail(f"{path}.name", "a tool's name", choice.get("name"))
        return ToolChoice("tool", [name], metadata=mark({"definition": choice}))
    if kind in CLIENT_TOOLS:
        return ToolChoice("tool", [kind], metadata=mark({"definition": choice}))
    if kind == "allowed_tools":
        mode = request_reader.get_choice(choice, "mode", path, ("auto", "required")) or "auto"
        entries = request_reader.get_array(choice, "tools", path)
        names = [
            request_reader.get_string(entry, "name", path)
            for entry in (request_reader.object(each, f"{path}.tools") for each in entries)
            if request_reader.get_string(entry, "type", path) in _NAMED_CHOICES
        ]
        return ToolChoice(
            "required" if mode == "required" else "auto",
            names,
            metadata=mark({"definition": choice}),
        )
    return ToolChoice("hosted", metadata=mark({"definition": choice}))


# ---------------------------------------------------------------------------------------------
# Writing


class ToolsRenderer:
    """Renders tools and everything that names one, with the same alias for the same tool."""

    def __init__(self, request: Request, losses: Losses, quirks: Quirks) -> None:
        self._losses = losses
        self._quirks = quirks
        self._tools = request.tools
        self.names = ToolNames("[A-Za-z0-9_-]", length_max=64)
        self._hosted = {
            own(tool.metadata)["definition"].get("type")
            for tool in request.tools
            if "definition" in own(tool.metadata)
        }
        self._kinds = {tool.name: tool.kind for tool in request.tools}
        self.adapted: dict[str, JSON] = {}

    @property
    def aliases(self) -> dict[str, ToolName]:
        """Wire names and the tools' own, where they differ."""
        return self.names.aliases

    def name(self, name: str, namespace: str = "") -> tuple[str, str]:
        """Name and namespace on the wire."""
        if namespace and not _VALID_NAME.fullmatch(namespace):
            return self.names.wire_name(name, namespace), ""
        if _VALID_NAME.fullmatch(name):
            return name, namespace
        safe = self.names.wire_name(name)
        if namespace:
            self.names.aliases[safe] = ToolName(name, namespace)
        return safe, namespace

    def is_custom(self, name: str) -> bool:
        """Whether a call of this tool is freeform on the wire."""
        return self._quirks.custom_tools and self._kinds.get(name) == "custom"

    def tools(self, tools: Sequence[Tool]) -> list[JSON]:
        """The `tools` array, with namespaces grouped where their first tool stands."""
        notes: list[dict[str, Any]] = [self.names.aliases, self.adapted]
        return rendered_once(
            tools,
            (NAME,),
            quirks=self._quirks,
            losses=self._losses,
            notes=notes,
            render=lambda: self._array(tools),
        )

    def _array(self, tools: Sequence[Tool]) -> list[JSON]:
        rendered: list[JSON] = []
        groups: dict[str, list[JSON]] = {}
        for position, tool in enumerate(tools):
            definition = self._tool(tool, f"tools[{position}]")
            if definition is None:
                continue
            _, namespace = self.name(tool.name, tool.namespace)
            if not namespace:
                rendered.append(definition)
                continue
            group = groups.get(namespace)
            if group is None:
                fields = own(tool.metadata).get("namespace")
                if fields is None:
                    fields = {"description": f"Tools of {namespace}."}
                group = groups[namespace] = []
                rendered.append({"type": "namespace", "name": namespace, **fields, "tools": group})
            group.append(definition)
        return rendered

    def _tool(self, tool: Tool, path: str) -> JSON | None:
        notes = own(tool.metadata)
        if PLACED_IN_ITEM in notes:
            return None  # the item goes back as it came
        if "definition" in notes:
            return notes["definition"]
        if tool.kind == "hosted":
            self._losses.refuse_hosted(tool.name, path=path)
            return None
        if tool.kind == "custom" and self._quirks.custom_tools:
            definition = self._custom(tool)
        else:
            definition = self._function(tool, notes)
        definition.update(notes.get("fields", {}))
        return definition

    def _function(self, tool: Tool, notes: JSON) -> JSON:
        name, _ = self.name(tool.name, tool.namespace)
        absent = notes.get("absent", ())
        definition: JSON = {"type": "function", "name": name}
        description = self._description(tool)
        if description:
            definition["description"] = description
        parameters, strict = tool.parameters, tool.strict
        if tool.kind == "custom":
            parameters, strict = _INPUT_SCHEMA, False
        if parameters is not None or "parameters" not in absent:
            empty = _EMPTY_STRICT_SCHEMA if strict else _EMPTY_SCHEMA
            if parameters is tool.parameters and parameters is not None:
                parameters = plain_root(tool, NAME, self._losses)
            definition["parameters"] = empty if parameters is None else parameters
        if strict:
            self._make_strict(tool, name, definition)
        elif strict is not None or "strict" not in absent:
            # Left out, this vendor tries strict, which turns optional fields into required ones.
            definition["strict"] = False
        if not self._quirks.strict_tools and definition.pop("strict", False):
            self._losses.drop("strict", f"{tool.name!r}: the target has no strict tools")
        if tool.output_schema is not None:
            definition["output_schema"] = tool.output_schema
        self._callers(tool, definition)
        return definition

    def _make_strict(self, tool: Tool, name: str, definition: JSON) -> None:
        schema: JSON = definition.get("parameters") or _EMPTY_STRICT_SCHEMA
        # A client of this dialect knows what strict means here: its schema is its own affair.
        adapted = schema if NAME in tool.metadata else openai_strict(schema)
        definition["strict"] = adapted is not None
        if adapted is None:
            detail = f"the schema of {tool.name!r} has no strict form: sent without strict"
            self._losses.adjust("strict", detail)
            return
        definition["parameters"] = adapted
        if adapted != schema:
            self.adapted[name] = schema
            detail = f"the schema of {tool.name!r} was made strict: optional fields may be null"
            self._losses.adjust("strict", detail)

    def _custom(self, tool: Tool) -> JSON:
        name, _ = self.name(tool.name, tool.namespace)
        definition: JSON = {"type": "custom", "name": name}
        if tool.description:
            definition["description"] = tool.description
        if tool.grammar is not None:
            definition["format"] = {"type": "grammar", **tool.grammar}
        self._callers(tool, definition)
        return definition

    def _description(self, tool: Tool) -> str:
        description = tool.description
        if tool.kind == "custom":
            self._losses.emulate("custom_tool", f"{tool.name!r} is sent as a function")
            if tool.grammar is not None:
                grammar = f"{tool.grammar.get('syntax', '')}: {tool.grammar.get('definition', '')}"
                description += f"\n\nThe input must match this grammar, {grammar}"
        if tool.examples:
            self._losses.emulate("examples", f"those of {tool.name!r} are in its description")
            description = with_examples(description, tool)
        return description.strip() if description is not tool.description else description

    def _callers(self, tool: Tool, definition: JSON) -> None:
        """`defer_loading` and `allowed_callers`, which need a hosted tool alongside them."""
        is_own = NAME in tool.metadata
        if tool.defer_loading is not None:
            if is_own or not tool.defer_loading or "tool_search" in self._hosted:
                definition["defer_loading"] = tool.defer_loading
            else:
                self._losses.drop("defer_loading", f"{tool.name!r} is sent at once: no tool search")
        if not tool.allowed_callers:
            return
        if is_own or "programmatic_tool_calling" in self._hosted:
            callers = [_CALLERS_OUT.get(caller, caller) for caller in tool.allowed_callers]
            definition["allowed_callers"] = callers
        elif "direct" in tool.allowed_callers:
            if tool.allowed_callers != ["direct"]:
                self._losses.drop("allowed_callers", f"{tool.name!r} is called directly only")
        else:
            detail = f"{tool.name!r} may only be called by programs, and none can run"
            self._losses.refuse("allowed_callers", detail)

    def choice(self, choice: ToolChoice) -> Any:
        """The `tool_choice` field; `None` where there is nothing to say."""
        definition = own(choice.metadata).get("definition")
        offered = self._quirks.tool_choices
        match choice.mode:
            case "hosted":
                if definition is None:
                    self._losses.refuse_hosted(chosen_tool(choice), feature="tool_choice")
                return definition
            case "tool":
                if "tool" not in offered:
                    self._losses.refuse("tool_choice", "the target cannot force one tool")
                    return None
                if definition is not None and definition.get("type") in CLIENT_TOOLS:
                    return definition
                return self._entry(choice.names[0], definition)
            case "auto" | "required" | "none":
                is_subset = bool(choice.names) or definition is not None
                if is_subset and "subset" in offered:
                    return self._subset(choice, definition)
                if is_subset:
                    self._losses.emulate("tool_choice", "only the allowed tools are sent")
                if choice.mode not in offered:
                    self._losses.refuse("tool_choice", f"the target has no {choice.mode!r}")
                    return None
                return choice.mode

    def allowed(self, choice: ToolChoice | None) -> list[Tool]:
        """The tools to send: those the choice allows, where the target cannot be informed."""
        if choice is None or not choice.names or "subset" in self._quirks.tool_choices:
            return self._tools
        return [tool for tool in self._tools if tool.name in choice.names]

    def _subset(self, choice: ToolChoice, definition: JSON | None) -> JSON:
        if definition is not None and all(map(_VALID_NAME.fullmatch, choice.names)):
            return definition
        entries = [self._entry(name, None) for name in choice.names]
        return {"type": "allowed_tools", "mode": choice.mode, "tools": entries}

    def _entry(self, name: str, definition: JSON | None) -> JSON:
        namespace = next((tool.namespace for tool in self._tools if tool.name == name), "")
        kind = "custom" if self.is_custom(name) else "function"
        if definition is not None and self._quirks.custom_tools:
            kind = definition["type"]
        return {"type": kind, "name": self.name(name, namespace)[0]}


_EMPTY_SCHEMA: JSON = {"type": "object", "properties": {}}
_EMPTY_STRICT_SCHEMA: JSON = {
    "type": "object",
    "properties": {},
    "required": [],
    "additionalProperties": False,
}
_INPUT_SCHEMA: JSON = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}
