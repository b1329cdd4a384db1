"""Renders whole answers for a Gemini client.

Arguments that are no object are never sent: the answer then says MALFORMED_FUNCTION_CALL, as Gemini
itself does.
"""

from __future__ import annotations

from polycall import ir
from polycall.dialects.gemini.content import (
    NAME,
    own_of,
    render_call,
    render_media,
    wire_fields,
)
from polycall.dialects.gemini.usage import render_reason, render_usage
from polycall.ir import JSON
from polycall.translation.wire import NAMESPACE_SEPARATOR

_MALFORMED = "MALFORMED_FUNCTION_CALL"
_NOT_TOP = frozenset({"candidate", "candidates", "no_candidate", "finishReason"})


def render_response(response: ir.Response, request: ir.Request | None = None) -> JSON:
    """The body for a Gemini client."""
    parts: list[JSON] = []
    broken: ir.ToolCall | None = None
    for part in response.message.parts:
        if isinstance(part, ir.ToolCall) and part.arguments is None:
            broken = broken or part
        elif (wire := render_part(part)) is not None:
            parts.append(wire)
    body = head(response.id, response.model or (request.model if request else ""))
    return {**tail(response, parts, broken), **body}


def render_part(part: ir.Part) -> JSON | None:
    """A part on the wire; `None` where it has no place there."""
    match part:
        case ir.Text():
            beside = wire_fields(own_of(part))
            return {"text": part.text, **beside} if part.text or beside else None
        case ir.Reasoning():
            beside = wire_fields(own_of(part))
            # Without a text, the state of another provider has nothing to show.
            return {"text": part.text, "thought": True, **beside} if part.text or beside else None
        case ir.ToolCall():
            return render_call(part, _wire_name(part), part.arguments or {}, with_id=True)
        case ir.Media():
            return render_media(part)
        case ir.Refusal():
            return {"text": part.text} if part.text else None
        case ir.Opaque():
            return dict(part.data) if part.dialect == NAME else None
        case ir.ToolResult():
            return None


def _wire_name(call: ir.ToolCall) -> str:
    return f"{call.namespace}{NAMESPACE_SEPARATOR}{call.name}" if call.namespace else call.name


def head(response_id: str, model: str) -> JSON:
    """The fields that every chunk of an answer repeats."""
    fields: JSON = {}
    if model:
        fields["modelVersion"] = model
    if response_id:
        fields["responseId"] = response_id
    return fields


def tail(response: ir.Response, parts: list[JSON], broken: ir.ToolCall | None) -> JSON:
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
