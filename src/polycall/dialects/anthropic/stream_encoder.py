"""Events to a streamed answer, as the vendor's SDKs take it.

Indexes are 0, 1, 2... without gaps; every event has its `event:` line; a call begins with an
empty input and at least one `input_json_delta`; a signature comes just before its block's end;
`message_delta` has the stop reason and the cumulative usage.
"""

from __future__ import annotations

from polycall import ir
from polycall._support import jsontext
from polycall.dialects.anthropic.content import reasoning_block, response_call_block, text_block
from polycall.dialects.anthropic.errors import render_error
from polycall.dialects.anthropic.names import NAME
from polycall.dialects.anthropic.response import (
    MESSAGE_FIELDS,
    USAGE_FIELDS,
    is_shown_empty,
    media_note,
    stop_reason,
    wire_id,
    with_every_field,
)
from polycall.dialects.anthropic.usage import render_usage
from polycall.errors import PolycallError
from polycall.ir import JSON
from polycall.translation.sse import encode_sse
from polycall.translation.stream import StreamEncoderBase

_DELTA_HEAD = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
_TEXT = _DELTA_HEAD + b'"delta":{"type":"text_delta","text":'
_THINKING = _DELTA_HEAD + b'"delta":{"type":"thinking_delta","thinking":'
_INPUT = _DELTA_HEAD + b'"delta":{"type":"input_json_delta","partial_json":'
_TAIL = b"}}\n\n"
_STOP = b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n'

# What models write for "no arguments", and every beginning of it: held back, since this wire
# says `{}` or nothing.
_EMPTY_INPUT = ("null", '""')
_EMPTY_BEGINNINGS = frozenset(word[:n] for word in _EMPTY_INPUT for n in range(len(word) + 1))

# Fields of `message_delta` that stand inside its `delta`.
_IN_DELTA = ("stop_sequence", "stop_details", "container")


class StreamEncoder(StreamEncoderBase):
    """Events of one answer in, bytes out.

    A part that has no block (another vendor's state without text) leaves no gap.
    """

    def __init__(self, request: ir.Request | None = None) -> None:
        del request  # this wire's answers do not depend on what was asked
        self._index = 0
        self._part: ir.Part | None = None  # open, and its block too unless `_waits`
        self._waits = False
        self._prefix = b""  # of the deltas of the open block
        self._input: str | None = None  # what may be an empty input; `None` once it is not
        self._start_usage: JSON = {}
        self._is_own = False
        self._metadata: JSON = {}

    def fail(self, error: PolycallError) -> bytes:
        """The answer ends in an error."""
        return encode_sse(jsontext.encode_bytes(render_error(error)[1]), "error")

    # The message

    def on_start(self, event: ir.ResponseStart) -> bytes:
        self._is_own = NAME in event.usage.metadata or NAME in event.metadata
        self._metadata = event.metadata.get(NAME, {})
        # The SDKs want both counts at the start; later ones replace them.
        known = bool(event.usage.metadata) or event.usage.is_reported
        self._start_usage = render_usage(event.usage) if known else dict(_NOTHING_YET)
        more: JSON = {}
        if not self._is_own:
            self._start_usage = {**USAGE_FIELDS, **self._start_usage}
            more = MESSAGE_FIELDS
        message: JSON = {
            "id": wire_id(event.id, event.model, event.created, is_own=self._is_own),
            "type": "message",
            "role": "assistant",
            "model": event.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            **more,
            **self._metadata,
            "usage": self._start_usage,
        }
        return _event("message_start", {"message": message})

    def on_end(self, event: ir.ResponseEnd) -> bytes:
        own = event.metadata.get(NAME, {})
        is_own = self._is_own or NAME in event.usage.metadata or bool(own)
        reason = stop_reason(event.finish_reason, event.raw_finish_reason, is_own=is_own, own=own)
        delta: JSON = {"stop_reason": reason, "stop_sequence": None}
        delta.update((key, own[key]) for key in _IN_DELTA if key in own)
        more = {key: value for key, value in own.items() if key not in _IN_DELTA}
        usage = {
            key: value
            for key, value in render_usage(event.usage).items()
            if key not in _ONCE or self._start_usage.get(key) != value
        }
        end = _event("message_delta", {"delta": delta, "usage": usage, **more})
        return end + b'event: message_stop\ndata: {"type":"message_stop"}\n\n'

    # Blocks

    def on_part(self, part: ir.Part) -> bytes:
        self._part = part
        self._waits = False
        self._input = None
        match part:
            case ir.Text() | ir.Refusal() | ir.Reasoning():
                text = part.text
                if not (text or is_shown_empty(part)):
                    self._waits = True  # until there is text
                    return b""
                return self._open_text(part) + (self.on_delta(text) if text else b"")
            case ir.ToolCall():
                self._prefix = _INPUT % self._index
                block: JSON = {**response_call_block(part), "input": {}}
                self._input = ""
                first = self.on_delta(part.arguments_json) if part.arguments_json else b""
                return self._start(block) + self._prefix + b'""' + _TAIL + first
            case ir.Opaque():
                return self._whole(part)
            case ir.Media():
                block = {"type": "text", "text": ""}
                self._prefix = _TEXT % self._index
                return self._start(block) + self.on_delta(media_note(part))
            case ir.ToolResult():
                self._waits = True
                return b""

    def _open_text(self, part: ir.Text | ir.Refusal | ir.Reasoning) -> bytes:
        self._waits = False
        if isinstance(part, ir.Reasoning):
            self._prefix = _THINKING % self._index
            block = reasoning_block(part)
            if block["type"] == "thinking":
                block.update(thinking="", signature="")
            return self._start(block)
        self._prefix = _TEXT % self._index
        block = text_block(part) if isinstance(part, ir.Text) else {"type": "text"}
        block.pop("citations", None)  # they follow as deltas
        return self._start({**block, "text": ""})

    def _whole(self, part: ir.Opaque) -> bytes:
        if part.dialect != NAME:
            self._waits = True
            return b""
        given = part.data.get("input")
        if not isinstance(given, dict):
            return self._start(part.data)
        # Clients read the input of a server's tool from deltas, as that of any other.
        item = jsontext.encode_bytes(jsontext.encode(given))
        block: JSON = {**part.data, "input": {}}
        return self._start(block) + _INPUT % self._index + item + _TAIL

    def _start(self, block: JSON) -> bytes:
        if not self._is_own:
            block = with_every_field(block)
        return _event("content_block_start", {"index": self._index, "content_block": block})

    def on_delta(self, text: str) -> bytes:
        if self._waits:
            part = self._part
            if not isinstance(part, ir.Text | ir.Refusal | ir.Reasoning):
                return b""
            return self._open_text(part) + self.on_delta(text)
        if self._input is not None:
            self._input += text
            if self._input.strip() in _EMPTY_BEGINNINGS:
                return b""
            text, self._input = self._input, None
        return self._prefix + jsontext.encode_bytes(text) + _TAIL if text else b""

    def on_part_end(self, event: ir.PartEnd) -> bytes:
        part, index = self._part, self._index
        self._part = None
        if self._waits:
            if not (isinstance(part, ir.Text | ir.Reasoning) and NAME in event.metadata):
                return b""
            opened = self._open_text(part)
        else:
            opened = b""
        self._index += 1
        last = self._last_deltas(part, event, index)
        return opened + last + _STOP % index

    def _last_deltas(self, part: ir.Part | None, event: ir.PartEnd, index: int) -> bytes:
        match part:
            case ir.ToolCall():
                rest, self._input = self._input, None
                if not rest or rest.strip() in ("", *_EMPTY_INPUT):
                    return b""
                return self._prefix + jsontext.encode_bytes(rest) + _TAIL
            case ir.Text() | ir.Reasoning():
                own = ir.merge_metadata(part.metadata, event.metadata).get(NAME, {})
            case _:
                return b""
        if isinstance(part, ir.Text):
            return b"".join(
                _delta(index, {"type": "citations_delta", "citation": citation})
                for citation in own.get("citations", [])
            )
        if "redacted_data" in own:
            return b""
        return _delta(index, {"type": "signature_delta", "signature": own.get("signature", "")})


_NOTHING_YET: JSON = {"input_tokens": 0, "output_tokens": 0}

# Said in `message_start`, and not again.
_ONCE = frozenset({"service_tier", "inference_geo", "speed", "cache_creation"})


def _delta(index: int, delta: JSON) -> bytes:
    return _event("content_block_delta", {"index": index, "delta": delta})


def _event(name: str, fields: JSON) -> bytes:
    return encode_sse(jsontext.encode_bytes({"type": name, **fields}), name)
