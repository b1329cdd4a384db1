"""Streamed answers to events.

    message_start (content_block_start content_block_delta* content_block_stop)*
    message_delta+ message_stop        `ping` anywhere, `error` instead of any of them

Servers that speak this wire leave out event names, pings, stops and `message_stop`; start a block
before the last one ended; give a call's input whole at its start.  All of that is taken.  Blocks
are reported in the order of their indexes: pieces of a later block wait until the earlier ones are
complete.  Blocks without a counterpart are collected and reported whole.
"""

from __future__ import annotations

from typing import Any

from polycall.dialects.anthropic.errors import parse_error
from polycall.dialects.anthropic.response import (
    finish_reason,
    is_error,
    own_metadata,
    parse_response,
)
from polycall.dialects.anthropic.stream_items import CallItem, StreamItem, begin_item
from polycall.dialects.anthropic.usage import merge_usage, parse_usage
from polycall.errors import ProtocolError, TruncatedError
from polycall.ir import JSON, ResponseEnd, ResponseStart, Usage
from polycall.translation.calls import UniqueIds
from polycall.translation.failures import failed_end
from polycall.translation.stream import Payload, StreamDecoderBase
from polycall.translation.wire import response_reader

_START_KEYS = frozenset({"id", "type", "role", "model", "content", "stop_reason", "usage"})
_DELTA_KEYS = frozenset({"type", "delta", "usage"})


class StreamDecoder(StreamDecoderBase):
    """Bytes of one answer in, events out."""

    def __init__(self) -> None:
        super().__init__()
        self._blocks: dict[int, StreamItem] = {}  # by the wire's index, the latest of each
        self._queue: dict[int, StreamItem] = {}  # by order, those not yet reported
        self._next = 0
        self._last_index = -1
        self._order_max = -1
        self._usage: JSON = {}
        self._stop_reason: str | None = None
        self._metadata: JSON = {}
        self._call_ids = UniqueIds()
        self._has_calls = False

    def usage_so_far(self) -> Usage:
        """The counts are cumulative."""
        return parse_usage(self._usage or None)

    def on_payload(self, payload: Payload) -> None:
        """Take one event of the wire; unknown ones say nothing that is needed."""
        if self.out.ended:
            return
        data = payload.data
        kind = data.get("type") or payload.event
        match kind:
            case "content_block_delta":
                self._on_delta(data)
            case "content_block_start":
                self._on_start(data)
            case "content_block_stop":
                self._on_stop(data)
            case "message_start":
                self._on_message(data)
            case "message_delta":
                self._on_message_delta(data)
            case "message_stop":
                self._note({key: value for key, value in data.items() if key != "type"})
                self._end()
            case _:
                if is_error({**data, "type": kind or None}):
                    raise parse_error(200, data)

    def on_close(self) -> None:
        """The bytes have ended; a stop reason is the least that a complete answer has."""
        if self.out.ended:
            return
        if self._stop_reason is None:
            raise TruncatedError("the stream ended before 'message_stop' and without a stop reason")
        self._end()

    def on_whole_body(self, body: JSON) -> None:
        """The server answered with one JSON body."""
        self.out.answer(parse_response(body))

    # The message

    def _on_message(self, data: JSON) -> None:
        reader = response_reader
        message = reader.get_object(data, "message", "")
        self._usage = merge_usage(self._usage, reader.get_object(message, "usage", "message"))
        fields = {key: value for key, value in message.items() if key not in _START_KEYS}
        self.out.start(
            ResponseStart(
                id=reader.get_string(message, "id", "message"),
                model=reader.get_string(message, "model", "message"),
                usage=parse_usage(self._usage, "message.usage"),
                metadata=own_metadata(fields),
            )
        )

    def _on_message_delta(self, data: JSON) -> None:
        reader = response_reader
        delta = reader.get_object(data, "delta", "")
        reason = delta.get("stop_reason")
        if reason is not None:
            self._stop_reason = reader.string(reason, "delta.stop_reason")
            failure = failed_end(self._stop_reason)
            if failure is not None:
                raise failure
        self._usage = merge_usage(self._usage, reader.get_object(data, "usage", ""))
        self._note({key: value for key, value in delta.items() if key != "stop_reason"})
        self._note({key: value for key, value in data.items() if key not in _DELTA_KEYS})

    def _note(self, fields: JSON) -> None:
        self._metadata.update((key, value) for key, value in fields.items() if value is not None)

    def _end(self) -> None:
        for block in self._queue.values():
            block.is_stopped = True
        for order in sorted(self._queue):
            self._next = order
            self._advance()
        self.out.start(ResponseStart())
        raw = self._stop_reason or ""
        self.out.end(
            ResponseEnd(
                finish_reason=finish_reason(raw, has_calls=self._has_calls),
                raw_finish_reason=raw,
                usage=self.usage_so_far(),
                metadata=own_metadata(self._metadata),
            )
        )

    # Blocks, in the order of the wire

    def _on_start(self, data: JSON) -> None:
        reader = response_reader
        index = reader.get_int(data, "index", "")
        wire = reader.object(data.get("content_block"), "content_block")
        self._add(self._last_index + 1 if index is None else index, wire)

    def _add(self, index: int, wire: JSON) -> StreamItem:
        order = index
        if index in self._blocks:  # some servers give every block the same index
            order = self._order_max + 1
            self._stop(self._blocks[index])
        block = begin_item(wire, order, self.out, self._call_ids)
        self._has_calls = self._has_calls or isinstance(block, CallItem)
        self._last_index = index
        self._order_max = max(self._order_max, order)
        self._blocks[index] = self._queue[order] = block
        self._advance()
        return block

    def _on_delta(self, data: JSON) -> None:
        wire: Any = data.get("delta")
        is_object = type(wire) is dict
        if not is_object:
            response_reader.object(wire, "delta")
        delta: JSON = wire
        index: Any = data.get("index")
        if type(index) is not int:
            index = self._index(data)
        block = self._blocks.get(index)
        if block is None:
            block = self._add(max(index, 0), _implied_block(delta))
        if block.is_stopped:
            raise ProtocolError("a delta for a block that has ended", path=f"content[{index}]")
        if block.is_open:
            block.grow(delta)
        else:
            block.waiting.append(delta)

    def _on_stop(self, data: JSON) -> None:
        block = self._blocks.get(self._index(data))
        if block is not None:
            self._stop(block)

    def _index(self, data: JSON) -> int:
        index = response_reader.get_int(data, "index", "")
        return self._last_index if index is None else index

    # Blocks, in the order of their indexes

    def _stop(self, block: StreamItem) -> None:
        block.is_stopped = True
        if block.is_open:
            self._advance()

    def _advance(self) -> None:
        """Tell what can be reported: the block whose turn it is, and those complete after it."""
        while (block := self._queue.get(self._next)) is not None:
            if not block.is_open:
                block.is_open = True
                self.out.start(ResponseStart())
                block.open()
                for delta in block.waiting:
                    block.grow(delta)
                block.waiting.clear()
            if not block.is_stopped:
                return
            del self._queue[self._next]
            self._next += 1
            block.close()


def _implied_block(delta: JSON) -> JSON:
    """The block of a delta that nothing announced."""
    match delta.get("type"):
        case "text_delta":
            return {"type": "text"}
        case "thinking_delta":
            return {"type": "thinking"}
        case kind:
            raise ProtocolError(f"{kind!r} for a block that has not begun", path="delta")
