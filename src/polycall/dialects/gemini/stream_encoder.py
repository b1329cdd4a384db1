"""Events to a streamed answer, as Google's SDKs take it.

Google's Python SDK reads a stream without mercy: lines other than `data: ` with a space, comments
and `[DONE]` end it with an error.  It cannot read calls in pieces without being asked to, so a
call is sent when its arguments are complete.
"""

from __future__ import annotations

from typing import Literal

from polycall import ir
from polycall._support import jsontext
from polycall.dialects.gemini.content import (
    NAME,
    own_of,
    wire_fields,
)
from polycall.dialects.gemini.errors import render_error
from polycall.dialects.gemini.response import head, render_part, tail
from polycall.errors import PolycallError
from polycall.fold import finish_part
from polycall.ir import JSON
from polycall.translation.stream import StreamEncoderBase

_BLANK = b"\r\n\r\n"


class StreamEncoder(StreamEncoderBase):
    """Events in, chunks out; each chunk has the shape of a whole answer.

    Text goes out as it comes.  What Google sends whole goes out whole: calls, media, and texts
    that carry a signature.
    """

    def __init__(
        self,
        request: ir.Request | None = None,
        *,
        framing: Literal["sse", "json-array"] = "sse",
    ) -> None:
        self._model = request.model if request else ""
        self._is_array = framing == "json-array"
        self._is_first = True
        self._is_over = False
        self._head: JSON = {}
        self._part: ir.Part | None = None  # the open part, where it must go out whole
        self._texts: list[str] = []
        self._is_thought = False
        self._broken: ir.ToolCall | None = None

    def close(self) -> bytes:
        """The bytes after the last event: the end of the array, where it is one."""
        if not self._is_array or self._is_over:
            return b""
        self._is_over = True
        return b"[]" if self._is_first else b"]"

    def fail(self, error: PolycallError) -> bytes:
        """The bytes that end a started stream with an error."""
        frame = self._frame(render_error(error)[1])
        return frame + self.close()

    def on_start(self, event: ir.ResponseStart) -> bytes:
        """Nothing yet: every chunk repeats what the response begins with."""
        self._head = head(event.id, event.model or self._model)
        return b""

    def on_delta(self, text: str) -> bytes:
        """A chunk, unless the open part must go out whole."""
        if self._part is not None:
            self._texts.append(text)
            return b""
        return self._text_chunk(text)

    def on_part(self, part: ir.Part) -> bytes:
        is_text = isinstance(part, ir.Text | ir.Reasoning | ir.Refusal)
        if is_text and not wire_fields(own_of(part)):
            self._is_thought = isinstance(part, ir.Reasoning)
            return self._text_chunk(part.text)
        self._part, self._texts = part, []
        return b""

    def on_part_end(self, event: ir.PartEnd) -> bytes:
        if self._part is None:
            # A signature that became known after its text went out follows on an empty text.
            beside = wire_fields(event.metadata.get(NAME))
            if not beside:
                return b""
            thought: JSON = {"thought": True} if self._is_thought else {}
            return self._chunk({"text": "", **thought, **beside})
        part = finish_part(self._part, "".join(self._texts), event.metadata)
        self._part, self._texts = None, []
        if isinstance(part, ir.ToolCall) and part.arguments is None:
            self._broken = self._broken or part
            return b""
        wire = render_part(part)
        return b"" if wire is None else self._chunk(wire)

    def _text_chunk(self, text: str) -> bytes:
        if not text:
            return b""
        return self._chunk({"text": text, "thought": True} if self._is_thought else {"text": text})

    def _chunk(self, part: JSON) -> bytes:
        candidate = {"content": {"role": "model", "parts": [part]}, "index": 0}
        return self._frame({"candidates": [candidate], **self._head})

    def on_end(self, event: ir.ResponseEnd) -> bytes:
        response = ir.Response(
            id="",
            model="",
            message=ir.Message("assistant"),
            finish_reason=event.finish_reason,
            raw_finish_reason=event.raw_finish_reason,
            usage=event.usage,
            metadata=event.metadata,
        )
        # The SDK's chat forgets a turn in which any chunk has no part.
        blocked = event.metadata.get(NAME, {}).get("no_candidate")
        parts: list[JSON] = [] if blocked else [{"text": ""}]
        return self._frame({**tail(response, parts, self._broken), **self._head})

    def _frame(self, body: JSON) -> bytes:
        data = jsontext.encode_bytes(body)
        if not self._is_array:
            return b"data: " + data + _BLANK
        opening = b"[" if self._is_first else b",\r\n"
        self._is_first = False
        return opening + data
