"""Tools and the choice among them: `tools` and `toolConfig`, both ways.

The metadata of a tool, `metadata["gemini"]`, remembers how it was written:

    group       the entry of `tools` it stood in
    parameters, response   schemas in Gemini's own spelling, which the tool's are read from
    declaration            other fields of the declaration (`behavior`, ...)
    definition             the entry of a hosted tool
"""

from __future__ import annotations

from typing import Any, cast

from polycall.dialects.gemini.content import NAME, one_or_many
from polycall.errors import MalformedRequestError, SchemaError
from polycall.ir import JSON, Request, Tool, ToolChoice
from polycall.schema import from_gemini, gemini_json_schema, to_gemini
from polycall.translation.quirks import Quirks
from polycall.translation.tool_descriptions import (
    as_function,
    note_absent_features,
)
from polycall.translation.tool_list_cache import KnownList, once, parsed_once, rendered_once
from polycall.translation.wire import Losses, Path, ToolNames, chosen_tool, unread
from polycall.translation.wire import request_reader as reader

_DECLARATION = (
    "name",
    "description",
    "parameters",
    "parametersJsonSchema",
    "response",
    "responseJsonSchema",
)
_MODES = ("MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED")


# ---------------------------------------------------------------------------------------------
# Wire to tools


def parse_tools(value: Any) -> list[Tool]:
    """All tools, the functions of every entry and the hosted ones, in order."""
    return parsed_once(one_or_many(value, "tools", reader), NAME, _parse_entries)


def _parse_entries(entries: list[Any]) -> list[Tool]:
    tools: list[Tool] = []
    for group, entry in enumerate(entries):
        path = f"tools[{group}]"
        for key, definition in reader.object(entry, path).items():
            if key != "functionDeclarations":
                if definition is not None:
                    own = {"group": group, "definition": {key: definition}}
                    tools.append(Tool(key, kind="hosted", metadata={NAME: own}))
                continue
            place = f"{path}.{key}"
            for position, declaration in enumerate(one_or_many(definition, place, reader)):
                where = f"{place}[{position}]"
                tools.append(_parse_declaration(reader.object(declaration, where), group, where))
    return tools


def _parse_declaration(wire: JSON, group: int, path: Path) -> Tool:
    own: JSON = {"group": group}
    if extra := unread(wire, _DECLARATION):
        own["declaration"] = extra
    return Tool(
        name=reader.string(wire.get("name"), f"{path}.name"),
        description=reader.get_string(wire, "description", path),
        parameters=_parse_schema(wire, "parameters", own, path),
        output_schema=_parse_schema(wire, "response", own, path),
        metadata={NAME: own},
    )


def _parse_schema(wire: JSON, field: str, own: JSON, path: Path) -> JSON | None:
    standard = wire.get(f"{field}JsonSchema")
    if standard is not None:
        return reader.object(standard, f"{path}.{field}JsonSchema")
    if wire.get(field) is None:
        return None
    own[field] = reader.object(wire[field], f"{path}.{field}")
    return read_schema(own[field], f"{path}.{field}")


def read_schema(schema: JSON, path: Path) -> JSON:
    """Gemini's spelling as JSON Schema."""
    try:
        return from_gemini(schema)
    except SchemaError as error:
        raise MalformedRequestError(error.message, path=path) from None


def parse_tool_config(value: Any) -> tuple[ToolChoice | None, JSON]:
    """The choice, and what `toolConfig` says besides."""
    config = {} if value is None else reader.object(value, "toolConfig")
    path = "toolConfig.functionCallingConfig"
    calling = reader.get_object(config, "functionCallingConfig", "toolConfig")
    rest = unread(config, ("functionCallingConfig",))
    if other := unread(calling, ("mode", "allowedFunctionNames")):
        rest["functionCallingConfig"] = other
    names = [
        reader.string(name, f"{path}.allowedFunctionNames[{position}]")
        for position, name in enumerate(reader.get_array(calling, "allowedFunctionNames", path))
    ]
    mode = calling.get("mode")
    if mode is None and not names:
        return None, rest
    if isinstance(mode, int) and 0 <= mode < len(_MODES):
        mode = _MODES[mode]
    word = reader.string("MODE_UNSPECIFIED" if mode is None else mode, f"{path}.mode").upper()
    match word:
        case "NONE":
            return ToolChoice("none", names), rest
        case "ANY":
            return ToolChoice("tool" if len(names) == 1 else "required", names), rest
        case "AUTO" if not names:
            return ToolChoice("auto"), rest
        case "AUTO" | "VALIDATED" | "MODE_UNSPECIFIED":
            return ToolChoice("auto", names, {NAME: {"mode": word}}), rest
        case _:
            reader.fail(f"{path}.mode", "AUTO, ANY, NONE or VALIDATED", mode)


# ---------------------------------------------------------------------------------------------
# Tools to wire


class ToolsRenderer:
    """Renders the tools of one request, their names and the choice among them.

    A name that a Gemini client declared is taken as it is; any other fits the narrower of the
    charsets that Google has documented, or gets an alias.
    """

    def __init__(self, request: Request, losses: Losses, quirks: Quirks) -> None:
        self._request = request
        self._losses = losses
        self._quirks = quirks
        self.names = ToolNames("[A-Za-z0-9_-]", length_max=64)
        self._declared = once(request.tools, _declared_in)

    def name(self, name: str, namespace: str = "") -> str:
        """A tool's name on the wire."""
        if not namespace and name in self._declared:
            return name
        return self.names.wire_name(name, namespace)

    def tools(self) -> list[JSON]:
        """The value of `tools`."""
        offered = self._offered()
        return rendered_once(
            offered,
            (NAME,),
            quirks=self._quirks,
            losses=self._losses,
            notes=[self.names.aliases],
            render=lambda: KnownList(self._entries(offered)),
        )

    def _entries(self, offered: list[Tool]) -> list[JSON]:
        entries: dict[int | str, JSON] = {}
        for tool in offered:
            own = tool.metadata.get(NAME, {})
            # All functions that are not from this wire share one entry.
            group = own.get("group", tool.name if tool.kind == "hosted" else "")
            if tool.kind == "hosted":
                if "definition" not in own:
                    self._losses.refuse_hosted(tool.name, path="tools")
                    continue
                entries.setdefault(group, {}).update(own["definition"])
                continue
            entry = entries.setdefault(group, {})
            entry.setdefault("functionDeclarations", []).append(self._declaration(tool, own))
        return list(entries.values())

    def _offered(self) -> list[Tool]:
        choice = self._request.tool_choice
        if choice is None or not choice.names or "subset" in self._quirks.tool_choices:
            return self._request.tools
        self._losses.emulate("tool_choice", "only the allowed tools are offered")
        return [
            tool
            for tool in self._request.tools
            if tool.kind == "hosted" or tool.name in choice.names
        ]

    def _declaration(self, tool: Tool, own: JSON) -> JSON:
        declaration: JSON = {"name": self.name(tool.name, tool.namespace)}
        tool = as_function(tool, self._losses)
        if tool.description:
            declaration["description"] = tool.description
        for field, schema in (("parameters", tool.parameters), ("response", tool.output_schema)):
            if field in own:
                declaration[field] = own[field]
            elif schema is not None:
                key, rendered = render_schema(schema, self._quirks, is_own=bool(own))
                declaration[field + key] = rendered
        detail = "gemini offers every tool to the model directly"
        note_absent_features(tool, self._losses, "defer_loading", "allowed_callers", detail=detail)
        return {**declaration, **own.get("declaration", {})}

    def tool_config(self, rest: JSON) -> JSON:
        """The value of `toolConfig`; `rest` is what a Gemini client said besides the choice."""
        calling = self._calling()
        other = rest.get("functionCallingConfig")
        if isinstance(other, dict):
            calling.update(cast(JSON, other))
        config = {key: value for key, value in rest.items() if key != "functionCallingConfig"}
        return {"functionCallingConfig": calling, **config} if calling else config

    def _calling(self) -> JSON:
        choice = self._request.tool_choice
        functions, spaces, has_strict = once(self._request.tools, _functions_in)
        is_strict = has_strict and self._is_strict()
        if choice is None:
            return {"mode": "VALIDATED"} if is_strict else {}
        own = choice.metadata.get(NAME, {})
        is_foreign = NAME not in choice.metadata
        names = [self.name(name, spaces.get(name, "")) for name in choice.names]
        if not functions and not own:
            # Without functions there is nothing to choose, and a mode is refused.
            if is_foreign and choice.mode in ("required", "tool"):
                self._losses.refuse("tool_choice", "a call is forced, but no function is offered")
            if choice.mode in ("auto", "none") or is_foreign:
                return {}
        if choice.mode != "auto" and choice.mode not in self._quirks.tool_choices:
            self._losses.refuse("tool_choice", f"the model does not take {choice.mode!r}")
            return {}
        allowed: JSON = {}
        if names and "subset" in self._quirks.tool_choices:
            allowed["allowedFunctionNames"] = names
        match choice.mode:
            case "auto" if "mode" in own:
                return {"mode": own["mode"], **allowed}
            case "auto" if allowed:
                # Google documents a list of names for ANY and VALIDATED only.
                self._losses.adjust("tool_choice", "VALIDATED, since AUTO takes no list of tools")
                return {"mode": "VALIDATED", **allowed}
            case "auto":
                return {"mode": "VALIDATED" if is_strict else "AUTO"}
            case "none":
                return {"mode": "NONE", **allowed}
            case "required" | "tool":
                return {"mode": "ANY", **allowed}
            case "hosted":
                self._losses.refuse_hosted(chosen_tool(choice), feature="tool_choice")
                return {}

    def _is_strict(self) -> bool:
        """Whether all calls are to be validated, the nearest thing to a strict tool."""
        if not self._quirks.strict_tools:
            self._losses.drop("strict", "the model has no validated mode")
            return False
        self._losses.emulate("strict", "calls of all tools are validated, not of this one only")
        return True


def _declared_in(tools: list[Tool]) -> set[str]:
    return {tool.name for tool in tools if NAME in tool.metadata}


def _functions_in(tools: list[Tool]) -> tuple[list[Tool], dict[str, str], bool]:
    """The functions, their namespaces by name, and whether one is strict."""
    functions = [tool for tool in tools if tool.kind != "hosted"]
    spaces = {tool.name: tool.namespace for tool in functions}
    return functions, spaces, any(tool.strict for tool in functions)


def render_schema(schema: JSON, quirks: Quirks, *, is_own: bool = False) -> tuple[str, JSON]:
    """The suffix of the field that takes the schema, and the schema in its spelling.

    A schema that a Gemini client wrote for Gemini is not adapted again.
    """
    if is_own:
        return "JsonSchema", schema
    if quirks.schema_spelling == "openapi":
        return "", to_gemini(schema)
    return "JsonSchema", gemini_json_schema(schema)
