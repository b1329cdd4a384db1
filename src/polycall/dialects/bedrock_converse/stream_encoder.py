"""Events to a streamed answer, in AWS's framing, as its SDKs take it."""

from __future__ import annotations

import time

from polycall import ir
from polycall._support import jsontext
from polycall._support.event_stream import event as event_frame
from polycall._support.event_stream import exception
from polycall.dialects.bedrock_converse.errors import stream_exception
from polycall.dialects.bedrock_converse.names import NAME
from polycall.dialects.bedrock_converse.response import answer_block, stop_reason
from polycall.dialects.bedrock_converse.usage import render_usage
from polycall.errors import PolycallError
from polycall.ir import JSON
from polycall.translation.stream import StreamEncoderBase

_IN_STOP = "additionalModelResponseFields"


class StreamEncoder(StreamEncoderBase):
    """Events of one answer in, bytes out.

    A part that has no block (another vendor's state without text) leaves no gap.
    """

    def __init__(self, request: ir.Request | None = None) -> None:
        del request  # this wire's answers do not depend on what was asked
        self._began_at = time.monotonic()
        self._index = 0
        self._part: ir.Part | None = None
        self._has_block = False
        self._kept: JSON = {}

    def fail(self, error: PolycallError) -> bytes:
        """The answer ends in an exception."""
        kind, payload = stream_exception(error)
        return exception(kind, jsontext.encode_bytes(payload))

    def on_start(self, event: ir.ResponseStart) -> bytes:
        """The message begins, with nothing but its role."""
        self._kept = dict(event.metadata.get(NAME, {}))
        return _event("messageStart", {"role": "assistant"})

    def on_part(self, part: ir.Part) -> bytes:
        self._part, self._has_block = part, False
        match part:
            case ir.ToolCall():
                self._has_block = True
                fields: JSON = part.metadata.get(NAME, {}).get("fields", {})
                start = {"toolUse": {"toolUseId": part.id, "name": part.name, **fields}}
                return self._block("contentBlockStart", {"start": start})
            case ir.Media() | ir.Opaque():
                return self._whole(part)
            case ir.Text() | ir.Refusal() | ir.Reasoning():
                return self.on_delta(part.text) if part.text else b""
            case _:
                return b""

    def _whole(self, part: ir.Media | ir.Opaque) -> bytes:
        block = answer_block(part)
        if block is None:
            return b""
        self._has_block = True
        kind, inner = next(iter(block.items()))
        if kind == "text":
            return self._block("contentBlockDelta", {"delta": block})
        if kind == "toolUse":
            text = inner.get("input", "")
            text = text if isinstance(text, str) else jsontext.encode(text)
            start = {key: value for key, value in inner.items() if key != "input"}
            return self._block("contentBlockStart", {"start": {kind: start}}) + self._block(
                "contentBlockDelta", {"delta": {kind: {"input": text}}}
            )
        if kind == "image":
            start = {"format": inner["format"]}
            delta = {"image": {"source": inner["source"]}}
            return self._block("contentBlockStart", {"start": {kind: start}}) + self._block(
                "contentBlockDelta", {"delta": delta}
            )
        self._has_block = False  # streams of this wire hold nothing else
        return b""

    def on_delta(self, text: str) -> bytes:
        self._has_block = True
        if isinstance(self._part, ir.ToolCall):
            return self._block("contentBlockDelta", {"delta": {"toolUse": {"input": text}}})
        if isinstance(self._part, ir.Reasoning):
            return self._block("contentBlockDelta", {"delta": {"reasoningContent": {"text": text}}})
        return self._block("contentBlockDelta", {"delta": {"text": text}})

    def on_part_end(self, event: ir.PartEnd) -> bytes:
        part, pieces = self._part, b""
        self._part = None
        if isinstance(part, ir.Reasoning | ir.Text):
            own = ir.merge_metadata(part.metadata, event.metadata).get(NAME, {})
            for key, name in (("signature", "signature"), ("redacted", "redactedContent")):
                if own.get(key):
                    self._has_block = True
                    delta = {"reasoningContent": {name: own[key]}}
                    pieces += self._block("contentBlockDelta", {"delta": delta})
            for citation in own.get("citations", ()):
                self._has_block = True
                pieces += self._block("contentBlockDelta", {"delta": {"citation": citation}})
        if not self._has_block:
            return b""
        pieces += self._block("contentBlockStop", {})
        self._index += 1
        return pieces

    def on_end(self, event: ir.ResponseEnd) -> bytes:
        kept = {**self._kept, **event.metadata.get(NAME, {})}
        stop: JSON = {"stopReason": stop_reason(event.finish_reason, event.raw_finish_reason)}
        if _IN_STOP in kept:
            stop[_IN_STOP] = kept.pop(_IN_STOP)
        latency = {"latencyMs": int((time.monotonic() - self._began_at) * 1000)}
        metadata = {"usage": render_usage(event.usage), "metrics": latency, **kept}
        return _event("messageStop", stop) + _event("metadata", metadata)

    def _block(self, kind: str, fields: JSON) -> bytes:
        return _event(kind, {**fields, "contentBlockIndex": self._index})


def _event(kind: str, payload: JSON) -> bytes:
    return event_frame(kind, jsontext.encode_bytes(payload))
