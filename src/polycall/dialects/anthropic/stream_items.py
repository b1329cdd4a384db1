"""Content blocks in the making: what their deltas mean, by the kind of block.

Each writes its part to an `EventWriter`: `open` at its turn, `grow` by each delta, `close` at its
end.
"""

from __future__ import annotations

from typing import Any

from polycall._support import jsontext
from polycall.dialects.anthropic.content import (
    call_caller,
    extras,
    missing_id,
    parse_block,
    toolset_of,
)
from polycall.dialects.anthropic.ids import decode_id
from polycall.dialects.anthropic.names import NAME
from polycall.ir import INVALID_ARGUMENTS, JSON, Reasoning, Text, ToolCall
from polycall.translation.calls import UniqueIds, arguments_text
from polycall.translation.growing import grow_text, is_text, settled
from polycall.translation.stream import EventWriter
from polycall.translation.wire import response_reader

_TEXT_KEYS = frozenset({"type", "text", "citations"})
_THINKING_KEYS = frozenset({"type", "thinking", "signature"})


class StreamItem:
    """One block of a streamed answer."""

    def __init__(self, wire: JSON, order: int, out: EventWriter) -> None:
        self.wire = wire
        self.order = order
        self.out = out
        self.is_open = False
        self.is_stopped = False
        self.waiting: list[JSON] = []  # deltas that came before its turn
        self.found: JSON = {}  # what deltas said beyond text

    def open(self) -> None:
        """Begin the part."""
        raise NotImplementedError

    def grow(self, delta: JSON) -> None:
        """Take one delta; fields of an unknown one are kept."""
        merge(self.found, {key: value for key, value in delta.items() if key != "type"})

    def close(self) -> None:
        """End the part."""
        self.out.end_part({NAME: settled(self.found)} if self.found else None)

    def _text(self, delta: JSON, key: str) -> None:
        self.out.delta(response_reader.get_string(delta, key, "delta"))


class TextItem(StreamItem):
    """`text`, whose citations come as deltas of their own."""

    def open(self) -> None:
        """Begin the part; some servers put its first words into the start."""
        wire = self.wire
        more = extras(wire, _TEXT_KEYS)
        self.out.open(Text("", {NAME: more} if more else {}))
        self._text(wire, "text")
        if citations := response_reader.get_array(wire, "citations", "content_block"):
            self.found["citations"] = list(citations)

    def grow(self, delta: JSON) -> None:
        """Take one delta."""
        match delta.get("type"):
            case "text_delta":
                text = delta.get("text")
                self.out.delta(text) if type(text) is str else self._text(delta, "text")
            case "citations_delta":
                self.found.setdefault("citations", []).append(delta.get("citation"))
            case _:
                super().grow(delta)


class ThinkingItem(StreamItem):
    """`thinking`, whose signature comes last."""

    def open(self) -> None:
        """Begin the part."""
        wire = self.wire
        self.out.open(Reasoning("", {NAME: extras(wire, _THINKING_KEYS)}))
        self._text(wire, "thinking")
        if isinstance(wire.get("signature"), str):
            self.found["signature"] = wire["signature"]

    def grow(self, delta: JSON) -> None:
        """Take one delta.  Signatures replace one another, as in the vendor's own SDK."""
        match delta.get("type"):
            case "thinking_delta":
                self._text(delta, "thinking")
            case "signature_delta":
                self.found["signature"] = response_reader.get_string(delta, "signature", "delta")
            case _:
                super().grow(delta)


class CallItem(StreamItem):
    """`tool_use`.  One without an id is reported at its end, since the id depends on all of it."""

    def __init__(self, wire: JSON, order: int, out: EventWriter, call_ids: UniqueIds) -> None:
        super().__init__(wire, order, out)
        self._call_ids = call_ids
        self._any_input = False
        self._held: list[str] = []
        self._id = decode_id(response_reader.get_string(wire, "id", "content_block"))

    def open(self) -> None:
        """Begin the part."""
        if self._id:
            self._begin(self._id)

    def _begin(self, call_id: str) -> None:
        caller, metadata = call_caller(self.wire)
        self.out.open(
            ToolCall(
                id=self._call_ids.take(call_id),
                name=response_reader.get_string(self.wire, "name", "content_block"),
                arguments_json="",
                namespace=toolset_of(self.wire),
                caller=caller,
                metadata=metadata,
            )
        )

    def grow(self, delta: JSON) -> None:
        """Take one delta."""
        if delta.get("type") != "input_json_delta":
            super().grow(delta)
            return
        item = response_reader.get_string(delta, "partial_json", "delta")
        self._any_input = self._any_input or not (not item or item.isspace())
        if self._id:
            self.out.delta(item)
        else:
            self._held.append(item)

    def close(self) -> None:
        """End the part.  Without deltas the input is what the start said, mostly `{}`."""
        arguments_json = "".join(self._held)
        if not self._any_input:
            arguments_json = arguments_text(self.wire.get("input"))
        if not self._id:
            name = response_reader.get_string(self.wire, "name", "content_block")
            self._begin(missing_id(self.order, name, arguments_json))
        self.out.delta(arguments_json)
        super().close()


class WholeItem(StreamItem):
    """Any other block, known or not: collected, and reported whole."""

    def __init__(self, wire: JSON, order: int, out: EventWriter) -> None:
        super().__init__(wire, order, out)
        self.found = dict(wire)
        self._input: list[str] = []

    def open(self) -> None:
        """Nothing is known before its end."""

    def grow(self, delta: JSON) -> None:
        """Take one delta."""
        if delta.get("type") == "input_json_delta":
            self._input.append(response_reader.get_string(delta, "partial_json", "delta"))
        else:
            super().grow(delta)

    def close(self) -> None:
        """Tell the block; a `redacted_thinking` or an image has a part of its own."""
        text = "".join(self._input)
        if text.strip():
            try:
                self.found["input"] = jsontext.decode(text)
            except ValueError:
                self.found["input"] = {INVALID_ARGUMENTS: text}
        part = parse_block(
            settled(self.found), self.order, f"content[{self.order}]", response_reader
        )
        self.out.whole(part)


def begin_item(wire: JSON, order: int, out: EventWriter, call_ids: UniqueIds) -> StreamItem:
    """The block that a `content_block_start` announces."""
    match response_reader.string(wire.get("type"), "content_block.type"):
        case "text":
            return TextItem(wire, order, out)
        case "thinking":
            return ThinkingItem(wire, order, out)
        case "tool_use":
            return CallItem(wire, order, out, call_ids)
        case _:
            return WholeItem(wire, order, out)


def merge(found: JSON, items: JSON) -> None:
    """Grow an object by a delta's fields: texts and lists get longer, others are set."""
    for key, value in items.items():
        known: Any = found.get(key)
        if isinstance(value, str) and is_text(known):
            grow_text(found, key, value)
        elif isinstance(value, list) and isinstance(known, list):
            known += value  # pyright: ignore[reportUnknownVariableType]
        elif value is not None:
            found[key] = value
