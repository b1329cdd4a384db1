"""Images, documents, sound and video: formats on this wire, media types in the middle."""

from __future__ import annotations

import base64
import re
from typing import Any

from polycall.dialects.bedrock_converse.names import DOCUMENT_NAME_LENGTH_MAX, NAME, WORDS
from polycall.ir import JSON, Media, MediaKind, Metadata, Opaque
from polycall.translation.wire import Reader, unread

KINDS: dict[str, MediaKind] = {
    "image": "image",
    "document": "document",
    "video": "video",
    "audio": "audio",
}
_TYPES: dict[str, dict[str, str]] = WORDS.tables["formats"]
_FORMATS = {
    kind: {media_type: name for name, media_type in types.items()} for kind, types in _TYPES.items()
}
_ALSO = {"image/jpg": "jpeg", "audio/mp3": "mp3", "audio/x-wav": "wav", "video/avi": "mp4"}
_MAGIC = (
    ("iVBORw0KGgo", "image/png"),
    ("/9j/", "image/jpeg"),
    ("R0lGOD", "image/gif"),
    ("UklGR", "image/webp"),
    ("JVBERi", "application/pdf"),
)
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9 ()\[\]-]+")


def parse_media(block: JSON, kind: str, path: str, reader: Reader) -> Media | Opaque:
    """A media block; one whose source only this wire has is `Opaque`."""
    wire = reader.object(block[kind], f"{path}.{kind}")
    source = reader.get_object(wire, "source", f"{path}.{kind}")
    name = reader.get_string(wire, "format", f"{path}.{kind}")
    more = unread(wire, ("format", "source", "name"))
    media_type = _TYPES[kind].get(name, f"{kind}/{name}" if name else "")
    metadata: Metadata = {NAME: {"fields": more}} if more else {}
    filename = reader.get_string(wire, "name", f"{path}.{kind}") if kind == "document" else ""
    known: dict[str, Any] = {"media_type": media_type, "filename": filename}
    if source.keys() == {"bytes"}:
        data = reader.string(source["bytes"], f"{path}.{kind}.source.bytes")
        return Media(KINDS[kind], data=data, metadata=metadata, **known)
    if source.keys() == {"text"}:
        text = reader.string(source["text"], f"{path}.{kind}.source.text")
        return Media(KINDS[kind], text=text, metadata=metadata, **known)
    if source.keys() == {"s3Location"}:
        where = reader.object(source["s3Location"], f"{path}.{kind}.source.s3Location")
        uri = reader.get_string(where, "uri", f"{path}.{kind}.source.s3Location")
        owner = {key: value for key, value in where.items() if key != "uri" and value}
        own: JSON = {"fields": more} if more else {}
        return Media(KINDS[kind], file_id=uri, metadata={NAME: {**own, "s3": owner}}, **known)
    return Opaque(NAME, kind, block)


def render_media(part: Media, names: set[str], *, is_own: bool = False) -> JSON | str:
    """The block for a part; a reason where this wire has none for it.

    `names` are the documents' so far: the wire wants each once.
    """
    own = part.metadata.get(NAME, {})
    kind, name = _kind_and_format(part)
    if not name:
        return f"{part.media_type or f'{part.kind} without a media type'} is not taken"
    source = _source(part, own)
    if isinstance(source, str):
        return source
    wire: JSON = {"format": name, "source": source, **own.get("fields", {})}
    if kind == "document":
        wire["name"] = _document_name(part, names, is_own=is_own)
    return {kind: wire}


def _source(part: Media, own: JSON) -> JSON | str:
    if part.text:
        if part.metadata and NAME in part.metadata:
            return {"text": part.text}
        return {"bytes": base64.b64encode(part.text.encode("utf-8", "replace")).decode()}
    if part.data:
        return {"bytes": part.data}
    if part.file_id:
        if part.file_id.startswith("s3://"):
            return {"s3Location": {"uri": part.file_id, **own.get("s3", {})}}
        return "the file lies with another provider; send its content"
    if part.url.startswith("s3://"):
        return {"s3Location": {"uri": part.url}}
    return "a URL is not taken; send the content"


def _kind_and_format(part: Media) -> tuple[str, str]:
    """The block's kind and its format; an empty format where there is none."""
    media_type = part.media_type.partition(";")[0].strip().lower()
    if not media_type or media_type == "application/octet-stream":
        found = [named for magic, named in _MAGIC if part.data.startswith(magic)]
        media_type = found[0] if found else "text/plain" if part.text else ""
    for kind in (part.kind, *_FORMATS):
        name = _FORMATS.get(kind, {}).get(media_type)
        if name:
            return kind, name
    if media_type in _ALSO:
        return media_type.partition("/")[0], _ALSO[media_type]
    ending = part.filename.rpartition(".")[2].lower() or media_type.rpartition("/")[2]
    for kind, types in _TYPES.items():
        if ending in types:
            return kind, ending
    is_text = media_type.startswith("text/") or media_type == "application/json"
    return ("document", "txt") if is_text else ("document", "")


def _document_name(part: Media, names: set[str], *, is_own: bool) -> str:
    """A name as the wire allows it: letters, digits, few signs; each once in a request."""
    name = part.filename
    if is_own and name:
        return name
    if not name or _NOT_IN_NAMES.search(name) is not None:
        stem = name.rpartition(".")[0] or name
        name = " ".join(_NOT_IN_NAMES.sub(" ", stem).split())[:DOCUMENT_NAME_LENGTH_MAX]
    name = unique = name or "document"
    number = 2
    while unique in names:
        unique = f"{name} {number}"
        number += 1
    names.add(unique)
    return unique
