"""Requests: Converse bodies and their paths, both ways."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote

from polycall.dialects.bedrock_converse.messages import (
    MessagesRenderer,
    parse_messages,
    parse_system,
)
from polycall.dialects.bedrock_converse.names import NAME
from polycall.dialects.bedrock_converse.parameters import (
    parse_format,
    parse_inference,
    parse_reasoning,
    render_format,
    render_inference,
    render_reasoning,
    render_tier,
    with_room_for_bare_turn,
)
from polycall.dialects.bedrock_converse.tools import NO_CALLS, ToolsRenderer, parse_tool_config
from polycall.errors import MalformedRequestError
from polycall.ir import JSON, Request
from polycall.translation.absent_fields import note_absent
from polycall.translation.foreign_options import note_foreign_options
from polycall.translation.foreign_parts import adapt_request
from polycall.translation.quirks import Quirks
from polycall.translation.wire import (
    Losses,
    WireRequest,
    split_system,
    unread,
    with_user,
)
from polycall.translation.wire import request_reader as reader

_READ = frozenset(
    {
        "additionalModelRequestFields",
        "inferenceConfig",
        "messages",
        "model",
        "modelId",
        "outputConfig",
        "serviceTier",
        "stream",
        "system",
        "toolConfig",
    }
)
_VENDOR = Quirks()
_STREAM = "converse-stream"


def parse_path(path: str) -> tuple[str, str]:
    """The model and the operation that a path names; `""` for what it does not."""
    head, found, rest = path.partition("?")[0].partition("/model/")
    del head
    if not found:
        return "", ""
    model, _, operation = rest.rpartition("/")
    return unquote(model), operation


def render_path(model: str, *, stream: bool) -> str:
    """The path of one model's operation; the model's name is escaped as AWS's SDKs do."""
    try:
        name = quote(model, safe="")
    except UnicodeEncodeError:
        raise MalformedRequestError("half a surrogate pair is no text", path="model") from None
    return f"/model/{name}/{_STREAM if stream else 'converse'}"


def parse_request(body: JSON, *, path: str = "") -> Request:
    """The request of a Bedrock client.  The model and whether to stream stand in the path."""
    wire = reader.object(body, "")
    model, operation = parse_path(path)
    model = model or reader.get_string(wire, "modelId", "") or reader.get_string(wire, "model", "")
    tools, choice = parse_tool_config(wire.get("toolConfig"))
    fields, rest = parse_inference(wire.get("inferenceConfig"))
    options: JSON = unread(wire, _READ)
    if rest:
        options["inferenceConfig"] = rest
    output = reader.get_object(wire, "outputConfig", "")
    model_fields = reader.get_object(wire, "additionalModelRequestFields", "")
    reasoning = parse_reasoning(output, model_fields)
    kept: JSON = {} if reasoning is None else reasoning.metadata[NAME].get("fields", {})
    if others := {key: value for key, value in model_fields.items() if key not in kept}:
        options["additionalModelRequestFields"] = others
    tier: Any = reader.get_object(wire, "serviceTier", "").get("type")
    return Request(
        model=model,
        messages=[
            *parse_system(wire.get("system")),
            *parse_messages(wire.get("messages") or []),
        ],
        tools=tools,
        tool_choice=choice,
        stream=operation == _STREAM or (not operation and wire.get("stream") is True),
        service_tier=tier if isinstance(tier, str) else "",
        reasoning=reasoning,
        response_format=parse_format(output),
        provider_options={NAME: options} if options else {},
        metadata={NAME: {}},
        **fields,
    )


def render_request(request: Request, *, quirks: Quirks = _VENDOR) -> WireRequest:
    """The request for Bedrock.

    There is no switch against parallel calls: with `parallel_tool_calls=False` the reader of the
    answer keeps its first call only.
    """
    losses = Losses(lossy=request.lossy)
    request = adapt_request(request, NAME, losses)
    note_foreign_options(request, NAME, losses)
    options = dict(request.provider_options.get(NAME, {}))
    is_own = NAME in request.metadata
    renderer = MessagesRenderer(losses, quirks, is_own=is_own)
    leading, messages = split_system(request.messages)
    if NAME not in request.metadata:
        leading, messages = with_user(leading, messages, losses)
    body: JSON = {"messages": renderer.messages(messages)}
    system = renderer.system(leading)
    tools = ToolsRenderer(request, losses, renderer.names, quirks, renderer.called)
    if (config := tools.config()) is not None:
        body["toolConfig"] = config
    inference, model_fields = render_inference(request, losses, quirks)
    effort, thinking = render_reasoning(request, inference, losses, quirks)
    thinking = with_room_for_bare_turn(thinking, body["messages"], losses, quirks)
    text_format, words = render_format(request, losses, quirks)
    system += [{"text": said} for said in (words, NO_CALLS if tools.says_none else "") if said]
    if system:
        body["system"] = system
    inference = {**options.pop("inferenceConfig", {}), **inference}
    if inference:
        body["inferenceConfig"] = inference
    output: JSON = {"textFormat": text_format} if text_format is not None else {}
    if effort:
        output["effort"] = effort
    if output:
        body["outputConfig"] = output
    fields = {**options.pop("additionalModelRequestFields", {}), **model_fields, **thinking}
    if fields:
        body["additionalModelRequestFields"] = fields
    if (tier := render_tier(request.service_tier, losses, is_own=is_own)) is not None:
        body["serviceTier"] = tier
    note_absent(request, losses, "parallel_tool_calls")
    body.update(options)
    path = render_path(request.model, stream=request.stream)
    return WireRequest(path, body, losses.warnings, renderer.names.aliases)
