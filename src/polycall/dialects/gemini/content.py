"""One part of a content, both ways; the same for requests and responses.

Everything here reads camelCase (see `casing.py`).  The metadata of a part, `metadata["gemini"]`,
holds the wire fields that stand alongside its data (`thoughtSignature`, `videoMetadata`, ...) under
their own names, and for calls and results:

    no_id   true where the wire gave no id, so that none is sent back
    inner   other fields inside of `functionCall` or `functionResponse` (`scheduling`, ...)
    shape   how a result was written where it is not `{"output": "text"}` or `{"error": "text"}`:
            `value` (JSON under that key) or `object` (the whole object is the result)

An empty entry is not nothing: it says that the part came from this wire.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from polycall._support import jsontext
from polycall._support.urls import parts_of
from polycall.dialects.gemini.names import NAME
from polycall.ir import JSON, Media, MediaKind, Metadata, Opaque, Part, Reasoning, Text, ToolCall
from polycall.translation.wire import Path, Reader, unread

# Gives an id to a call that came without one, from its name and its arguments.
Mint: TypeAlias = Callable[[str, str], str]

_BESIDE = frozenset(
    {
        "audioMetadata",
        "documentMetadata",
        "mediaProcessing",
        "mediaResolution",
        "partMetadata",
        "speechMetadata",
        "spreadsheetMetadata",
        "thought",
        "thoughtSignature",
        "videoMetadata",
    }
)
_OURS = frozenset({"no_id", "inner", "shape"})
_FILES_HOST = "generativelanguage.googleapis.com"
_VIDEO_HOSTS = frozenset({"www.youtube.com", "youtube.com", "m.youtube.com", "youtu.be"})
_TYPES_BY_SUFFIX = {
    "gif": "image/gif",
    "heic": "image/heic",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "pdf": "application/pdf",
    "png": "image/png",
    "txt": "text/plain",
    "wav": "audio/wav",
    "webm": "video/webm",
    "webp": "image/webp",
}


# ---------------------------------------------------------------------------------------------
# Wire to part


def parse_part(wire: JSON, path: Path, reader: Reader, mint: Mint) -> Part | None:
    """The part, or `None` for one that says nothing."""
    if "functionCall" in wire and wire["functionCall"] is not None:
        return parse_call(wire, path, reader, mint)
    if isinstance(text := wire.get("text"), str) and not _has_data(wire):
        beside = beside_of(wire, "text")
        if wire.get("thought") is True:
            beside.pop("thought", None)
            return Reasoning(text, {NAME: beside})
        # Google takes an empty text; the mark keeps it apart from another dialect's nothing.
        return Text(text, {NAME: beside} if beside or not text else {})
    if not wire.get("thought"):
        media = parse_media(wire, path, reader)
        if media is not None:
            return media
    kind = _kind(wire)
    if kind:
        return Opaque(NAME, kind, dict(wire))
    beside = beside_of(wire)
    if wire.get("text") is not None:
        reader.string(wire["text"], f"{path}.text")
    is_thought = beside.pop("thought", False)
    if not beside:
        return None
    if "thoughtSignature" not in beside:
        return Opaque(NAME, next(iter(beside)), dict(wire))
    return Reasoning("", {NAME: beside}) if is_thought else Text("", {NAME: beside})


def beside_of(wire: JSON, *data: str) -> JSON:
    """The fields that stand alongside a part's data."""
    return {
        key: value
        for key, value in wire.items()
        if key not in data and value is not None and not (key == "thought" and value is False)
    }


def _has_data(wire: JSON) -> bool:
    return len(wire) > 1 and any(
        key in wire and wire[key] is not None for key in ("inlineData", "fileData")
    )


def _kind(wire: JSON) -> str:
    for key, value in wire.items():
        if key not in _BESIDE and key != "text" and value is not None:
            return key
    return ""


def parse_call(wire: JSON, path: Path, reader: Reader, mint: Mint) -> ToolCall | None:
    """The call of a part; `None` for the empty one that ends a call in pieces."""
    call = reader.get_object(wire, "functionCall", path)
    path = f"{path}.functionCall"
    if not call:
        return None
    name = reader.string(call.get("name"), f"{path}.name")
    arguments = call.get("args")
    arguments_json = "{}" if arguments is None else encode(arguments)
    own = beside_of(wire, "functionCall")
    inner = unread(call, ("id", "name", "args", "partialArgs", "willContinue"))
    if inner:
        own["inner"] = inner
    call_id = reader.get_string(call, "id", path)
    if not call_id:
        call_id = mint(name, arguments_json)
        own["no_id"] = True
    return ToolCall(call_id, name, arguments_json, metadata={NAME: own})


def one_or_many(value: Any, path: Path, reader: Reader) -> list[Any]:
    """The elements of an array; proto-JSON takes a lone object for an array of one."""
    if value is None:
        return []
    return [value] if isinstance(value, dict) else reader.array(value, path)


def encode(value: Any) -> str:
    """Compact JSON text of what a parsed body held."""
    return jsontext.encode(value)


def parse_media(wire: JSON, path: Path, reader: Reader) -> Media | None:
    """The image, sound or file; `None` if absent."""
    if wire.get("inlineData") is not None:
        blob = reader.get_object(wire, "inlineData", path)
        path = f"{path}.inlineData"
        data = standard_base64(reader.get_string(blob, "data", path))
        if not data:
            return None
        media_type, filename, metadata = _media_fields(wire, blob, "inlineData", path, reader)
        kind = media_kind(media_type)
        return Media(kind, media_type, data=data, filename=filename, metadata=metadata)
    if wire.get("fileData") is not None:
        blob = reader.get_object(wire, "fileData", path)
        path = f"{path}.fileData"
        uri = reader.get_string(blob, "fileUri", path)
        if not uri:
            return None
        media_type, filename, metadata = _media_fields(wire, blob, "fileData", path, reader)
        kind = media_kind(media_type, uri)
        if _is_stored_file(uri):
            return Media(kind, media_type, file_id=uri, filename=filename, metadata=metadata)
        return Media(kind, media_type, url=uri, filename=filename, metadata=metadata)
    return None


def _media_fields(
    wire: JSON, blob: JSON, key: str, path: Path, reader: Reader
) -> tuple[str, str, Metadata]:
    own = beside_of(wire, key)
    # `text` alongside data is the empty text of writers that send every field.
    own.pop("text", None)
    filename = reader.get_string(blob, "displayName", path)
    if inner := unread(blob, ("mimeType", "data", "fileUri")):
        own["inner"] = inner
    return reader.get_string(blob, "mimeType", path), filename, {NAME: own}


def _is_stored_file(uri: str) -> bool:
    return uri.startswith("files/") or (_FILES_HOST in uri and "/files/" in uri)


def media_kind(media_type: str, uri: str = "") -> MediaKind:
    """The kind of a media type, in the middle language's words."""
    main = media_type.partition("/")[0].lower()
    if main == "image":
        return "image"
    if main == "audio":
        return "audio"
    if main == "video" or (not main and _host(uri) in _VIDEO_HOSTS):
        return "video"
    if main == "text" or media_type == "application/pdf":
        return "document"
    return "file"


def _host(uri: str) -> str:
    return parts_of(uri).hostname or ""


def standard_base64(data: str) -> str:
    """Base64 of either alphabet, padded or not, in the standard alphabet and padded."""
    if "-" in data or "_" in data:
        data = data.replace("-", "+").replace("_", "/")
    if len(data) % 4 == 0:
        return data
    data = data.rstrip("=")
    return data + "=" * (-len(data) % 4)


# ---------------------------------------------------------------------------------------------
# Part to wire


def own_of(part: Part) -> JSON | None:
    """This wire's own fields of the part; `None` for a part that came from another."""
    return None if isinstance(part, Opaque) else part.metadata.get(NAME)


def wire_fields(own: JSON | None) -> JSON:
    """The fields that stand alongside the part's data."""
    if not own:
        return {}
    if _OURS.isdisjoint(own):
        return dict(own)
    return {key: value for key, value in own.items() if key not in _OURS}


def render_call(call: ToolCall, name: str, arguments: JSON, *, with_id: bool) -> JSON:
    """The part of a call; an id is left out where the wire had none."""
    own = own_of(call) or {}
    wire: JSON = {"name": name, "args": arguments, **own.get("inner", {})}
    if with_id and call.id and not own.get("no_id"):
        wire = {"id": call.id, **wire}
    return {"functionCall": wire, **wire_fields(own)}


def render_media(media: Media) -> JSON | None:
    """The part, or `None` for what only another provider can open."""
    own = own_of(media)
    inner: JSON = own.get("inner", {}) if own else {}
    media_type = media.media_type
    if media.data:
        blob: JSON = {
            "mimeType": media_type or _default_type(media.kind),
            "data": media.data,
            **inner,
        }
        return {"inlineData": blob, **wire_fields(own)}
    if media.text:
        title = f"{media.filename}\n\n" if media.filename else ""
        return {"text": title + media.text}
    uri = media.url or (media.file_id if own is not None else "")
    if not uri:
        return None
    if not media_type and own is None:
        media_type = _TYPES_BY_SUFFIX.get(_suffix(uri), "")
    blob: JSON = {"mimeType": media_type, "fileUri": uri} if media_type else {"fileUri": uri}
    return {"fileData": {**blob, **inner}, **wire_fields(own)}


def _suffix(uri: str) -> str:
    return parts_of(uri).path.rpartition(".")[2].lower()


def _default_type(kind: MediaKind) -> str:
    known = {"image": "image/png", "audio": "audio/wav", "video": "video/mp4"}
    return known.get(kind, "application/pdf" if kind == "document" else "application/octet-stream")
