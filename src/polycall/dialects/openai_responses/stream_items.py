"""One output item while it streams: what is known early, and how it ends.

Every kind takes the events of its item and, at the end, the parts that `items.py` reads from the
whole item.  What of those was not yet reported is reported then, so that stream and body agree.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from polycall import ir
from polycall._support import jsontext
from polycall.dialects.openai_responses.messages import identity
from polycall.dialects.openai_responses.names import NAME, mark, others
from polycall.ir import JSON
from polycall.translation.stream import EventWriter

_CUSTOM_START, _CUSTOM_END = '{"input":"', '"}'


class PartWriter(EventWriter):
    """An `EventWriter` that remembers what the finish reason depends on."""

    def __init__(self) -> None:
        super().__init__()
        self.has_calls = False
        self.has_refusal = False

    def open(self, part: ir.Part) -> None:
        """A part begins."""
        if isinstance(part, ir.ToolCall):
            self.has_calls = True
        elif isinstance(part, ir.Refusal):
            self.has_refusal = True
        super().open(part)

    def tell(self, part: ir.Part) -> None:
        """A part that is known as a whole, as if it had streamed."""
        if isinstance(part, ir.Text | ir.Refusal | ir.Reasoning):
            self.open(replace(part, text=""))
            self.delta(part.text)
            self.end_part()
        elif isinstance(part, ir.ToolCall):
            self.open(replace(part, arguments_json=""))
            self.delta(part.arguments_json)
            self.end_part()
        else:
            self.whole(part)


class StreamText:
    """The text of the open part: what was sent of it, and what is missing at the end.

    A surrogate pair cut between two deltas is sent in one piece.
    """

    def __init__(self, out: PartWriter | None) -> None:
        """Without `out`, the text is only collected in `sent`."""
        self._out = out
        self.sent: list[str] = []
        self._half = ""

    def add(self, text: str) -> None:
        """The next piece."""
        if not text:
            return
        if self._half:
            text = _paired(self._half + text)
            self._half = ""
        if "\ud800" <= text[-1] <= "\udbff":
            self._half = text[-1]
            text = text[:-1]
        self._send(text)

    def _send(self, text: str) -> None:
        if text:
            self.sent.append(text)
            if self._out is not None:
                self._out.delta(text)

    def end(self) -> None:
        """No more comes: half a pair is sent as it is."""
        half, self._half = self._half, ""
        self._send(half)

    def settle(self, final: str) -> bool:
        """Send what is missing of `final`; false where something else was sent before."""
        sent = "".join(self.sent)
        half, self._half = self._half, ""
        is_known = final.startswith(sent)
        self._send(final[len(sent) :] if is_known else half)
        return is_known


def _paired(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


class StreamItem:
    """An item of a kind that is kept whole: nothing is reported before its end."""

    def __init__(self, out: PartWriter, added: JSON) -> None:
        self.out = out
        self.added = added

    def take(self, kind: str, data: JSON) -> None:
        """An event of this item."""

    def finish(self, parts: list[ir.Part]) -> None:
        """The item is complete."""
        for part in parts:
            self.out.tell(part)

    def abandon(self) -> None:
        """The response ends, and nothing more is known of the item."""
        self.out.whole(ir.Opaque(NAME, str(self.added.get("type", "")), self.added))


class MessageItem(StreamItem):
    """A message: its content parts come one after the other."""

    def __init__(self, out: PartWriter, added: JSON) -> None:
        super().__init__(out, added)
        self._content_index = -1
        self._told = 0  # parts that are complete
        self._text: StreamText | None = None
        self._last: JSON = {}  # the open part, as its `content_part.done` gave it

    def take(self, kind: str, data: JSON) -> None:
        """Text as it comes."""
        match kind:
            case "response.output_text.delta":
                self._open(data, ir.Text("")).add(_string(data, "delta"))
            case "response.refusal.delta":
                self._open(data, ir.Refusal("")).add(_string(data, "delta"))
            case "response.output_text.done":
                self._open(data, ir.Text("")).settle(_string(data, "text"))
            case "response.refusal.done":
                self._open(data, ir.Refusal("")).settle(_string(data, "refusal"))
            case "response.content_part.done" if self._text is not None:
                part = data.get("part")
                self._last = part if isinstance(part, dict) else {}
            case "response.output_text.annotation.added" if self._text is not None:
                self._last.setdefault("annotations", []).append(data.get("annotation"))
            case _:
                pass

    def _open(self, data: JSON, part: ir.Text | ir.Refusal) -> StreamText:
        index = data.get("content_index")
        index = index if isinstance(index, int) else max(self._content_index, 0)
        if self._text is None or index != self._content_index:
            self._end()
            self._content_index = index
            is_first = self._told == 0
            notes: JSON = {"message": identity(self.added)} if is_first else {}
            self.out.open(replace(part, metadata=mark(notes)))
            self._text = StreamText(self.out)
        return self._text

    def _end(self) -> None:
        """End the open part before its item is known as a whole."""
        if self._text is not None:
            self._text.end()
            fields = others(self._last, ("type", "text", "refusal"))
            self.out.end_part(mark({"part": fields} if fields else {}))
            self._told += 1
            self._text, self._last = None, {}

    def finish(self, parts: list[ir.Part]) -> None:
        """Tell the rest of the open part, and the parts that never streamed."""
        if self._text is not None:
            final = parts[self._told] if self._told < len(parts) else None
            if isinstance(final, ir.Text | ir.Refusal) and type(final) is type(self.out.open_part):
                self._text.settle(final.text)
                self.out.end_part(final.metadata)
                self._told += 1
                self._text = None
            else:
                self._end()
        if self._told and not all(isinstance(part, ir.Text | ir.Refusal) for part in parts):
            return  # an opaque whole would repeat what was reported
        for part in parts[self._told :]:
            self.out.tell(part)

    def abandon(self) -> None:
        """The response ends inside the message."""
        self._end()


class ReasoningItem(StreamItem):
    """Reasoning: the parts of its summary and of its content, a blank line between two."""

    def __init__(self, out: PartWriter, added: JSON) -> None:
        super().__init__(out, added)
        notes = identity(added)
        notes.pop("phase", None)
        out.open(ir.Reasoning("", mark(notes)))
        self._text = StreamText(out)
        self._place: tuple[str, Any] | None = None

    def take(self, kind: str, data: JSON) -> None:
        """Text as it comes; a part without deltas at its end."""
        match kind:
            case "response.reasoning_summary_text.delta":
                self._add(("summary", data.get("summary_index")), _string(data, "delta"))
            case "response.reasoning_text.delta":
                self._add(("content", data.get("content_index")), _string(data, "delta"))
            case "response.reasoning_summary_text.done":
                self._whole(("summary", data.get("summary_index")), _string(data, "text"))
            case "response.reasoning_text.done":
                self._whole(("content", data.get("content_index")), _string(data, "text"))
            case _:
                pass

    def _add(self, place: tuple[str, Any], text: str) -> None:
        if not text:
            return
        if place != self._place:
            if self._place is not None:
                self._text.add("\n\n")
            self._place = place
        self._text.add(text)

    def _whole(self, place: tuple[str, Any], text: str) -> None:
        if place != self._place:
            self._add(place, text)

    def finish(self, parts: list[ir.Part]) -> None:
        """Tell what is missing, and everything that must be sent back."""
        final = parts[0]
        assert isinstance(final, ir.Reasoning)
        self._text.settle(final.text)
        self.out.end_part(final.metadata)

    def abandon(self) -> None:
        """The response ends inside the reasoning."""
        self.out.end_part()


class CallItem(StreamItem):
    """A call: its arguments in pieces, and once more as a whole."""

    def __init__(self, out: PartWriter, added: JSON, call: ir.ToolCall | None) -> None:
        """`call` is what is known of it; `None` while its name or id is missing."""
        super().__init__(out, added)
        self._is_custom = added.get("type") == "custom_tool_call"
        self._is_open = False
        self._text = StreamText(out)
        self._raw = StreamText(None)  # the free text of a custom call
        if call is not None:
            self._open(call)

    def _open(self, call: ir.ToolCall) -> None:
        self.out.open(replace(call, arguments_json=""))
        self._is_open = True
        if self._is_custom:
            self._text.add(_CUSTOM_START)

    def take(self, kind: str, data: JSON) -> None:
        """Arguments as they come; the whole of them where no piece did."""
        if not self._is_open:
            return
        match kind:
            case "response.function_call_arguments.delta":
                self._text.add(_string(data, "delta"))
            case "response.function_call_arguments.done":
                arguments = data.get("arguments")
                if isinstance(arguments, str):
                    self._text.settle(arguments)
            case "response.custom_tool_call_input.delta":
                self._add_input(_string(data, "delta"))
            case "response.custom_tool_call_input.done":
                self._settle_input(_string(data, "input"))
            case _:
                pass

    def _add_input(self, text: str) -> None:
        before = len(self._raw.sent)
        self._raw.add(text)
        for piece in self._raw.sent[before:]:
            self._text.add(jsontext.encode(piece)[1:-1])

    def _settle_input(self, text: str) -> None:
        before = len(self._raw.sent)
        self._raw.settle(text)
        for piece in self._raw.sent[before:]:
            self._text.add(jsontext.encode(piece)[1:-1])

    def finish(self, parts: list[ir.Part]) -> None:
        """Tell the rest of the arguments.

        Where the whole is not what the pieces were (proxies edit one and not the other), what
        was reported stands: it cannot be taken back.
        """
        final = parts[0]
        assert isinstance(final, ir.ToolCall)
        if not self._is_open:
            self._open(final)
        if not self._text.settle(final.arguments_json) and self._is_custom:
            self._text.add(_CUSTOM_END)
        self.out.end_part(final.metadata)

    def abandon(self) -> None:
        """The response ends inside the call: its arguments stay as they are, cut or not."""
        if self._is_open and self._is_custom:
            self._text.add(_CUSTOM_END)
        self.out.end_part()


def stream_item(out: PartWriter, added: JSON, call: ir.ToolCall | None) -> StreamItem:
    """The item that `added` begins; `call` is what is known of it, where it is one."""
    match added.get("type"):
        case "message" if added.get("role", "assistant") == "assistant":
            return MessageItem(out, added)
        case "reasoning":
            return ReasoningItem(out, added)
        case "function_call" | "custom_tool_call":
            return CallItem(out, added, call)
        case _:
            return StreamItem(out, added)


def _string(data: JSON, key: str) -> str:
    value = data.get(key)
    return value if isinstance(value, str) else ""
