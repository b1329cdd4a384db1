"""Parses and renders whole responses."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from polycall import ir
from polycall._support import jsontext
from polycall.dialects.openai_responses.client_tools import client_call, client_tools
from polycall.dialects.openai_responses.errors import parse_error
from polycall.dialects.openai_responses.messages import ItemReader
from polycall.dialects.openai_responses.names import NAME, WORDS, own
from polycall.dialects.openai_responses.rendered_messages import (
    call_item,
    is_own_item,
    message_item,
    reasoning_item,
    text_part,
)
from polycall.dialects.openai_responses.request import render_request
from polycall.ir import JSON
from polycall.translation.conversation import is_system, selected
from polycall.translation.wire import response_reader, short_hash

_KNOWN = frozenset({"id", "object", "created_at", "model", "output", "status", "usage"})

_INCOMPLETE = WORDS.finish()
_WAITING = frozenset({"queued", "in_progress"})

# ---------------------------------------------------------------------------------------------
# Reading


def parse_response(body: JSON) -> ir.Response:
    """A finished (or, in the background, still waiting) response.

    A failed one raises its `UpstreamError`.
    """
    reader = response_reader
    reader.object(body, "")
    raise_failure(body)
    output = body.get("output")
    if output is None and "status" not in body:
        reader.fail("output", "an array of items", output)
    items = reader.get_array(body, "output", "")
    parts: list[ir.Part] = []
    item_reader = ItemReader(reader)
    for position, value in enumerate(items):
        path = f"output[{position}]"
        parts.extend(item_reader.parts(reader.object(value, path), path, position))
    finish_reason, raw = finish(
        body,
        has_calls=any(isinstance(part, ir.ToolCall) for part in parts),
        has_refusal=any(isinstance(part, ir.Refusal) for part in parts),
    )
    return ir.Response(
        id=reader.get_string(body, "id", ""),
        model=reader.get_string(body, "model", ""),
        message=ir.Message("assistant", parts),
        finish_reason=finish_reason,
        raw_finish_reason=raw,
        usage=parse_usage(body),
        created=created_at(body),
        metadata=echo(body),
    )


_WHOLE = frozenset({"complete", "completed", "done", "finished", "succeeded"})


def raise_failure(body: JSON) -> None:
    """Raise what a failed response, or an error in place of a response, tells."""
    error = body.get("error")
    if body.get("status") == "failed":
        raise parse_error(0, {"error": error or {"message": "the response failed"}})
    # A cancelled one may say by whom; any other error is a failure, whatever was written before.
    if error and body.get("status") != "cancelled":
        raise parse_error(0, {"error": error} if isinstance(error, dict) else body)


def finish(body: JSON, *, has_calls: bool, has_refusal: bool) -> tuple[ir.FinishReason, str]:
    """The finish reason, and the wire's word for it."""
    status = response_reader.get_string(body, "status", "") or "completed"
    if status == "incomplete":
        details = response_reader.get_object(body, "incomplete_details", "")
        reason = response_reader.get_string(details, "reason", "incomplete_details")
        return _INCOMPLETE.get(reason, "length" if not reason else "error"), reason or status
    if status in _WAITING:
        return "pause", status
    if status == "cancelled":
        return "error", status
    if has_refusal and not has_calls:
        return "refusal", status
    if status not in _WHOLE:
        return "error", status
    return ir.unified_finish("stop", has_calls=has_calls), status


def created_at(body: JSON) -> int:
    """Seconds since the epoch; some servers write fractions."""
    return int(response_reader.get_float(body, "created_at", "") or 0)


def echo(body: JSON) -> dict[str, JSON]:
    """The fields beyond the middle language, to be given back as they came."""
    return {NAME: {key: value for key, value in body.items() if key not in _KNOWN}}


def parse_usage(body: JSON) -> ir.Usage:
    """Tokens, which this dialect counts as the middle language does."""
    usage = response_reader.get_object(body, "usage", "")
    if not usage:
        return ir.Usage()
    reader, path = response_reader, "usage"
    inputs = reader.get_object(usage, "input_tokens_details", path)
    outputs = reader.get_object(usage, "output_tokens_details", path)
    tier = body.get("service_tier")
    return ir.Usage(
        input_tokens=reader.get_int(usage, "input_tokens", path) or 0,
        output_tokens=reader.get_int(usage, "output_tokens", path) or 0,
        cached_tokens=reader.get_int(inputs, "cached_tokens", path) or 0,
        cache_write_tokens=reader.get_int(inputs, "cache_write_tokens", path) or 0,
        reasoning_tokens=reader.get_int(outputs, "reasoning_tokens", path) or 0,
        service_tier=tier if isinstance(tier, str) else "",
        metadata={NAME: usage},
    )


# ---------------------------------------------------------------------------------------------
# Writing


def render_response(response: ir.Response, request: ir.Request | None = None) -> JSON:
    """The body for a client of this dialect; `request` is what it asked, to be echoed."""
    custom, clients = custom_tools(request), client_tools(request)
    response_id = response.id
    if NAME not in response.metadata or not response_id:
        response_id = wire_id(response_id, response.model)
    output: list[JSON] = []
    group: list[ir.Text | ir.Refusal] = []

    def close_group() -> None:
        if group:
            output.append(output_message(group, item_id("msg", response_id, len(output))))
            group.clear()

    for part in response.message.parts:
        if isinstance(part, ir.Text | ir.Refusal):
            if begins_message(part):
                close_group()
            if part.text or NAME in part.metadata:
                group.append(part)
            continue
        close_group()
        item = output_item(part, response_id, len(output), custom, clients)
        if item is not None:
            output.append(item)
    close_group()
    body = skeleton(response_id, response.model, response.created, request_echo(request))
    has_refusal = any(isinstance(part, ir.Refusal) for part in response.message.parts)
    if request is None:
        body = as_it_came(body, response.metadata)
    body.update(own(response.metadata))
    body["output"] = output
    body["usage"] = render_usage(response.usage)
    settle(body, response.finish_reason, response.raw_finish_reason, has_refusal=has_refusal)
    return completed(body, response.metadata)


def completed(body: JSON, metadata: ir.Metadata) -> JSON:
    """The body with when it was completed, where the vendor of the answer has no such time."""
    if body["status"] == "completed" and NAME not in metadata:
        body["completed_at"] = body["created_at"]
    return body


def _echo_tool(tool: JSON) -> JSON:
    """A tool as a response repeats it: with every field."""
    if tool.get("type") == "mcp":  # the client's secrets are nobody's to keep
        return {key: value for key, value in tool.items() if key not in _SECRETS}
    if tool.get("type") != "function":
        return tool
    return {"description": None, "parameters": None, "strict": False, **tool}


_SECRETS = frozenset({"authorization", "headers"})


def _echo_format(text: JSON) -> JSON:
    """The format of texts as a response repeats it: with every field."""
    form: JSON = text.get("format") or {"type": "text"}
    if form["type"] != "json_schema":
        return form
    return {"description": None, "strict": False, **form}


def begins_message(part: ir.Text | ir.Refusal) -> bool:
    """Whether a message item began with this part on its own wire."""
    return "message" in own(part.metadata)


def custom_tools(request: ir.Request | None) -> frozenset[str]:
    """The freeform tools of a request: their calls come back as functions from elsewhere."""
    if request is None:
        return frozenset()
    return frozenset(tool.name for tool in request.tools if tool.kind == "custom")


def wire_id(response_id: str, model: str) -> str:
    """The response's id in this dialect's form."""
    if response_id.startswith("resp_") or not response_id:
        return response_id or "resp_" + short_hash(model)
    return "resp_" + short_hash(response_id)


def item_id(prefix: str, response_id: str, position: int) -> str:
    """An id for an item whose provider gave none: unique in its response, always the same."""
    return f"{prefix}_{short_hash(response_id, str(position))}"


def output_message(group: Sequence[ir.Text | ir.Refusal], default_id: str) -> JSON:
    """A message item of the output, complete as clients want it."""
    item = message_item(group)
    if item["content"] != []:
        item["content"] = [output_content(part) for part in group]
    if begins_message(group[0]):
        return {"id": default_id, "type": "message", **item}
    return {"id": default_id, "status": "completed", "type": "message", **item}


def output_content(part: ir.Text | ir.Refusal) -> JSON:
    """A content part of the output, as it came or as clients' types require it."""
    content = text_part(part)
    if isinstance(part, ir.Text) and NAME not in part.metadata:
        content.update(annotations=[], logprobs=[])
    return content


def output_item(
    part: ir.Part,
    response_id: str,
    position: int,
    custom: frozenset[str],
    clients: frozenset[str] = frozenset(),
) -> JSON | None:
    """The output item of any other part; `None` for what a response cannot hold."""
    match part:
        case ir.Reasoning():
            return {"id": item_id("rs", response_id, position), **reasoning_item(part)}
        case ir.ToolCall():
            own_item = client_call(part, clients)
            if own_item is not None:
                return {"id": item_id("cl", response_id, position), **own_item}
            return output_call(part, response_id, position, custom)
        case ir.Opaque():
            return part.data if is_own_item(part) else None
        case ir.Media() if part.kind == "image" and part.data:
            return {
                "type": "image_generation_call",
                "id": item_id("ig", response_id, position),
                "status": "completed",
                "result": part.data,
            }
        case ir.Media():
            # No item holds other media; the client must at least see that there was something.
            shown = part.url or f"[{part.kind} {part.media_type}]"
            return output_message([ir.Text(shown)], item_id("msg", response_id, position))
        case ir.Text() | ir.Refusal() | ir.ToolResult():
            return None


def output_call(call: ir.ToolCall, response_id: str, position: int, custom: frozenset[str]) -> JSON:
    """A call, as the kind of tool that the client declared."""
    is_custom = call.kind == "custom" or call.name in custom
    prefix = "ctc" if is_custom else "fc"
    item = call_item(call, is_custom=is_custom)
    if NAME not in call.metadata and not is_custom:
        # Arguments that are no object were cut, or broken from the start.
        item["status"] = "completed" if call.arguments is not None else "incomplete"
    return {"id": item_id(prefix, response_id, position), **item}


def render_usage(usage: ir.Usage) -> JSON | None:
    """The wire's own object, or one in its shape; `None` where nothing was reported."""
    given = own(usage.metadata)
    if given:
        return given
    if not usage.is_reported:
        return None
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }


def settle(body: JSON, reason: ir.FinishReason, raw: str, *, has_refusal: bool) -> None:
    """Set status, `incomplete_details` and `error` by the finish reason."""
    details: JSON | None = None
    error: JSON | None = None
    match reason:
        case "stop" | "tool_calls":
            status = "completed"
        case "refusal":
            # Without a word of refusal, a completed answer would look like a success.
            status = "completed" if has_refusal else "incomplete"
            details = None if has_refusal else {"reason": "content_filter"}
        case "length":
            status, details = "incomplete", {"reason": "max_output_tokens"}
        case "content_filter":
            status, details = "incomplete", {"reason": "content_filter"}
        case "pause":
            status = raw if raw in _WAITING else "incomplete"
            details = None if raw in _WAITING else {"reason": raw or "pause"}
        case "error":
            status = "cancelled" if raw == "cancelled" else "failed"
            if status == "failed":
                error = {"code": "server_error", "message": f"the model stopped: {raw or reason}"}
    body["status"] = status
    if status == "incomplete":
        # Some servers give no reason; theirs is not made up for a client that reads the same.
        if raw != "incomplete" or "incomplete_details" in body:
            body["incomplete_details"] = body.get("incomplete_details") or details
    elif "incomplete_details" in body:
        body["incomplete_details"] = None
    if error is not None or "error" in body:
        body["error"] = error


def skeleton(response_id: str, model: str, created: int, echoed: JSON) -> JSON:
    """A response without output, with every field that clients' types require."""
    return {
        "id": response_id,
        "object": "response",
        "created_at": created,
        "completed_at": None,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "max_tool_calls": None,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "prompt_cache_key": None,
        "safety_identifier": None,
        "truncation": "disabled",
        "user": None,
        "metadata": {},
        **echoed,
        "model": model,
        "output": [],
        "usage": None,
    }


def as_it_came(body: JSON, metadata: ir.Metadata) -> JSON:
    """A skeleton without the fields that a response of this dialect did not have."""
    if NAME not in metadata:
        return body
    return {key: value for key, value in body.items() if key in _KNOWN}


_NOT_ECHOED = frozenset({"include", "input", "model", "stream", "stream_options"})


REPEATED_BYTES_MAX = 256 * 1024


def with_short_echo(response: JSON) -> JSON:
    """A response that begins, without the fields of its request that are long.

    A stream says the whole response three times.
    """
    plain = skeleton("", "", 0, {})
    long = REPEATED_BYTES_MAX // 4
    return {
        name: plain.get(name) if _is_longer(value, long) else value
        for name, value in response.items()
    }


def has_long_text(response: JSON) -> bool:
    """Whether a field alone is too long to be repeated; a long text is not encoded to learn it."""
    return any(isinstance(v, str) and len(v) > REPEATED_BYTES_MAX for v in response.values())


def _is_longer(value: object, bytes_max: int) -> bool:
    is_long_text = isinstance(value, str) and len(value) > bytes_max
    return is_long_text or len(jsontext.encode_bytes(value)) > bytes_max


def request_echo(request: ir.Request | None) -> JSON:
    """The fields of its request that a response repeats."""
    if request is None:
        return {}
    relevant = replace(
        request,
        model="",
        messages=selected(request.messages, is_system),
        lossy=True,
        provider_options={NAME: request.provider_options.get(NAME, {})},
    )
    body = render_request(relevant).body
    echoed = {key: value for key, value in body.items() if key not in _NOT_ECHOED}
    if "tools" in echoed:
        echoed["tools"] = [_echo_tool(tool) for tool in echoed["tools"]]
    if "text" in echoed:
        echoed["text"] = {**echoed["text"], "format": _echo_format(echoed["text"])}
    return echoed
