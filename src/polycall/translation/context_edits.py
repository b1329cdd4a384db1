"""Anthropic's edits of a long context, done here for another vendor's model.

The client asks for them in `context_management`, and continues sending all of the conversation: old
results of tools, and old thinking, are taken out of what the model is sent.  Fields and defaults:
https://platform.claude.com/docs/en/build-with-claude/context-editing, read on 2026-11-29.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from polycall import ir
from polycall._support import jsontext
from polycall.ir import JSON
from polycall.translation.conversation import note_seen, unseen
from polycall.translation.wire import Losses

EDITOR = "anthropic"  # whose models edit it themselves
FIELD = "context_management"
COMPACT_EDIT = "compact_20260112"  # Anthropic's word; Responses says "compaction"
_CLEAR_TOOLS = "clear_tool_uses_20250919"
_CLEAR_THINKING = "clear_thinking_20251015"
_TRIGGER_TOKENS = 100_000
_KEEP_USES = 3
_KEEP_THINKING = 1
_CHARS_PER_TOKEN = 4
_MEDIA_TOKENS = 1500
_CLEARED = "[Old result of this tool, left out to save space]"


def compacts_on_the_way(wanted: Any) -> bool:
    """Whether the `context_management` of a body has its conversation summed up for its answer."""
    entries: Any = wanted.get("edits") if isinstance(wanted, dict) else wanted  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return isinstance(entries, list) and any(
        isinstance(each, dict) and each.get("type") in (COMPACT_EDIT, "compaction")  # pyright: ignore[reportUnknownMemberType]
        for each in entries  # pyright: ignore[reportUnknownVariableType]
    )


def edited(request: ir.Request, losses: Losses) -> ir.Request:
    """The request after the edits that it asks for, which are no option any more."""
    request = _from_compaction(request, losses)
    options = request.provider_options.get(EDITOR, {})
    wanted: Any = options.get(FIELD)
    if wanted is None:
        return request
    rest = {key: value for key, value in options.items() if key != FIELD}
    request = replace(request, provider_options={**request.provider_options, EDITOR: rest})
    edits: Any = wanted.get("edits") if isinstance(wanted, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    for edit in edits if isinstance(edits, list) else []:  # pyright: ignore[reportUnknownVariableType]
        kind: Any = edit.get("type") if isinstance(edit, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if kind == _CLEAR_TOOLS:
            request = _without_results(request, edit, losses)  # pyright: ignore[reportUnknownArgumentType]
        elif kind == _CLEAR_THINKING:
            request = _without_thinking(request, edit, losses)  # pyright: ignore[reportUnknownArgumentType]
        else:
            losses.drop(f"{FIELD}.edits", f"{f'{kind}'[:60]!r} is not done for this model")
    return request


def summary_message(summary: str) -> ir.Message:
    """The message that the model reads in place of all that was summed up."""
    return ir.Message(
        "user", [ir.Text(f"Summary of the conversation so far, written by you:\n\n{summary}")]
    )


def _from_compaction(request: ir.Request, losses: Losses) -> ir.Request:
    """The request from its last compaction block on, which says what was before it."""
    messages = from_compaction(request.messages)
    if messages is request.messages:
        return request
    left = len(request.messages) - len(messages)
    losses.emulate("compaction", f"its summary stands for {left} messages or more before it")
    return replace(request, messages=messages)


def from_compaction(messages: list[ir.Message]) -> list[ir.Message]:
    """Messages from the last compaction block of Anthropic's on, the system's before it kept."""
    for place in range(len(messages) - 1, len(messages) - len(unseen(messages, EDITOR)) - 1, -1):
        parts = messages[place].parts
        for position in range(len(parts) - 1, -1, -1):
            part = parts[position]
            if not isinstance(part, ir.Opaque) or (part.dialect, part.kind) != (
                EDITOR,
                "compaction",
            ):
                continue
            summary: Any = part.data.get("content")
            if not isinstance(summary, str):
                continue  # a failed one
            system = [each for each in messages[:place] if each.role == "system"]
            rest = replace(messages[place], parts=parts[position + 1 :])
            kept = [rest] if rest.parts else []
            return [*system, summary_message(summary), *kept, *messages[place + 1 :]]
    note_seen(messages, EDITOR)
    return messages


def tokens_of(messages: list[ir.Message]) -> int:
    """About how many tokens messages are."""
    return sum(_part_tokens(part) for message in messages for part in message.parts)


def _part_tokens(part: Any) -> int:
    match part:
        case ir.Text() | ir.Reasoning():
            return len(part.text) // _CHARS_PER_TOKEN + 1
        case ir.ToolCall():
            return (len(part.arguments_json) + len(part.name)) // _CHARS_PER_TOKEN + 1
        case ir.ToolResult():
            return sum(_part_tokens(each) for each in part.content)
        case ir.Media():
            return _MEDIA_TOKENS if not part.text else len(part.text) // _CHARS_PER_TOKEN
        case _:
            return len(jsontext.encode(getattr(part, "data", ""))) // _CHARS_PER_TOKEN


def _value(edit: JSON, name: str, default: int) -> tuple[str, int]:
    """The unit and the number of a field such as `{"type": "tool_uses", "value": 3}`."""
    given: Any = edit.get(name)
    if not isinstance(given, dict):
        return "", default
    number: Any = given.get("value")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    unit: Any = given.get("type")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return f"{unit}", number if isinstance(number, int) else default


def _without_results(request: ir.Request, edit: JSON, losses: Losses) -> ir.Request:
    excluded: Any = edit.get("exclude_tools") or []
    calls = [
        part
        for message in request.messages
        for part in message.parts
        if isinstance(part, ir.ToolCall)
    ]
    unit, limit = _value(edit, "trigger", _TRIGGER_TOKENS)
    size = len(calls) if unit == "tool_uses" else tokens_of(request.messages)
    _, keep = _value(edit, "keep", _KEEP_USES)
    if size <= limit:
        return request
    old = calls[: len(calls) - keep] if keep else calls
    names = {call.id: call.name for call in old if call.name not in excluded}
    inputs: Any = edit.get("clear_tool_inputs") or False
    messages = [_cleared(message, names, inputs) for message in request.messages]
    saved = tokens_of(request.messages) - tokens_of(messages)
    _, least = _value(edit, "clear_at_least", 0)
    if saved <= 0 or saved < least:
        return request
    losses.emulate(FIELD, f"results of {len(names)} tool calls are left out, ~{saved} tokens")
    return replace(request, messages=messages)


def _cleared(message: ir.Message, names: dict[str, str], inputs: Any) -> ir.Message:
    parts: list[ir.Part] = []
    for part in message.parts:
        if isinstance(part, ir.ToolResult) and part.call_id in names and part.content:
            part = replace(part, content=[ir.Text(_CLEARED)])  # noqa: PLW2901
        elif isinstance(part, ir.ToolCall) and part.id in names:
            is_cleared = inputs is True or (isinstance(inputs, list) and part.name in inputs)
            part = replace(part, arguments_json="{}") if is_cleared else part  # noqa: PLW2901
        parts.append(part)
    return replace(message, parts=parts)


def _without_thinking(request: ir.Request, edit: JSON, losses: Losses) -> ir.Request:
    if edit.get("keep") == "all":
        return request
    _, keep = _value(edit, "keep", _KEEP_THINKING)
    turns = [
        place
        for place, message in enumerate(request.messages)
        if any(isinstance(part, ir.Reasoning) for part in message.parts)
    ]
    old = set(turns[: len(turns) - keep] if keep else turns)
    if not old:
        return request
    losses.emulate(FIELD, f"the thinking of {len(old)} turns is left out")
    messages = [
        replace(
            message, parts=[part for part in message.parts if not isinstance(part, ir.Reasoning)]
        )
        if place in old
        else message
        for place, message in enumerate(request.messages)
    ]
    return replace(request, messages=[message for message in messages if message.parts])
