"""Tool definitions and tool choice, both ways.

Metadata of a tool: `definition` (a hosted tool, whole), `fields` and `function` (other fields of
the entry and of its `function`), `format` (an unusual format of a freeform tool), `legacy` (it
came in `functions`).  Of a choice: `word` (another spelling), `legacy`, `definition`.
"""

from __future__ import annotations

import re
from typing import Any

from polycall import schema
from polycall.dialects.openai_chat.names import NAME, mark, own
from polycall.ir import JSON, Tool, ToolChoice
from polycall.translation.quirks import Quirks
from polycall.translation.tool_descriptions import FREE_TEXT, with_examples
from polycall.translation.tool_list_cache import parsed_once, rendered_once
from polycall.translation.tool_roots import plain_root
from polycall.translation.wire import Losses, Path, ToolNames, chosen_tool, request_reader, unread

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FUNCTION_FIELDS = frozenset({"name", "description", "parameters", "strict"})
_CUSTOM_FIELDS = frozenset({"name", "description", "format"})
_MODES = {"auto": "auto", "none": "none", "required": "required", "any": "required"}


# ---------------------------------------------------------------------------------------------
# In


def parse_tools(body: JSON) -> list[Tool]:
    """The tools of `tools` and of the older `functions`."""
    tools = parsed_once(request_reader.get_array(body, "tools", ""), NAME, _parse_list)
    functions = request_reader.get_array(body, "functions", "")
    if functions:
        tools = list(tools)
    for position, item in enumerate(functions):
        path = f"functions[{position}]"
        function = request_reader.object(item, path)
        tools.append(_parse_function(function, {"legacy": True}, path))
    return tools


def _parse_list(items: list[Any]) -> list[Tool]:
    return [_parse_tool(item, f"tools[{position}]") for position, item in enumerate(items)]


def _parse_tool(item: Any, path: Path) -> Tool:
    raw = request_reader.object(item, path)
    kind = raw.get("type")
    if kind == "custom":
        return _parse_custom(raw, path)
    nested = raw.get("function")
    if nested is not None and kind in (None, "function"):
        fields = unread(raw, ("type", "function"))
        notes: JSON = {"fields": fields} if fields else {}
        return _parse_function(
            request_reader.object(nested, f"{path}.function"), notes, f"{path}.function"
        )
    if kind == "function" or (kind is None and "name" in raw):
        # Flat, as the Responses API spells it; some clients send it here.
        flat = {key: value for key, value in raw.items() if key != "type"}
        return _parse_function(flat, {}, path)
    name = request_reader.string(kind, f"{path}.type")
    return Tool(name, kind="hosted", metadata=mark({"definition": raw}))


def _parse_function(function: JSON, notes: JSON, path: Path) -> Tool:
    name = request_reader.string(function.get("name"), f"{path}.name")
    if extra := unread(function, _FUNCTION_FIELDS):
        notes["function"] = extra
    parameters = function.get("parameters")
    return Tool(
        name,
        description=request_reader.get_string(function, "description", path),
        parameters=None
        if parameters is None
        else request_reader.object(parameters, f"{path}.parameters"),
        strict=request_reader.get_bool(function, "strict", path),
        metadata=mark(notes),
    )


def _parse_custom(raw: JSON, path: Path) -> Tool:
    inner = raw.get("custom")
    flat = inner is None
    custom = raw if flat else request_reader.object(inner, f"{path}.custom")
    if not flat:
        path = f"{path}.custom"
    notes: JSON = {}
    if not flat and (fields := unread(raw, ("type", "custom"))):
        notes["fields"] = fields
    if extra := unread(custom, {*_CUSTOM_FIELDS, "type"}):
        notes["function"] = extra
    form = request_reader.get_object(custom, "format", path)
    grammar: JSON | None = None
    if form.get("type") == "grammar":
        # The Responses API has the two fields alongside the type.
        source = form["grammar"] if "grammar" in form else unread(form, ("type",))
        grammar = request_reader.object(source, f"{path}.format.grammar")
    elif form:
        notes["format"] = form
    return Tool(
        request_reader.string(custom.get("name"), f"{path}.name"),
        description=request_reader.get_string(custom, "description", path),
        kind="custom",
        grammar=grammar,
        metadata=mark(notes),
    )


def parse_choice(body: JSON) -> ToolChoice | None:
    """The tool choice, from `tool_choice` or the older `function_call`."""
    value = body.get("tool_choice")
    if value is not None:
        if isinstance(value, str):
            return _choice_word(value, {}, "tool_choice")
        return _parse_choice_object(request_reader.object(value, "tool_choice"))
    legacy = body.get("function_call")
    if legacy is None:
        return None
    if isinstance(legacy, str):
        return _choice_word(legacy, {"legacy": True}, "function_call")
    name = request_reader.object(legacy, "function_call").get("name")
    name = request_reader.string(name, "function_call.name")
    return ToolChoice("tool", [name], mark({"legacy": True}))


def _choice_word(word: str, notes: JSON, path: Path) -> ToolChoice:
    if word == "any":
        notes = {**notes, "word": word}
    match _MODES.get(word):
        case "auto":
            return ToolChoice("auto", metadata=mark(notes))
        case "none":
            return ToolChoice("none", metadata=mark(notes))
        case "required":
            return ToolChoice("required", metadata=mark(notes))
        case _:
            request_reader.fail(path, "'none', 'auto', 'required' or an object", word)


def _parse_choice_object(choice: JSON) -> ToolChoice:
    kind = request_reader.get_string(choice, "type", "tool_choice")
    if kind == "allowed_tools":
        inner = request_reader.get_object(choice, "allowed_tools", "tool_choice") or choice
        path = "tool_choice.allowed_tools"
        mode = request_reader.get_choice(inner, "mode", path, ("auto", "required")) or "auto"
        items = request_reader.get_array(inner, "tools", path)
        names = [_named(item, f"{path}.tools[{i}]") for i, item in enumerate(items)]
        return ToolChoice("required" if mode == "required" else "auto", names)
    if kind in ("", "function", "custom", "tool"):
        return ToolChoice("tool", [_named(choice, "tool_choice")])
    if kind in _MODES:
        return _choice_word(kind, {}, "tool_choice.type")
    return ToolChoice("hosted", metadata=mark({"definition": choice}))


def _named(item: Any, path: Path) -> str:
    """The name in a reference to a tool, nested or flat; a hosted tool's is its type."""
    entry = request_reader.object(item, path)
    for key in ("function", "custom"):
        inner = entry.get(key)
        if inner is not None:
            inside = f"{path}.{key}"
            name = request_reader.object(inner, inside).get("name")
            return request_reader.string(name, f"{inside}.name")
    return request_reader.string(entry.get("name", entry.get("type")), f"{path}.name")


# ---------------------------------------------------------------------------------------------
# Out


class ToolsRenderer:
    """Renders the tools of one request; keeps what must be undone in the answer."""

    def __init__(self, quirks: Quirks, losses: Losses) -> None:
        self._quirks = quirks
        self._losses = losses
        self.names = ToolNames("[A-Za-z0-9_-]", length_max=64)
        self.adapted: dict[str, JSON] = {}

    @property
    def aliases(self) -> Any:
        """Names on the wire that are not the tools' own."""
        return self.names.aliases

    def name(self, name: str, namespace: str = "") -> str:
        """The tool's name on the wire."""
        if not namespace and _NAME.fullmatch(name):
            return name
        return self.names.wire_name(name, namespace)

    def write(self, tools: list[Tool], body: JSON) -> None:
        """Put the tools into the body."""
        notes: list[dict[str, Any]] = [self.names.aliases, self.adapted]
        fields = rendered_once(
            tools,
            (NAME,),
            quirks=self._quirks,
            losses=self._losses,
            notes=notes,
            render=lambda: self._fields(tools),
        )
        body.update(fields)

    def _fields(self, tools: list[Tool]) -> JSON:
        fields: JSON = {}
        for position, tool in enumerate(tools):
            entry = self._render(tool, f"tools[{position}]")
            if entry is None:
                continue
            if own(tool.metadata).get("legacy"):
                if self._quirks.legacy_functions:
                    fields.setdefault("functions", []).append(entry["function"])
                    continue
                self._losses.emulate("functions", "sent as tools")
            fields.setdefault("tools", []).append(entry)
        return fields

    def _render(self, tool: Tool, path: Path) -> JSON | None:
        if tool.kind == "hosted":
            definition = own(tool.metadata).get("definition")
            if definition is None:
                self._losses.refuse_hosted(tool.name, feature="tools", path=path)
            return definition
        self._note_absent(tool)
        if tool.kind == "custom":
            if self._quirks.custom_tools:
                return self._custom(tool)
            tool = self._as_function(tool)
        return self._function(tool)

    def _note_absent(self, tool: Tool) -> None:
        if tool.output_schema is not None:
            self._losses.drop("output_schema", "Chat has no schema for results")
        if tool.defer_loading:
            self._losses.drop("defer_loading", "all tools are sent at once")
        if tool.allowed_callers and tool.allowed_callers != ["direct"]:
            self._losses.drop("allowed_callers", "Chat has direct calls only")

    def _description(self, tool: Tool) -> str:
        if not tool.examples:
            return tool.description
        self._losses.emulate("examples", "written into the description")
        return with_examples(tool.description, tool)

    def _function(self, tool: Tool) -> JSON:
        notes = own(tool.metadata)
        name = self.name(tool.name, tool.namespace)
        function: JSON = {"name": name}
        if description := self._description(tool):
            function["description"] = description
        if tool.parameters is not None:
            function["parameters"] = plain_root(tool, NAME, self._losses)
        if tool.strict is not None:
            self._set_strict(tool, name, function)
        if notes:
            function.update(self._kept(notes.get("function")))
            return {"type": "function", "function": function, **self._kept(notes.get("fields"))}
        return {"type": "function", "function": function}

    def _set_strict(self, tool: Tool, name: str, function: JSON) -> None:
        if not self._quirks.strict_tools:
            if tool.strict:
                self._losses.adjust("strict", "the target has no strict tools")
            return
        if not tool.strict or tool.parameters is None:
            function["strict"] = tool.strict
            return
        adapted = schema.openai_strict(tool.parameters)
        if adapted is None:
            detail = f"the schema of {tool.name!r} has no strict form; sent without strict"
            self._losses.adjust("strict", detail)
            return
        function["strict"] = True
        if adapted != tool.parameters:
            self._losses.adjust("parameters", f"the schema of {tool.name!r} was made strict")
            function["parameters"] = adapted
            self.adapted[name] = tool.parameters

    def _custom(self, tool: Tool) -> JSON:
        notes = own(tool.metadata)
        custom: JSON = {"name": self.name(tool.name, tool.namespace)}
        if description := self._description(tool):
            custom["description"] = description
        if tool.grammar is not None:
            custom["format"] = {"type": "grammar", "grammar": tool.grammar}
        elif "format" in notes:
            custom["format"] = notes["format"]
        custom.update(self._kept(notes.get("function")))
        return {"type": "custom", "custom": custom, **self._kept(notes.get("fields"))}

    def _as_function(self, tool: Tool) -> Tool:
        self._losses.emulate("custom_tool", "sent as a function with one text argument")
        description = tool.description
        if tool.grammar is not None:
            syntax = tool.grammar.get("syntax", "")
            definition = tool.grammar.get("definition", "")
            description += f"\n\nThe input must follow this {syntax} grammar:\n{definition}"
        return Tool(
            tool.name,
            description=description.strip(),
            parameters={**FREE_TEXT, "additionalProperties": False},
            namespace=tool.namespace,
            examples=tool.examples,
        )

    def _kept(self, fields: JSON | None) -> JSON:
        if not fields:
            return {}
        if self._quirks.options is None:
            return fields
        for name in fields:
            self._losses.drop(f"tools.{name}", "the target does not know this field")
        return {}


class ChoiceRenderer:
    """Renders the tool choice; may narrow the tools where the target has no other way."""

    def __init__(self, tools: list[Tool], writer: ToolsRenderer, quirks: Quirks, losses: Losses):
        self.tools = tools
        self._writer = writer
        self._quirks = quirks
        self._losses = losses

    def write(self, choice: ToolChoice | None, body: JSON) -> bool:
        """Put the choice into the body; true where it forces a call."""
        if choice is None:
            return False
        choice = self._possible(choice)
        if choice is None:
            return False
        notes = own(choice.metadata)
        if notes.get("legacy") and self._quirks.legacy_functions:
            is_named = choice.mode == "tool"
            body["function_call"] = {"name": choice.names[0]} if is_named else choice.mode
            return is_named
        body["tool_choice"] = self._value(choice, notes)
        return choice.mode in ("required", "tool")

    def _value(self, choice: ToolChoice, notes: JSON) -> Any:
        match choice.mode:
            case "hosted":
                return notes["definition"]
            case "tool":
                return self._reference(choice.names[0])
            case "auto" | "required" if choice.names:
                references = [self._reference(name) for name in choice.names]
                inner = {"mode": choice.mode, "tools": references}
                return {"type": "allowed_tools", "allowed_tools": inner}
            case _:
                is_own = notes and self._quirks.options is None
                return notes.get("word", choice.mode) if is_own else choice.mode

    def _reference(self, name: str) -> JSON:
        tool = next((tool for tool in self.tools if tool.name == name), None)
        if tool is not None and tool.kind == "hosted":
            return {"type": tool.name}
        wire_name = self._writer.name(name, tool.namespace if tool is not None else "")
        if tool is not None and tool.kind == "custom" and self._quirks.custom_tools:
            return {"type": "custom", "custom": {"name": wire_name}}
        return {"type": "function", "function": {"name": wire_name}}

    def _possible(self, choice: ToolChoice) -> ToolChoice | None:
        """The choice as the target can take it; `None` where it needs nothing said."""
        if choice.mode == "hosted":
            if NAME not in choice.metadata:
                self._losses.refuse_hosted(chosen_tool(choice), feature="tool_choice")
                return None
            return choice
        choices = self._quirks.tool_choices
        if choice.mode in ("auto", "required") and choice.names:
            if "subset" in choices:
                return choice
            self._narrow(choice.names)
            choice = ToolChoice(choice.mode)
        if choice.mode in choices:
            return choice
        if choice.mode == "none":
            self._losses.emulate("tool_choice", "the tools are left out")
            self.tools = []
            return None
        if choice.mode == "tool" and "required" in choices:
            self._narrow(choice.names)
            return ToolChoice("required")
        if choice.mode != "auto":
            detail = f"the target cannot be made to call a tool ({choice.mode!r})"
            self._losses.refuse("tool_choice", detail, path="tool_choice")
        return None

    def _narrow(self, names: list[str]) -> None:
        self._losses.emulate("tool_choice", "only the tools of the choice are sent")
        self.tools = [tool for tool in self.tools if tool.name in names]
