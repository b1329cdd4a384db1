"""Events to a streamed answer: an object a line.  Calls come whole, as the vendor sends them."""

from __future__ import annotations

from polycall import ir
from polycall.dialects.ollama_chat.errors import render_error
from polycall.dialects.ollama_chat.names import NAME
from polycall.dialects.ollama_chat.response import (
    answer_call,
    done_reason,
    render_time,
    render_usage,
)
from polycall.dialects.ollama_chat.stream_decoder import line
from polycall.errors import PolycallError
from polycall.ir import JSON
from polycall.translation.stream import StreamEncoderBase


class StreamEncoder(StreamEncoderBase):
    """Events of one answer in, bytes out."""

    def __init__(self, request: ir.Request | None = None) -> None:
        del request  # this wire's answers do not depend on what was asked
        self._frame: JSON = {}
        self._part: ir.Part | None = None
        self._arguments: list[str] = []
        self._calls = 0

    def fail(self, error: PolycallError) -> bytes:
        """The answer ends in an error."""
        return line(render_error(error)[1])

    def on_start(self, event: ir.ResponseStart) -> bytes:
        """Nothing yet: every line repeats what the response begins with."""
        self._frame = {"model": event.model, "created_at": render_time(event.created)}
        return b""

    def on_part(self, part: ir.Part) -> bytes:
        """A line, where the part begins with something."""
        self._part = part
        self._arguments.clear()
        if isinstance(part, ir.Media):
            return self._line({"content": f"[{part.kind} left out: {part.media_type}]"})
        if isinstance(part, ir.Text | ir.Reasoning | ir.Refusal) and part.text:
            return self.on_delta(part.text)
        return b""

    def on_delta(self, text: str) -> bytes:
        if isinstance(self._part, ir.ToolCall):
            self._arguments.append(text)
            return b""
        if isinstance(self._part, ir.Reasoning):
            return self._line({"content": "", "thinking": text})
        return self._line({"content": text})

    def on_part_end(self, event: ir.PartEnd) -> bytes:
        part, self._part = self._part, None
        if not isinstance(part, ir.ToolCall):
            return b""
        text = part.arguments_json if not self._arguments else "".join(self._arguments)
        metadata = ir.merge_metadata(part.metadata, event.metadata)
        call = ir.ToolCall(part.id, part.name, text, metadata=metadata)
        wire = answer_call(call, self._calls)
        self._calls += 1
        return self._line({"content": "", "tool_calls": [wire]})

    def _line(self, message: JSON) -> bytes:
        return line({**self._frame, "message": {"role": "assistant", **message}, "done": False})

    def on_end(self, event: ir.ResponseEnd) -> bytes:
        return line(
            {
                **self._frame,
                "message": {"role": "assistant", "content": ""},
                "done": True,
                "done_reason": done_reason(event.finish_reason, event.raw_finish_reason),
                **render_usage(event.usage),
                **event.metadata.get(NAME, {}),
            }
        )
