"""Requests: `interactions` bodies, both ways."""

from __future__ import annotations

from polycall.dialects.gemini_interactions.messages import MessagesRenderer
from polycall.dialects.gemini_interactions.names import NAME, PATH
from polycall.dialects.gemini_interactions.parameters import (
    parse_config,
    parse_format,
    render_config,
    render_format,
)
from polycall.dialects.gemini_interactions.steps import parse_input
from polycall.dialects.gemini_interactions.tools import ToolsRenderer, parse_choice, parse_tools
from polycall.ir import JSON, Message, Request, Text
from polycall.translation.absent_fields import note_absent
from polycall.translation.foreign_options import note_foreign_options
from polycall.translation.foreign_parts import adapt_request
from polycall.translation.quirks import Quirks
from polycall.translation.service_tiers import mapped_tier
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
        "generation_config",
        "input",
        "model",
        "response_format",
        "response_mime_type",
        "service_tier",
        "stream",
        "system_instruction",
        "tools",
    }
)
_VENDOR = Quirks()
_TIERS = {"default": "standard", "standard": "standard", "flex": "flex", "priority": "priority"}


def parse_request(body: JSON, *, path: str = "") -> Request:
    """The request of a Google client."""
    del path
    wire = reader.object(body, "")
    fields, rest = parse_config(wire.get("generation_config"))
    config = reader.get_object(wire, "generation_config", "")
    wanted, kept = parse_format(wire)
    options: JSON = unread(wire, _READ)
    options.update(kept)
    if rest:
        options["generation_config"] = rest
    instruction = reader.get_string(wire, "system_instruction", "")
    system = [Message("system", [Text(instruction)])] if instruction else []
    return Request(
        model=reader.get_string(wire, "model", "") or reader.get_string(wire, "agent", ""),
        messages=[*system, *parse_input(wire.get("input"))],
        tools=parse_tools(wire.get("tools")),
        tool_choice=parse_choice(config.get("tool_choice")),
        stream=reader.get_bool(wire, "stream", "") is True,
        service_tier=reader.get_string(wire, "service_tier", ""),
        response_format=wanted,
        provider_options={NAME: options} if options else {},
        metadata={NAME: {}},
        **fields,
    )


def render_request(request: Request, *, quirks: Quirks = _VENDOR) -> WireRequest:
    """The request for Google.

    What comes from elsewhere has its whole history in it, and nothing is to be stored.
    """
    losses = Losses(lossy=request.lossy)
    request = adapt_request(request, NAME, losses)
    note_foreign_options(request, NAME, losses)
    options = dict(request.provider_options.get(NAME, {}))
    is_own = NAME in request.metadata
    tools = ToolsRenderer(request, losses, quirks)
    renderer = MessagesRenderer(losses, tools.names, quirks, is_own=is_own)
    system, messages = split_system(request.messages)
    if not is_own:
        system, messages = with_user(system, messages, losses)
    body: JSON = {} if "agent" in options else {"model": request.model}
    body["input"] = renderer.steps(messages)
    if instruction := renderer.instruction(system):
        body["system_instruction"] = instruction
    if declared := tools.tools():
        body["tools"] = declared
    config = {**options.pop("generation_config", {}), **render_config(request, losses, quirks)}
    if (choice := tools.choice()) is not None:
        config["tool_choice"] = choice
    if config:
        body["generation_config"] = config
    if (wanted := render_format(request, quirks, losses)) is not None:
        body["response_format"] = wanted
    if request.service_tier not in ("", "auto"):
        tier = mapped_tier(request.service_tier, _TIERS, losses, is_own=is_own)
        if tier is not None:
            body["service_tier"] = tier
    if request.stream or is_own:
        body["stream"] = request.stream
    if not is_own:
        body["store"] = False
    note_absent(request, losses, "parallel_tool_calls")
    body.update(options)
    return WireRequest(PATH, body, losses.warnings, tools.names.aliases)
