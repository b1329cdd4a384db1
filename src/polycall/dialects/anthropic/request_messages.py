"""The messages of a request, wire to middle language.

All results of one assistant turn become one message of role `tool`, the rest of their wire message
follows as a `user` message.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from polycall.dialects.anthropic.beginnings import NOTHING, Parsed
from polycall.dialects.anthropic.content import is_plain_text, parse_block
from polycall.dialects.anthropic.names import NAME
from polycall.ir import JSON, Message, Part, Role, Text, ToolCall, ToolResult
from polycall.translation.conversation import Conversation, end_of_beginning, known_of
from polycall.translation.wire import Reader, request_reader

_MESSAGE_KEYS = frozenset({"role", "content"})


def parse_system(value: Any) -> list[Message]:
    """The top-level `system`, a string or text blocks."""
    if value in (None, "", []):
        return []
    return [_message("system", _parts(value, "system", request_reader), value, {})]


def parse_messages(items: list[Any]) -> list[Message]:
    """The `messages` array; of a conversation only the messages that are new."""
    known = known_of(items)
    before: Parsed = known.get(Parsed, NOTHING) if known else NOTHING
    count, end = before.count, end_of_beginning(items)
    messages, names, results = before.resumed()
    reader = request_reader
    for index in range(count, len(items)):
        if known is not None and index == end:
            known[Parsed] = before = Parsed(index, messages, names, results)
            messages, names, results = before.resumed()
        path = f"messages[{index}]"
        message = reader.object(items[index], path)
        role = reader.get_choice(message, "role", path, ("user", "assistant", "system"))
        content = message.get("content")
        parts = _parts(content, f"{path}.content", reader)
        more: JSON = {}
        if len(message) > 2:
            more = {key: message[key] for key in message if key not in _MESSAGE_KEYS}
        if role == "assistant":
            names.update((part.id, part.name) for part in parts if isinstance(part, ToolCall))
            results = None
            messages.append(_message("assistant", parts, content, more))
            continue
        if role == "system":
            extras: JSON = {"place": "messages", "extra": more} if more else {"place": "messages"}
            messages.append(_message("system", parts, content, extras))
            continue
        found = [
            replace(part, name=names.get(part.call_id, ""))
            for part in parts
            if isinstance(part, ToolResult)
        ]
        if found:
            if results is None:
                results = list[Part]()
                messages.append(Message("tool", results))
            results.extend(found)
            parts = [*filter(_is_not_result, parts)]
        if parts or not found or more:
            extras = {"extra": more} if more else {}
            if not found and messages and messages[-1].role == "tool":
                extras["apart"] = True
            messages.append(_message("user", parts, None if found else content, extras))
    if known is None:
        return messages
    return Conversation(messages, known)


def _is_not_result(part: Part) -> bool:
    return not isinstance(part, ToolResult)


def _parts(content: Any, path: str, reader: Reader) -> list[Part]:
    if isinstance(content, str):
        return [Text(content)]
    if content is None:
        return []
    items = reader.array(content, path)
    return [parse_block(item, i, f"{path}[{i}]", reader) for i, item in enumerate(items)]


def _message(role: Role, parts: list[Part], content: Any, extras: JSON) -> Message:
    # A string and a list of one plain text mean the same: the rarer list is noted.
    if isinstance(content, list) and is_plain_text(parts):
        extras = {**extras, "content": "blocks"}
    return Message(role, parts, metadata={NAME: extras} if extras else {})
