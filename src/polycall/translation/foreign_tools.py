"""Ways to offer tools that one vendor has, done here for a model of any other.

A vendor searches itself among tools that are loaded later: another model is sent all of them, so
nothing is left to search.  Anthropic's system messages add and remove tools in the course of a
conversation: another model reads so in words, and chooses among those that are left.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeGuard

from msgspec.structs import replace

from polycall.ir import JSON, Message, Opaque, Part, Request, Text, Tool, ToolChoice
from polycall.translation.conversation import is_system, selected
from polycall.translation.wire import Losses

CHANGER = "anthropic"  # whose system messages change tools
ADDITION, REMOVAL = "tool_addition", "tool_removal"
IN_MESSAGE = "in_message"  # the note of a tool whose definition stands in a message
_CHANGES = (ADDITION, REMOVAL)
_SEARCHES = {"anthropic": "tool_search_tool_", "openai-responses": "tool_search"}


def without_tool_search(request: Request, dialect: str, losses: Losses) -> Request:
    """The request without the searches that another vendor runs itself."""
    searches = [tool for tool in request.tools if tool.kind == "hosted" and _searches(tool)]
    foreign = [tool for tool in searches if dialect not in tool.metadata]
    if not foreign:
        return request
    losses.emulate("tool_search", "all tools are sent, so that none has to be searched for")
    return replace(request, tools=[tool for tool in request.tools if tool not in foreign])


def _searches(tool: Tool) -> bool:
    for owner, kind in _SEARCHES.items():
        definition: Any = tool.metadata.get(owner, {}).get("definition")
        if isinstance(definition, dict) and str(definition.get("type")).startswith(kind):  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
            return True
    return False


def changes_in(messages: Iterable[Message]) -> bool:
    """Whether a system message changes tools."""
    return any(
        _is_change(part)
        for message in messages
        if message.role == "system"
        for part in message.parts
    )


def _is_change(part: Part) -> TypeGuard[Opaque]:
    return isinstance(part, Opaque) and part.kind in _CHANGES and part.dialect == CHANGER


def inline_definitions(messages: list[Message]) -> list[JSON]:
    """The definitions that system messages bring along."""
    found: list[JSON] = []
    for message in selected(messages, is_system):
        for part in message.parts:
            change: Any = part.data.get("tool") if isinstance(part, Opaque) else None
            definition: Any = change.get("definition") if isinstance(change, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
            if isinstance(definition, dict):
                found.append(definition)  # pyright: ignore[reportUnknownArgumentType]
    return found


def with_tool_changes(request: Request, losses: Losses) -> Request:
    """The request with its changes of tools made by the choice of tools, and described in words.

    A change of a whole server's tools is refused: only that vendor knows them.
    """
    gone: dict[str, bool] = {}
    messages: list[Message] = []
    for position, message in enumerate(request.messages):
        parts = [_told(part, gone) for part in message.parts]
        for part in message.parts if message.role == "system" else ():
            if part in parts and _is_change(part):
                detail = "it changes the tools of a server that only its vendor knows"
                losses.refuse(part.kind, detail, path=f"messages[{position}]")
                parts.remove(part)
        if message.role != "system" or parts == message.parts:
            messages.append(message)
        elif parts:
            messages.append(replace(message, parts=parts))
    removed = {name for name, is_gone in gone.items() if is_gone}
    losses.emulate("tool_changes", "said in words, and made by the choice of tools")
    return replace(request, messages=messages, tool_choice=_choice(request, removed, losses))


def _told(part: Part, gone: dict[str, bool]) -> Part:
    """The words of a change, which is noted in `gone`; any other part as it is."""
    if not isinstance(part, Opaque) or part.dialect != CHANGER:
        return part
    if part.kind == "compaction":  # has what was changed before it
        changes: Any = part.data.get("tool_changes")
        for change in changes if isinstance(changes, list) else []:  # pyright: ignore[reportUnknownVariableType]
            if isinstance(change, dict) and (name := _name(change)):  # pyright: ignore[reportUnknownArgumentType]
                gone[name] = change.get("type") == REMOVAL  # pyright: ignore[reportUnknownMemberType]
        return part
    if part.kind not in _CHANGES or not (name := _name(part.data)):
        return part
    gone[name] = part.kind == REMOVAL
    if gone[name]:
        return Text(f"[The tool {name!r} is not available from here on.]")
    return Text(f"[The tool {name!r} is available from here on.]")


def _name(change: JSON) -> str:
    tool: Any = change.get("tool")
    if not isinstance(tool, dict):
        return ""
    source: Any = tool.get("definition") or tool  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    kind: Any = tool.get("type")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if kind not in ("tool_reference", "tool_definition") or not isinstance(source, dict):
        return ""
    return str(source.get("name") or "")  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]


def _choice(request: Request, removed: set[str], losses: Losses) -> ToolChoice | None:
    choice = request.tool_choice
    names = {tool.name for tool in request.tools}
    if removed.isdisjoint(names):
        return choice
    left = [tool.name for tool in request.tools if tool.name not in removed]
    if choice is None or (choice.mode in ("auto", "required") and not choice.names):
        if not left:
            return ToolChoice("none")
        return ToolChoice("auto" if choice is None else choice.mode, left)
    chosen = [name for name in choice.names if name not in removed]
    if len(chosen) < len(choice.names):
        losses.refuse("tool_choice", f"{sorted({*choice.names} & removed)} are removed before")
        return replace(choice, mode="auto", names=chosen or left, metadata={})
    return choice
