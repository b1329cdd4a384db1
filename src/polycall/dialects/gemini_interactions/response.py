"""Parses and renders whole answers."""

from __future__ import annotations

from polycall import ir
from polycall.dialects.gemini_interactions.content import (
    call_step,
    content_of,
    parse_step,
    thought_step,
)
from polycall.dialects.gemini_interactions.errors import parse_error
from polycall.dialects.gemini_interactions.names import NAME, WORDS
from polycall.dialects.gemini_interactions.usage import parse_usage, render_usage
from polycall.ir import JSON
from polycall.translation.times import read_time, written_time
from polycall.translation.wire import response_reader, short_hash, unread

_READ = frozenset({"id", "model", "status", "usage", "steps", "object", "created", "service_tier"})
_FINISH = WORDS.finish()
_STATUS = WORDS.ends()


def parse_response(body: JSON) -> ir.Response:
    """An interaction; one that failed, whatever its HTTP status was, raises it."""
    reader = response_reader
    body = reader.object(body, "")
    raw = reader.get_string(body, "status", "")
    if body.get("error") is not None or raw == "failed":
        raise parse_error(200, body)
    parts: list[ir.Part] = []
    for index, item in enumerate(reader.get_array(body, "steps", "")):
        path = f"steps[{index}]"
        step = reader.object(item, path)
        if step.get("type") not in ("user_input", "function_result"):  # an echo of the input
            parts.extend(parse_step(step, index, path, reader))
    has_calls = any(isinstance(part, ir.ToolCall) for part in parts)
    return ir.Response(
        id=reader.get_string(body, "id", ""),
        model=reader.get_string(body, "model", ""),
        message=ir.Message("assistant", parts),
        finish_reason=finish_reason(raw, has_calls=has_calls),
        raw_finish_reason=raw,
        usage=parse_usage(body.get("usage"), body.get("service_tier")),
        created=read_time(body.get("created")),
        metadata=own_metadata(body),
    )


def finish_reason(raw: str, *, has_calls: bool) -> ir.FinishReason:
    """The reason that a status means; one that is not known is no normal end."""
    known: ir.FinishReason = "stop" if raw == "" else "error"
    return ir.unified_finish(_FINISH.get(raw, known), has_calls=has_calls)


def status_of(finish: ir.FinishReason, raw: str) -> str:
    """The status; calls always require an action, since clients look for that."""
    if finish == "tool_calls":
        return "requires_action"
    if raw in _FINISH and ir.unified_finish(_FINISH[raw], has_calls=False) == finish:
        return raw if finish != "error" else _STATUS[finish]
    return _STATUS[finish]


def own_metadata(body: JSON) -> ir.Metadata:
    """The fields to be kept."""
    kept = unread(body, _READ)
    return {NAME: kept} if kept else {}


def wire_id(response_id: str, model: str, created: int) -> str:
    """The interaction's id; one is made where the wire had none."""
    return response_id or "v1_" + short_hash(model, str(created))


def render_response(response: ir.Response, request: ir.Request | None = None) -> JSON:
    """The body for a client of this dialect; `request` says nothing it needs."""
    del request
    steps: list[JSON] = []
    for part in response.message.parts:
        step = step_of(part)
        if step is None:
            continue
        last = steps[-1] if steps else None
        begins = isinstance(part, ir.Text | ir.Media) and part.metadata.get(NAME, {}).get("step")
        is_shown = step["type"] == "model_output"
        if is_shown and last is not None and last["type"] == "model_output" and not begins:
            last["content"].extend(step["content"])
        else:
            steps.append(step)
    created = written_time(response.created)
    body: JSON = {
        "id": wire_id(response.id, response.model, response.created),
        "object": "interaction",
        "model": response.model,
        "status": status_of(response.finish_reason, response.raw_finish_reason),
        "created": created,
        "updated": created,
        "steps": steps,
        "usage": render_usage(response.usage),
        **response.metadata.get(NAME, {}),
    }
    if response.usage.service_tier and NAME in response.usage.metadata:
        body["service_tier"] = response.usage.service_tier
    return body


def step_of(part: ir.Part) -> JSON | None:
    """The step of a part of an answer; `None` where this wire has nothing for it."""
    match part:
        case ir.Text():
            is_shown = part.text or NAME in part.metadata or not part.metadata
            return {"type": "model_output", "content": [content_of(part)]} if is_shown else None
        case ir.Refusal():
            shown = {"type": "text", "text": part.text}
            return {"type": "model_output", "content": [shown]} if part.text else None
        case ir.Media():
            content = content_of(part)
            if isinstance(content, str):
                content = {"type": "text", "text": f"[{part.kind} left out: {content}]"}
            return {"type": "model_output", "content": [content]}
        case ir.Reasoning():
            return thought_step(part) if part.text or NAME in part.metadata else None
        case ir.ToolCall():
            return call_step(part, part.name)
        case ir.Opaque():
            if part.dialect != NAME:
                return None
            known = part.kind in ("text", "image", "document", "audio", "video")
            return {"type": "model_output", "content": [part.data]} if known else part.data
        case _:
            return None
