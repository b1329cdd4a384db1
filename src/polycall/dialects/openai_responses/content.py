"""Content parts: text, images, files and audio inside messages and tool outputs.

What the middle language cannot say becomes an `Opaque` whose kind starts with `content.`.
"""

from __future__ import annotations

import base64
import binascii
from typing import TypeAlias
from urllib.parse import unquote_to_bytes

from polycall.dialects.openai_responses.names import CONTENT_PREFIX, NAME, mark, others, own
from polycall.ir import JSON, Media, MediaKind, Opaque, Refusal, Text
from polycall.translation.wire import Losses, Reader

ContentPart: TypeAlias = Text | Refusal | Media | Opaque

_TEXT_TYPES = frozenset({"input_text", "output_text", "text"})
_AUDIO_TYPES = {"wav": "audio/wav", "mp3": "audio/mpeg"}
_EXTENSIONS = {
    "application/pdf": "pdf",
    "application/json": "json",
    "text/plain": "txt",
    "text/csv": "csv",
    "text/html": "html",
    "text/markdown": "md",
}


def parse_content_part(reader: Reader, value: object, path: str, *, text_type: str) -> ContentPart:
    """One element of a content array; `text_type` is the usual type of text there."""
    part = reader.object(value, path)
    kind = reader.get_string(part, "type", path)
    if kind in _TEXT_TYPES:
        notes: JSON = {}
        if kind != text_type:
            notes["type"] = kind
        fields = others(part, ("type", "text"))
        if fields:
            notes["part"] = fields
        return Text(reader.get_string(part, "text", path), mark(notes))
    if kind == "refusal":
        fields = others(part, ("type", "refusal"))
        return Refusal(
            reader.get_string(part, "refusal", path), mark({"part": fields} if fields else {})
        )
    media: Media | None = None
    if kind == "input_image":
        media = _parse_image(reader, part, path)
    elif kind == "input_file":
        media = _parse_file(reader, part, path)
    elif kind == "input_audio":
        media = _parse_audio(reader, part, path)
    return media or Opaque(NAME, CONTENT_PREFIX + kind, part)


def _parse_image(reader: Reader, part: JSON, path: str) -> Media | None:
    url = reader.get_string(part, "image_url", path)
    file_id = reader.get_string(part, "file_id", path)
    if bool(url) == bool(file_id):
        return None
    notes: JSON = {"part": others(part, ("type", "image_url", "file_id"))}
    if file_id:
        return Media("image", file_id=file_id, metadata=mark(notes))
    if not url.startswith("data:"):
        return Media("image", url=url, metadata=mark(notes) if notes["part"] else {})
    media_type, data = split_data_url(url)
    if url != data_url(media_type, data):
        notes["url"] = url
    metadata = mark(notes) if notes["part"] or "url" in notes else {}
    return Media("image", media_type=media_type, data=data, metadata=metadata)


def _parse_file(reader: Reader, part: JSON, path: str) -> Media | None:
    data = reader.get_string(part, "file_data", path)
    url = reader.get_string(part, "file_url", path)
    file_id = reader.get_string(part, "file_id", path)
    if bool(data) + bool(url) + bool(file_id) != 1:
        return None
    filename = reader.get_string(part, "filename", path)
    fields = others(part, ("type", "file_data", "file_url", "file_id", "filename"))
    notes: JSON = {"part": fields} if fields else {}
    if file_id:
        notes["part"] = fields
        return Media("file", file_id=file_id, filename=filename, metadata=mark(notes))
    if url:
        return Media("document", url=url, filename=filename, metadata=mark(notes))
    if "filename" not in part:
        notes["part"] = fields  # so that no name is made up for it
    media_type = ""
    if data.startswith("data:"):
        whole = data
        media_type, data = split_data_url(whole)
        if whole != data_url(media_type, data):
            notes["url"] = whole
    else:
        notes["bare"] = True
    is_document = media_type in ("", "application/pdf") or media_type.startswith("text/")
    kind: MediaKind = "document" if is_document else "file"
    return Media(kind, media_type=media_type, data=data, filename=filename, metadata=mark(notes))


def _parse_audio(reader: Reader, part: JSON, path: str) -> Media | None:
    audio = reader.get_object(part, "input_audio", path)
    data = reader.get_string(audio, "data", f"{path}.input_audio")
    if not data:
        return None
    name = reader.get_string(audio, "format", f"{path}.input_audio")
    notes: JSON = {"part": others(part, ("type", "input_audio")), "format": name}
    media_type = _AUDIO_TYPES.get(name, f"audio/{name}" if name else "")
    return Media("audio", media_type=media_type, data=data, metadata=mark(notes))


def data_url(media_type: str, data: str) -> str:
    """The data URL of base64 text."""
    return f"data:{media_type};base64,{data}"


def split_data_url(url: str) -> tuple[str, str]:
    """Media type and standard base64 of a data URL, whatever its spelling."""
    head, _, data = url.partition(",")
    media_type, *parameters = head.removeprefix("data:").split(";")
    if parameters and parameters[-1].strip().lower() == "base64":
        return media_type.strip().lower(), _standard_base64(data)
    encoded = base64.b64encode(unquote_to_bytes(data)).decode("ascii")
    return media_type.strip().lower() or "text/plain", encoded


def _standard_base64(data: str) -> str:
    # A substring search costs far less than a pattern over megabytes of image.
    if len(data) % 4 == 0 and not any(mark in data for mark in " \n\r\t-_%"):
        return data
    clean = "".join(data.split()).replace("-", "+").replace("_", "/").replace("%2B", "+")
    clean = clean.replace("%2F", "/").replace("%3D", "=").rstrip("=")
    clean += "=" * (-len(clean) % 4)
    try:
        base64.b64decode(clean, validate=True)
    except (binascii.Error, ValueError):
        return data  # not base64 at all: the provider says so better than a guess would
    return clean


def render_content_part(part: ContentPart, losses: Losses, path: str) -> JSON | None:
    """One element of an input content array; `None` where it was left out with a warning."""
    match part:
        case Text():
            notes = own(part.metadata)
            kind = notes.get("type", "input_text")
            return {"type": kind, "text": part.text, **notes.get("part", {})}
        case Refusal():
            return {"type": "input_text", "text": part.text}
        case Media():
            return render_media(part, losses, path)
        case Opaque():
            return part.data  # only this dialect's are left


def render_media(media: Media, losses: Losses, path: str) -> JSON | None:
    """An `input_image`, `input_file` or `input_audio`; `None` where it cannot be sent."""
    notes = own(media.metadata)
    fields = notes.get("part", {})
    if media.file_id and NAME not in media.metadata and not media.file_id.startswith("file-"):
        losses.refuse("file_id", f"{media.file_id!r} is a file of another provider", path=path)
        return None
    if media.kind == "audio" and "format" in notes:
        audio = {"data": media.data, "format": notes["format"]}
        return {"type": "input_audio", "input_audio": audio, **fields}
    if media.kind in ("audio", "video"):
        losses.refuse(media.kind, f"{NAME} takes no {media.kind} in a conversation", path=path)
        return None
    if media.kind == "image":
        image: JSON = {"type": "input_image", **fields}
        if media.file_id:
            image["file_id"] = media.file_id
        else:
            image["image_url"] = _address(media, notes)
        return image
    if media.text:
        losses.emulate("document", "a plain text document is sent as text")
        title = f"{media.filename}\n\n" if media.filename else ""
        return {"type": "input_text", "text": title + media.text}
    file: JSON = {"type": "input_file", **fields}
    if media.file_id:
        file["file_id"] = media.file_id
    elif media.url:
        file["file_url"] = media.url
    else:
        file["file_data"] = media.data if notes.get("bare") else _address(media, notes)
    if media.filename:
        file["filename"] = media.filename
    elif media.data and "part" not in notes:
        file["filename"] = f"document.{_EXTENSIONS.get(media.media_type, 'bin')}"
    return file


def _address(media: Media, notes: JSON) -> str:
    return notes.get("url") or media.url or data_url(media.media_type, media.data)
