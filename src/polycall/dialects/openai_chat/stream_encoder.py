"""Streamed answers, outwards: what OpenAI's SDKs accept, no matter who made the events."""

from __future__ import annotations

from typing import Any

from polycall import ir
from polycall._support import jsontext
from polycall.dialects.openai_chat.calls import custom_input, wire_fields
from polycall.dialects.openai_chat.errors import render_error
from polycall.dialects.openai_chat.messages import merge_details
from polycall.dialects.openai_chat.names import NAME, REASONING_FIELDS, own
from polycall.dialects.openai_chat.response import (
    default_id,
    is_legacy,
    media_note,
    reasoning_field,
    render_image,
    wants_legacy,
    wire_finish,
)
from polycall.dialects.openai_chat.usage import render_usage
from polycall.errors import PolycallError
from polycall.ir import JSON
from polycall.translation.sse import encode_sse
from polycall.translation.stream import StreamEncoderBase


class StreamEncoder(StreamEncoderBase):
    """Events of one answer in, chunks out.

    With `request`, usage is sent only where the client asked for it, and a client of the older
    `functions` is answered in its spelling.  Without, usage is always sent.
    """

    def __init__(self, request: ir.Request | None = None) -> None:
        options: Any = {}
        if request is not None:
            options = request.provider_options.get(NAME, {}).get("stream_options") or {}
        self._sends_usage = request is None or bool(options.get("include_usage"))
        self._legacy = wants_legacy(request)
        self._base: JSON = {}
        self._around: dict[str | int, tuple[bytes, bytes]] = {}
        self._part: ir.Part | None = None
        self._text_field = "content"
        self._calls = 0
        self._has_content = False
        self._has_refusal = False
        self._arguments: list[str] = []  # of a freeform call, which is sent whole
        self._any_arguments = False
        self._ended = False
        self._failed = False

    def close(self) -> bytes:
        """`[DONE]`; nothing where the answer was not finished, so that it does not look whole."""
        return b"data: [DONE]\n\n" if self._ended and not self._failed else b""

    def fail(self, error: PolycallError) -> bytes:
        """The event that ends a started stream with an error."""
        self._failed = True
        return encode_sse(jsontext.encode_bytes(render_error(error)[1]))

    def _chunk(self, delta: JSON, finish: str | None = None, **fields: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish, **fields}
        return encode_sse(jsontext.encode_bytes({**self._base, "choices": [choice]}))

    def _around_text(self, key: str | int) -> tuple[bytes, bytes]:
        """The bytes around a text: of the field `key`, or of the arguments of call `key`.

        Chunks with more of a text differ in nothing else, so it is encoded once.
        """
        delta: JSON = {key: ""} if isinstance(key, str) else _arguments_delta(key)
        before, _, after = self._chunk(delta).rpartition(b'""')
        self._around[key] = (before, after)
        return before, after

    def on_start(self, event: ir.ResponseStart) -> bytes:
        self._around.clear()
        self._base = {
            "id": event.id or default_id(event.model, event.metadata),
            "object": "chat.completion.chunk",
            "created": event.created,
            "model": event.model,
            **own(event.metadata).get("body", {}),
        }
        if self._sends_usage:
            self._base["usage"] = None
        return self._chunk({"role": "assistant", "content": None, "refusal": None})

    # Parts

    def on_part(self, part: ir.Part) -> bytes:
        self._part = part
        match part:
            case ir.Text():
                self._text_field = "content"
                self._has_content = True
                return self.on_delta(part.text)
            case ir.Refusal():
                self._text_field = "refusal"
                self._has_refusal = True
                return self.on_delta(part.text)
            case ir.Reasoning():
                notes = own(part.metadata)
                # Where details are all there is, they hold the text too, and follow at the end.
                only_details = "details" in notes and "field" not in notes
                self._text_field = "" if only_details else reasoning_field(notes)
                return self.on_delta(part.text)
            case ir.ToolCall():
                return self._open_call(part)
            case ir.Media():
                image = render_image(part)
                if image is not None:
                    return self._chunk({"images": [image]})
                self._has_content = True
                return self._chunk({"content": media_note(part)})
            case _:
                return b""  # another vendor's server tools: Chat has no place for them

    def on_delta(self, text: str) -> bytes:
        if not text:
            return b""
        if not isinstance(self._part, ir.ToolCall):
            if not self._text_field:
                return b""
            before, after = self._around.get(self._text_field) or self._around_text(
                self._text_field
            )
            return before + jsontext.encode_bytes(text) + after
        if self._part.kind == "custom":
            self._arguments.append(text)
            return b""
        self._any_arguments = self._any_arguments or bool(text.strip())
        if self._is_legacy(self._part):
            return self._chunk({"function_call": {"arguments": text}})
        before, after = self._around.get(self._calls) or self._around_text(self._calls)
        return before + jsontext.encode_bytes(text) + after

    def _is_legacy(self, call: ir.ToolCall) -> bool:
        return self._calls == 0 and is_legacy(call, wanted=self._legacy)

    def _open_call(self, call: ir.ToolCall) -> bytes:
        self._any_arguments = False
        self._arguments = []
        if call.kind == "custom":
            return self.on_delta(call.arguments_json)
        function: JSON = {"name": call.name, "arguments": ""}
        if self._is_legacy(call):
            opening = self._chunk({"function_call": function})
        else:
            entry: JSON = {
                "index": self._calls,
                "id": call.id,
                "type": "function",
                "function": function,
                **wire_fields(call),
            }
            opening = self._chunk({"tool_calls": [entry]})
        return opening + self.on_delta(call.arguments_json)

    def on_part_end(self, event: ir.PartEnd) -> bytes:
        part, self._part = self._part, None
        notes = own(event.metadata)
        match part:
            case ir.ToolCall():
                self._part = part
                data = self._close_call(part, notes)
                self._part = None
                self._calls += 1
                return data
            case ir.Reasoning():
                return self._close_reasoning({**own(part.metadata), **notes})
            case _:
                return b""

    def _close_call(self, call: ir.ToolCall, notes: JSON) -> bytes:
        if call.kind == "custom":
            whole = ir.ToolCall(call.id, call.name, "".join(self._arguments), kind="custom")
            entry: JSON = {
                "index": self._calls,
                "id": call.id,
                "type": "custom",
                "custom": {"name": call.name, "input": custom_input(whole)},
                **wire_fields(call),
                **notes,
            }
            return self._chunk({"tool_calls": [entry]})
        data = b"" if self._any_arguments else self.on_delta("{}")
        fields = {key: value for key, value in notes.items() if key not in ("legacy", "function")}
        if fields and not self._is_legacy(call):
            data += self._chunk({"tool_calls": [{"index": self._calls, **fields}]})
        return data

    def _close_reasoning(self, notes: JSON) -> bytes:
        delta: JSON = {
            name: text for name, text in notes.get("also", {}).items() if name in REASONING_FIELDS
        }
        if details := notes.get("details"):
            delta["reasoning_details"] = merge_details(details)
        return self._chunk(delta) if delta else b""

    # The end

    def on_end(self, event: ir.ResponseEnd) -> bytes:
        self._ended = True
        notes = own(event.metadata)
        data = b""
        if message := notes.get("message"):
            data += self._chunk(message)
        usual = "null" if self._calls or self._has_refusal else "empty"
        if not self._has_content and notes.get("content", usual) == "empty":
            data += self._chunk({"content": ""})
        finish = wire_finish(
            event.finish_reason,
            event.raw_finish_reason,
            is_own=NAME in event.metadata,
            legacy=bool(self._legacy) and self._calls == 1,
            has_refusal=self._has_refusal,
        )
        self._base.update(notes.get("body", {}))
        data += self._chunk({}, finish, **notes.get("choice", {}))
        for choice in notes.get("choices", ()):
            data += self._other_choice(choice)
        if self._sends_usage and (usage := render_usage(event.usage)) is not None:
            last: JSON = {**self._base, "choices": [], "usage": usage}
            data += encode_sse(jsontext.encode_bytes(last))
        return data

    def _other_choice(self, choice: JSON) -> bytes:
        """Another choice of the same answer, in two chunks."""
        delta: JSON = {"role": "assistant", **choice["message"]}
        calls = delta.get("tool_calls")
        if isinstance(calls, list):
            delta["tool_calls"] = [
                {"index": index, **call}
                for index, call in enumerate(calls)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
            ]
        fields = {key: value for key, value in choice.items() if key != "message"}
        finish = {"finish_reason": "stop", **fields}
        first: JSON = {"index": choice["index"], "delta": delta, "finish_reason": None}
        last: JSON = {"logprobs": None, **finish, "delta": {}}
        return b"".join(
            encode_sse(jsontext.encode_bytes({**self._base, "choices": [entry]}))
            for entry in (first, last)
        )


def _arguments_delta(index: int) -> JSON:
    return {"tool_calls": [{"index": index, "function": {"arguments": ""}}]}
