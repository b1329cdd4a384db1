"""Parses and renders whole answers."""

from __future__ import annotations

from polycall import ir
from polycall.dialects.anthropic.content import (
    parse_block,
    reasoning_block,
    response_call_block,
    text_block,
)
from polycall.dialects.anthropic.errors import parse_error
from polycall.dialects.anthropic.names import NAME, WORDS
from polycall.dialects.anthropic.usage import parse_usage, render_usage
from polycall.ir import JSON
from polycall.translation.calls import unique_calls
from polycall.translation.failures import failed_end
from polycall.translation.wire import response_reader, short_hash

_READ_KEYS = frozenset(
    {"id", "type", "role", "model", "content", "stop_reason", "usage", "request_id"}
)

_FINISH = WORDS.finish()
_STOP = WORDS.ends()


# ---------------------------------------------------------------------------------------------
# Wire to middle language


def parse_response(body: JSON) -> ir.Response:
    """A message body.  One that is an error, whatever its HTTP status was, raises it."""
    reader = response_reader
    body = reader.object(body, "")
    if is_error(body):
        raise parse_error(200, body)
    items = reader.array(body.get("content"), "content")
    parts = [parse_block(item, i, f"content[{i}]", reader) for i, item in enumerate(items)]
    parts = unique_calls(parts)
    raw = reader.get_string(body, "stop_reason", "")
    if (failure := failed_end(raw)) is not None:
        raise failure
    return ir.Response(
        id=reader.get_string(body, "id", ""),
        model=reader.get_string(body, "model", ""),
        message=ir.Message("assistant", parts),
        finish_reason=finish_reason(raw, has_calls=any(isinstance(p, ir.ToolCall) for p in parts)),
        raw_finish_reason=raw,
        usage=parse_usage(body.get("usage")),
        metadata={} if body.keys() <= _READ_KEYS else _others(body),
    )


def _others(body: JSON) -> ir.Metadata:
    return own_metadata({key: value for key, value in body.items() if key not in _READ_KEYS})


def is_error(body: JSON) -> bool:
    """Whether a body or event is an error."""
    kind = body.get("type")
    inner = body.get("error")
    return (
        kind == "error" or (kind is None and "error" in body) or (bool(inner) and kind == "message")
    )


def finish_reason(raw: str, *, has_calls: bool) -> ir.FinishReason:
    """The reason that a wire word means; a word that is not known is not a normal end."""
    known = "stop" if raw in ("", "stop") else "error"  # relatives write these
    return ir.unified_finish(_FINISH.get(raw, known), has_calls=has_calls)


def own_metadata(fields: JSON) -> ir.Metadata:
    """The fields to be kept; nulls are what a server writes for nothing."""
    kept = {key: value for key, value in fields.items() if value is not None}
    return {NAME: kept} if kept else {}


# ---------------------------------------------------------------------------------------------
# Middle language to wire


def render_response(response: ir.Response, request: ir.Request | None = None) -> JSON:
    """The message body for a client of this dialect; `request` says nothing it needs."""
    del request
    own = response.metadata.get(NAME, {})
    content = [
        block for part in response.message.parts if (block := _response_block(part)) is not None
    ]
    usage = render_usage(response.usage)
    more: JSON = {}
    if not is_own(response):
        content = [with_every_field(block) for block in content]
        usage, more = {**USAGE_FIELDS, **usage}, MESSAGE_FIELDS
    return {
        "id": wire_id(response.id, response.model, response.created, is_own=is_own(response)),
        "type": "message",
        "role": "assistant",
        "model": response.model,
        "content": content,
        "stop_reason": stop_reason(
            response.finish_reason, response.raw_finish_reason, is_own=is_own(response), own=own
        ),
        "stop_sequence": None,
        **more,
        **own,
        "usage": usage,
    }


# Fields that the vendor's schema demands, with nothing in them: for answers of other vendors.
MESSAGE_FIELDS: JSON = {"stop_details": None, "container": None}
USAGE_FIELDS: JSON = {
    "cache_creation": None,
    "inference_geo": None,
    "output_tokens_details": None,
    "server_tool_use": None,
    "service_tier": None,
}


def with_every_field(block: JSON) -> JSON:
    """A block with the fields that the vendor's schema demands.

    `citations` is empty and not null: there are clients that take the one alone.
    """
    match block["type"]:
        case "text":
            return {"citations": [], **block}
        case "tool_use":
            return {"caller": {"type": "direct"}, **block}
        case _:
            return block


def is_own(response: ir.Response) -> bool:
    """Whether the answer came over this wire."""
    return NAME in response.usage.metadata or NAME in response.metadata


def wire_id(response_id: str, model: str, created: int, *, is_own: bool = False) -> str:
    """The message's id: begins with `msg_`, unless it is this wire's own."""
    if response_id and (is_own or response_id.startswith("msg_")):
        return response_id
    if response_id.isascii() and response_id.replace("-", "").replace("_", "").isalnum():
        return f"msg_{response_id}"
    return "msg_" + short_hash(response_id, model, str(created))


def stop_reason(finish: ir.FinishReason, raw: str, *, is_own: bool, own: JSON) -> str:
    """The wire's word; a call is always `tool_use`, since clients look for that."""
    if finish == "tool_calls":
        return "tool_use"
    means_same = raw in _FINISH and ir.unified_finish(_FINISH[raw], has_calls=False) == finish
    if raw and (is_own or means_same):
        return raw
    if finish == "stop" and own.get("stop_sequence") is not None:
        return "stop_sequence"
    return _STOP[finish]


def _response_block(part: ir.Part) -> JSON | None:
    match part:
        case ir.Text():
            return text_block(part) if part.text or is_shown_empty(part) else None
        case ir.Refusal():
            return {"type": "text", "text": part.text} if part.text else None
        case ir.Reasoning():
            return reasoning_block(part) if part.text or is_shown_empty(part) else None
        case ir.ToolCall():
            return response_call_block(part)
        case ir.Media():
            return {"type": "text", "text": media_note(part)}
        case ir.Opaque():
            return part.data if part.dialect == NAME else None
        case ir.ToolResult():
            return None


def is_shown_empty(part: ir.Text | ir.Refusal | ir.Reasoning) -> bool:
    """Whether a part without text has a block: not where it only carries a foreign state."""
    if isinstance(part, ir.Text):
        return not part.metadata or NAME in part.metadata
    return isinstance(part, ir.Reasoning) and NAME in part.metadata


def media_note(part: ir.Media) -> str:
    """A note in place of an image or a sound that a model made: this wire's answers hold none."""
    return f"[{part.kind} left out: {part.media_type or 'of unknown type'}]"
