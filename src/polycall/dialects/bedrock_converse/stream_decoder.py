"""Streamed answers to events.

    messageStart (contentBlockStart? contentBlockDelta* contentBlockStop)* messageStop metadata

A text or a thought may begin with its first delta.  `metadata`, with the usage, comes after
`messageStop`, or before it from some relatives.  Besides AWS's own framing, server-sent events with
the event's name as the only key are taken, as proxies send them.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Any

from polycall import ir
from polycall._support.event_stream import EventMessage, EventStreamReader
from polycall.dialects.bedrock_converse.errors import is_error, parse_error
from polycall.dialects.bedrock_converse.names import NAME
from polycall.dialects.bedrock_converse.response import (
    finish_reason,
    own_metadata,
    parse_response,
)
from polycall.dialects.bedrock_converse.usage import parse_usage
from polycall.errors import ProtocolError, TruncatedError
from polycall.ir import JSON
from polycall.translation.calls import UniqueIds
from polycall.translation.failures import failed_end
from polycall.translation.growing import grow_text, settled
from polycall.translation.sse import Frame, text_of
from polycall.translation.stream import Framing, Payload, StreamDecoderBase
from polycall.translation.wire import response_reader as reader
from polycall.translation.wire import unread

_EXCEPTION = "!"


class _EventFrames:
    """AWS's messages as frames; an exception's name begins with `!`."""

    def __init__(self, event_bytes_max: int) -> None:
        self._reader = EventStreamReader(event_bytes_max)

    @property
    def held_bytes(self) -> int:
        return self._reader.held_bytes

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        return map(_frame, self._reader.feed(chunk))

    def close(self) -> Iterator[Frame]:
        self._reader.close()
        return iter(())


def _frame(message: EventMessage) -> Frame:
    headers = message.headers
    data = text_of(message.payload) or "{}"
    if headers.get(":message-type", "event") == "event":
        return Frame(headers.get(":event-type", ""), data)
    name = headers.get(":exception-type") or headers.get(":error-code", "error")
    if headers.get(":message-type") == "error":
        words = headers.get(":error-message", name).replace('"', "'").replace("\\", "/")
        data = f'{{"message":"{words}"}}'
    return Frame(_EXCEPTION + name, data)


class StreamDecoder(StreamDecoderBase):
    """Bytes of one answer in, events out."""

    def __init__(self) -> None:
        super().__init__()
        self._index: int | None = None  # of the open block
        self._own: JSON = {}  # metadata of the open part
        self._opaque: JSON | None = None
        self._redacted: list[str] = []  # in base64, each piece by itself
        self._ids = UniqueIds()
        self._has_calls = False
        self._usage: JSON | None = None
        self._tier: Any = None
        self._stop: str | None = None
        self._kept: JSON = {}

    def framing(self, head: bytes) -> Framing:
        """AWS's framing begins with a length, which no text does."""
        return _EventFrames(self.event_bytes_max) if head[:1] == b"\0" else super().framing(head)

    def usage_so_far(self) -> ir.Usage:
        """The usage in `metadata`."""
        return parse_usage(self._usage, self._tier)

    def on_payload(self, payload: Payload) -> None:
        """Take one event of the wire; unknown ones say nothing that is needed."""
        if self.out.ended:
            return
        name, data = payload.event, payload.data
        if name.startswith(_EXCEPTION):
            raise parse_error(200, data, name[1:])
        if len(data) == 1 and isinstance(inner := next(iter(data.values())), dict):
            key = next(iter(data))
            if key.startswith(("message", "content", "metadata")) or key.endswith("Exception"):
                name, data = key, inner  # pyright: ignore[reportUnknownVariableType]
        if name.endswith("Exception"):
            raise parse_error(200, data, name)
        self._on_event(name, data)  # pyright: ignore[reportUnknownArgumentType]

    def _on_event(self, name: str, data: JSON) -> None:
        match name:
            case "contentBlockDelta":
                self._on_delta(data)
            case "contentBlockStart":
                self._on_start(data)
            case "contentBlockStop":
                self._end_block()
            case "messageStart":
                self.out.start(ir.ResponseStart())
            case "messageStop":
                self._stop = reader.get_string(data, "stopReason", "messageStop")
                if (failure := failed_end(self._stop)) is not None:
                    raise failure
                self._keep(data, "stopReason")
                self._end_if_complete()
            case "metadata":
                self._usage = reader.get_object(data, "usage", "metadata")
                self._tier = data.get("serviceTier")
                self._keep(data, "usage")
                self._end_if_complete()
            case _:
                if is_error(data):
                    raise parse_error(200, data)

    def on_close(self) -> None:
        """The bytes have ended; a stop reason is the least that a complete answer has."""
        if self.out.ended:
            return
        if self._stop is None:
            raise TruncatedError("the stream ended before 'messageStop'")
        self._end()

    def on_whole_body(self, body: JSON) -> None:
        """The server answered with one JSON body."""
        self.out.answer(parse_response(body))

    def _keep(self, data: JSON, read: str) -> None:
        self._kept.update((k, v) for k, v in data.items() if k not in (read, "p") and v is not None)

    def _end_if_complete(self) -> None:
        if self._stop is not None and self._usage is not None:
            self._end()

    def _end(self) -> None:
        self._end_block()
        self.out.start(ir.ResponseStart())
        raw = self._stop or ""
        self.out.end(
            ir.ResponseEnd(
                finish_reason=finish_reason(raw, has_calls=self._has_calls),
                raw_finish_reason=raw,
                usage=self.usage_so_far(),
                metadata=own_metadata(self._kept),
            )
        )

    # Blocks

    def _on_start(self, data: JSON) -> None:
        index = reader.get_int(data, "contentBlockIndex", "contentBlockStart") or 0
        start = reader.get_object(data, "start", "contentBlockStart")
        self._end_block()
        self._index = index
        if "toolUse" in start:
            wire = reader.object(start["toolUse"], "contentBlockStart.start.toolUse")
            self._open_call(wire)
        elif start:
            self._opaque = {"start": start, "deltas": []}

    def _open_call(self, wire: JSON) -> None:
        path = "contentBlockStart.start.toolUse"
        if wire.get("type") == "server_tool_use":
            self._opaque = {"start": {"toolUse": wire}, "deltas": []}
            return
        self._has_calls = True
        more = unread(wire, ("toolUseId", "name"))
        call_id = reader.get_string(wire, "toolUseId", path) or f"call_{self._index}"
        name = reader.get_string(wire, "name", path)
        metadata: ir.Metadata = {NAME: {"fields": more}} if more else {}
        self._open(ir.ToolCall(self._ids.take(call_id), name, "", metadata=metadata))

    def _open(self, part: ir.Part) -> None:
        self.out.start(ir.ResponseStart())
        self.out.open(part)

    def _on_delta(self, data: JSON) -> None:
        index = reader.get_int(data, "contentBlockIndex", "contentBlockDelta") or 0
        if index != self._index:
            self._end_block()
            self._index = index
        delta = reader.get_object(data, "delta", "contentBlockDelta")
        if self._opaque is not None:
            self._opaque["deltas"].append(delta)
            return
        if "text" in delta:
            self._grow(ir.Text(""), reader.string(delta["text"], "contentBlockDelta.delta.text"))
        elif "toolUse" in delta:
            if not isinstance(self.out.open_part, ir.ToolCall):
                raise ProtocolError("a call's input without its start", path="contentBlockDelta")
            wire = reader.object(delta["toolUse"], "contentBlockDelta.delta.toolUse")
            self.out.delta(reader.get_string(wire, "input", "contentBlockDelta.delta.toolUse"))
        elif "reasoningContent" in delta:
            self._on_reasoning(reader.object(delta["reasoningContent"], "contentBlockDelta.delta"))
        elif "citation" in delta:
            if not isinstance(self.out.open_part, ir.Text):
                self._open(ir.Text(""))
            self._own.setdefault("citations", []).append(delta["citation"])

    def _grow(self, part: ir.Part, text: str) -> None:
        if type(self.out.open_part) is not type(part):
            self._open(part)
        self.out.delta(text)

    def _on_reasoning(self, wire: JSON) -> None:
        path = "contentBlockDelta.delta.reasoningContent"
        self._grow(ir.Reasoning(""), reader.get_string(wire, "text", path))
        if signature := reader.get_string(wire, "signature", path):
            grow_text(self._own, "signature", signature)
        if data := reader.get_string(wire, "redactedContent", path):
            try:
                binascii.a2b_base64(data, strict_mode=True)
            except ValueError:
                raise ProtocolError("redacted content is not base64", path=path) from None
            self._redacted.append(data)

    def _end_block(self) -> None:
        if self._opaque is not None:
            self.out.start(ir.ResponseStart())
            kind = next(iter(self._opaque["start"]))
            self.out.whole(ir.Opaque(NAME, kind, _assembled(self._opaque)))
        elif isinstance(self.out.open_part, ir.Reasoning):
            if self._redacted:
                self._own["redacted"] = _joined(self._redacted)
            # The key says whose thought it is, also where nothing signs it.
            self.out.end_part({NAME: settled(self._own)})
        elif self._index is not None and self.out.open_part is not None:
            self.out.end_part({NAME: self._own} if self._own else None)
        self._index, self._own, self._opaque, self._redacted = None, {}, None, []


def _joined(pieces: list[str]) -> str:
    """Pieces in base64 as one; of the usual one there is no copy."""
    if len(pieces) == 1:
        return pieces[0]
    return base64.b64encode(b"".join(map(base64.b64decode, pieces))).decode()


def _assembled(opaque: JSON) -> JSON:
    """The block that a start and its deltas make, as a whole answer holds it."""
    kind, start = next(iter(opaque["start"].items()))
    block: JSON = dict(start)
    deltas: list[JSON] = [each.get(kind, {}) for each in opaque["deltas"]]
    if kind == "toolUse":
        text = "".join(str(each.get("input", "")) for each in deltas)
        block["input"] = text
    elif deltas:
        block["content"] = deltas
    return {kind: block}
