"""Events to a streamed answer, as Google's SDK takes it."""

from __future__ import annotations

from polycall import ir
from polycall.dialects.gemini_interactions.content import call_step
from polycall.dialects.gemini_interactions.errors import render_error
from polycall.dialects.gemini_interactions.names import NAME
from polycall.dialects.gemini_interactions.response import (
    status_of,
    step_of,
    wire_id,
)
from polycall.dialects.gemini_interactions.stream_decoder import encoded
from polycall.dialects.gemini_interactions.usage import render_usage
from polycall.errors import PolycallError
from polycall.ir import JSON
from polycall.translation.growing import grow_text, settled
from polycall.translation.sse import encode_sse
from polycall.translation.stream import StreamEncoderBase
from polycall.translation.times import written_time


class StreamEncoder(StreamEncoderBase):
    """Events of one answer in, bytes out.

    Text and media one after the other are one step; a part that has no step leaves no gap.
    """

    def __init__(self, request: ir.Request | None = None) -> None:
        del request  # this wire's answers do not depend on what was asked
        self._index = -1
        self._open = ""  # the kind of the open step
        self._part: ir.Part | None = None
        self._frame: JSON = {}
        self._kept: JSON = {}
        self._arguments: list[str] = []
        self.output: list[JSON] = []  # the steps so far, as a whole answer has them

    def fail(self, error: PolycallError) -> bytes:
        """The answer ends in an error."""
        return _event("error", render_error(error)[1])

    def on_start(self, event: ir.ResponseStart) -> bytes:
        self._kept = dict(event.metadata.get(NAME, {}))
        self._frame = {
            "id": wire_id(event.id, event.model, event.created),
            "object": "interaction",
            "model": event.model,
        }
        if event.created:
            self._frame["created"] = self._frame["updated"] = written_time(event.created)
        began = {**self._frame, "status": "in_progress"}
        return _event("interaction.created", {"interaction": began})

    def on_part(self, part: ir.Part) -> bytes:
        self._part = part
        match part:
            case ir.ToolCall():
                own = {k: v for k, v in part.metadata.get(NAME, {}).items() if k != "step"}
                call = {"type": "function_call", "id": part.id, "name": part.name}
                return self._step({**call, "arguments": {}, **own})
            case ir.Reasoning():
                return self.on_delta(part.text) if part.text else b""
            case ir.Text() | ir.Refusal():
                pieces = b""
                if part.metadata.get(NAME, {}).get("step") and self._open == "model_output":
                    pieces = self._stop()
                return pieces + (self.on_delta(part.text) if part.text else b"")
            case ir.Media() | ir.Opaque():
                return self._whole(part)
            case _:
                return b""

    def _whole(self, part: ir.Media | ir.Opaque) -> bytes:
        step = step_of(part)
        if step is None:
            return b""
        if step["type"] != "model_output":
            return self._step(step)
        pieces = b"" if self._open == "model_output" else self._step({"type": "model_output"})
        return pieces + self._send(step["content"][0])

    def on_delta(self, text: str) -> bytes:
        if isinstance(self._part, ir.ToolCall):
            return self._send({"type": "arguments_delta", "arguments": text})
        if isinstance(self._part, ir.Reasoning):
            pieces = b"" if self._open == "thought" else self._step({"type": "thought"})
            content = {"type": "text", "text": text}
            return pieces + self._send({"type": "thought_summary", "content": content})
        pieces = b"" if self._open == "model_output" else self._step({"type": "model_output"})
        return pieces + self._send({"type": "text", "text": text})

    def on_part_end(self, event: ir.PartEnd) -> bytes:
        part, self._part = self._part, None
        if isinstance(part, ir.ToolCall):
            return self._stop()
        if isinstance(part, ir.Text):
            own = ir.merge_metadata(part.metadata, event.metadata).get(NAME, {})
            found = own.get("fields", {}).get("annotations")
            return self._send({"type": "text_annotation", "annotations": found}) if found else b""
        if not isinstance(part, ir.Reasoning):
            return b""
        own = ir.merge_metadata(part.metadata, event.metadata).get(NAME)
        pieces = b""
        if own is not None and self._open != "thought":
            pieces = self._step({"type": "thought"})
        if own and own.get("signature"):
            signature = {"type": "thought_signature", "signature": own["signature"]}
            pieces += self._send(signature)
        return pieces + (self._stop() if self._open == "thought" else b"")

    def _step(self, step: JSON) -> bytes:
        pieces = self._stop()
        self._index += 1
        self._open = str(step["type"])
        self.output.append(dict(step))
        return pieces + _event("step.start", {"index": self._index, "step": step})

    def _send(self, delta: JSON) -> bytes:
        self._note(self.output[-1], delta)
        return _event("step.delta", {"index": self._index, "delta": delta})

    def _note(self, step: JSON, delta: JSON) -> None:
        match delta["type"]:
            case "arguments_delta":
                self._arguments.append(delta["arguments"])
            case "thought_signature":
                step["signature"] = delta["signature"]
            case "thought_summary":
                _grow(step.setdefault("summary", []), delta["content"])
            case "text_annotation":
                pass
            case _:
                _grow(step.setdefault("content", []), delta)

    def _stop(self) -> bytes:
        if not self._open:
            return b""
        if self._arguments:
            text = "".join(self._arguments)
            self._arguments.clear()
            call = call_step(ir.ToolCall("", "", text), "")
            self.output[-1]["arguments"] = call["arguments"]
        step = self.output[-1]
        if (name := _CONTENTS.get(self._open, "")) in step:
            step[name] = [settled(each) for each in step[name]]
        self._open = ""
        return _event("step.stop", {"index": self._index})

    def on_end(self, event: ir.ResponseEnd) -> bytes:
        ended: JSON = {
            **self._frame,
            "status": status_of(event.finish_reason, event.raw_finish_reason),
            "usage": render_usage(event.usage),
            **self._kept,
            **event.metadata.get(NAME, {}),
        }
        if event.usage.service_tier and NAME in event.usage.metadata:
            ended["service_tier"] = event.usage.service_tier
        last = _event("interaction.completed", {"interaction": ended})
        return self._stop() + last + b"event: done\ndata: [DONE]\n\n"


_CONTENTS = {"model_output": "content", "thought": "summary"}


def _grow(contents: list[JSON], piece: JSON) -> None:
    """Add a content, or more text of the last."""
    if contents and piece["type"] == "text" and contents[-1]["type"] == "text":
        grow_text(contents[-1], "text", piece["text"])
    else:
        contents.append({**piece})


def _event(kind: str, fields: JSON) -> bytes:
    return encode_sse(encoded({"event_type": kind, **fields}), kind)
