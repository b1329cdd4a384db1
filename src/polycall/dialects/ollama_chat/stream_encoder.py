"""Events to a streamed answer: an object a line.  Calls come whole, as the vendor sends them."""

from __future__ import annotations

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
from polycall.ir import (
    JSON,
    Event,
    Media,
    Part,
    PartDelta,
    PartEnd,
    PartStart,
    Reasoning,
    Refusal,
    Request,
    ResponseEnd,
    ResponseStart,
    Text,
    ToolCall,
    merge_metadata,
)


class StreamEncoder:
    """Events of one answer in, bytes out."""

    def __init__(self, request: Request | None = None) -> None:
        del request  # this wire's answers do not depend on what was asked
        self._frame: JSON = {}
        self._part: Part | None = None
        self._arguments: list[str] = []
        self._calls = 0

    def feed(self, event: Event) -> bytes:
        """The bytes of one event; none where the wire has nothing for it."""
        match event:
            case PartDelta():
                return self._delta(event.text)
            case PartStart():
                self._part = event.part
                self._arguments.clear()
                return self._begin(event.part)
            case PartEnd():
                return self._end(event)
            case ResponseStart():
                created = render_time(event.created)
                self._frame = {"model": event.model, "created_at": created}
                return b""
            case ResponseEnd():
                return self._last(event)

    def close(self) -> bytes:
        """Nothing: the last line came with the end of the response."""
        return b""

    def fail(self, error: PolycallError) -> bytes:
        """The answer ends in an error."""
        return line(render_error(error)[1])

    def _begin(self, part: Part) -> bytes:
        if isinstance(part, Media):
            return self._line({"content": f"[{part.kind} left out: {part.media_type}]"})
        if isinstance(part, Text | Reasoning | Refusal) and part.text:
            return self._delta(part.text)
        return b""

    def _delta(self, text: str) -> bytes:
        if isinstance(self._part, ToolCall):
            self._arguments.append(text)
            return b""
        if isinstance(self._part, Reasoning):
            return self._line({"content": "", "thinking": text})
        return self._line({"content": text})

    def _end(self, end: PartEnd) -> bytes:
        part, self._part = self._part, None
        if not isinstance(part, ToolCall):
            return b""
        text = part.arguments_json if not self._arguments else "".join(self._arguments)
        metadata = merge_metadata(part.metadata, end.metadata)
        call = ToolCall(part.id, part.name, text, metadata=metadata)
        wire = answer_call(call, self._calls)
        self._calls += 1
        return self._line({"content": "", "tool_calls": [wire]})

    def _line(self, message: JSON) -> bytes:
        return line({**self._frame, "message": {"role": "assistant", **message}, "done": False})

    def _last(self, end: ResponseEnd) -> bytes:
        return line(
            {
                **self._frame,
                "message": {"role": "assistant", "content": ""},
                "done": True,
                "done_reason": done_reason(end.finish_reason, end.raw_finish_reason),
                **render_usage(end.usage),
                **end.metadata.get(NAME, {}),
            }
        )
