"""Items of the wire into parts and messages.

One reader serves a request's input, a response's output and the items of a stream, so that the
three agree by construction.  Consecutive items of the model form one assistant message; where a
message item began inside it is kept in metadata.  Items without a counterpart are `Opaque`, in
position, in a message of the role that wrote them.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from polycall import ir
from polycall._support import jsontext
from polycall.dialects.openai_responses.content import parse_content_part
from polycall.dialects.openai_responses.names import NAME, mark, others
from polycall.ir import JSON
from polycall.translation.conversation import Conversation, end_of_beginning, known_of
from polycall.translation.wire import Reader, short_hash

CALL_TYPES = frozenset({"function_call", "custom_tool_call"})
RESULT_TYPES = frozenset({"function_call_output", "custom_tool_call_output"})

_PLAIN_ROLES = frozenset({"user", "system", "developer"})
# The last four stand in stored conversations; their messages have no counterpart elsewhere.
_ROLES = ("user", "assistant", "system", "developer", "critic", "discriminator", "tool", "unknown")

# Who writes an item decides in which message it stands; all others are the model's, except for
# the outputs of calls.
_TOOL_ITEMS = frozenset({"function_call_output", "mcp_approval_response"})
_SYSTEM_ITEMS = frozenset({"additional_tools", "compaction_trigger", "configuration_update"})

_MESSAGE_KNOWN = ("role", "content", "id", "phase")
_CALL_KNOWN = frozenset({"type", "id", "call_id", "name", "arguments", "input", "namespace"})


class ParsedItems(Struct, frozen=True, eq=False):
    """The first `count` items of a conversation, read."""

    count: int
    messages: list[ir.Message]
    names: dict[str, str]


class ItemReader:
    """Reads items with the error class of its `Reader`."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._names: dict[str, str] = {}

    def messages(self, items: list[Any], path: str) -> list[ir.Message]:
        """A request's input items as messages; of a conversation only the items that are new."""
        known = known_of(items)
        before: ParsedItems | None = None if known is None else known.get(ParsedItems)
        messages = [] if before is None else self._resumed(before)
        end = end_of_beginning(items)
        for position in range(before.count if before is not None else 0, len(items)):
            if known is not None and position == end > 0:
                known[ParsedItems] = before = ParsedItems(position, messages, self._names)
                messages = self._resumed(before)
            value = items[position]
            where = f"{path}[{position}]"
            item = self._reader.object(value, where)
            kind = self._kind(item, where)
            role = self._reader.get_choice(item, "role", where, _ROLES)
            if kind == "message" and role in _PLAIN_ROLES:
                messages.append(self._plain_message(item, where))
                continue
            owner = _owner(kind, item)
            parts = self.parts(item, where, position)
            last = messages[-1] if messages else None
            if last is not None and last.role == owner and owner in ("assistant", "tool"):
                last.parts.extend(parts)
            else:
                messages.append(ir.Message(owner, parts))
        if known is None:
            return messages
        return Conversation(messages, known)

    def _resumed(self, before: ParsedItems) -> list[ir.Message]:
        messages, self._names = before.messages.copy(), before.names.copy()
        if messages:  # which the next item may join
            messages[-1] = replace(messages[-1], parts=messages[-1].parts.copy())
        return messages

    def parts(self, item: JSON, path: str, position: int) -> list[ir.Part]:
        """The parts of one item: several for a message, one for any other."""
        kind = self._kind(item, path)
        if kind == "message" and (item.get("role") or "assistant") == "assistant":
            return self._message_parts(item, path)
        if kind == "reasoning":
            return [self._reasoning(item, path)]
        if kind in CALL_TYPES:
            return [self._call(item, path, position)]
        if kind in RESULT_TYPES and item.get("call_id") is not None:
            return [self._result(item, path)]
        return [ir.Opaque(NAME, kind, item)]

    def _kind(self, item: JSON, path: str) -> str:
        kind = self._reader.get_string(item, "type", path)
        if not kind and not item.get("role"):
            self._reader.fail(path, "an item with a type or a role", item)
        return kind or "message"

    def _plain_message(self, item: JSON, path: str) -> ir.Message:
        """A message of the user, the system or the developer."""
        role = item["role"]
        notes: JSON = {}
        if role != "user":
            notes["role"] = role
        fields = others(item, ("role", "content"))
        if fields:
            notes["fields"] = fields
        content = item.get("content")
        if isinstance(content, str):
            parts: list[ir.Part] = [ir.Text(content)]
        else:
            parts = self._content(content, f"{path}.content", "input_text")
            if is_plain(parts) or not parts:
                notes["list"] = True
        return ir.Message("user" if role == "user" else "system", parts, metadata=mark(notes))

    def _content(self, content: Any, path: str, text_type: str) -> list[Any]:
        if content is None:
            return []
        return [
            parse_content_part(self._reader, part, f"{path}[{position}]", text_type=text_type)
            for position, part in enumerate(self._reader.array(content, path))
        ]

    def _message_parts(self, item: JSON, path: str) -> list[ir.Part]:
        content = item.get("content")
        start: JSON = {"message": identity(item)}
        end: JSON = {}
        if fields := others(item, _MESSAGE_KNOWN):
            end["fields"] = fields
        if isinstance(content, str):
            return [ir.Text(content, mark({**start, **end, "string": True}))]
        parts: list[ir.Part] = self._content(content, f"{path}.content", "output_text")
        if not parts or not all(isinstance(part, ir.Text | ir.Refusal) for part in parts):
            if parts:
                # A content part beyond the middle language: the message stays whole.
                return [ir.Opaque(NAME, "message", item)]
            return [ir.Text("", mark({**start, **end, "empty": True}))]
        parts[0] = _noted(parts[0], start)
        if end:
            parts[-1] = _noted(parts[-1], end)
        return parts

    def _reasoning(self, item: JSON, path: str) -> ir.Reasoning:
        texts = [
            self._reader.get_string(self._reader.object(part, path), "text", path)
            for key in ("summary", "content")
            for part in self._reader.get_array(item, key, path)
        ]
        notes: JSON = identity(item)
        notes.pop("phase", None)
        if fields := others(item, ("type", "id")):
            notes["fields"] = fields
        return ir.Reasoning("\n\n".join(filter(None, texts)), mark(notes))

    def _call(self, item: JSON, path: str, position: int) -> ir.ToolCall:
        reader = self._reader
        is_custom = item.get("type") == "custom_tool_call"
        name = reader.get_string(item, "name", path)
        if is_custom:
            arguments_json = jsontext.encode({"input": reader.get_string(item, "input", path)})
        else:
            arguments = item.get("arguments")
            # Some servers send the object itself.
            arguments_json = (
                jsontext.encode(arguments)
                if isinstance(arguments, dict)
                else reader.get_string(item, "arguments", path)
            )
        if not name:
            reader.fail(f"{path}.name", "a tool's name", item.get("name"))
        call_id = reader.get_string(item, "call_id", path) or reader.get_string(item, "id", path)
        call_id = call_id or "call_" + short_hash(str(position), name, arguments_json)
        notes: JSON = identity(item)
        notes.pop("phase", None)
        if fields := others(item, _CALL_KNOWN):
            notes["fields"] = fields
        self._names[call_id] = name
        return ir.ToolCall(
            id=call_id,
            name=name,
            arguments_json=arguments_json,
            kind="custom" if is_custom else "function",
            namespace=reader.get_string(item, "namespace", path),
            caller=_caller(item),
            metadata=mark(notes),
        )

    def _result(self, item: JSON, path: str) -> ir.ToolResult:
        reader = self._reader
        call_id = reader.get_string(item, "call_id", path)
        notes: JSON = {}
        if item.get("type") == "custom_tool_call_output":
            notes["custom"] = True
        if fields := others(item, ("type", "call_id", "output")):
            notes["fields"] = fields
        output = item.get("output")
        content: list[ir.Text | ir.Media | ir.Opaque]
        if output is None or isinstance(output, str):
            content = [ir.Text(output or "")]
        else:
            content = self._content(output, f"{path}.output", "input_text")
            if is_plain(content) or not content:
                notes["list"] = True
        return ir.ToolResult(
            call_id,
            content,
            name=self._names.get(call_id, "") or reader.get_string(item, "name", path),
            metadata=mark(notes),
        )


def identity(item: JSON) -> JSON:
    """The fields of an item that do not change while it streams: its id, and a message's phase."""
    return {key: item[key] for key in ("id", "phase") if key in item}


def is_plain(parts: list[Any]) -> bool:
    """Whether a string would say the same as this content."""
    return len(parts) == 1 and isinstance(parts[0], ir.Text) and not parts[0].metadata


def _noted(part: ir.Part, notes: JSON) -> ir.Part:
    assert isinstance(part, ir.Text | ir.Refusal)
    return replace(part, metadata=ir.merge_metadata(part.metadata, mark(notes)))


def _caller(item: JSON) -> str:
    caller: Any = item.get("caller")
    if isinstance(caller, dict) and caller.get("type") == "program":  # pyright: ignore[reportUnknownMemberType]
        return str(caller.get("caller_id") or "program")  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    return "direct"


def _owner(kind: str, item: JSON) -> ir.Role:
    if kind in _TOOL_ITEMS or kind.endswith("_call_output"):
        return "tool"
    if kind in _SYSTEM_ITEMS:
        return "system"
    if kind == "tool_search_output" and item.get("execution") == "client":
        return "tool"
    if kind == "message" and item.get("role") != "assistant":
        return "user"
    return "assistant"
