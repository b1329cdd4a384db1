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
from polycall.translation.tool_tables import ToolTables

PLACED_IN_ITEM = "in_item"  # the note of a tool whose definition stands in an input item

_COMPUTERS = ("computer", "computer_use_preview")  # whose calls are of one kind
# What the model reads of each, and its parameters.
_TOOLS = ToolTables("polycall.dialects.openai_responses", "client_tools").members("tools")
CLIENT_TOOLS = frozenset(_TOOLS)


def parse_client_tool(definition: JSON, namespace_notes: JSON) -> Tool | None:
    """The function that a tool of the client is elsewhere; `None` for what the vendor runs."""
    kind: Any = definition.get("type")
    if kind not in CLIENT_TOOLS or not _is_clients(kind, definition):
        return None
    words, schema = _TOOLS[kind]
    parameters: Any = definition.get("parameters")
    description: Any = definition.get("description")
    return Tool(
        "computer" if kind in _COMPUTERS else str(kind),
        description=description if isinstance(description, str) else words,
        parameters=parameters if isinstance(parameters, dict) else schema,  # pyright: ignore[reportUnknownArgumentType]
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
    _, schema = _TOOLS[call.name]
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
