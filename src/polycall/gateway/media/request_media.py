"""Which media a target needs as bytes, and putting the bytes in place.  No network here."""

from __future__ import annotations

from msgspec.structs import replace

from polycall._support.urls import parts_of
from polycall.ir import Media, Message, Opaque, Part, Request, Text, ToolResult
from polycall.providers.dialects import DIALECTS
from polycall.translation.conversation import like, note_seen, unseen

_YOUTUBE = frozenset({"www.youtube.com", "youtube.com", "m.youtube.com", "youtu.be"})


def media_to_fetch(request: Request, dialect: str) -> list[Media]:
    """The media to fetch, one as often as it is used."""
    kinds = DIALECTS[dialect].FACTS.media_as_bytes
    if not kinds:
        return []
    look = (media_to_fetch, dialect)
    found = [
        part
        for message in unseen(request.messages, look)
        for part in _media_of(message)
        if _is_wanted(part, kinds, dialect)
    ]
    if not found:
        note_seen(request.messages, look)
    return found


def wanted_media(request: Request, dialect: str) -> dict[str, Media]:
    """The media to fetch, by URL."""
    return {part.url: part for part in media_to_fetch(request, dialect)}


def with_data(request: Request, by_url: dict[str, Media]) -> Request:
    """The request with what was fetched instead of the URLs."""
    messages = [_message_with_data(message, by_url) for message in request.messages]
    return replace(request, messages=like(messages, request.messages))


def _is_wanted(part: Media, kinds: frozenset[str], dialect: str) -> bool:
    if not part.url or part.kind not in kinds or dialect in part.metadata:
        return False
    parts = parts_of(part.url)
    return parts.scheme in ("http", "https") and (parts.hostname or "") not in _YOUTUBE


def _media_of(message: Message) -> list[Media]:
    found: list[Media] = []
    for part in message.parts:
        if isinstance(part, Media):
            found.append(part)
        elif isinstance(part, ToolResult):
            found.extend(inner for inner in part.content if isinstance(inner, Media))
    return found


def _message_with_data(message: Message, by_url: dict[str, Media]) -> Message:
    parts: list[Part] = []
    for part in message.parts:
        match part:
            case Media(url=url) if url in by_url:
                parts.append(by_url[url])
            case ToolResult():
                content: list[Text | Media | Opaque] = [
                    by_url.get(inner.url, inner) if isinstance(inner, Media) else inner
                    for inner in part.content
                ]
                parts.append(replace(part, content=content))
            case _:
                parts.append(part)
    return replace(message, parts=parts)
