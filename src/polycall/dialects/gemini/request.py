"""Requests: `generateContent` bodies and their paths, both ways."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote

from msgspec.structs import replace

from polycall.dialects.gemini.content import NAME
from polycall.dialects.gemini.key_case import structural
from polycall.dialects.gemini.messages import MessagesRenderer, render_system
from polycall.dialects.gemini.parameters import (
    needs_words,
    parse_config,
    render_config,
    said_format,
)
from polycall.dialects.gemini.request_messages import parse_contents, parse_system
from polycall.dialects.gemini.tools import ToolsRenderer, parse_tool_config, parse_tools
from polycall.errors import MalformedRequestError
from polycall.ir import JSON, Request
from polycall.translation.absent_fields import note_absent
from polycall.translation.conversation import known_of, like
from polycall.translation.foreign_options import note_foreign_options
from polycall.translation.foreign_parts import adapt_request
from polycall.translation.quirks import Quirks
from polycall.translation.wire import Losses, WireRequest, split_system, unread
from polycall.translation.wire import request_reader as reader

_METHODS = ("generateContent", "streamGenerateContent")
ROUTES = tuple(
    f"/{version}/models/{{model}}:{method}" for version in ("v1beta", "v1") for method in _METHODS
)

_READ = frozenset(
    {
        "contents",
        "generationConfig",
        "model",
        "serviceTier",
        "systemInstruction",
        "toolConfig",
        "tools",
    }
)
_VENDOR = Quirks()
_SERVICE_TIERS = frozenset({"unspecified", "standard", "flex", "priority"})


# ---------------------------------------------------------------------------------------------
# Path


def parse_path(path: str) -> tuple[str, str]:
    """The model and the method that a path names; `""` for what it does not.

    `/v1beta/models/google/gemini-3.8-flash:generateContent` names `google/gemini-3.8-flash`;
    what stands before `models/` (a version, a project, a publisher) is where the server is.
    """
    route = unquote(path.partition("?")[0])
    if not route:
        return "", ""
    model, colon, method = route.rpartition(":")
    if not colon or not method.isalpha():
        model, method = route, ""
    before, found, after = model.partition("/models/")
    if not found:
        before, found, after = model.partition("/tunedModels/")
        after = f"tunedModels/{after}" if found else before.removeprefix("/")
    return after.removeprefix("models/"), method


def render_path(model: str, *, stream: bool) -> str:
    """The path below an address as Google's SDK takes it."""
    method = "streamGenerateContent?alt=sse" if stream else "generateContent"
    try:
        name = quote(model, safe="/:@-._~")
    except UnicodeEncodeError:
        raise MalformedRequestError("half a surrogate pair is not text", path="model") from None
    if model.startswith(("projects/", "publishers/")):
        return f"/v1beta1/{name}:{method}"
    if not model.startswith(("models/", "tunedModels/")):
        name = f"models/{name}"
    return f"/v1beta/{name}:{method}"


# ---------------------------------------------------------------------------------------------
# Wire to request


def parse_request(body: JSON, *, path: str = "") -> Request:
    """The request of a Gemini client.  The model and whether to stream stand in the path."""
    wire = structural(reader.object(body, ""))
    model, method = parse_path(path)
    if not model:
        model = reader.get_string(wire, "model", "").removeprefix("models/")
    choice, tool_config = parse_tool_config(wire.get("toolConfig"))
    fields, generation_config = parse_config(wire.get("generationConfig"))
    options: JSON = unread(wire, _READ)
    if tool_config:
        options["toolConfig"] = tool_config
    if generation_config:
        options["generationConfig"] = generation_config
    tools = parse_tools(wire.get("tools"))
    if choice is not None and all(tool.kind == "hosted" for tool in tools):
        # The key says whose it is: what its own client forces is for the vendor to judge.
        choice = replace(choice, metadata={NAME: {}, **choice.metadata})
    messages = parse_contents(wire.get("contents"))
    return Request(
        model=model,
        messages=like([*parse_system(wire.get("systemInstruction")), *messages], messages),
        tools=tools,
        tool_choice=choice,
        stream=method == "streamGenerateContent",
        service_tier=_service_tier(wire.get("serviceTier")),
        provider_options={NAME: options} if options else {},
        metadata={NAME: {}},
        **fields,
    )


def _service_tier(value: Any) -> str:
    return "" if value is None else reader.string(value, "serviceTier")


# ---------------------------------------------------------------------------------------------
# Request to wire


def render_request(request: Request, *, quirks: Quirks = _VENDOR) -> WireRequest:
    """The request for a Gemini server.

    Gemini has no switch against parallel calls: with `parallel_tool_calls=False` the code that
    reads the answer keeps its first call only.
    """
    losses = Losses(lossy=request.lossy)
    request = adapt_request(request, NAME, losses)
    note_foreign_options(request, NAME, losses)
    options = _options(request, losses, quirks)
    tools = ToolsRenderer(request, losses, quirks)
    renderer = MessagesRenderer(tools, losses, quirks)
    system, messages = split_system(request.messages)
    body: JSON = {"contents": renderer.contents(messages, known_of(request.messages))}
    instruction = render_system(system, renderer)
    if request.response_format is not None and needs_words(request, quirks):
        words: JSON = {"text": said_format(request.response_format, losses)}
        said: JSON = instruction or {"parts": []}
        instruction = {**said, "parts": [*said["parts"], words]}
    if instruction is not None:
        body["systemInstruction"] = instruction
    if declared := tools.tools():
        body["tools"] = declared
    if tool_config := tools.tool_config(options.pop("toolConfig", {})):
        body["toolConfig"] = tool_config
    config = render_config(request, options.pop("generationConfig", {}), losses, quirks)
    if config:
        body["generationConfig"] = config
    if tier := _rendered_tier(request.service_tier, losses, quirks):
        body["serviceTier"] = tier
    note_absent(request, losses, "end_user", "parallel_tool_calls")
    body.update(options)
    path = render_path(request.model, stream=request.stream)
    return WireRequest(path, body, losses.warnings, tools.names.aliases)


def _options(request: Request, losses: Losses, quirks: Quirks) -> JSON:
    """The top-level fields of a Gemini client, as far as the target knows them."""
    options = dict(request.provider_options.get(NAME, {}))
    if quirks.options is None:
        return options
    for key in [key for key in options if key not in quirks.options]:
        del options[key]
        losses.drop(key, "the provider does not know this field")
    return options


def _rendered_tier(tier: str, losses: Losses, quirks: Quirks) -> str:
    if tier in ("", "auto"):
        return ""
    if "service_tier" in quirks.refused:
        losses.drop("service_tier", "the model does not take it")
        return ""
    if tier == "default":
        return "standard"
    if tier.lower() not in _SERVICE_TIERS and not tier.startswith("SERVICE_TIER_"):
        losses.drop("service_tier", f"gemini has no tier {tier!r}")
        return ""
    return tier
