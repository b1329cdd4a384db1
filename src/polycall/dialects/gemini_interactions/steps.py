"""A client's input to messages: a text, contents, or steps.

What a model made one after the other is one message, and so are the results after it.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from polycall._support import jsontext
from polycall.dialects.gemini_interactions.content import parse_contents, parse_step
from polycall.dialects.gemini_interactions.names import NAME
from polycall.ir import JSON, Media, Message, Opaque, Part, Text, ToolCall, ToolResult
from polycall.translation.wire import Path, unread
from polycall.translation.wire import request_reader as reader

_STEPS = frozenset({"user_input", "model_output", "thought", "function_call", "function_result"})


def parse_input(value: Any) -> list[Message]:
    """All messages of an input."""
    if value is None:
        return []
    if isinstance(value, str):
        return [Message("user", [Text(value)])]
    items: list[Any] = value if isinstance(value, list) else [value]  # pyright: ignore[reportUnknownVariableType]
    history = _History()
    if items and not any(_is_step(item) for item in items):
        history.user(items, "input")
        return history.messages
    for index, item in enumerate(items):
        history.take(reader.object(item, f"input[{index}]"), f"input[{index}]")
    return history.messages


def _is_step(item: Any) -> bool:
    kind: Any = item.get("type") if isinstance(item, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return isinstance(kind, str) and (
        kind in _STEPS or kind.endswith(("_call", "_result"))  # of the vendor's own tools
    )


class _History:
    """Steps in, messages out."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._made: list[Part] | None = None  # of the assistant's message in hand
        self._results: list[Part] | None = None
        self._names: dict[str, str] = {}
        self._calls = 0

    def take(self, step: JSON, path: Path) -> None:
        """One step."""
        kind = reader.string(step.get("type"), f"{path}.type")
        if kind == "user_input":
            content: Any = step.get("content")
            items: list[Any] = content if isinstance(content, list) else [content]  # pyright: ignore[reportUnknownVariableType]
            self.user(items, f"{path}.content")
        elif kind == "function_result":
            self._result(step, path)
        else:
            self._model(step, path)

    def user(self, items: list[Any], path: Path) -> None:
        """Contents of the user; results may stand among them."""
        parts: list[Part] = []
        for index, item in enumerate(items):
            where = f"{path}[{index}]"
            if isinstance(item, dict) and item.get("type") == "function_result":  # pyright: ignore[reportUnknownMemberType]
                self._result(reader.object(item, where), where)
            else:
                parts.extend(parse_contents(item, where, reader))
        if parts:
            self._made = self._results = None
            self.messages.append(Message("user", parts))

    def _model(self, step: JSON, path: Path) -> None:
        parts = parse_step(step, self._calls, path, reader)
        for part in parts:
            if isinstance(part, ToolCall):
                self._calls += 1
                self._names[part.id] = part.name
        if self._made is None:
            self._made = []
            self.messages.append(Message("assistant", self._made))
        elif parts and step.get("type") == "model_output" and _is_shown(self._made[-1:]):
            parts = [_apart(parts[0]), *parts[1:]]
        self._results = None
        self._made.extend(parts)

    def _result(self, step: JSON, path: Path) -> None:
        result, own = _parse_result(step.get("result"), f"{path}.result")
        known = ("type", "call_id", "name", "result", "is_error")
        if more := unread(step, known):
            own["fields"] = more
        call_id = reader.get_string(step, "call_id", path)
        part = ToolResult(
            call_id,
            result,
            is_error=reader.get_bool(step, "is_error", path) is True,
            name=reader.get_string(step, "name", path) or self._names.get(call_id, ""),
            metadata={NAME: own} if own else {},
        )
        if self._results is None:
            self._results = []
            self._made = None
            self.messages.append(Message("tool", self._results))
        self._results.append(part)


def _is_shown(last: list[Part]) -> bool:
    return bool(last) and isinstance(last[0], Text | Media)


def _apart(part: Part) -> Part:
    if isinstance(part, Opaque):
        return part
    own = {**part.metadata.get(NAME, {}), "step": True}
    return replace(part, metadata={**part.metadata, NAME: own})


def _parse_result(value: Any, path: Path) -> tuple[list[Text | Media | Opaque], JSON]:
    if value is None:
        return [], {}
    if isinstance(value, str):
        return [Text(value)], {}
    if isinstance(value, list):
        items: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
        if all(isinstance(each, dict) and "type" in each for each in items):
            return parse_contents(items, path, reader), {"shape": "list"}
    return [Text(jsontext.encode(value))], {"shape": "json"}
