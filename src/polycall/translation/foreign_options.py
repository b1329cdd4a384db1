"""The parts of a request that only another dialect knows: its fields, and marks on its parts."""

from __future__ import annotations

from typing import Any

from polycall.ir import JSON, Message, Metadata, Opaque, Request, Tool, ToolResult
from polycall.translation.conversation import begun, end_of_beginning, keep_begun, known_of
from polycall.translation.tool_list_cache import once
from polycall.translation.wire import Losses

# Without these the model would answer another question: state that lives at the other vendor,
# and outputs that the target cannot make.
_REFUSED_FIELDS = frozenset(
    {
        "audio",
        "background",
        "agent",
        "cachedContent",
        "cached_content",
        "container",
        "conversation",
        "mcp_servers",
        "modalities",
        "previous_interaction_id",
        "previous_response_id",
        "prompt",
        "web_search_options",
    }
)

# What some clients write where they want none of that.  An empty object is a request for some.
_DEFAULTS: tuple[Any, ...] = (False, [], ["text"])

# These say how the client wants its own answer framed or kept, not what the model should do.
_FRAMING_FIELDS = frozenset({"stream_options", "include_obfuscation", "include", "store"})

# Wishes that a client writes beside a part or a tool.  They stay in that dialect's metadata, where
# no other looks.
_MARKS = frozenset(
    {
        "annotations",
        "cachePoint",
        "cache_control",
        "citations",
        "context",
        "detail",
        "eager_input_streaming",
        "mediaResolution",
        "prompt_cache_breakpoint",
        "videoMetadata",
    }
)
_MARK_PLACES = ("fields", "inner", "part")
_NO_MARKS: tuple[Any, ...] = (None, "", "auto", False, [])


def note_foreign_options(request: Request, dialect: str, losses: Losses) -> None:
    """Warn of what only another dialect knows: fields of the request, marks on its parts.

    Fields without which the answer would be another are refused.
    """
    _note_foreign_marks(request, dialect, losses)
    for owner, options in request.provider_options.items():
        if owner == dialect:
            continue
        for field, value in options.items():
            if field in _REFUSED_FIELDS and value in _DEFAULTS:
                continue
            detail = f"a feature of {owner} without a counterpart in {dialect}"
            if field in _REFUSED_FIELDS:
                losses.refuse(field, detail, path=field)
            elif field not in _FRAMING_FIELDS:
                losses.drop(field, detail)


def _note_foreign_marks(request: Request, dialect: str, losses: Losses) -> None:
    _note_all(once(request.tools, _notes_in), dialect, losses)
    messages, reader = request.messages, (_note_foreign_marks, dialect)
    known = known_of(messages)
    if known is None:
        _note_all(_metadata_in(messages), dialect, losses)
        return
    start, before = begun(known, messages, reader)
    end = max(start, end_of_beginning(messages))
    with losses.apart() as noted:
        losses.repeat(before or ())
        _note_all(_metadata_in(messages[start:end]), dialect, losses)
        if end > start:
            keep_begun(known, messages[:end], reader, [*noted])
        _note_all(_metadata_in(messages[end:]), dialect, losses)


def _notes_in(tools: list[Tool]) -> list[Metadata]:
    return [tool.metadata for tool in tools if tool.metadata]


def _metadata_in(messages: list[Message]) -> list[Metadata]:
    found: list[Metadata] = []
    for message in messages:
        for part in message.parts:
            if not isinstance(part, Opaque) and part.metadata:
                found.append(part.metadata)
            if isinstance(part, ToolResult):
                found.extend(
                    inner.metadata for inner in part.content if not isinstance(inner, Opaque)
                )
    return found


def _note_all(noted: list[Metadata], dialect: str, losses: Losses) -> None:
    for metadata in noted:
        for owner, notes in metadata.items():
            if owner == dialect:
                continue
            for place in (notes, *(notes.get(name) for name in _MARK_PLACES)):
                if isinstance(place, dict):
                    _note_marks(place, owner, dialect, losses)  # pyright: ignore[reportUnknownArgumentType]


def _note_marks(place: JSON, owner: str, dialect: str, losses: Losses) -> None:
    for name, value in place.items():
        if name not in _MARKS:
            continue
        if value in _NO_MARKS:
            continue
        detail = f"a mark of {owner} without a counterpart in {dialect}"
        # An answer's citations are a list; the request for some is an object.
        if isinstance(value, list):
            detail = f"what an answer of {owner} has cited"
        losses.drop(name, detail)
