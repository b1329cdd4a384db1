"""Streamed answers, inwards.

Servers differ in how they name a call's later pieces, in what they repeat and in how they end;
all known habits are read the same way, no matter who has them.
"""

from __future__ import annotations

from typing import Any

from polycall import ir
from polycall._support import jsontext
from polycall.dialects.openai_chat.accumulate import OtherChoice, add_fields
from polycall.dialects.openai_chat.content import parse_parts
from polycall.dialects.openai_chat.errors import choice_error, parse_error, stream_error
from polycall.dialects.openai_chat.messages import detail_text
from polycall.dialects.openai_chat.names import NAME, REASONING_FIELDS, own
from polycall.dialects.openai_chat.response import (
    CHOICE_FIELDS,
    MESSAGE_FIELDS,
    TOP_FIELDS,
    created_at,
    finish_reason,
    parse_response,
    response_notes,
    scalar_text,
)
from polycall.dialects.openai_chat.stream_items import CallTracker, PartQueue
from polycall.dialects.openai_chat.usage import merge_usage, parse_usage
from polycall.errors import TruncatedError
from polycall.ir import JSON
from polycall.translation.growing import settled
from polycall.translation.stream import Payload, StreamDecoderBase
from polycall.translation.wire import response_reader

_CHOICE = "choices[0]"
_DELTA = "choices[0].delta"


class StreamDecoder(StreamDecoderBase):
    """Chunks of one answer in, events out.

    The first choice becomes the events; the others are kept whole in the response's metadata.
    """

    def __init__(self) -> None:
        super().__init__()
        self._id = ""
        self._model = ""
        self._created = 0
        self._parts = PartQueue(self.out)
        self._calls = CallTracker(self._parts)
        self._others: dict[int, OtherChoice] = {}
        self._body: JSON = {}
        self._choice: JSON = {}
        self._message: JSON = {}
        self._usage: JSON | None = None
        self._reason: str | None = None
        self._is_done = False
        self._odd = ""  # words about an event that is none of this dialect
        self._content_seen = False  # a content that was not null, though it may be empty

    def usage_so_far(self) -> ir.Usage:
        """Some servers count in each chunk."""
        raw = self._usage or _groq_usage(self._body)
        return parse_usage(raw, self._body.get("service_tier"))

    def on_payload(self, payload: Payload) -> None:
        """Take one chunk."""
        if self.out.ended:
            return  # some servers continue after [DONE]
        data = payload.data
        choices = data.get("choices")
        if choices is None or "error" in data or payload.event == "error":
            error = stream_error(data)
            if error is None and payload.event == "error":
                error = parse_error(0, data)
            if error is not None:
                raise error
            if choices is None and not self._odd:
                self._odd = (
                    f": an event has {', '.join(sorted(data)[:8])} and no choices, so the server "
                    f"may speak another dialect than {NAME!r}"
                )
        if extra := data.keys() - TOP_FIELDS:
            self._body.update((key, data[key]) for key in extra if data[key] is not None)
        if not self.out.started:
            self._read_head(data)
        usage = data.get("usage")
        if isinstance(usage, dict):
            self._usage = merge_usage(self._usage, usage)  # pyright: ignore[reportUnknownArgumentType]
            if not choices:
                self._is_done = True  # a chunk of its own, which comes last
        if not choices:
            return
        self._is_done = False  # a usage chunk before this one was not the last
        if not self.out.started:
            self._start()
        for position, choice in enumerate(response_reader.array(choices, "choices")):
            path = f"choices[{position}]" if position else _CHOICE
            self._take_choice(response_reader.object(choice, path), path)

    def on_done(self) -> None:
        """`[DONE]`: nothing that matters comes after it."""
        self._is_done = True
        if not self.out.ended and (self.out.started or self._id or self._body):
            self._end()

    def on_close(self) -> None:
        """The bytes have ended."""
        if self.out.ended:
            return
        if not self.out.started:
            raise TruncatedError(f"the stream ended before an answer began{self._odd}")
        if not self._reason and not self._is_done:
            raise TruncatedError(
                "the stream ended without a finish_reason, a usage chunk or [DONE]"
            )
        self._end()

    def on_whole_body(self, body: JSON) -> None:
        """The server answered a streaming request with one body."""
        self.out.answer(parse_response(body))

    # Chunks

    def _read_head(self, data: JSON) -> None:
        # Azure's first chunk has neither id nor model nor choices.
        self._id = scalar_text(data.get("id")) or self._id
        self._model = scalar_text(data.get("model")) or self._model
        self._created = created_at(data.get("created")) or self._created

    def _start(self) -> None:
        self._calls.response_id = self._id
        notes: JSON = {"body": dict(self._body)} if self._body else {}
        metadata = {NAME: notes}
        self.out.start(ir.ResponseStart(self._id, self._model, self._created, metadata=metadata))

    def _take_choice(self, choice: JSON, path: str) -> None:
        index = choice.get("index")
        if index and (index := response_reader.get_int(choice, "index", path)):
            if index not in self._others:
                self._others[index] = OtherChoice(index)
            self._others[index].add(choice)
            return
        if extra := choice.keys() - CHOICE_FIELDS:
            fields = {key: choice[key] for key in extra if choice[key] is not None}
            if fields:
                self._add_choice_fields(fields)
        if isinstance(choice.get("usage"), dict):
            self._usage = merge_usage(self._usage, choice["usage"])
        delta = choice.get("delta")
        if delta is None and self._parts.is_empty:
            delta = choice.get("message")  # a server that streams one whole answer
        if delta:
            self._take_delta(response_reader.object(delta, _DELTA), _DELTA)
        reason = choice.get("finish_reason")
        error = choice_error(choice, reason)
        if error is not None:
            raise error
        if reason is not None and self._reason in (None, "", "stop"):
            # Some servers say "stop" with every chunk, or once more after the reason.
            self._reason = scalar_text(reason) or self._reason or ""

    def _add_choice_fields(self, fields: JSON) -> None:
        logprobs = fields.pop("logprobs", None)
        self._choice.update(fields)
        if logprobs is not None:
            add_fields(self._choice, {"logprobs": logprobs})

    def _take_delta(self, delta: JSON, path: str) -> None:
        named = False
        for name in REASONING_FIELDS:
            text = delta.get(name)
            if text and isinstance(text, str):
                named = True
                self._parts.reasoning(name, text)
        if details := delta.get("reasoning_details"):
            items = response_reader.array(details, f"{path}.reasoning_details")
            text = "" if named else "".join(map(detail_text, items))
            self._parts.details(items, text)
        content = delta.get("content")
        if content is not None:
            self._content_seen = True
            if isinstance(content, str):
                if content:
                    self._parts.text("text", content)
            else:
                self._take_content(content, f"{path}.content")
        if refusal := delta.get("refusal"):
            text = response_reader.string(refusal, f"{path}.refusal")
            self._parts.text("refusal", text)
        if calls := delta.get("tool_calls"):
            inside = f"{path}.tool_calls"
            for position, call in enumerate(response_reader.array(calls, inside)):
                where = f"{inside}[{position}]"
                self._calls.add(response_reader.object(call, where), where)
        if (legacy := delta.get("function_call")) is not None:
            where = f"{path}.function_call"
            self._calls.add_legacy(response_reader.object(legacy, where), where)
        if extra := delta.keys() - MESSAGE_FIELDS:
            add_fields(self._message, {key: delta[key] for key in extra})

    def _take_content(self, content: Any, path: str) -> None:
        if isinstance(content, dict):
            self._parts.text("text", jsontext.encode(content))
            return
        for part in parse_parts(response_reader.array(content, path), path, response_reader):
            match part:
                case ir.Text():
                    if part.text:
                        self._parts.text("text", part.text)
                case ir.Reasoning():
                    self._parts.reasoning(own(part.metadata)["field"], part.text)
                case ir.Refusal():
                    self._parts.text("refusal", part.text)
                case _:
                    self._parts.whole(part)

    # The end

    def _end(self) -> None:
        if not self.out.started:
            self._start()
        parts = self._parts
        parts.finish()
        form = ""
        if not parts.has_content and self._content_seen == (parts.has_calls or parts.has_refusal):
            form = "empty" if self._content_seen else "null"
        choices = [self._others[index].result() for index in sorted(self._others)]
        notes = response_notes(self._body, self._choice, settled(self._message), choices, form)
        self.out.end(
            ir.ResponseEnd(
                finish_reason(
                    self._reason, has_calls=parts.has_calls, has_refusal=parts.has_refusal
                ),
                self._reason or "",
                self.usage_so_far(),
                metadata={NAME: notes},
            )
        )


def _groq_usage(body: JSON) -> Any:
    """Groq's usage where the client did not ask for it: in a field of its own."""
    extra = body.get("x_groq")
    return extra.get("usage") if isinstance(extra, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
