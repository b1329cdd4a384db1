"""Images and documents, wire to part and back."""

from __future__ import annotations

import base64
from typing import Any

from polycall.dialects.anthropic.names import NAME
from polycall.ir import JSON, Media, Opaque
from polycall.translation.wire import Reader, unread

IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_PDF = "application/pdf"

# The first characters of the base64 of each format: a caller may have left the type out.
_MAGIC = (
    ("iVBORw0KGgo", "image/png"),
    ("/9j/", "image/jpeg"),
    ("R0lGOD", "image/gif"),
    ("UklGR", "image/webp"),
    ("JVBERi", _PDF),
)


def parse_media(block: JSON, kind: str, path: str, reader: Reader) -> Media | Opaque:
    """An `image` or `document` block; `Opaque` where its source is one that only this wire has."""
    source = reader.object(block.get("source"), f"{path}.source")
    extras: JSON = unread(block, ("type", "source", "title"))
    title = block.get("title")
    filename = title if isinstance(title, str) else ""
    media_kind = "image" if kind == "image" else "document"
    source_type = reader.string(source.get("type"), f"{path}.source.type")
    known: dict[str, str] = {}
    match source_type:
        case "base64":
            known["data"] = reader.string(source.get("data"), f"{path}.source.data")
            known["media_type"] = reader.get_string(source, "media_type", f"{path}.source")
        case "url":
            known["url"] = reader.string(source.get("url"), f"{path}.source.url")
        case "file":
            known["file_id"] = reader.string(source.get("file_id"), f"{path}.source.file_id")
        case "text":
            known["text"] = reader.string(source.get("data"), f"{path}.source.data")
            known["media_type"] = reader.get_string(source, "media_type", f"{path}.source")
        case "content" if (text := _content_text(source.get("content"))) is not None:
            extras["source"] = source
            known = {"text": text, "media_type": "text/plain"}
        case _:
            return Opaque(NAME, kind, block)
    more = {
        key: value
        for key, value in source.items()
        if key not in ("type", "data", "media_type", "url", "file_id", "content")
    }
    if more:
        extras["source"] = source
    # A file id is of no use elsewhere: the key says whose it is.
    metadata = {NAME: extras} if extras or source_type == "file" else {}
    return Media(kind=media_kind, filename=filename, metadata=metadata, **known)


def _content_text(content: Any) -> str | None:
    """The text of a `content` source; `None` where it holds more than text."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    texts: list[str] = []
    for block in content:  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(block, dict) or block.get("type") != "text":  # pyright: ignore[reportUnknownMemberType]
            return None
        text: Any = block.get("text")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if not isinstance(text, str):
            return None
        texts.append(text)
    return "\n".join(texts)


def render_media(part: Media) -> JSON | str:
    """The block for a part; a reason where this wire has none for it."""
    own = part.metadata.get(NAME, {})
    source = own.get("source") or _source(part)
    if isinstance(source, str):
        return source
    is_image = part.kind == "image" or source.get("media_type") in IMAGE_TYPES
    block: JSON = {"type": "image" if is_image else "document", "source": source}
    if part.filename and not is_image:
        block["title"] = part.filename
    for key, value in own.items():
        if key != "source":
            block[key] = value
    return block


def _source(part: Media) -> JSON | str:
    if part.kind in ("audio", "video"):
        return f"{part.kind} is not taken"
    if part.url:
        if part.url.startswith(("http://", "https://")):
            return {"type": "url", "url": part.url}
        return "only http and https URLs are taken"
    if part.file_id:
        # Ids of Anthropic's Files API, as opposed to those of other vendors.
        if NAME in part.metadata or part.file_id.startswith("file_"):
            return {"type": "file", "file_id": part.file_id}
        return "the file lies with another provider; send its content"
    if part.text:
        return {"type": "text", "media_type": "text/plain", "data": part.text}
    return _data_source(part)


def _data_source(part: Media) -> JSON | str:
    media_type = part.media_type.partition(";")[0].strip().lower()
    if media_type == "image/jpg":
        media_type = "image/jpeg"
    if not media_type or media_type == "application/octet-stream":
        for magic, named in _MAGIC:
            if part.data.startswith(magic):
                media_type = named
    if media_type in IMAGE_TYPES or media_type == _PDF:
        return {"type": "base64", "media_type": media_type, "data": part.data}
    if media_type.startswith("text/") or media_type == "application/json":
        try:
            text = base64.b64decode(part.data).decode("utf-8")
        except ValueError:
            return f"{media_type} that is not UTF-8 in base64 is not taken"
        return {"type": "text", "media_type": "text/plain", "data": text}
    if part.kind == "image" and not media_type:
        return "the image needs a media type"
    return f"{media_type or 'a file without a media type'} is not taken"
