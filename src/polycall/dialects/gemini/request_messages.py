"""A client's conversation: `contents` to messages.

The metadata of a message, `metadata["gemini"]`: `role` as written where it is not `user` or
`model` (`""` where there was none), and `joined` for a user message that shared its content with
results.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from polycall import ir
from polycall.dialects.gemini.content import (
    NAME,
    beside_of,
    encode,
    one_or_many,
    parse_media,
    parse_part,
)
from polycall.ir import JSON
from polycall.translation.calls import OpenCalls
from polycall.translation.conversation import end_of_beginning, known_of, like
from polycall.translation.wire import Path, short_hash, unread
from polycall.translation.wire import request_reader as reader

_USER_ROLES = frozenset({"user", "function", "tool"})


def parse_system(value: Any) -> list[ir.Message]:
    """The system message, if there is one."""
    if value is None:
        return []
    path = "systemInstruction"
    if isinstance(value, str):
        return [ir.Message("system", [ir.Text(value)])] if value else []
    content = reader.object(value, path)
    parts: list[ir.Part] = []
    mint = _History().mint
    for position, item in enumerate(one_or_many(content.get("parts"), f"{path}.parts", reader)):
        where = f"{path}.parts[{position}]"
        part = parse_part(reader.object(item, where), where, reader, mint)
        if part is not None:
            parts.append(part)
    if not parts:
        return []
    role = reader.get_string(content, "role", path)
    return [ir.Message("system", parts, metadata={NAME: {"role": role}} if role else {})]


def parse_contents(value: Any) -> list[ir.Message]:
    """All messages; results stand directly behind the turn whose calls they answer.

    Of a conversation only the contents that are new are read.
    """
    if isinstance(value, str):
        return [ir.Message("user", [ir.Text(value)])]
    items = one_or_many(value, "contents", reader)
    known, end = known_of(items), end_of_beginning(items)
    count, before = (0, None) if known is None else known.get(_History, (0, None))
    history = _History(before)
    for position in range(count, len(items)):
        if known is not None and position == end:
            history.settle()
            known[_History] = (position, history)
            history = _History(history)
        path = f"contents[{position}]"
        history.take(reader.object(items[position], path), path)
    return like(history.messages(), items)


class _Draft:
    """A message that may still grow."""

    def __init__(self, role: ir.Role, own: JSON) -> None:
        self.role: ir.Role = role
        self.parts: list[ir.Part] = []
        self.own = own
        self._more: list[str] = []  # text that the last part continues with

    def add(self, part: ir.Part) -> None:
        """One more part."""
        self._settle()
        self.parts.append(part)

    def join(self, part: ir.Part) -> None:
        """The first part of a further content of the same turn: texts grow on, as in a stream."""
        if isinstance(part, ir.Text | ir.Reasoning) and not part.metadata.get(NAME):
            last = self.parts[-1] if self.parts else None
            goes_on = isinstance(last, type(part)) and not last.metadata.get(NAME)
            if goes_on:
                self._more.append(part.text)
            elif part.text:
                self.add(part)
        else:
            self.add(part)

    def _settle(self) -> None:
        if self._more:
            last = self.parts[-1]
            assert isinstance(last, ir.Text | ir.Reasoning)
            self.parts[-1] = replace(last, text="".join((last.text, *self._more)))
            self._more = []

    def message(self) -> ir.Message:
        self._settle()
        return ir.Message(self.role, self.parts, metadata={NAME: self.own} if self.own else {})

    def copied(self) -> _Draft:
        """The same, which may grow without it."""
        self._settle()
        copied = _Draft(self.role, self.own)
        copied.parts = self.parts.copy()
        return copied


class _History:
    """Contents in, messages out, with every result matched to its call."""

    def __init__(self, before: _History | None = None) -> None:
        """`before` is the history of the first contents, which stays as it is."""
        self._fixed: list[ir.Message] = []  # what comes later changes none of them
        self.drafts: list[_Draft] = []
        self._calls = 0  # of the whole conversation: calls without an id are numbered
        self._open = OpenCalls()  # calls of the last turn without a result
        self._place = 0  # where results of the last turn stand
        self._results: _Draft | None = None
        if before is not None:
            self._fixed = before._fixed.copy()
            self.drafts = [draft.copied() for draft in before.drafts]
            self._calls, self._open = before._calls, before._open.copy()
            self._place = before._place
            if before._results is not None:
                self._results = self.drafts[before.drafts.index(before._results)]

    def messages(self) -> list[ir.Message]:
        """The conversation so far."""
        return [*self._fixed, *(draft.message() for draft in self.drafts)]

    def settle(self) -> None:
        """Make messages of all that stands before the model's last turn."""
        count = max(0, self._place - 1)
        self._fixed += [draft.message() for draft in self.drafts[:count]]
        del self.drafts[:count]
        self._place -= count

    def take(self, content: JSON, path: Path) -> None:
        """One content."""
        parts = [
            reader.object(part, f"{path}.parts[{position}]")
            for position, part in enumerate(
                one_or_many(content.get("parts"), f"{path}.parts", reader)
            )
        ]
        role = reader.get_string(content, "role", path)
        has_calls = any(part.get("functionCall") is not None for part in parts)
        if role and role != "model" and role not in _USER_ROLES:
            reader.fail(f"{path}.role", "'user' or 'model'", role)
        if role == "model" or has_calls:
            self._take_model(parts, {} if role == "model" else {"role": role}, path)
        else:
            self._take_user(parts, {} if role == "user" else {"role": role}, path)

    def _take_model(self, parts: list[JSON], own: JSON, path: Path) -> None:
        if not parts:
            return
        last = self.drafts[-1] if self.drafts else None
        # Google's chat sends one content for each chunk of a stream: all are one turn.
        is_further = last is not None and last.role == "assistant" and last.own == own
        if last is None or not is_further:
            last = _Draft("assistant", own)
            self.drafts.append(last)
            self._open = OpenCalls()
        for position, wire in enumerate(parts):
            where = f"{path}.parts[{position}]"
            part = parse_part(wire, where, reader, self.mint)
            if isinstance(part, ir.ToolCall):
                self._calls += 1
                self._open.add(part.id, part)
            if part is not None and position == 0 and is_further:
                last.join(part)
            elif part is not None:
                last.add(part)
        self._place = len(self.drafts)
        self._results = None

    def _take_user(self, parts: list[JSON], own: JSON, path: Path) -> None:
        draft = _Draft("user", own)
        for position, wire in enumerate(parts):
            where = f"{path}.parts[{position}]"
            if wire.get("functionResponse") is not None:
                self._take_result(wire, own, where)
                draft.own = {**own, "joined": True}
            elif (part := parse_part(wire, where, reader, self.mint)) is not None:
                draft.parts.append(part)
        if draft.parts:
            self.drafts.append(draft)

    def mint(self, name: str, arguments_json: str) -> str:
        """An id for a call without one: its number in the conversation keeps it apart."""
        return "call_" + short_hash(str(self._calls), name, arguments_json)

    def _take_result(self, wire: JSON, own: JSON, path: Path) -> None:
        if self._results is None:
            self._results = _Draft("tool", own)
            self.drafts.insert(self._place, self._results)
        result = reader.get_object(wire, "functionResponse", path)
        path = f"{path}.functionResponse"
        name = reader.get_string(result, "name", path)
        call_id = reader.get_string(result, "id", path)
        call = self._answered(call_id, name)
        kept = beside_of(wire, "functionResponse")
        if inner := unread(result, ("id", "name", "response", "parts")):
            kept["inner"] = inner
        if not call_id:
            kept["no_id"] = True
        content, is_error, shape = _parse_content(result, path)
        if shape:
            kept["shape"] = shape
        self._results.parts.append(
            ir.ToolResult(
                call.id if call else call_id or self.mint(name, "result"),
                content,
                is_error=is_error,
                name=name or (call.name if call else ""),
                metadata={NAME: kept},
            )
        )

    def _answered(self, call_id: str, name: str) -> ir.ToolCall | None:
        """The open call that a result answers: by its id, else the first of its name."""
        by_id = self._open.with_id(call_id) if call_id else None
        return by_id or self._open.named(name)


def _parse_content(
    result: JSON, path: Path
) -> tuple[list[ir.Text | ir.Media | ir.Opaque], bool, str]:
    """Content, whether it is a failure, and the shape it was written in."""
    response = reader.get_object(result, "response", path)
    content: list[ir.Text | ir.Media | ir.Opaque] = []
    key = next(iter(response)) if len(response) == 1 else ""
    shape = ""
    if key in ("output", "error"):
        value = response[key]
        text = value if isinstance(value, str) else encode(value)
        content.append(ir.Text(text))
        shape = "" if isinstance(value, str) else "value"
    else:
        key, shape = "", "object"
        if response:
            content.append(ir.Text(encode(response)))
    for position, item in enumerate(reader.get_array(result, "parts", path)):
        where = f"{path}.parts[{position}]"
        part = reader.object(item, where)
        media = parse_media(part, where, reader)
        content.append(media or ir.Opaque(NAME, next(iter(part), ""), dict(part)))
    return content, key == "error", shape
