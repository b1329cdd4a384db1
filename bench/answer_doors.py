"""Doors of the gateway that are fields of a provider's answer, whole or streamed, on each wire.

Each field that the gateway reads is once a long text, once many small values, and where it is JSON
in a text once a text of small values.  Each answer comes to its end.
"""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from polycall._support import event_stream

WHOLE_BYTES, EVENT_BYTES = 20_000_000, 12_000_000  # below what is read
_HERE = "huge value"
_HEAD = b"HTTP/1.1 %d OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b"


class AnswerDoor(NamedTuple):
    """What is asked of which path of the gateway, and how the provider answers it."""

    name: str
    path: str
    body: dict[str, Any]
    answer: Callable[[], bytes]


class _Wire(NamedTuple):
    path: str
    whole: dict[str, Any]
    events: list[dict[str, Any]]  # their names are their types
    fields: list[str]  # places in the whole answer, by dots
    streamed: list[str]  # the number of an event before them
    names_events: bool = False
    body: Mapping[str, Any] = MappingProxyType({})


_MESSAGES = [{"role": "user", "content": "x"}]
_CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
_CHAT_USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
_CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
_INPUT_USAGE = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
_TEXT_ITEM: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "x", "annotations": []}],
}
_CALL_ITEM = {
    "id": "fc_1",
    "type": "function_call",
    "call_id": "c1",
    "name": "f",
    "arguments": "{}",
    "status": "completed",
}
_RESPONSE: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "m",
    "status": "completed",
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "metadata": {},
    "output": [_TEXT_ITEM, _CALL_ITEM],
    "usage": _INPUT_USAGE,
}
_MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [
        {"type": "text", "text": "x"},
        {"type": "tool_use", "id": "t1", "name": "f", "input": {}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
_GEMINI: dict[str, Any] = {
    "responseId": "r",
    "modelVersion": "m",
    "candidates": [
        {
            "content": {
                "role": "model",
                "parts": [{"text": "x"}, {"functionCall": {"name": "f", "args": {}}}],
            },
            "finishReason": "STOP",
            "index": 0,
        }
    ],
    "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2},
}


def _choice(**delta: Any) -> dict[str, Any]:
    return {**_CHUNK, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


def _typed(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, **fields}


WIRES: dict[str, _Wire] = {
    "chat": _Wire(
        "/v1/chat/completions",
        {
            **_CHUNK,
            "object": "chat.completion",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "x", "tool_calls": [_CALL]},
                    "finish_reason": "tool_calls",
                }
            ],
            "usage": _CHAT_USAGE,
        },
        [
            _choice(role="assistant", content="x"),
            _choice(tool_calls=[{"index": 0, **_CALL}]),
            {**_CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
            {**_CHUNK, "choices": [], "usage": _CHAT_USAGE},
        ],
        [
            *("id", "model", "created", "usage", "usage.prompt_tokens", "usage.other"),
            *("usage.prompt_tokens_details", "choices", "choices.0.finish_reason"),
            *("choices.0.message.content", "choices.0.message.reasoning_content"),
            *("choices.0.message.tool_calls", "choices.0.message.tool_calls.0.id"),
            "choices.0.message.tool_calls.0.function.name",
            "choices.0.message.tool_calls.0.function.arguments",
        ],
        [
            *("0.id", "0.model", "0.choices", "0.choices.0.delta.content"),
            *("1.choices.0.delta.tool_calls", "1.choices.0.delta.tool_calls.0.id"),
            *(f"1.choices.0.delta.tool_calls.0.function.{each}" for each in ("name", "arguments")),
            *("2.choices.0.finish_reason", "3.usage", "3.usage.other", "3.error"),
        ],
        body={"messages": _MESSAGES, "stream_options": {"include_usage": True}},
    ),
    "anthropic": _Wire(
        "/v1/messages",
        _MESSAGE,
        [
            _typed("message_start", message={**_MESSAGE, "content": [], "stop_reason": None}),
            _typed("content_block_start", index=0, content_block={"type": "text", "text": ""}),
            _typed("content_block_delta", index=0, delta={"type": "text_delta", "text": "x"}),
            _typed("content_block_stop", index=0),
            _typed(
                "content_block_start",
                index=1,
                content_block={"type": "tool_use", "id": "t1", "name": "f", "input": {}},
            ),
            _typed(
                "content_block_delta",
                index=1,
                delta={"type": "input_json_delta", "partial_json": "{}"},
            ),
            _typed("content_block_stop", index=1),
            _typed(
                "message_delta",
                delta={"stop_reason": "tool_use", "stop_sequence": None},
                usage={"output_tokens": 1},
            ),
            _typed("message_stop"),
        ],
        [
            *("id", "model", "stop_reason", "stop_sequence", "usage", "usage.input_tokens"),
            *("usage.cache_creation", "usage.other", "content", "content.0.text", "content.1.id"),
            *("content.1.name", "content.1.input"),
        ],
        [
            *("0.message.id", "0.message.model", "0.message.usage", "0.message.usage.other"),
            *("2.delta.text", "4.content_block.id", "4.content_block.input"),
            *("5.delta.partial_json", "7.delta.stop_reason", "7.usage", "7.usage.other"),
        ],
        names_events=True,
        body={"messages": _MESSAGES, "max_tokens": 9},
    ),
    "responses": _Wire(
        "/v1/responses",
        _RESPONSE,
        [
            _typed("response.created", response={**_RESPONSE, "output": [], "usage": None}),
            _typed(
                "response.output_item.added", output_index=0, item={**_TEXT_ITEM, "content": []}
            ),
            _typed(
                "response.output_text.delta",
                output_index=0,
                content_index=0,
                item_id="msg_1",
                delta="x",
            ),
            _typed("response.output_item.done", output_index=0, item=_TEXT_ITEM),
            _typed(
                "response.output_item.added", output_index=1, item={**_CALL_ITEM, "arguments": ""}
            ),
            _typed(
                "response.function_call_arguments.delta",
                output_index=1,
                item_id="fc_1",
                delta="{}",
            ),
            _typed("response.output_item.done", output_index=1, item=_CALL_ITEM),
            _typed("response.completed", response=_RESPONSE),
        ],
        [
            *("id", "model", "status", "created_at", "usage", "usage.input_tokens"),
            *("usage.input_tokens_details", "usage.other", "incomplete_details", "error"),
            *("instructions", "metadata", "output", "output.0.content.0.text", "output.0.id"),
            *("output.1.call_id", "output.1.name", "output.1.arguments"),
        ],
        [
            *("0.response.id", "0.response.model", "0.response.instructions", "2.delta"),
            *("3.item.content.0.text", "4.item.call_id", "5.delta", "6.item.arguments"),
            *("7.response.usage", "7.response.usage.other", "7.response.output"),
            "7.response.instructions",
        ],
        names_events=True,
        body={"input": "x", "store": False},
    ),
    "gemini": _Wire(
        "/v1beta/models/{}",
        _GEMINI,
        [_GEMINI],
        [
            *("responseId", "modelVersion", "candidates", "candidates.0.finishReason"),
            *("candidates.0.content.parts", "candidates.0.content.parts.0.text"),
            *(f"candidates.0.content.parts.1.functionCall.{each}" for each in ("name", "args")),
            *("candidates.0.content.parts.1.thoughtSignature", "usageMetadata"),
            *("usageMetadata.promptTokenCount", "usageMetadata.promptTokensDetails"),
        ],
        [
            *("0.responseId", "0.candidates", "0.candidates.0.content.parts.0.text"),
            *("0.candidates.0.content.parts.1.functionCall.args", "0.usageMetadata"),
        ],
        body={"contents": [{"role": "user", "parts": [{"text": "x"}]}]},
    ),
}
_INNER = ("arguments", "partial_json", "delta")  # JSON in a text
_ERRORS: dict[str, Any] = {
    "chat": {"error": {"message": "x", "type": "x", "param": "x", "code": "x"}},
    "anthropic": {"type": "error", "error": {"type": "invalid_request_error", "message": "x"}},
    "responses": {"error": {"message": "x", "type": "x", "param": "x", "code": "x"}},
    "gemini": {"error": {"code": 400, "message": "x", "status": "x", "details": []}},
}


def _with(made: Any, field: str, value: bytes) -> bytes:
    """JSON with the value at this place."""
    made = copy.deepcopy(made)
    *way, last = [int(each) if each.isdigit() else each for each in field.split(".")]
    inner = made
    for each in way:
        inner = inner[each]
    inner[last] = _HERE
    start, _, end = json.dumps(made).partition(json.dumps(_HERE))
    return start.encode() + value + end.encode()


def _values(field: str, size: int) -> Iterator[tuple[str, Callable[[], bytes]]]:
    yield "a long text", lambda: b'"%b"' % (b"x" * size)
    yield "small values", lambda: b"[%b1]" % (b"[]," * (size // 3))
    yield "many fields", lambda: b"{%b}" % b",".join(b'"%x":1' % n for n in range(size // 11))
    if field.rpartition(".")[2] in _INNER:
        yield "values in a text", lambda: b'"{\\"a\\":[%b1]}"' % (b"[]," * (size // 3))
        yield (
            "fields in a text",
            lambda: b'"{%b}"' % b",".join(b'\\"%x\\":1' % n for n in range(size // 14)),
        )


def _whole(status: int, body: bytes) -> bytes:
    return _HEAD % (status, b"application/json", len(body), body)


def _stream(wire: _Wire, number: int, changed: bytes) -> bytes:
    frames: list[bytes] = []
    for place, event in enumerate(wire.events):
        data = changed if place == number else json.dumps(event).encode()
        name = b"event: %b\n" % event["type"].encode() if wire.names_events else b""
        frames.append(b"%bdata: %b\n\n" % (name, data))
    if not wire.names_events and "object" in wire.events[0]:
        frames.append(b"data: [DONE]\n\n")
    body = b"".join(frames)
    return _HEAD % (200, b"text/event-stream", len(body), body)


def _framed(wire: _Wire, number: int, changed: bytes) -> bytes:
    """The same as Bedrock wraps it."""
    data = [json.dumps(each).encode() for each in wire.events]
    data[number] = changed
    wrapped = (b'{"bytes":"%b"}' % base64.b64encode(each) for each in data)
    body = b"".join(event_stream.event("chunk", each) for each in wrapped)
    return _HEAD % (200, event_stream.CONTENT_TYPE.encode(), len(body), body)


def _framed_doors() -> Iterator[AnswerDoor]:
    wire = WIRES["anthropic"]
    for field in wire.streamed:
        number, _, inside = field.partition(".")
        for kind, make in _values(field, EVENT_BYTES):

            def answer(
                number: int = int(number), inside: str = inside, make: Callable[[], bytes] = make
            ) -> bytes:
                return _framed(wire, number, _with(wire.events[number], inside, make()))

            yield from _asked(f"framed stream, {field}: {kind}", "anthropic", answer, streams=True)


def answer_doors() -> Iterator[AnswerDoor]:
    """All of them; `path` and `body` have `{}` where the model's name is due."""
    for name, wire in WIRES.items():
        for streams in (False, True):
            for field in wire.streamed if streams else wire.fields:
                yield from _doors_of(name, wire, field, streams=streams)
    yield from _framed_doors()
    for name in WIRES:
        for field in ("message", *({"chat": ("code", "param", "type")}.get(name, ()))):
            for kind, make in _values(field, 1_000_000):
                error = _ERRORS[name]
                yield from _asked(
                    f"{name} error, {field}: {kind}",
                    name,
                    lambda error=error, field=field, make=make: _whole(
                        400, _with(error, f"error.{field}", make())
                    ),
                    streams=False,
                )


def _doors_of(name: str, wire: _Wire, field: str, *, streams: bool) -> Iterator[AnswerDoor]:
    for kind, make in _values(field, EVENT_BYTES if streams else WHOLE_BYTES):

        def answer(make: Callable[[], bytes] = make) -> bytes:
            if not streams:
                return _whole(200, _with(wire.whole, field, make()))
            number, _, inside = field.partition(".")
            return _stream(wire, int(number), _with(wire.events[int(number)], inside, make()))

        form = "stream" if streams else "answer"
        yield from _asked(f"{name} {form}, {field}: {kind}", name, answer, streams=streams)


def _asked(
    name: str, wire: str, answer: Callable[[], bytes], *, streams: bool
) -> Iterator[AnswerDoor]:
    other = "anthropic" if wire == "chat" else "chat"
    for kind, spoken in (("passed", wire), ("translated", other)):
        path, body = WIRES[spoken].path, dict(WIRES[spoken].body)
        if spoken == "gemini":
            path += ":streamGenerateContent?alt=sse" if streams else ":generateContent"
        else:
            body = {"model": "{}", **body, "stream": streams}
            if not streams:
                body.pop("stream_options", None)
        yield AnswerDoor(f"{name}, {kind}", path, body, answer)
