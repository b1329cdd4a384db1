"""Tool definitions and tool choice, wire to middle language and back."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from polycall._support import jsontext
from polycall.dialects.anthropic.client_tools import parse_client_tool
from polycall.dialects.anthropic.names import (
    NAME,
    STRICT_OPTIONAL_MAX,
    STRICT_TOOLS_MAX,
)
from polycall.ir import JSON, Request, Tool, ToolChoice
from polycall.schema import anthropic_strict
from polycall.schema.root import object_schema
from polycall.translation.foreign_tools import IN_MESSAGE
from polycall.translation.quirks import Quirks
from polycall.translation.tool_descriptions import FREE_TEXT
from polycall.translation.tool_list_cache import KnownList, once, rendered_once
from polycall.translation.wire import Losses, ToolNames, chosen_tool, request_reader

_READ_KEYS = frozenset(
    {
        "name",
        "description",
        "input_schema",
        "strict",
        "defer_loading",
        "allowed_callers",
        "input_examples",
    }
)
_CODE = "code_execution_"

_MODES = {"auto": "auto", "any": "required", "none": "none"}


# ---------------------------------------------------------------------------------------------
# Wire to middle language


def parse_tools(values: list[Any]) -> list[Tool]:
    """All tools of a request; a toolset is several."""
    tools: list[Tool] = []
    for index, value in enumerate(values):
        path = f"tools[{index}]"
        tool = request_reader.object(value, path)
        kind = request_reader.get_string(tool, "type", path, "custom")
        if kind == "custom":
            tools.append(parse_tool(tool, path))
            continue
        name = str(tool.get("name") or tool.get("mcp_server_name") or kind)
        hosted = Tool(name, kind="hosted", metadata={NAME: {"definition": tool}})
        tools.extend(parse_client_tool(tool, name) or [hosted])
    return tools


def parse_inline(values: list[JSON]) -> list[Tool]:
    """Tools that messages define; their message says them on this wire."""
    return [
        replace(tool, metadata={NAME: {**tool.metadata.get(NAME, {}), IN_MESSAGE: True}})
        for tool in parse_tools(values)
    ]


def parse_tool(tool: JSON, path: str) -> Tool:
    """One definition of a function."""
    reader = request_reader
    more: JSON = {key: tool[key] for key in tool if key not in _READ_KEYS and tool[key] is not None}
    callers = [
        reader.string(caller, f"{path}.allowed_callers")
        for caller in reader.get_array(tool, "allowed_callers", path)
    ]
    if any(caller.startswith(_CODE) for caller in callers):
        more["allowed_callers"] = callers
        callers = [_caller(caller) for caller in callers]
    schema = tool.get("input_schema")
    examples = reader.get_array(tool, "input_examples", path)
    return Tool(
        name=reader.string(tool.get("name"), f"{path}.name"),
        description=reader.get_string(tool, "description", path),
        parameters=None if schema is None else reader.object(schema, f"{path}.input_schema"),
        strict=reader.get_bool(tool, "strict", path),
        defer_loading=reader.get_bool(tool, "defer_loading", path),
        allowed_callers=list(dict.fromkeys(callers)),
        examples=[reader.object(example, f"{path}.input_examples") for example in examples],
        metadata={NAME: more} if more else {},
    )


def _caller(word: str) -> str:
    return "code" if word.startswith(_CODE) else word


def parse_choice(value: Any) -> tuple[ToolChoice | None, bool | None]:
    """The choice, and whether calls may be parallel.  Clients also send a bare word."""
    if value is None:
        return None, None
    reader = request_reader
    choice = {"type": value} if isinstance(value, str) else reader.object(value, "tool_choice")
    kind = reader.string(choice.get("type"), "tool_choice.type")
    disabled = reader.get_bool(choice, "disable_parallel_tool_use", "tool_choice")
    parallel = None if disabled is None else not disabled
    if kind == "tool":
        name = reader.string(choice.get("name"), "tool_choice.name")
        return ToolChoice("tool", [name]), parallel
    match _MODES.get(kind):
        case "auto":
            return ToolChoice("auto"), parallel
        case "required":
            return ToolChoice("required"), parallel
        case "none":
            return ToolChoice("none"), parallel
        case _:
            return ToolChoice("hosted", metadata={NAME: {"choice": choice}}), parallel


# ---------------------------------------------------------------------------------------------
# Middle language to wire


class ToolsRenderer:
    """Renders the tools and the choice of one request."""

    def __init__(
        self,
        request: Request,
        losses: Losses,
        names: ToolNames,
        quirks: Quirks,
        *,
        is_own: bool,
        appends: bool = False,
        says_inline: bool = True,
    ) -> None:
        """`appends`: tools may be withdrawn after the beginning; see `tool_changes.py`.

        `says_inline`: messages may define tools.
        """
        self.withdrawn: set[str] = set()  # names on the wire of tools that may not be called now
        self._appends = appends
        self._says_inline = says_inline
        self._request = request
        self._losses = losses
        self._names = names
        self._quirks = quirks
        self._is_own = is_own
        self._strict_tools = 0
        self._optional = 0

    def tools(self, offered: list[Tool]) -> list[JSON]:
        """The `tools` array, which nobody changes."""
        return rendered_once(
            offered,
            (NAME, self._is_own),
            quirks=self._quirks,
            losses=self._losses,
            notes=[self._names.aliases],
            render=lambda: KnownList(self._definitions(offered)),
        )

    def _definitions(self, offered: list[Tool]) -> list[JSON]:
        wire: list[JSON] = []
        for index, tool in enumerate(offered):
            definition = self._tool(tool, f"tools[{index}]")
            if definition is not None:
                wire.append(definition)
        return wire

    def _tool(self, tool: Tool, path: str) -> JSON | None:
        own = tool.metadata.get(NAME, {})
        if IN_MESSAGE in own and not self._says_inline:
            own = {key: value for key, value in own.items() if key != IN_MESSAGE}
        if IN_MESSAGE in own or "in_set" in own:
            return None  # a message, or the entry of its set, says it
        if "definition" in own:
            return dict(own["definition"])
        if tool.kind == "hosted":
            self._losses.refuse_hosted(tool.name or "tools", path=path)
            return None
        description, schema = tool.description, tool.parameters
        if tool.kind == "custom":
            schema = {**FREE_TEXT, "additionalProperties": False}
            description = _with_grammar(tool)
            self._losses.emulate("custom_tool", f"{tool.name!r} takes its text as 'input'")
        definition: JSON = {"name": self._names.wire_name(tool.name, tool.namespace)}
        if description:
            definition["description"] = description
        strict, schema = self._schema(tool, schema)
        definition["input_schema"] = schema
        if strict is not None:
            definition["strict"] = strict
        if tool.defer_loading is not None:
            definition["defer_loading"] = tool.defer_loading
        callers = self._callers(tool, own, path)
        if callers:
            definition["allowed_callers"] = callers
        if tool.examples:
            definition["input_examples"] = tool.examples
        if tool.output_schema is not None:
            self._losses.drop("output_schema", "tools have none on this wire")
        for key, value in own.items():
            if key != "allowed_callers":
                definition[key] = value
        return definition

    def _schema(self, tool: Tool, schema: JSON | None) -> tuple[bool | None, JSON]:
        strict = tool.strict
        if strict and not self._quirks.strict_tools:
            self._losses.adjust("strict", "the target knows no strict tools")
            strict = None
        if schema is None:
            return strict, {"type": "object", "properties": {}}
        root = object_schema(schema)
        if root is not schema:
            self._losses.adjust(
                "input_schema", f"that of {tool.name!r} is written as one plain object"
            )
        # What came over this wire was written for it: the vendor judges it.
        if not strict or self._is_own:
            return strict, root
        adapted = anthropic_strict(root)
        reason = "its schema has no strict form" if adapted is None else self._over_limit(adapted)
        if adapted is None or reason:
            self._losses.adjust("strict", f"off for {tool.name!r}: {reason}")
            return None, root
        if adapted != root:
            self._losses.adjust(
                "input_schema", f"that of {tool.name!r} is written as strict mode takes it"
            )
        return True, adapted

    def _over_limit(self, schema: JSON) -> str:
        optional = _optional_count(schema)
        if self._strict_tools >= STRICT_TOOLS_MAX:
            return f"{STRICT_TOOLS_MAX} strict tools are the most"
        if self._optional + optional > STRICT_OPTIONAL_MAX:
            return f"{STRICT_OPTIONAL_MAX} optional properties in strict tools are the most"
        self._strict_tools += 1
        self._optional += optional
        return ""

    def _callers(self, tool: Tool, own: JSON, path: str) -> list[str]:
        raw: list[str] = own.get("allowed_callers", [])
        if raw and list(dict.fromkeys(map(_caller, raw))) == tool.allowed_callers:
            return raw
        if "code" not in tool.allowed_callers:
            return tool.allowed_callers
        kinds = map(_hosted_type, self._request.tools)
        code_tool = next((kind for kind in kinds if kind.startswith(_CODE)), "")
        if code_tool:
            return [code_tool if c == "code" else c for c in tool.allowed_callers]
        detail = f"{tool.name!r} is for programs, and no code_execution tool is offered"
        if tool.allowed_callers == ["code"]:
            self._losses.refuse("allowed_callers", detail, path=path)
        else:
            self._losses.drop("allowed_callers", detail)
        return []

    def choice(self, *, reasoning_forbids: bool) -> tuple[JSON | None, list[Tool], bool]:
        """The choice, the tools to offer, and whether thinking must be off for it.

        A choice of several tools is made by offering only those (`emulated`).

        A forced call beats thinking: the vendor refuses `any` and `tool` alongside a thinking
        budget, and on some models alongside any thinking (`Quirks.forced_choice_while_reasoning`).
        Callers force a call because they need one, so thinking is turned off for this request
        and an `adjusted` warning says so.  A model that takes no forced choice at all
        (`Quirks.tool_choices`) refuses the request; where losses are allowed the choice becomes
        `auto` among the tools it named.
        """
        request = self._request
        choice = request.tool_choice
        offered = request.tools
        if not offered:
            if choice is not None and choice.mode in ("required", "tool", "hosted"):
                self._losses.refuse("tool_choice", "a call is forced, but no tool is offered")
            return None, [], False
        if choice is None:
            return self._with_parallel("auto", None), offered, False
        if choice.mode == "hosted":
            own = choice.metadata.get(NAME, {}).get("choice")
            if own is None:
                self._losses.refuse_hosted(chosen_tool(choice), feature="tool_choice")
            return own, offered, False
        if choice.mode == "none":
            if "none" in self._quirks.tool_choices:
                return {"type": "none"}, offered, False
            self._losses.emulate("tool_choice", "no tools are offered, since none may be called")
            return None, [], False
        return self._allowed(choice, offered, reasoning_forbids=reasoning_forbids)

    def _allowed(
        self, choice: ToolChoice, offered: list[Tool], *, reasoning_forbids: bool
    ) -> tuple[JSON | None, list[Tool], bool]:
        forced = choice.mode != "auto"
        names = choice.names
        if missing := set(names) - once(offered, _names_of):
            self._losses.refuse("tool_choice", f"{sorted(missing)} are not among the tools")
            names = [name for name in names if name not in missing]
            forced = forced and bool(names)
        takes = self._quirks.tool_choices
        if forced and ("tool" if len(names) == 1 else "required") not in takes:
            self._losses.refuse("tool_choice", "the model takes no forced calls")
            forced = False
        if names and not (forced and len(names) == 1):
            kept = [tool for tool in offered if tool.name in names]
            if len(kept) < len(offered) and self._appends:
                self._losses.emulate(
                    "tool_choice.allowed_tools", "the others are withdrawn for now"
                )
                self.withdrawn = {self._wire_name(tool) for tool in offered if tool not in kept}
            elif len(kept) < len(offered):
                self._losses.emulate(
                    "tool_choice.allowed_tools", "only those tools are sent; caches miss"
                )
                offered = kept
        if not forced:
            return self._with_parallel("auto", choice), offered, False
        wire = self._with_parallel("any", choice)
        if wire is not None and len(names) == 1:
            chosen = next(tool for tool in offered if tool.name == names[0])
            wire = {**wire, "type": "tool", "name": self._wire_name(chosen)}
        return wire, offered, reasoning_forbids

    def _wire_name(self, tool: Tool) -> str:
        if "definition" in tool.metadata.get(NAME, {}):
            return tool.name
        return self._names.wire_name(tool.name, tool.namespace)

    def _with_parallel(self, kind: str, choice: ToolChoice | None) -> JSON | None:
        parallel = self._request.parallel_tool_calls
        if parallel is None or (choice is None and parallel):
            return None if choice is None else {"type": kind}
        if not self._quirks.parallel_switch:
            self._losses.drop("parallel_tool_calls", "the target has no switch for it")
            return None if choice is None else {"type": kind}
        return {"type": kind, "disable_parallel_tool_use": not parallel}


def _with_grammar(tool: Tool) -> str:
    if not tool.grammar:
        return tool.description
    syntax = tool.grammar.get("syntax", "")
    definition = tool.grammar.get("definition")
    text = definition if isinstance(definition, str) else jsontext.encode(tool.grammar)
    return f"{tool.description}\n\n'input' must match this {syntax} grammar:\n{text}".strip()


def _hosted_type(tool: Tool) -> str:
    kind = tool.metadata.get(NAME, {}).get("definition", {}).get("type")
    return kind if isinstance(kind, str) else ""


def _optional_count(node: Any) -> int:
    """The number of properties, at any depth, that are not required."""
    if isinstance(node, list):
        return sum(map(_optional_count, node))  # pyright: ignore[reportUnknownArgumentType]
    if not isinstance(node, dict):
        return 0
    count = 0
    properties: Any = node.get("properties")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if isinstance(properties, dict):
        required: Any = node.get("required") or []  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        count = sum(1 for name in properties if name not in required)  # pyright: ignore[reportUnknownVariableType]
    return count + sum(map(_optional_count, node.values()))  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]


def _names_of(tools: list[Tool]) -> set[str]:
    return {tool.name for tool in tools}
