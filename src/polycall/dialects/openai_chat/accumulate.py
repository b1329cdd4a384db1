"""Pieces of a streamed choice put together, where the middle language has no place for them."""

from __future__ import annotations

from typing import Any

from polycall.dialects.openai_chat.messages import merge_details
from polycall.dialects.openai_chat.names import REASONING_FIELDS
from polycall.dialects.openai_chat.response import CHOICE_FIELDS, normal_choice
from polycall.ir import JSON
from polycall.translation.growing import grow_text, settled

# Texts that come in pieces; all other strings come whole, some of them again and again.
_TEXT_FIELDS = frozenset({"content", "refusal", "arguments", "input", *REASONING_FIELDS})
_AUDIO_TEXT_FIELDS = frozenset({"data", "transcript"})


def add_fields(target: JSON, source: JSON, texts: frozenset[str] = frozenset()) -> None:
    """Add one chunk's fields: arrays grow, objects merge, the last of anything else stays."""
    for key, value in source.items():
        if value is None:
            continue
        old = target.get(key)
        if isinstance(value, list) and isinstance(old, list):
            old += value  # pyright: ignore[reportUnknownVariableType]
        elif isinstance(value, dict) and isinstance(old, dict):
            inner = _AUDIO_TEXT_FIELDS if key == "audio" else frozenset[str]()
            add_fields(old, value, inner)  # pyright: ignore[reportUnknownArgumentType]
        elif isinstance(value, list | dict):
            target[key] = _own(value)  # pyright: ignore[reportUnknownArgumentType]
        elif key in texts and isinstance(value, str):
            grow_text(target, key, value)
        else:
            target[key] = value


def _own(value: Any) -> Any:
    """A copy for what is added in place: of each object inside of objects, and of their arrays."""
    top: JSON = {"": value}
    left = [top]
    while left:
        fields = left.pop()
        for key, each in fields.items():
            if isinstance(each, list | dict):
                fields[key] = each.copy()  # pyright: ignore[reportUnknownMemberType]
            if isinstance(each, dict):
                left.append(fields[key])
    return top[""]


class OtherChoice:
    """One of the choices alongside the first: kept whole, as a body would have it."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._fields: JSON = {}
        self._message: JSON = {}
        self._calls: dict[str, JSON] = {}

    def add(self, choice: JSON) -> None:
        """Take one chunk's choice."""
        fields = {key: value for key, value in choice.items() if key not in CHOICE_FIELDS}
        add_fields(self._fields, fields)
        if choice.get("finish_reason"):
            self._fields["finish_reason"] = choice["finish_reason"]
        delta: Any = choice.get("delta") or (None if self._message else choice.get("message"))
        if not isinstance(delta, dict):
            return
        pieces: JSON = dict(delta)  # pyright: ignore[reportUnknownArgumentType]
        calls = pieces.pop("tool_calls", None)
        add_fields(self._message, pieces, _TEXT_FIELDS)
        if isinstance(calls, list):
            for position, call in enumerate(calls):  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
                if isinstance(call, dict):
                    self._add_call(call, position)  # pyright: ignore[reportUnknownArgumentType]

    def _add_call(self, piece: JSON, position: int) -> None:
        # As text: what a server puts there need not be a number.
        call = self._calls.setdefault(str(piece.get("index", position)), {})
        for key, value in piece.items():
            inner = call.get(key)
            if isinstance(inner, dict) and isinstance(value, dict):
                known = {"name": inner.get("name")} if inner.get("name") else {}  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
                add_fields(inner, {**value, **known}, _TEXT_FIELDS)  # pyright: ignore[reportUnknownArgumentType]
            elif value not in (None, "") and not call.get(key):
                call[key] = _own(value)

    def result(self) -> JSON:
        """The choice as a whole body has it."""
        message = settled(self._message)
        if self._calls:
            message["tool_calls"] = [settled(call) for call in self._calls.values()]
        if isinstance(message.get("reasoning_details"), list):
            message["reasoning_details"] = merge_details(message["reasoning_details"])
        return normal_choice({**self._fields, "index": self._index, "message": message})
