"""Streamed answers to events.

    interaction.created (step.start step.delta* step.stop)* interaction.completed

`interaction.status_update` anywhere, `error` instead of any of them.
"""

from __future__ import annotations

from typing import Any

from polycall import ir
from polycall._support import jsontext
from polycall.dialects.gemini_interactions.content import (
    parse_call,
    parse_content,
    parse_contents,
    parse_thought,
)
from polycall.dialects.gemini_interactions.errors import parse_error
from polycall.dialects.gemini_interactions.names import NAME
from polycall.dialects.gemini_interactions.response import (
    finish_reason,
    own_metadata,
    parse_response,
)
from polycall.dialects.gemini_interactions.usage import parse_usage
from polycall.errors import ProtocolError, TruncatedError
from polycall.ir import JSON
from polycall.translation.stream import Payload, StreamDecoderBase
from polycall.translation.times import read_time
from polycall.translation.wire import response_reader as reader


class StreamDecoder(StreamDecoderBase):
    """Bytes of one answer in, events out."""

    def __init__(self) -> None:
        super().__init__()
        self._kind = ""  # of the open step
        self._opaque: JSON | None = None
        self._own: JSON = {}  # metadata of the open part
        self._arguments = ""  # that came with the start of a call, and no delta after it
        self._steps = 0
        self._outputs = 0  # steps of output right before
        self._has_calls = False
        self._usage: Any = None
        self._tier: Any = None
        self._created = 0

    def usage_so_far(self) -> ir.Usage:
        """The usage that the wire reported."""
        return parse_usage(self._usage, self._tier)

    def on_payload(self, payload: Payload) -> None:
        """Take one event; unknown ones say nothing that is needed."""
        if self.out.ended:
            return
        data = payload.data
        match data.get("event_type") or payload.event:
            case "step.delta":
                self._on_delta(reader.get_object(data, "delta", ""))
            case "step.start":
                self._on_start(reader.get_object(data, "step", ""))
            case "step.stop":
                self._usage = data.get("usage") or self._usage
                self._end_step()
            case "interaction.created" | "interaction.start":
                self._begin(reader.get_object(data, "interaction", ""))
            case "interaction.completed" | "interaction.complete":
                self._end(reader.get_object(data, "interaction", ""))
            case "error" | "interaction.cancelled":
                raise parse_error(200, data)
            case _:
                if data.get("error") is not None:
                    raise parse_error(200, data)

    def on_close(self) -> None:
        """The bytes have ended."""
        if not self.out.ended:
            raise TruncatedError("the stream ended before 'interaction.completed'")

    def on_whole_body(self, body: JSON) -> None:
        """The server answered with one JSON body."""
        self.out.answer(parse_response(body))

    def _begin(self, interaction: JSON) -> None:
        self._created = read_time(interaction.get("created"))
        self.out.start(
            ir.ResponseStart(
                id=reader.get_string(interaction, "id", "interaction"),
                model=reader.get_string(interaction, "model", "interaction"),
                created=self._created,
            )
        )

    def _end(self, interaction: JSON) -> None:
        self._end_step()
        raw = reader.get_string(interaction, "status", "interaction")
        if raw == "failed":
            raise parse_error(200, interaction)
        self._begin(interaction)
        self._usage = interaction.get("usage") or self._usage
        self._tier = interaction.get("service_tier")
        self.out.end(
            ir.ResponseEnd(
                finish_reason=finish_reason(raw, has_calls=self._has_calls),
                raw_finish_reason=raw,
                usage=self.usage_so_far(),
                metadata=own_metadata(interaction),
            )
        )

    # Steps

    def _on_start(self, step: JSON) -> None:
        self._end_step()
        self.out.start(ir.ResponseStart())
        self._steps += 1
        self._kind = reader.string(step.get("type"), "step.type")
        was_output, self._outputs = self._outputs, 0
        match self._kind:
            case "model_output":
                self._outputs = 1
                self._own = {"step": True} if was_output else {}
                for part in parse_contents(step.get("content"), "step.content", reader):
                    if isinstance(part, ir.Text):
                        self._text(part.text)
                    else:
                        self.out.whole(part)
            case "thought":
                part = parse_thought(step, "step", reader)
                self.out.open(ir.Reasoning("", {NAME: {}}))
                self.out.delta(part.text)
                self._own = dict(part.metadata[NAME])
            case "function_call":
                self._has_calls = True
                call = parse_call(step, self._steps, "step", reader)
                self._arguments = call.arguments_json if step.get("arguments") else ""
                self.out.open(ir.ToolCall(call.id, call.name, "", metadata=call.metadata))
            case _:
                self._opaque = {"step": dict(step), "deltas": []}

    def _on_delta(self, delta: JSON) -> None:
        if self._opaque is not None:
            self._opaque["deltas"].append(delta)
            return
        match delta.get("type"):
            case "text":
                self._text(reader.get_string(delta, "text", "delta"))
            case "arguments_delta":
                if not isinstance(self.out.open_part, ir.ToolCall):
                    raise ProtocolError("arguments without a call", path="delta")
                self._arguments = ""
                self.out.delta(reader.get_string(delta, "arguments", "delta"))
            case "thought_summary":
                content = reader.get_object(delta, "content", "delta")
                self._think(reader.get_string(content, "text", "delta.content"))
            case "thought_signature":
                self._think("")
                self._own["signature"] = reader.get_string(delta, "signature", "delta")
            case "text_annotation":
                fields = self._own.setdefault("fields", {})
                known: list[Any] = fields.setdefault("annotations", [])
                known += reader.get_array(delta, "annotations", "delta")
            case "image" | "audio" | "video" | "document":
                self._end_part()
                self.out.whole(parse_content(delta, "delta", reader))
            case _:
                pass

    def _text(self, text: str) -> None:
        if not isinstance(self.out.open_part, ir.Text):
            own, self._own = self._own, {}
            self.out.open(ir.Text("", {NAME: own} if own else {}))
        self.out.delta(text)

    def _think(self, text: str) -> None:
        if not isinstance(self.out.open_part, ir.Reasoning):
            self.out.open(ir.Reasoning("", {NAME: {}}))
        self.out.delta(text)

    def _end_step(self) -> None:
        if self._opaque is not None:
            step: JSON = self._opaque["step"]
            for delta in self._opaque["deltas"]:
                step.update((k, v) for k, v in delta.items() if k != "type" and v is not None)
            self.out.whole(ir.Opaque(NAME, self._kind, step))
            self._opaque = None
        elif self._arguments:
            self.out.delta(self._arguments)
            self._arguments = ""
        self._end_part()
        self._kind = ""

    def _end_part(self) -> None:
        if self.out.open_part is not None:
            self.out.end_part({NAME: self._own} if self._own else None)
        self._own = {}


def encoded(body: JSON) -> bytes:
    """JSON, as the encoder writes it."""
    return jsontext.encode_bytes(body)
