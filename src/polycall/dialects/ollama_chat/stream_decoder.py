"""Streamed answers to events: an object a line, the last one with `done`."""

from __future__ import annotations

from typing import Any

from polycall._support import jsontext
from polycall.dialects.ollama_chat.errors import parse_error
from polycall.dialects.ollama_chat.messages import parse_parts
from polycall.dialects.ollama_chat.names import NAME
from polycall.dialects.ollama_chat.response import (
    finish_reason,
    own_metadata,
    parse_response,
    parse_usage,
)
from polycall.errors import TruncatedError
from polycall.ir import JSON, Part, Reasoning, ResponseEnd, ResponseStart, Text, ToolCall, Usage
from polycall.translation.calls import UniqueIds
from polycall.translation.failures import failed_end
from polycall.translation.sse import LinesDecoder
from polycall.translation.stream import Framing, Payload, StreamDecoderBase
from polycall.translation.times import read_time
from polycall.translation.wire import response_reader as reader


class StreamDecoder(StreamDecoderBase):
    """Bytes of one answer in, events out."""

    def __init__(self) -> None:
        super().__init__()
        self._ids = UniqueIds()
        self._calls = 0
        self._last: JSON = {}

    def framing(self, head: bytes) -> Framing:
        """Lines, unless a proxy sends events."""
        if head[:5] in (b"data:", b"event"):
            return super().framing(head)
        return LinesDecoder(event_bytes_max=self.event_bytes_max)

    def usage_so_far(self) -> Usage:
        """The usage in the last line."""
        return parse_usage(self._last)

    def on_payload(self, payload: Payload) -> None:
        """Take one line."""
        data = payload.data
        if self.out.ended:
            return
        if data.get("error") is not None:
            raise parse_error(200, data)
        self.out.start(
            ResponseStart(
                model=reader.get_string(data, "model", ""),
                created=read_time(data.get("created_at")),
            )
        )
        message = reader.get_object(data, "message", "")
        for part in parse_parts(message, "message", reader, self._calls):
            self._tell(part)
        if data.get("done") is True:
            self._end(data)

    def _tell(self, part: Part) -> None:
        match part:
            case Text() | Reasoning():
                if type(self.out.open_part) is not type(part):
                    empty = Text("") if isinstance(part, Text) else Reasoning("", {NAME: {}})
                    self.out.open(empty)
                self.out.delta(part.text)
            case ToolCall():
                self._calls += 1
                call_id = self._ids.take(part.id)
                self.out.open(ToolCall(call_id, part.name, "", metadata=part.metadata))
                self.out.delta(part.arguments_json)
                self.out.end_part()
            case _:
                self.out.whole(part)

    def _end(self, data: JSON) -> None:
        self._last = data
        raw: Any = data.get("done_reason") or ""
        raw = reader.string(raw, "done_reason")
        if (failure := failed_end(raw)) is not None:
            raise failure
        self.out.end(
            ResponseEnd(
                finish_reason=finish_reason(raw, has_calls=self._calls > 0),
                raw_finish_reason=raw,
                usage=parse_usage(data),
                metadata=own_metadata(data),
            )
        )

    def on_close(self) -> None:
        """The bytes have ended."""
        if not self.out.ended:
            raise TruncatedError("the stream ended before a line with 'done'")

    def on_whole_body(self, body: JSON) -> None:
        """The server answered with one JSON body over several lines."""
        self.out.answer(parse_response(body))


def line(body: JSON) -> bytes:
    """One line of a stream."""
    return jsontext.encode_bytes(body) + b"\n"
