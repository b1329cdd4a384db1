"""The parts of a streamed answer, one open at a time.

A part that begins while a call's arguments may still grow waits in a queue, and what comes for
it with it.  A call is closed for the next part only where its arguments are one whole JSON value.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from polycall._support import jsontext
from polycall.dialects.openai_chat.calls import arguments_text, inside
from polycall.dialects.openai_chat.messages import merge_details
from polycall.dialects.openai_chat.names import mark, own
from polycall.dialects.openai_chat.response import call_id
from polycall.errors import ProtocolError
from polycall.ir import JSON, Part, Reasoning, Refusal, Text, ToolCall
from polycall.translation.calls import UniqueIds
from polycall.translation.growing import grow_text, settled
from polycall.translation.stream import EventWriter
from polycall.translation.wire import Path, response_reader, unread

_CALL_FIELDS = frozenset({"id", "type", "index", "function", "custom", "name", "arguments"})
_FUNCTION_FIELDS = frozenset({"name", "arguments"})
_CUSTOM_HEAD, _CUSTOM_TAIL = '{"input":"', '"}'


class StreamItem:
    """A part that is open, or waits to be."""

    def __init__(self, kind: str, part: Part) -> None:
        self.kind = kind
        self.part: Part = part
        self.waiting: list[str] = []  # what came for it before it was opened
        self.notes: JSON = {}  # learned after it was opened
        self.is_ready = True

    def is_complete(self) -> bool:
        """Whether another part may begin."""
        return True


class CallItem(StreamItem):
    """A tool call in pieces."""

    def __init__(self, wire_id: str, made_id: str, *, is_custom: bool) -> None:
        self.call = ToolCall(made_id, "", "", kind="custom" if is_custom else "function")
        super().__init__("call", self.call)
        self.wire_id = wire_id
        self.name = ""
        self.is_custom = is_custom
        self.is_ready = False
        self.is_closed = False
        self.fields: JSON = {}  # known when it is opened
        self._pieces: list[str] = []
        self._checked = -1  # how many pieces the last check saw, if it said no

    @property
    def text(self) -> str:
        """The arguments so far."""
        return "".join(self._pieces)

    def add(self, text: str) -> None:
        """More arguments."""
        self._pieces.append(text)

    def is_complete(self) -> bool:
        """Whether the arguments are a whole JSON value that nothing can follow."""
        if self.is_custom or not self.is_ready or self._checked == len(self._pieces):
            return False
        last = next((piece for piece in reversed(self._pieces) if piece.strip()), "").rstrip()
        if last[-1:] in ("}", "]", '"', "l"):
            try:
                jsontext.decode(self.text)
            except ValueError:
                pass
            else:
                return True
        self._checked = len(self._pieces)
        return False


class PartQueue:
    """Writes parts in the order in which they began."""

    def __init__(self, out: EventWriter) -> None:
        self._out = out
        self._items: list[StreamItem] = []  # the first is the open one
        self._is_open = False
        self._late_details: list[Any] = []
        self.has_calls = False
        self.has_content = False
        self.has_refusal = False
        self.is_empty = True

    # Text, reasoning, refusals

    def text(self, kind: str, text: str, notes: JSON | None = None) -> None:
        """A piece of text; continues the last part where that is of the same kind."""
        last = self._items[-1] if self._items else None
        if last is None or last.kind != kind:
            last = StreamItem(kind, _new_part(kind, notes))
            self._push(last)
        self.has_content = self.has_content or kind == "text"
        self.has_refusal = self.has_refusal or kind == "refusal"
        self._write(last, text)

    def reasoning(self, name: str, text: str) -> None:
        """Reasoning text of the field `name`; a second field alongside the first is kept apart."""
        last = self._items[-1] if self._items else None
        if last is not None and last.kind == "reasoning":
            field = last.notes.get("field") or _field(last.part)
            if field and field != name:
                grow_text(last.notes.setdefault("also", {}), name, text)
                return
            if not field:
                last.notes["field"] = name
        self.text("reasoning", text, {"field": name})
        if name == "thinking":
            self.has_content = True

    def details(self, details: list[Any], text: str) -> None:
        """OpenRouter's reasoning details, with their text where no other field has it."""
        last = self._items[-1] if self._items else None
        if last is None and self.is_empty:
            last = StreamItem("reasoning", Reasoning(metadata=mark({"details": []})))
            self._push(last)
        if last is None or last.kind != "reasoning":
            # Text or a call has begun; it is not cut in two for a signature that came late.
            self._late_details.extend(details)
            return
        last.notes.setdefault("details", []).extend(details)
        if text and not (last.notes.get("field") or _field(last.part)):
            self._write(last, text)

    def whole(self, part: Part) -> None:
        """A part that comes at once."""
        self.has_content = True
        self._push(StreamItem("whole", part))

    # Calls

    def call(self, item: CallItem) -> None:
        """A call begins."""
        self.has_calls = True
        self._push(item)

    def name_call(self, item: CallItem, name: str) -> None:
        """The call's name is known: it may be opened."""
        item.name = name
        item.is_ready = True
        item.part = replace(item.call, name=name, metadata=mark(dict(item.fields)))
        if item.is_custom:
            self._write(item, _CUSTOM_HEAD)
        self._advance()

    def arguments(self, item: CallItem, text: str) -> None:
        """More arguments of a call."""
        if not text:
            return
        if item.is_closed:
            if text.strip() and text != item.text:
                raise ProtocolError(f"more arguments for the finished call {item.name!r}")
            return
        if text[:1] == "{" and text == item.text and item.is_complete():
            return  # the whole once more, as some servers end with
        item.add(text)
        self._write(item, jsontext.encode(text)[1:-1] if item.is_custom else text)
        if len(self._items) > 1:
            self._advance()

    def finish(self) -> None:
        """Write all that waits."""
        while self._items:
            head = self._items[0]
            if not self._is_open:
                self._open(head)
            self._close(head)
        if self._late_details:
            notes = {"details": merge_details(self._late_details)}
            self._out.open(Reasoning(metadata=mark(notes)))
            self._out.end_part()

    def _push(self, item: StreamItem) -> None:
        self.is_empty = False
        self._items.append(item)
        self._advance()

    def _advance(self) -> None:
        while self._items:
            head = self._items[0]
            if not self._is_open:
                if not head.is_ready:
                    return
                self._open(head)
            if len(self._items) == 1 or not head.is_complete():
                return
            self._close(head)

    def _open(self, item: StreamItem) -> None:
        self._is_open = True
        self._out.open(item.part)
        for text in item.waiting:
            self._out.delta(text)
        item.waiting = []

    def _close(self, item: StreamItem) -> None:
        if isinstance(item, CallItem):
            item.is_closed = True
            if item.is_custom:
                self._out.delta(_CUSTOM_TAIL)
        if "details" in item.notes:
            item.notes["details"] = merge_details(item.notes["details"])
        if "also" in item.notes:
            item.notes["also"] = settled(item.notes["also"])
        self._out.end_part(mark(item.notes))
        self._is_open = False
        del self._items[0]

    def _write(self, item: StreamItem, text: str) -> None:
        if self._is_open and self._items[0] is item:
            self._out.delta(text)
        elif text:
            item.waiting.append(text)


def _new_part(kind: str, notes: JSON | None) -> Part:
    match kind:
        case "text":
            return Text("")
        case "refusal":
            return Refusal("")
        case _:
            return Reasoning(metadata=mark(notes or {}))


def _field(part: Part) -> str:
    return own(part.metadata).get("field", "") if isinstance(part, Reasoning) else ""


class CallTracker:
    """Finds the call that a piece belongs to.

    Most servers number calls by `index`.  Some leave it out, some use one number for all calls,
    some repeat id and name in every piece, or send them null or empty.
    """

    def __init__(self, queue: PartQueue) -> None:
        self._queue = queue
        self._by_index: dict[int, CallItem] = {}
        self._by_id: dict[str, CallItem] = {}
        self._last: CallItem | None = None
        self._used = UniqueIds()
        self._count = 0
        self.response_id = ""

    def add(self, raw: JSON, path: Path) -> None:
        """Take one entry of `delta.tool_calls`."""
        inner, is_custom = inside(raw, path, response_reader)
        name = response_reader.get_string(inner, "name", path)
        wire_id = response_reader.get_string(raw, "id", path)
        text = arguments_text(inner.get("input" if is_custom else "arguments"))
        index = response_reader.get_int(raw, "index", path)
        item = self._find(index, wire_id, name, text)
        if item is None:
            item = self._begin(index, wire_id, name, is_custom=is_custom)
        elif wire_id and not item.wire_id:
            item.wire_id = wire_id
            self._by_id[wire_id] = item
            if not item.is_ready:
                item.call = replace(item.call, id=self._used.take(wire_id))
                item.part = item.call
        self._last = item
        if len(raw) > 2 or len(inner) > 2:
            self._add_fields(item, raw, inner)
        if name and not item.name:
            self._queue.name_call(item, name)
        if text:
            self._queue.arguments(item, text)

    def add_legacy(self, call: JSON, path: Path) -> None:
        """Take a piece of the older `function_call`, of which there is one."""
        item = self._by_index.get(-1)
        if item is None:
            name = response_reader.get_string(call, "name", path)
            if not name or self._count:
                return  # some servers send it empty alongside the real calls
            item = self._begin(-1, "", name, is_custom=False)
            item.fields["legacy"] = True
        if not item.name and (name := response_reader.get_string(call, "name", path)):
            self._queue.name_call(item, name)
        self._queue.arguments(item, arguments_text(call.get("arguments")))

    def _find(self, index: int | None, wire_id: str, name: str, text: str) -> CallItem | None:
        if index is None:
            if wire_id:
                return self._by_id.get(wire_id)
            last = self._last
            return None if last is None or _is_next(last, "", name, text) else last
        item = self._by_index.get(index)
        if item is None:
            return self._by_id.get(wire_id) if wire_id and not name else None
        if item.wire_id == wire_id == "" and text and text == item.text and name == item.name:
            return item  # the same once more
        return None if _is_next(item, wire_id, name, text) else item

    def _begin(self, index: int | None, wire_id: str, name: str, *, is_custom: bool) -> CallItem:
        wanted = wire_id or call_id(self.response_id, self._count, name)
        item = CallItem(wire_id, self._used.take(wanted), is_custom=is_custom)
        self._count += 1
        if index is not None:
            self._by_index[index] = item
        if wire_id:
            self._by_id[wire_id] = item
        self._queue.call(item)
        return item

    def _add_fields(self, item: CallItem, raw: JSON, inner: JSON) -> None:
        found = unread(raw, _CALL_FIELDS)
        is_nested = inner is not raw and not item.is_custom
        if is_nested and len(inner) > 2 and (extra := unread(inner, _FUNCTION_FIELDS)):
            found["function"] = extra
        if not found:
            return
        if item.is_ready:
            new = {key: value for key, value in found.items() if item.fields.get(key) != value}
            item.notes.update(new)
        else:
            item.fields.update(found)


def _is_next(item: CallItem, wire_id: str, name: str, text: str) -> bool:
    """Whether a piece for the place of `item` begins another call."""
    if not name or not item.name:
        return False  # a call begins with its name
    if wire_id and item.wire_id:
        return wire_id != item.wire_id
    if name != item.name:
        return True
    # A server that repeats the name, or the next call of the same tool.
    return bool(text.strip()) and item.is_complete()
