"""The conversation, inwards: wire messages to the middle language's.

Tool results are brought to the turn that they answer, ids are made unique, and the older
spelling of one function call is read as a tool call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from polycall import ir
from polycall._support.jsontext import encode
from polycall.dialects.openai_chat.calls import arguments_text, inside, parse_call
from polycall.dialects.openai_chat.content import parse_parts
from polycall.dialects.openai_chat.names import REASONING_FIELDS, mark, own
from polycall.ir import JSON
from polycall.translation.calls import OpenCalls, UniqueIds
from polycall.translation.conversation import Conversation, end_of_beginning, known_of
from polycall.translation.wire import Path, Reader, request_reader, short_hash, unread

_ASSISTANT_FIELDS = frozenset(
    {
        "role",
        "content",
        "name",
        "refusal",
        "tool_calls",
        "function_call",
        "reasoning_details",
        *REASONING_FIELDS,
    }
)
_PLAIN_FIELDS = frozenset({"role", "content", "name"})
_RESULT_FIELDS = frozenset({"role", "content", "name", "tool_call_id"})

# Gives the id under which a call is known: (the wire's id, position, name, arguments).
IdMaker = Callable[[str, int, str, str], str]


# ---------------------------------------------------------------------------------------------
# An assistant's message: the same in histories and in answers


def assistant_parts(
    message: JSON, path: Path, reader: Reader, make_id: IdMaker, *, keep_empty: bool
) -> list[ir.Part]:
    """The parts of an assistant's message: reasoning, content, refusal, calls.

    `keep_empty` keeps an empty reasoning text, which some providers demand in histories.
    """
    parts: list[ir.Part] = []
    reasoning = parse_reasoning(message, path, reader, keep_empty=keep_empty)
    if reasoning is not None:
        parts.append(reasoning)
    calls = reader.get_array(message, "tool_calls", path)
    content = message.get("content")
    if isinstance(content, str):
        if content:
            parts.append(ir.Text(content))
    elif isinstance(content, dict):
        # Some servers give an answer in JSON mode as the object itself.
        parts.append(ir.Text(encode(content)))
    elif content is not None:
        items = parse_parts(reader.array(content, f"{path}.content"), f"{path}.content", reader)
        inside = f"{path}.tool_calls"
        known = {reader.get_string(reader.object(call, inside), "id", inside) for call in calls}
        parts.extend(
            part if not isinstance(part, ir.Opaque) else foreign
            for part in items
            if (foreign := _foreign_call(part, known)) is not None
        )
    refusal = reader.get_string(message, "refusal", path)
    if refusal:
        parts.append(ir.Refusal(refusal))
    for position, raw in enumerate(calls):
        inner_path = f"{path}.tool_calls[{position}]"
        parts.append(_call(reader.object(raw, inner_path), inner_path, position, reader, make_id))
    legacy = reader.get_object(message, "function_call", path)
    if legacy.get("name") and not calls:  # some writers send it empty alongside the real calls
        parts.append(_legacy_call(message, path, reader, make_id))
    return parts


def parse_reasoning(
    message: JSON, path: Path, reader: Reader, *, keep_empty: bool
) -> ir.Reasoning | None:
    """The model's reasoning, from the fields that the server uses."""
    details = message.get("reasoning_details")
    text = ""
    notes: JSON = {}
    for name in REASONING_FIELDS:
        value = message.get(name)
        if not isinstance(value, str) or not (value or keep_empty):
            continue
        if not notes:
            text, notes = value, {"field": name}
        else:
            notes.setdefault("also", {})[name] = value
    if details:
        items = reader.array(details, f"{path}.reasoning_details")
        notes["details"] = items
        text = text or "".join(map(detail_text, items))
    return ir.Reasoning(text, mark(notes)) if notes else None


def detail_text(detail: Any) -> str:
    """The readable text of one of OpenRouter's reasoning details."""
    if not isinstance(detail, dict):
        return ""
    value: Any = detail.get("text") or detail.get("summary")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return value if isinstance(value, str) else ""


def merge_details(details: list[Any]) -> list[Any]:
    """Details as a whole answer has them: fragments of one text joined."""
    texts: list[list[Any]] = []
    for detail in details:
        if texts and _continues(texts[-1][-1], detail):
            texts[-1].append(detail)
        else:
            texts.append([detail])
    return [_joined(each) if len(each) > 1 else each[0] for each in texts]


_JOINED = ("text", "summary")


def _continues(last: Any, detail: Any) -> bool:
    if not isinstance(last, dict) or not isinstance(detail, dict):
        return False
    first: JSON = last  # pyright: ignore[reportUnknownVariableType]
    second: JSON = detail  # pyright: ignore[reportUnknownVariableType]
    return (
        second.get("type") in ("reasoning.text", "reasoning.summary")
        and first.get("type") == second.get("type")
        and first.get("index") == second.get("index")
        and all(
            isinstance(each.get(key), str | None) for each in (first, second) for key in _JOINED
        )
    )


def _joined(details: list[JSON]) -> JSON:
    joined = dict(details[0])
    for detail in details[1:]:
        joined.update((key, value) for key, value in detail.items() if value is not None)
    for key in _JOINED:
        if any(key in each for each in details):
            joined[key] = "".join([each.get(key) or "" for each in details])
    return joined


def _foreign_call(part: ir.Part, known: set[Any]) -> ir.Part | None:
    """A `tool_use` block inside content: a call of its own, or the copy of one (dropped)."""
    if not isinstance(part, ir.Opaque) or part.kind != "tool_use":
        return part
    call_id = part.data.get("id")
    if call_id in known:
        return None
    name = part.data.get("name")
    if not isinstance(call_id, str) or not isinstance(name, str):
        return part
    return ir.ToolCall(call_id, name, arguments_text(part.data.get("input")))


def _call(raw: JSON, path: Path, position: int, reader: Reader, make_id: IdMaker) -> ir.ToolCall:
    inner, _ = inside(raw, path, reader)
    wire_id = reader.get_string(raw, "id", path)
    name = reader.get_string(inner, "name", path)
    arguments = "" if wire_id else arguments_text(inner.get("arguments"))
    return parse_call(raw, path, reader, make_id(wire_id, position, name, arguments))


def _legacy_call(message: JSON, path: Path, reader: Reader, make_id: IdMaker) -> ir.ToolCall:
    call = reader.get_object(message, "function_call", path)
    name = reader.get_string(call, "name", f"{path}.function_call")
    arguments = arguments_text(call.get("arguments"))
    return ir.ToolCall(
        make_id("", 0, name, arguments), name, arguments, metadata=mark({"legacy": True})
    )


# ---------------------------------------------------------------------------------------------
# Histories


class _Turn:
    """An assistant's turn with calls: what is still open, and the results that came."""

    def __init__(self, owner: object) -> None:
        """`owner` is the mark of the one history that may change it."""
        self.owner = owner
        self.open = OpenCalls()  # under the wire's ids
        self.results: list[ir.Part] = []
        self.message = ir.Message("tool", self.results)


class _History:
    """Reads messages in order and keeps each result with its call."""

    def __init__(self, before: _History | None = None) -> None:
        """`before` is the history of the first messages, which stays as it is."""
        # Turns know the mark, not the history: a circle would wait for the garbage collector.
        self._mark = object()
        self._entries: list[tuple[ir.Message | None, _Turn | None]] = []
        self._ids = UniqueIds()
        self._turns: dict[str, _Turn] = {}  # the last turn that used a wire id
        self._last = _Turn(self._mark)
        self._before: list[
            ir.Message
        ] = []  # the messages of the first entries, as far as they stay
        self._same = 0  # how many entries those are
        if before is not None:
            self._before, self._same = before.messages(), len(before._entries)
            self._entries = before._entries.copy()
            self._ids = before._ids.copy()
            self._turns = before._turns.copy()
            self._last = before._last

    def messages(self) -> list[ir.Message]:
        """The conversation, with all results of a turn in one message right after it."""
        return [*self._before, *_messages_of(self._entries[self._same :])]

    def add(self, raw: JSON, path: Path) -> None:
        """Take one wire message."""
        role = raw.get("role")
        if role == "assistant":
            self._add_assistant(raw, path)
        elif role in ("tool", "function"):
            self._add_result(raw, path, legacy=role == "function")
        elif role in ("user", "system", "developer"):
            self._entries.append((_parse_plain(raw, role, path), None))
        else:
            roles = "'developer', 'system', 'user', 'assistant', 'tool' or 'function'"
            request_reader.fail(f"{path}.role", roles, role)

    def _add_assistant(self, raw: JSON, path: Path) -> None:
        turn = _Turn(self._mark)
        wire_ids: list[str] = []

        def make_id(wire_id: str, position: int, name: str, arguments: str) -> str:
            wire_ids.append(wire_id)
            made = wire_id or "call_" + short_hash(path, str(position), name, arguments)
            # Some servers number the calls of each answer anew; other wires need unique ids.
            return self._ids.take(made)

        parts = assistant_parts(raw, path, request_reader, make_id, keep_empty=True)
        calls = [part for part in parts if isinstance(part, ir.ToolCall)]
        if len(wire_ids) == len(calls):
            turn.open = OpenCalls(zip(wire_ids, calls, strict=True))
        else:
            turn.open = OpenCalls((call.id, call) for call in calls)
        notes = _assistant_notes(raw, parts)
        name = request_reader.get_string(raw, "name", path)
        message = ir.Message("assistant", parts, name, mark(notes))
        self._entries.append((message, turn if calls else None))
        if calls:
            self._last = turn
            self._turns.update((wire_id, turn) for wire_id, _ in turn.open)

    def _own(self, turn: _Turn) -> _Turn:
        """A turn that may be changed: one of the history before is copied first."""
        if turn.owner is self._mark:
            return turn
        own = _Turn(self._mark)
        own.open = turn.open.copy()
        own.results.extend(turn.results)
        place = len(self._entries) - 1
        while place >= 0 and self._entries[place][1] is not turn:
            place -= 1
        if 0 <= place < self._same:
            later = len(_messages_of(self._entries[place : self._same]))
            self._before, self._same = self._before[: len(self._before) - later], place
        if place >= 0:  # before the first turn there is one without an entry
            self._entries[place] = (self._entries[place][0], own)
        for name in (*(name for name, _ in own.open), *own.open.answered):
            if self._turns.get(name) is turn:
                self._turns[name] = own
        self._last = own if self._last is turn else self._last
        return own

    def _add_result(self, raw: JSON, path: Path, *, legacy: bool) -> None:
        wire_id = request_reader.get_string(raw, "tool_call_id", path)
        name = request_reader.get_string(raw, "name", path)
        turn, call = self._find(wire_id, name, legacy=legacy)
        fields = unread(raw, _RESULT_FIELDS)
        notes: JSON = {"fields": fields} if fields else {}
        if name:
            notes["name"] = name
        if legacy:
            notes["legacy"] = True
        content = raw.get("content")
        items: list[ir.Text | ir.Media | ir.Opaque] = []
        if isinstance(content, str):
            items = [ir.Text(content)] if content else []
        elif isinstance(content, dict):
            items = [ir.Text(encode(content))]
        elif content is not None:
            array = request_reader.array(content, f"{path}.content")
            items = [
                part
                for part in parse_parts(array, f"{path}.content", request_reader)
                if isinstance(part, ir.Text | ir.Media | ir.Opaque)
            ]
            notes["content"] = "parts"
        result = ir.ToolResult(
            call.id if call else wire_id,
            items,
            name=name or (call.name if call else ""),
            metadata=mark(notes),
        )
        if turn is not None:
            turn.results.append(result)
        else:
            orphan = _Turn(self._mark)
            orphan.results.append(result)
            self._entries.append((None, orphan))

    def _find(
        self, wire_id: str, name: str, *, legacy: bool
    ) -> tuple[_Turn | None, ir.ToolCall | None]:
        """The turn and the call that a result answers."""
        turn = self._turns.get(wire_id) if wire_id else self._last
        if turn is None:
            return None, None
        turn = self._own(turn)
        if wire_id or legacy:
            call = turn.open.with_id(wire_id) or (turn.open.named(name) if not wire_id else None)
        else:
            call = turn.open.first()
        call = call or turn.open.answered.get(wire_id)
        return (turn, call) if call is not None else (None, None)


def _messages_of(entries: list[tuple[ir.Message | None, _Turn | None]]) -> list[ir.Message]:
    messages: list[ir.Message] = []
    for message, turn in entries:
        if message is not None:
            messages.append(message)
        if turn is not None and turn.results:
            messages.append(turn.message)
    return messages


def parse_messages(items: list[Any]) -> list[ir.Message]:
    """All messages of a request; of a conversation only those that are new."""
    known = known_of(items)
    count, before = (0, None) if known is None else known.get(_History, (0, None))
    history, end = _History(before), end_of_beginning(items)
    for position in range(count, len(items)):
        if known is not None and position == end > 0:
            known[_History] = (position, history)
            history = _History(history)
        path = f"messages[{position}]"
        history.add(request_reader.object(items[position], path), path)
    if known is None:
        return history.messages()
    return Conversation(history.messages(), known)


def _parse_plain(raw: JSON, role: str, path: Path) -> ir.Message:
    content = raw.get("content")
    if len(raw) == 2 and type(content) is str and content and role != "developer":
        return ir.Message("user" if role == "user" else "system", [ir.Text(content)])  # as usual
    notes: JSON = {}
    if role == "developer":
        notes["role"] = role
    parts: list[ir.Part] = []
    if isinstance(content, str):
        parts = [ir.Text(content)] if content else []
    elif content is None:
        notes["content"] = "null"
    else:
        parts = parse_parts(
            request_reader.array(content, f"{path}.content"), f"{path}.content", request_reader
        )
        if not parts or (len(parts) == 1 and _is_plain(parts[0])):
            notes["content"] = "parts"
    if len(raw) > 2 and (fields := unread(raw, _PLAIN_FIELDS)):
        notes["fields"] = fields
    name = request_reader.get_string(raw, "name", path)
    return ir.Message("user" if role == "user" else "system", parts, name, mark(notes))


def _assistant_notes(raw: JSON, parts: list[ir.Part]) -> JSON:
    fields = unread(raw, _ASSISTANT_FIELDS)
    notes: JSON = {"fields": fields} if fields else {}
    content = raw.get("content")
    if isinstance(content, list):
        if not any(
            own(part.metadata).get("field") == "thinking"
            for part in parts
            if isinstance(part, ir.Reasoning)
        ):
            notes["content"] = "parts"
    elif not content and not isinstance(content, dict):
        form = "omit" if "content" not in raw else "null" if content is None else "empty"
        has_calls = any(isinstance(part, ir.ToolCall) for part in parts)
        if form != ("null" if has_calls else "empty"):
            notes["content"] = form
    return notes


def _is_plain(part: ir.Part) -> bool:
    return isinstance(part, ir.Text) and not part.metadata
