"""Parses and renders whole answers."""

from __future__ import annotations

from typing import Any

from polycall import ir
from polycall.dialects.bedrock_converse.content import (
    call_block,
    parse_block,
    reasoning_block,
    text_block,
)
from polycall.dialects.bedrock_converse.errors import is_error, parse_error
from polycall.dialects.bedrock_converse.media import render_media
from polycall.dialects.bedrock_converse.names import NAME, WORDS
from polycall.dialects.bedrock_converse.usage import parse_usage, render_usage
from polycall.ir import JSON
from polycall.translation.calls import unique_calls
from polycall.translation.failures import failed_end
from polycall.translation.wire import response_reader

_READ = frozenset({"output", "stopReason", "usage"})
_FINISH = WORDS.finish()
_STOP = WORDS.ends()


def parse_response(body: JSON) -> ir.Response:
    """A Converse answer.  One that is an error, whatever its HTTP status was, raises it."""
    reader = response_reader
    body = reader.object(body, "")
    if is_error(body):
        raise parse_error(200, body)
    message = reader.get_object(reader.object(body.get("output"), "output"), "message", "output")
    items = reader.get_array(message, "content", "output.message")
    found = (
        parse_block(item, i, f"output.message.content[{i}]", reader) for i, item in enumerate(items)
    )
    parts = unique_calls([part for part in found if part is not None])
    raw = reader.get_string(body, "stopReason", "")
    if (failure := failed_end(raw)) is not None:
        raise failure
    has_calls = any(isinstance(part, ir.ToolCall) for part in parts)
    return ir.Response(
        id="",
        model="",
        message=ir.Message("assistant", parts),
        finish_reason=finish_reason(raw, has_calls=has_calls),
        raw_finish_reason=raw,
        usage=parse_usage(body.get("usage"), body.get("serviceTier")),
        metadata=own_metadata({key: value for key, value in body.items() if key not in _READ}),
    )


def finish_reason(raw: str, *, has_calls: bool) -> ir.FinishReason:
    """The reason that a wire word means; a word that is not known is no normal end."""
    known: ir.FinishReason = "stop" if raw == "" else "error"
    return ir.unified_finish(_FINISH.get(raw, known), has_calls=has_calls)


def own_metadata(fields: JSON) -> ir.Metadata:
    """The fields to be kept."""
    kept = {key: value for key, value in fields.items() if value is not None}
    return {NAME: kept} if kept else {}


def stop_reason(finish: ir.FinishReason, raw: str) -> str:
    """The wire's word; a call is always `tool_use`, since clients look for that."""
    if finish == "tool_calls":
        return "tool_use"
    if raw in _FINISH and ir.unified_finish(_FINISH[raw], has_calls=False) == finish:
        return raw if raw not in ("refusal", "pause_turn") else _STOP[finish]
    return _STOP[finish]


def render_response(response: ir.Response, request: ir.Request | None = None) -> JSON:
    """The body for a client of this dialect; `request` says nothing it needs."""
    del request
    own: JSON = dict(response.metadata.get(NAME, {}))
    content = [
        block for part in response.message.parts if (block := answer_block(part)) is not None
    ]
    # Another vendor's answer comes without its latency, and clients demand a number.
    own.setdefault("metrics", {"latencyMs": 0})
    return {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": stop_reason(response.finish_reason, response.raw_finish_reason),
        "usage": render_usage(response.usage),
        **own,
    }


def answer_block(part: ir.Part) -> JSON | None:
    """The block of a part of an answer; `None` where this wire has nothing for it."""
    match part:
        case ir.Text():
            has_own = NAME in part.metadata
            return text_block(part) if part.text or has_own or not part.metadata else None
        case ir.Refusal():
            return {"text": part.text} if part.text else None
        case ir.Reasoning():
            return reasoning_block(part) if part.text or NAME in part.metadata else None
        case ir.ToolCall():
            return call_block(part, part.id, part.name)
        case ir.Media():
            block: Any = render_media(part, set())
            return {"text": f"[{part.kind} left out: {block}]"} if isinstance(block, str) else block
        case ir.Opaque():
            return part.data if part.dialect == NAME else None
        case ir.ToolResult():
            return None
