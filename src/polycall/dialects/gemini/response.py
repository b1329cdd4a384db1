"""Answers to a Gemini client, whole and streamed.

Google's Python SDK reads a stream without mercy: lines other than `data: ` with a space, comments
and `[DONE]` end it with an error.  It cannot read calls in pieces without being asked to, so a
call is sent when its arguments are complete.  Arguments that are no object are never sent: the
answer then says MALFORMED_FUNCTION_CALL, as Gemini itself does.
"""

from __future__ import annotations

from typing import Literal

from polycall._support import jsontext
from polycall.dialects.gemini.content import (
    NAME,
    own_of,
    render_call,
    render_media,
    wire_fields,
)
from polycall.dialects.gemini.errors import render_error
from polycall.dialects.gemini.usage import render_reason, render_usage
from polycall.errors import PolycallError
from polycall.fold import finish_part
from polycall.ir import (
    JSON,
    Event,
    Media,
    Message,
    Opaque,
    Part,
    PartDelta,
    PartEnd,
    PartStart,
    Reasoning,
    Refusal,
    Request,
    Response,
    ResponseEnd,
    ResponseStart,
    Text,
    ToolCall,
    ToolResult,
)
from polycall.translation.wire import NAMESPACE_SEPARATOR

_MALFORMED = "MALFORMED_FUNCTION_CALL"
_NOT_TOP = frozenset({"candidate", "candidates", "no_candidate", "finishReason"})
_BLANK = b"\r\n\r\n"


def render_response(response: Response, request: Request | None = None) -> JSON:
    """The body for a Gemini client."""
    parts: list[JSON] = []
    broken: ToolCall | None = None
    for part in response.message.parts:
        if isinstance(part, ToolCall) and part.arguments is None:
            broken = broken or part
        elif (wire := _render_part(part)) is not None:
            parts.append(wire)
    body = _head(response.id, response.model or (request.model if request else ""))
    return {**_tail(response, parts, broken), **body}


def _render_part(part: Part) -> JSON | None:
    match part:
        case Text():
            beside = wire_fields(own_of(part))
            return {"text": part.text, **beside} if part.text or beside else None
        case Reasoning():
            beside = wire_fields(own_of(part))
            # Without a text, the state of another provider has nothing to show.
            return {"text": part.text, "thought": True, **beside} if part.text or beside else None
        case ToolCall():
            return render_call(part, _wire_name(part), part.arguments or {}, with_id=True)
        case Media():
            return render_media(part)
        case Refusal():
            return {"text": part.text} if part.text else None
        case Opaque():
            return dict(part.data) if part.dialect == NAME else None
        case ToolResult():
            return None


def _wire_name(call: ToolCall) -> str:
    return f"{call.namespace}{NAMESPACE_SEPARATOR}{call.name}" if call.namespace else call.name


def _head(response_id: str, model: str) -> JSON:
    head: JSON = {}
    if model:
        head["modelVersion"] = model
    if response_id:
        head["responseId"] = response_id
    return head


def _tail(response: Response, parts: list[JSON], broken: ToolCall | None) -> JSON:
    """The body around these parts: candidates, why it stopped, what it cost."""
    own = response.metadata.get(NAME, {})
    body: JSON = {}
    if parts or not own.get("no_candidate"):
        candidate: JSON = {
            "content": {"role": "model", "parts": parts},
            "index": 0,
            "finishReason": render_reason(response),
        }
        # A call that the limit cut is not a mistake of the model.
        if broken and response.finish_reason != "length":
            candidate["finishReason"] = _MALFORMED
            shown = f"{_wire_name(broken)}({broken.arguments_json})"
            candidate["finishMessage"] = f"Malformed function call: {shown}"
        candidate.update(own.get("candidate", {}))
        # A token to continue would make the SDK ask again, where nobody knows the token.
        candidate.pop("continuationToken", None)
        body["candidates"] = [candidate, *own.get("candidates", [])]
    body.update({key: value for key, value in own.items() if key not in _NOT_TOP})
    usage = render_usage(response.usage)
    if usage is not None:
        body["usageMetadata"] = usage
    return body


class StreamEncoder:
    """Events in, chunks out; each chunk has the shape of a whole answer.

    Text goes out as it comes.  What Google sends whole goes out whole: calls, media, and texts
    that carry a signature.
    """

    def __init__(
        self,
        request: Request | None = None,
        *,
        framing: Literal["sse", "json-array"] = "sse",
    ) -> None:
        self._model = request.model if request else ""
        self._is_array = framing == "json-array"
        self._is_first = True
        self._is_over = False
        self._head: JSON = {}
        self._part: Part | None = None  # the open part, where it must go out whole
        self._texts: list[str] = []
        self._is_thought = False
        self._broken: ToolCall | None = None

    def feed(self, event: Event) -> bytes:
        """The bytes that one event makes."""
        match event:
            case PartDelta():
                if self._part is not None:
                    self._texts.append(event.text)
                    return b""
                return self._text_chunk(event.text)
            case PartStart():
                return self._start_part(event.part)
            case PartEnd():
                return self._end_part(event)
            case ResponseStart():
                self._head = _head(event.id, event.model or self._model)
                return b""
            case ResponseEnd():
                return self._end(event)

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

    def _start_part(self, part: Part) -> bytes:
        is_text = isinstance(part, Text | Reasoning | Refusal)
        if is_text and not wire_fields(own_of(part)):
            self._is_thought = isinstance(part, Reasoning)
            return self._text_chunk(part.text)
        self._part, self._texts = part, []
        return b""

    def _end_part(self, event: PartEnd) -> bytes:
        if self._part is None:
            # A signature that became known after its text went out follows on an empty text.
            beside = wire_fields(event.metadata.get(NAME))
            if not beside:
                return b""
            thought: JSON = {"thought": True} if self._is_thought else {}
            return self._chunk({"text": "", **thought, **beside})
        part = finish_part(self._part, "".join(self._texts), event.metadata)
        self._part, self._texts = None, []
        if isinstance(part, ToolCall) and part.arguments is None:
            self._broken = self._broken or part
            return b""
        wire = _render_part(part)
        return b"" if wire is None else self._chunk(wire)

    def _text_chunk(self, text: str) -> bytes:
        if not text:
            return b""
        return self._chunk({"text": text, "thought": True} if self._is_thought else {"text": text})

    def _chunk(self, part: JSON) -> bytes:
        candidate = {"content": {"role": "model", "parts": [part]}, "index": 0}
        return self._frame({"candidates": [candidate], **self._head})

    def _end(self, event: ResponseEnd) -> bytes:
        response = Response(
            id="",
            model="",
            message=Message("assistant"),
            finish_reason=event.finish_reason,
            raw_finish_reason=event.raw_finish_reason,
            usage=event.usage,
            metadata=event.metadata,
        )
        # The SDK's chat forgets a turn in which any chunk has no part.
        blocked = event.metadata.get(NAME, {}).get("no_candidate")
        parts: list[JSON] = [] if blocked else [{"text": ""}]
        return self._frame({**_tail(response, parts, self._broken), **self._head})

    def _frame(self, body: JSON) -> bytes:
        data = jsontext.encode_bytes(body)
        if not self._is_array:
            return b"data: " + data + _BLANK
        opening = b"[" if self._is_first else b",\r\n"
        self._is_first = False
        return opening + data
