"""Tools of this wire that the client runs: shells, patches, tool searches, the computer.

The wire has a type and items of its own for each.  To any other vendor's model they are functions,
as which they are parsed; a call that comes back is given to the client as the item that it waits
for.  The same in `foreign_parts.ROWS` for what stands in histories.

A tool that was offered inside of the input (`additional_tools`, the result of a tool search) is a
tool of the request in another place: on this wire its item says it already.
"""

from __future__ import annotations

from typing import Any

from polycall.dialects.openai_responses.names import NAME, mark, own
from polycall.ir import JSON, Request, Tool, ToolCall

PLACED_IN_ITEM = "in_item"  # the note of a tool whose definition stands in an input item

_STRINGS: JSON = {"type": "array", "items": {"type": "string"}}
_INTEGER: JSON = {"type": "integer"}
_STRING: JSON = {"type": "string"}


def _schema(required: tuple[str, ...], **properties: JSON) -> JSON:
    return {"type": "object", "properties": properties, "required": [*required]}


# What the model is told of each, and where its arguments stand in the item.
_DESCRIPTIONS = {
    "shell": "Run shell commands on the user's machine, one after the other.",
    "local_shell": "Run one command on the user's machine, given as its words.",
    "apply_patch": (
        "Create, update or delete one file.  The diff of an update is in the V4A format: lines with"
        " a space, a minus or a plus in front, in sections that begin with @@."
    ),
    "tool_search": "Find and load tools by what they do.",
    "computer": "Use the mouse and keyboard of the user's computer, by actions in their order.",
    "computer_use_preview": "Use the mouse and keyboard of the user's computer, one action a call.",
}
_POINT: JSON = {"type": "object", "properties": {"x": _INTEGER, "y": _INTEGER}}
# The fields of every action, by the types of openai 3.57 (`ComputerAction`), read on 2026-11-29.
_ACTION = _schema(
    ("type",),
    type={
        "type": "string",
        "enum": [
            *("click", "double_click", "drag", "keypress", "move"),
            *("screenshot", "scroll", "type", "wait"),
        ],
    },
    button={"type": "string", "enum": ["left", "right", "wheel", "back", "forward"]},
    x=_INTEGER,
    y=_INTEGER,
    path={"type": "array", "items": _POINT},
    scroll_x=_INTEGER,
    scroll_y=_INTEGER,
    keys=_STRINGS,
    text=_STRING,
)
_SCHEMAS = {
    "shell": _schema(
        ("commands",), commands=_STRINGS, timeout_ms=_INTEGER, max_output_length=_INTEGER
    ),
    "local_shell": _schema(
        ("command",), command=_STRINGS, working_directory=_STRING, timeout_ms=_INTEGER
    ),
    "apply_patch": _schema(
        ("type", "path"),
        type={"type": "string", "enum": ["create_file", "update_file", "delete_file"]},
        path=_STRING,
        diff=_STRING,
    ),
    "tool_search": _schema(("query",), query=_STRING),
    "computer": _schema(("actions",), actions={"type": "array", "items": _ACTION}),
    "computer_use_preview": _ACTION,
}
_COMPUTERS = ("computer", "computer_use_preview")  # whose calls are of one kind


CLIENT_TOOLS = frozenset(_SCHEMAS)


def parse_client_tool(definition: JSON, namespace_notes: JSON) -> Tool | None:
    """The function that a tool of the client is elsewhere; `None` for what the vendor runs."""
    kind: Any = definition.get("type")
    if kind not in _SCHEMAS or not _is_clients(kind, definition):
        return None
    parameters: Any = definition.get("parameters")
    description: Any = definition.get("description")
    return Tool(
        "computer" if kind in _COMPUTERS else str(kind),
        description=description if isinstance(description, str) else _DESCRIPTIONS[kind],
        parameters=parameters if isinstance(parameters, dict) else _SCHEMAS[kind],  # pyright: ignore[reportUnknownArgumentType]
        metadata=mark({"definition": definition, **namespace_notes}),
    )


def _is_clients(kind: str, definition: JSON) -> bool:
    if kind == "tool_search":
        return definition.get("execution") == "client"
    if kind == "shell":
        environment: JSON = definition.get("environment") or {"type": "local"}
        return environment.get("type") == "local"
    return True


def client_tools(request: Request | None) -> frozenset[str]:
    """Names of the request's tools whose calls are items of their own."""
    if request is None:
        return frozenset()
    return frozenset(
        tool.name
        for tool in request.tools
        if tool.kind == "function" and "definition" in own(tool.metadata)
    )


def client_call(call: ToolCall, tools: frozenset[str]) -> JSON | None:
    """The item of a call of such a tool, without its id; `None` for any other call.

    Arguments that do not fit stay a function call: the client must see what the model wrote.
    """
    arguments = call.arguments
    if call.name not in tools or call.namespace or arguments is None or NAME in call.metadata:
        return None
    if call.name == "computer":
        return _computer_call(call, arguments)
    schema = _SCHEMAS[call.name]
    if call.name != "tool_search" and not all(key in arguments for key in schema["required"]):
        return None
    head: JSON = {"type": f"{call.name}_call", "call_id": call.id, "status": "completed"}
    match call.name:
        case "tool_search":
            return {**head, "execution": "client", "arguments": arguments}
        case "apply_patch":
            return {**head, "operation": _operation(arguments)}
        case "local_shell":
            return {**head, "action": {"type": "exec", "env": {}, **arguments}}
        case _:
            return {**head, "action": arguments}


def _computer_call(call: ToolCall, arguments: JSON) -> JSON | None:
    """The item of a call of the computer: one action, or several."""
    head: JSON = {"type": "computer_call", "call_id": call.id, "status": "completed"}
    head["pending_safety_checks"] = []
    if isinstance(arguments.get("actions"), list):
        return {**head, "actions": arguments["actions"]}
    if isinstance(arguments.get("type"), str):
        return {**head, "action": arguments}
    return None


def _operation(arguments: JSON) -> JSON:
    if arguments["type"] == "delete_file":
        return {"type": "delete_file", "path": arguments["path"]}
    return {"diff": "", **arguments}
