"""Files that tools gave, so that no vendor refuses the request for them (`media_bytes.py`)."""

from __future__ import annotations

from msgspec.structs import replace

from polycall.ir import Media, Message, Opaque, Part, Request, Text, ToolResult, Warning
from polycall.translation.conversation import (
    begun,
    end_of_beginning,
    keep_begun,
    known_of,
    like,
)
from polycall.translation.foreign_words import file_name
from polycall.translation.media_bytes import mended
from polycall.translation.wire import Losses


def with_sound_media(result: ToolResult) -> tuple[ToolResult, list[Warning]]:
    """The result with words for broken files, and with types that are those of the bytes.

    A vendor would refuse the request for one of them, and each request after it.
    """
    content: list[Text | Media | Opaque] = []
    warnings: list[Warning] = []
    for part in result.content:
        sound, reason = mended(part) if isinstance(part, Media) else (part, "")
        if isinstance(part, Media) and reason:
            detail = f"a tool's {part.kind} is not shown: {reason}"
            warnings.append(Warning("unsupported", "tool_result.media", detail))
            sound = Text(file_name(part, reason))
        elif isinstance(part, Media) and sound is not part:
            detail = f"a tool's {part.kind} is sent as what its bytes are"
            warnings.append(Warning("adjusted", "tool_result.media", detail))
        content.append(sound)
    return (replace(result, content=content) if warnings else result), warnings


def with_sound_results(request: Request, losses: Losses) -> Request:
    """The request with words for the broken files in its results."""
    messages, made, warnings = request.messages, list[Message](), list[Warning]()
    known = known_of(messages)
    if known is None and not any(message.role == "tool" for message in messages):
        return request
    end = end_of_beginning(messages)
    start, before = begun(known, messages, with_sound_media)
    if before is not None:
        made, warnings = before[0].copy(), before[1].copy()
    for place in range(start, len(messages)):
        if place == end > start:
            state = (made.copy(), warnings.copy())
            keep_begun(known, messages[:end], with_sound_media, state)
        message = messages[place]
        if message.role == "tool" and _has_media(message):
            parts: list[Part] = []
            for part in message.parts:
                if isinstance(part, ToolResult):
                    part, noted = with_sound_media(part)  # noqa: PLW2901
                    warnings += noted
                parts.append(part)
            message = replace(message, parts=parts)
        made.append(message)
    losses.repeat(warnings)
    return replace(request, messages=like(made, messages)) if warnings else request


def _has_media(message: Message) -> bool:
    return any(
        isinstance(inner, Media)
        for part in message.parts
        if isinstance(part, ToolResult)
        for inner in part.content
    )
