"""Content parts, both ways: text, media, refusals, thinking, and what only Chat knows."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import unquote_to_bytes

from polycall.dialects.openai_chat.names import NAME, mark, own
from polycall.ir import JSON, Media, MediaKind, Opaque, Part, Reasoning, Refusal, Text
from polycall.translation.foreign_words import file_text
from polycall.translation.quirks import Quirks
from polycall.translation.wire import Losses, Path, Reader, unread

_TEXT_TYPES = frozenset({"text", "input_text", "output_text"})
_URL_TYPES: dict[str, MediaKind] = {
    "image_url": "image",
    "video_url": "video",
    "audio_url": "audio",
    "document_url": "document",
}
_AUDIO_TYPES = {"mp3": "audio/mpeg", "wav": "audio/wav", "m4a": "audio/mp4"}
_AUDIO_FORMATS = {
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/mp4": "m4a",
}
_INNER = ("detail",)  # what OpenAI itself has alongside an address, and plain servers ignore
_DOCUMENT_TYPES = ("application/pdf", "text/", "application/msword", "application/vnd.")


# ---------------------------------------------------------------------------------------------
# In


def parse_parts(items: list[Any], path: Path, reader: Reader) -> list[Part]:
    """The parts of a content array."""
    return [_parse_part(item, f"{path}[{position}]", reader) for position, item in enumerate(items)]


def _parse_part(item: Any, path: Path, reader: Reader) -> Part:
    if isinstance(item, str):
        return Text(item)
    part = reader.object(item, path)
    kind = reader.get_string(part, "type", path)
    if kind in _TEXT_TYPES or (not kind and "text" in part):
        text = reader.get_string(part, "text", path)
        fields = unread(part, ("type", "text"))
        return Text(text, mark({"fields": fields})) if fields else Text(text)
    if kind in _URL_TYPES:
        return _parse_url_part(part, kind, path, reader)
    if kind == "input_image":
        url = reader.get_string(part, "image_url", path)
        inner = unread(part, ("type", "image_url"))
        return _media("image", url, {"type": "image_url", "inner": inner})
    if kind == "input_audio":
        return _parse_audio(part, path, reader)
    if kind == "file":
        return _parse_file(part, path, reader)
    if kind == "thinking":
        return _parse_thinking(part, path, reader)
    if kind == "refusal":
        return Refusal(reader.get_string(part, "refusal", path), mark({"place": "content"}))
    if not kind:
        reader.fail(f"{path}.type", "the type of a part", part.get("type"))
    return Opaque(NAME, kind, part)


def _parse_url_part(part: JSON, kind: str, path: Path, reader: Reader) -> Media:
    value = part.get(kind)
    notes: JSON = {"type": kind}
    if isinstance(value, str):
        url = value
        notes["form"] = "string"
    else:
        inner = reader.object(value, f"{path}.{kind}")
        url = reader.string(inner.get("url"), f"{path}.{kind}.url")
        notes["inner"] = unread(inner, ("url",))
    fields = unread(part, ("type", kind))
    notes["fields"] = fields
    return _media(_URL_TYPES[kind], url, notes, filename=str(fields.get("document_name", "")))


def _media(kind: MediaKind, url: str, notes: JSON, *, filename: str = "") -> Media:
    media_type, data = "", ""
    if url[:5].lower() == "data:":
        media_type, data, head = split_data_url(url)
        if head:
            notes["head"] = head
        url = ""
    notes = {key: value for key, value in notes.items() if value}
    return Media(
        kind,
        media_type=media_type,
        data=data,
        url=url,
        filename=filename,
        metadata=mark(notes),
    )


def split_data_url(url: str) -> tuple[str, str, str]:
    """Media type, base64 and, where it is unusual, the head of a `data:` URL."""
    head, _, payload = url.partition(",")
    pieces = head[5:].split(";")
    if pieces[-1].strip().lower() == "base64":
        data = standard_base64(payload)
        usual = f"data:{pieces[0]};base64"
        return pieces[0], data, "" if head == usual else head
    data = base64.b64encode(unquote_to_bytes(payload)).decode("ascii")
    return pieces[0] or "text/plain", data, ""


def standard_base64(data: str) -> str:
    """Base64 in the standard alphabet, padded, without spaces; broken text stays as it is."""
    if "%" in data:
        data = unquote_to_bytes(data).decode("ascii", "replace")
    if "-" in data or "_" in data:
        data = data.replace("-", "+").replace("_", "/")
    if "\n" in data or " " in data or "\r" in data:
        data = "".join(data.split())
    return data + "=" * (-len(data) % 4)


def _parse_audio(part: JSON, path: Path, reader: Reader) -> Media:
    value = part.get("input_audio")
    notes: JSON = {"type": "input_audio"}
    if fields := unread(part, ("type", "input_audio")):
        notes["fields"] = fields
    if isinstance(value, str):
        notes["form"] = "string"
        data, media_type = value, ""
    else:
        inner = reader.object(value, f"{path}.input_audio")
        data = reader.get_string(inner, "data", f"{path}.input_audio")
        wire_format = reader.get_string(inner, "format", f"{path}.input_audio")
        media_type = _AUDIO_TYPES.get(wire_format, f"audio/{wire_format}") if wire_format else ""
        notes["format"] = wire_format
        if extra := unread(inner, ("data", "format")):
            notes["inner"] = extra
    if data[:5].lower() == "data:":
        media_type, data, head = split_data_url(data)
        notes["head"] = head or f"data:{media_type};base64"
    elif data.startswith(("http://", "https://")):
        return Media("audio", media_type=media_type, url=data, metadata=mark(notes))
    return Media("audio", media_type=media_type, data=data, metadata=mark(notes))


def _parse_file(part: JSON, path: Path, reader: Reader) -> Media:
    inner = reader.get_object(part, "file", path)
    inside = f"{path}.file"
    data = reader.get_string(inner, "file_data", inside)
    filename = reader.get_string(inner, "filename", inside)
    notes: JSON = {"type": "file"}
    if extra := unread(inner, ("file_data", "file_id", "filename")):
        notes["inner"] = extra
    if fields := unread(part, ("type", "file")):
        notes["fields"] = fields
    url, media_type = "", ""
    if data[:5].lower() == "data:":
        media_type, data, head = split_data_url(data)
        if head:
            notes["head"] = head
    elif data.startswith(("http://", "https://")):
        url, data = data, ""
    elif data:
        notes["bare"] = True
        media_type = "application/pdf" if filename.lower().endswith(".pdf") else ""
    return Media(
        _file_kind(media_type or ("application/pdf" if not data else "")),
        media_type=media_type,
        data=data,
        url=url,
        file_id=reader.get_string(inner, "file_id", inside),
        filename=filename,
        metadata=mark(notes),
    )


def _file_kind(media_type: str) -> MediaKind:
    return "document" if media_type.startswith(_DOCUMENT_TYPES) else "file"


def _parse_thinking(part: JSON, path: Path, reader: Reader) -> Reasoning:
    text = thinking_text(part.get("thinking"), f"{path}.thinking", reader)
    notes: JSON = {"field": "thinking"}
    if part != thinking_part(text):
        notes["part"] = part
    return Reasoning(text, mark(notes))


def thinking_text(value: Any, path: Path, reader: Reader) -> str:
    """The text of a thinking part's `thinking`: a string, or an array of text parts."""
    if value is None or isinstance(value, str):
        return value or ""
    pieces: list[str] = []
    for position, item in enumerate(reader.array(value, path)):
        inside = f"{path}[{position}]"
        pieces.append(reader.get_string(reader.object(item, inside), "text", inside))
    return "".join(pieces)


# ---------------------------------------------------------------------------------------------
# Out


def thinking_part(text: str) -> JSON:
    """A thinking part as Mistral writes it."""
    return {"type": "thinking", "thinking": [{"type": "text", "text": text}]}


def kept_fields(fields: JSON | None, quirks: Quirks, losses: Losses) -> JSON:
    """Those of the client's extra fields that the target takes; the others are noted."""
    if not fields:
        return {}
    if quirks.message_fields is None:
        return fields
    kept: JSON = {}
    for name, value in fields.items():
        if name in quirks.message_fields:
            kept[name] = value
        elif value not in ([], {}, ""):
            losses.drop(f"messages.{name}", "the target does not know this field")
    return kept


def render_text(part: Text, quirks: Quirks, losses: Losses) -> JSON:
    """A text part."""
    fields = own(part.metadata).get("fields")
    return {"type": "text", "text": part.text, **kept_fields(fields, quirks, losses)}


def render_media(part: Media, quirks: Quirks, losses: Losses, path: Path) -> JSON | None:
    """A media part; `None` where it was left out with a warning."""
    notes = own(part.metadata)
    kind = notes.get("type") or wire_type(part, quirks)
    if notes and quirks.is_relative and kind not in quirks.media_parts and not quirks.careful:
        # A Chat client's part that this relative is known not to take; an unknown one may.
        notes, kind = {}, wire_type(part, quirks)
    if "inner" in notes and quirks.message_fields is not None:
        inner: JSON = {key: notes["inner"][key] for key in _INNER if key in notes["inner"]}
        more = unread(notes["inner"], _INNER)
        notes = {**notes, "inner": {**inner, **kept_fields(more, quirks, losses)}}
    if not notes:
        if part.file_id and not (part.data or part.url):
            losses.refuse("file_id", "a file stored at another provider", path=path)
            return None
        is_shown = bool(part.data) and kind in quirks.media_parts
        if not is_shown and (text := file_text(part)) is not None:
            losses.emulate("document", "a text document is sent as text")
            return {"type": "text", "text": text}
        if kind not in quirks.media_parts:
            losses.refuse(part.kind, f"the target takes no {part.kind} parts", path=path)
            return None
    fields = kept_fields(notes.get("fields"), quirks, losses)
    if kind == "file":
        return _render_file(part, notes, fields, losses, path)
    if kind == "input_audio":
        return _render_audio(part, notes, fields, losses, path)
    url = part.url or _data_url(part, notes)
    if notes.get("form") == "string" or kind == "document_url":
        value: Any = url
    else:
        value = {"url": url, **notes.get("inner", {})}
    if kind == "document_url" and part.filename:
        fields = {"document_name": part.filename, **fields}
    return {"type": kind, kind: value, **fields}


def wire_type(part: Media, quirks: Quirks) -> str:
    """The type of part that holds such media."""
    match part.kind:
        case "image":
            return "image_url"
        case "audio":
            return "input_audio"
        case "video":
            return "video_url"
        case "document" | "file":
            return "document_url" if "document_url" in quirks.media_parts else "file"


def _data_url(part: Media, notes: JSON) -> str:
    head = notes.get("head") or f"data:{part.media_type or 'application/octet-stream'};base64"
    return f"{head},{part.data}"


def _render_file(part: Media, notes: JSON, fields: JSON, losses: Losses, path: Path) -> JSON | None:
    inner: JSON = {}
    if part.data:
        inner["file_data"] = part.data if notes.get("bare") else _data_url(part, notes)
    elif part.url:
        if not notes:
            losses.refuse("document", "Chat takes documents as data, not by address", path=path)
            return None
        inner["file_data"] = part.url
    if part.file_id:
        inner["file_id"] = part.file_id
    if part.filename:
        inner["filename"] = part.filename
    elif part.data and not notes:
        inner["filename"] = "document.pdf" if part.media_type == "application/pdf" else "file"
    return {"type": "file", "file": {**inner, **notes.get("inner", {})}, **fields}


def _render_audio(
    part: Media, notes: JSON, fields: JSON, losses: Losses, path: Path
) -> JSON | None:
    if part.url and not notes:
        losses.refuse("audio", "Chat takes audio as data, not by address", path=path)
        return None
    data = _data_url(part, notes) if notes.get("head") else part.data or part.url
    if notes.get("form") == "string":
        return {"type": "input_audio", "input_audio": data, **fields}
    wire_format = notes.get("format")
    if wire_format is None:
        subtype = part.media_type.partition("/")[2] or "wav"
        wire_format = _AUDIO_FORMATS.get(part.media_type, subtype)
    inner: JSON = {"data": data, **notes.get("inner", {})}
    if wire_format:
        inner["format"] = wire_format
    return {"type": "input_audio", "input_audio": inner, **fields}
