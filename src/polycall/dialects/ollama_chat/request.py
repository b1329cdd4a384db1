"""Requests: `/api/chat` bodies, both ways."""

from __future__ import annotations

from polycall.dialects.ollama_chat.messages import MessagesRenderer, parse_messages
from polycall.dialects.ollama_chat.names import NAME, PATH
from polycall.dialects.ollama_chat.parameters import (
    parse_format,
    parse_options,
    parse_think,
    render_format,
    render_options,
    render_think,
)
from polycall.dialects.ollama_chat.tools import ToolsRenderer, parse_tools
from polycall.ir import JSON, Message, Request
from polycall.translation.absent_fields import note_absent
from polycall.translation.foreign_options import note_foreign_options
from polycall.translation.foreign_parts import adapt_request
from polycall.translation.quirks import Quirks
from polycall.translation.wire import Losses, WireRequest, unread
from polycall.translation.wire import request_reader as reader

_READ = frozenset({"format", "messages", "model", "options", "stream", "think", "tools"})
_VENDOR = Quirks()


def parse_request(body: JSON, *, path: str = "") -> Request:
    """The request of an Ollama client, which streams unless it says otherwise."""
    del path
    wire = reader.object(body, "")
    fields, rest = parse_options(wire.get("options"))
    options: JSON = unread(wire, _READ)
    if rest:
        options["options"] = rest
    stream = reader.get_bool(wire, "stream", "")
    return Request(
        model=reader.get_string(wire, "model", ""),
        messages=parse_messages(wire.get("messages") or []),
        tools=parse_tools(wire.get("tools")),
        stream=stream is not False,
        reasoning=parse_think(wire.get("think")),
        response_format=parse_format(wire.get("format")),
        provider_options={NAME: options} if options else {},
        metadata={NAME: {}},
        **fields,
    )


def render_request(request: Request, *, quirks: Quirks = _VENDOR) -> WireRequest:
    """The request for an Ollama server."""
    losses = Losses(lossy=request.lossy)
    request = adapt_request(request, NAME, losses)
    note_foreign_options(request, NAME, losses)
    options = dict(request.provider_options.get(NAME, {}))
    tools = ToolsRenderer(request, losses)
    messages: list[Message] = request.messages
    body: JSON = {
        "model": request.model,
        "messages": MessagesRenderer(losses, quirks).messages(messages),
        "stream": request.stream,
    }
    if declared := tools.tools():
        body["tools"] = declared
    settings = {**options.pop("options", {}), **render_options(request, losses, quirks)}
    if settings:
        body["options"] = settings
    if (think := render_think(request, losses, quirks)) is not None:
        body["think"] = think
    if (wanted := render_format(request, losses)) is not None:
        body["format"] = wanted
    note_absent(request, losses, "parallel_tool_calls")
    body.update(options)
    return WireRequest(PATH, body, losses.warnings, tools.names.aliases)
