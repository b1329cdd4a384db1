"""Parses and renders whole request bodies.

`Request.metadata[NAME]` marks a request that came over this wire: its schemas, thinking and
sampling were written for it, and are judged by the vendor rather than adapted here.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from polycall.dialects.anthropic.binding import (
    BOUND,
    CHANGED,
    COMPACTION,
    SummedUp,
    binding,
    last_thinking,
    summary_note,
    summed_up,
    without_unfitting,
)
from polycall.dialects.anthropic.messages import MessagesRenderer
from polycall.dialects.anthropic.names import (
    CACHE_BREAKPOINTS_MAX,
    MAX_TOKENS_DEFAULT,
    NAME,
    TOOL_NAME_CHARACTER,
    TOOL_NAME_LENGTH_MAX,
)
from polycall.dialects.anthropic.parameters import (
    forbids_forced_choice,
    make_room_for_bare_turn,
    parse_format,
    parse_reasoning,
    render_format,
    render_reasoning,
    render_sampling,
)
from polycall.dialects.anthropic.request_messages import parse_messages, parse_system
from polycall.dialects.anthropic.tool_changes import BETA as CHANGES_BETA
from polycall.dialects.anthropic.tools import ToolsRenderer, parse_choice, parse_inline, parse_tools
from polycall.ir import JSON, Message, Metadata, Request
from polycall.translation.conversation import known_of, like, note_seen, unseen
from polycall.translation.foreign_options import note_foreign_options
from polycall.translation.foreign_parts import adapt_request
from polycall.translation.foreign_tools import (
    changes_in,
    inline_definitions,
    with_tool_changes,
)
from polycall.translation.quirks import Quirks
from polycall.translation.service_tiers import mapped_tier
from polycall.translation.tool_list_cache import once, parsed_once
from polycall.translation.wire import (
    Losses,
    ToolNames,
    WireRequest,
    end_user_of,
    request_reader,
    unread,
    with_user,
)

PATH = "/v1/messages"

_READ_KEYS = frozenset(
    {
        "model",
        "messages",
        "system",
        "tools",
        "tool_choice",
        "stream",
        "max_tokens",
        "temperature",
        "top_p",
        "top_k",
        "stop_sequences",
        "thinking",
        "service_tier",
        "metadata",
        "output_config",
        "output_format",
    }
)

# Tiers of other vendors that mean the same as one here.
_TIERS = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}

_MUCH = frozenset({"high", "xhigh", "max"})  # efforts that may write a lot

_DEFAULT_QUIRKS = Quirks()
# `metadata.user_id` in the vendor's reference (read on 2026-11-29), which wants no name or address.
_USER_LENGTH_MAX = 256


# ---------------------------------------------------------------------------------------------
# Wire to middle language


def parse_request(body: JSON, *, path: str = "") -> Request:
    """A `POST /v1/messages` body.  `path` says nothing here: the model is in the body."""
    reader = request_reader
    body = reader.object(body, "")
    items = reader.array(body.get("messages"), "messages")
    tools = reader.get_array(body, "tools", "")
    choice, parallel = parse_choice(body.get("tool_choice"))
    user, options = _options(body)
    messages = parse_messages(items)
    offered = parsed_once(tools, NAME, parse_tools)
    if inline := inline_definitions(messages):
        offered = [*offered, *parse_inline(inline)]
    return Request(
        model=reader.get_string(body, "model", ""),
        messages=like([*parse_system(body.get("system")), *messages], messages),
        tools=offered,
        tool_choice=choice,
        parallel_tool_calls=parallel,
        stream=bool(reader.get_bool(body, "stream", "")),
        max_output_tokens=reader.get_int(body, "max_tokens", ""),
        temperature=reader.get_float(body, "temperature", ""),
        top_p=reader.get_float(body, "top_p", ""),
        top_k=reader.get_int(body, "top_k", ""),
        stop=[
            reader.string(stop, f"stop_sequences[{index}]")
            for index, stop in enumerate(reader.get_array(body, "stop_sequences", ""))
        ],
        reasoning=parse_reasoning(body),
        response_format=parse_format(body),
        service_tier=reader.get_string(body, "service_tier", ""),
        end_user=user,
        provider_options={NAME: options} if options else {},
        metadata={NAME: {}},
    )


def _options(body: JSON) -> tuple[str, JSON]:
    """The end user, and the fields that only this dialect knows."""
    options: JSON = unread(body, _READ_KEYS)
    config = request_reader.get_object(body, "output_config", "")
    if rest := {key: config[key] for key in config if key not in ("effort", "format")}:
        options["output_config"] = rest
    metadata = request_reader.get_object(body, "metadata", "")
    if rest := {key: metadata[key] for key in metadata if key != "user_id"}:
        options["metadata"] = rest
    return request_reader.get_string(metadata, "user_id", "metadata"), options


# ---------------------------------------------------------------------------------------------
# Middle language to wire


def render_request(request: Request, *, quirks: Quirks = _DEFAULT_QUIRKS) -> WireRequest:
    """The body for `POST /v1/messages`, and what it could not say."""
    losses = Losses(lossy=request.lossy)
    request = adapt_request(_without_refused(request, losses, quirks), NAME, losses)
    if not quirks.late_system:
        if changes_in(unseen(request.messages, changes_in)):
            request = with_tool_changes(request, losses)
        note_seen(request.messages, changes_in)
    names = _Names(TOOL_NAME_CHARACTER, length_max=TOOL_NAME_LENGTH_MAX)
    writer = MessagesRenderer(
        losses, names, quirks, request.tools, appends=_appends(request, quirks)
    )
    lifted, rest = _split(request.messages)
    if NAME not in request.metadata:
        lifted, rest = with_user(lifted, rest, losses)
    max_tokens = request.max_output_tokens
    body: JSON = {"model": request.model} if request.model else {}
    body["max_tokens"] = (
        (quirks.max_tokens_default or MAX_TOKENS_DEFAULT) if max_tokens is None else max_tokens
    )
    system = writer.system(lifted)
    if system:
        body["system"] = system
    summed = summed_up(rest)
    if summed is not None:
        writer.opened.update(summed.opened)
        writer.changes.begin(summed.withdrawn)
    body["messages"] = writer.messages(rest, known_of(request.messages))
    render_reasoning(body, request, losses, quirks, raise_max_tokens=max_tokens is None)
    make_room_for_bare_turn(body, losses, quirks)
    effort: Any = body.get("output_config", {}).get("effort")
    if max_tokens is None and quirks.max_tokens_default and effort in _MUCH:
        detail = f"up to {body['max_tokens']} tokens: no bound was given, and the effort is high"
        losses.emulate("max_output_tokens", detail)
    changed = _render_tools(body, request, losses, quirks, writer)
    if writer.opened:
        _defer(body, writer.opened)
    instruction = render_format(body, request, losses, quirks)
    if instruction:
        body["system"] = _with_instruction(system, instruction)
    render_sampling(body, request, losses, quirks)
    _render_rest(body, request, losses)
    _render_options(body, request, losses, quirks)
    _bound_breakpoints(body, losses, writer.unmarked)
    bound: Metadata = {}
    if quirks.prefix_bound and NAME not in request.metadata:
        known = known_of(request.messages)
        _leave_out_unfitting(body, writer, summed, losses, known)
        bound = {NAME: {BOUND: binding(body, summed, known)}}
        if COMPACTION in body:
            bound = summary_note(body, summed, writer.changes.withdrawn)
    if changed:
        bound = {NAME: {**bound.get(NAME, {}), CHANGED: changed}}
    betas = _let_blocks_go(body, request, quirks)
    if writer.changes.is_said:
        betas.append(CHANGES_BETA)
    if COMPACTION in body or summed is not None:
        betas.append(COMPACTION_BETA)
    headers = {"anthropic-beta": ",".join(betas)} if betas else {}
    return WireRequest(
        path=PATH,
        body=body,
        headers=headers,
        warnings=losses.warnings,
        aliases=names.aliases,
        bound=bound,
    )


def _defer(body: JSON, opened: set[str]) -> None:
    """Say of the tools that a result has opened that they are loaded late.

    The list is shared with other requests: this one gets its own.
    """
    tools: list[JSON] = body.get("tools", [])
    if any(_name_of(tool) in opened for tool in tools):
        body["tools"] = [
            {**tool, "defer_loading": True} if _name_of(tool) in opened else tool for tool in tools
        ]


def _name_of(tool: JSON) -> str:
    name: Any = tool.get("name")
    return name if isinstance(name, str) else ""


def _leave_out_unfitting(
    body: JSON,
    writer: MessagesRenderer,
    summed: SummedUp | None,
    losses: Losses,
    known: dict[Any, Any] | None,
) -> None:
    dropped = without_unfitting(body, writer.bound, summed, known)
    if dropped:
        losses.drop_state(
            "reasoning",
            f"{dropped} block{'s' if dropped > 1 else ''} of earlier turns left out: what stood "
            "before it has changed; the prompt's cache misses from there on",
        )


class _Names(ToolNames):
    """Aliases only where this wire needs them: it allows a digit or dash in front."""

    def wire_name(self, name: str, namespace: str = "") -> str:
        """The name on the wire."""
        if not namespace and len(name) <= TOOL_NAME_LENGTH_MAX and _is_allowed(name):
            return name
        return super().wire_name(name, namespace)


def _is_allowed(name: str) -> bool:
    return name.isascii() and name.replace("_", "a").replace("-", "a").isalnum()


def _split(messages: list[Message]) -> tuple[list[Message], list[Message]]:
    """The leading system messages, which have a slot of their own, and the others.

    Those that stood among the messages on this wire stay there.
    """
    for index, message in enumerate(messages):
        own = message.metadata.get(NAME, {})
        if message.role != "system" or own.get("place") == "messages":
            return messages[:index], messages[index:]
    return messages, []


def _without_refused(request: Request, losses: Losses, quirks: Quirks) -> Request:
    """The request without the fields that the target refuses."""
    if not quirks.refused:
        return request
    blank = _BLANK
    gone: dict[str, Any] = {}
    for field in sorted(quirks.refused):
        if getattr(request, field) != getattr(blank, field):
            losses.drop(field, "the target refuses it")
            gone[field] = getattr(blank, field)
    return replace(request, **gone) if gone else request


_BLANK = Request("", [])


def _appends(request: Request, quirks: Quirks) -> bool:
    """Whether changes of tools are said after the beginning: not before a turn that continues."""
    is_open = bool(request.messages) and request.messages[-1].role == "assistant"
    takes = quirks.prefix_bound and quirks.late_system == "after_user"
    return takes and NAME not in request.metadata and not is_open


def _render_tools(
    body: JSON,
    request: Request,
    losses: Losses,
    quirks: Quirks,
    messages: MessagesRenderer,
) -> JSON:
    """Add tools and choice to the body; gives what changes of tools were made for this answer."""
    changes = messages.changes
    is_own = NAME in request.metadata
    writer = ToolsRenderer(
        request,
        losses,
        messages.names,
        quirks,
        is_own=is_own,
        appends=changes.appends,
        says_inline=bool(quirks.late_system),
    )
    forbids = forbids_forced_choice(body, quirks)
    choice, offered, thinking_off = writer.choice(reasoning_forbids=forbids)
    tools = writer.tools(offered)
    changed = changes.withdraw(body["messages"], writer.withdrawn) if changes.appends else {}
    if tools:
        body["tools"] = tools
        if choice is not None:
            body["tool_choice"] = choice
    if thinking_off:
        losses.adjust("reasoning", "thinking is off for this request: a tool call is forced")
        body["thinking"] = {"type": "disabled"}
    return changed


def _with_instruction(system: str | list[JSON], instruction: str) -> str | list[JSON]:
    if isinstance(system, str):
        return f"{system}\n\n{instruction}"
    return [*system, {"type": "text", "text": instruction}] if system else instruction


def _render_rest(body: JSON, request: Request, losses: Losses) -> None:
    is_own = NAME in request.metadata
    stop = request.stop
    if not is_own and any(not text.strip() for text in stop):
        losses.drop("stop", "stop sequences of white space alone are refused")
        stop = [text for text in stop if text.strip()]
    if stop:
        body["stop_sequences"] = stop
    if request.stream:
        body["stream"] = True
    if request.end_user:
        user = end_user_of(request, NAME, losses, length_max=_USER_LENGTH_MAX)
        body["metadata"] = {"user_id": user}
    if request.service_tier:
        tier = mapped_tier(request.service_tier, _TIERS, losses, is_own=is_own)
        if tier is not None:
            body["service_tier"] = tier


def _render_options(body: JSON, request: Request, losses: Losses, quirks: Quirks) -> None:
    note_foreign_options(request, NAME, losses)
    for key, value in request.provider_options.get(NAME, {}).items():
        if quirks.options is not None and key not in quirks.options:
            losses.drop(key, "the target does not know it")
        elif isinstance(value, dict) and isinstance(body.get(key), dict):
            body[key] = {**value, **body[key]}
        else:
            body[key] = value


def _let_blocks_go(body: JSON, request: Request, quirks: Quirks) -> list[str]:
    """Have thinking that does not fit any more dropped instead of refused; gives the betas.

    The vendor says in its answer which blocks it dropped.  A client of this wire decides itself.
    """
    if not quirks.prefix_bound or NAME in request.metadata:
        return []
    if not last_thinking(body["messages"], known_of(request.messages)):
        return []
    thinking: JSON = body.get("thinking", {"type": "adaptive"})
    binding: JSON = thinking.get("block_binding") or {}
    body["thinking"] = {**thinking, "block_binding": {**_DROP, **binding}}
    return [BINDING_BETA]


# Read 2026-11-29 in anthropic 2.14: BetaThinkingBlockBindingParam, anthropic_beta_param.py.
BINDING_BETA = "thinking-binding-controls-2026-08-01"
# BetaCompactionConfigParam: asks for a summary, which comes first in the requests after it.
COMPACTION_BETA = "compact-2026-09-04"
_DROP: JSON = {"prefix_mismatch_behavior": "drop_block"}


def _bound_breakpoints(body: JSON, losses: Losses, unmarked: int) -> None:
    """At most four cache marks.

    The last mark of the tools and the last of the system stay, since they serve every
    conversation; then the latest of the messages, since they cover the most.
    """
    tools = once(body.get("tools", []), _marked)
    system = _marked(body.get("system", []))
    messages = [block for each in body["messages"][unmarked:] for block in _marked(each["content"])]
    automatic = 1 if body.get("cache_control") else 0
    count = automatic + len(tools) + len(system) + len(messages)
    if count <= CACHE_BREAKPOINTS_MAX:
        return
    losses.adjust("cache_control", f"{count} marks; the vendor takes {CACHE_BREAKPOINTS_MAX}")
    surplus = count - CACHE_BREAKPOINTS_MAX
    if gone := tools[:-1][:surplus]:
        names = set(map(id, gone))
        body["tools"] = [_unmarked(tool) if id(tool) in names else tool for tool in body["tools"]]
    for block in [*system[:-1], *messages][: surplus - len(gone)]:
        del block["cache_control"]


def _unmarked(block: JSON) -> JSON:
    return {name: value for name, value in block.items() if name != "cache_control"}


def _marked(blocks: Any) -> list[JSON]:
    found: list[JSON] = []
    if isinstance(blocks, list):
        for block in blocks:  # pyright: ignore[reportUnknownVariableType]
            if block.get("type") == "tool_result":  # pyright: ignore[reportUnknownMemberType]
                found.extend(_marked(block.get("content")))  # pyright: ignore[reportUnknownMemberType]
            if block.get("cache_control") is not None:  # pyright: ignore[reportUnknownMemberType]
                found.append(block)  # pyright: ignore[reportUnknownArgumentType]
    return found
