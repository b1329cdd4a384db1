"""The user's message as browsers send it: text, and files as data URLs or addresses."""

from __future__ import annotations

import base64
import binascii
from typing import Any, cast
from urllib.parse import unquote_to_bytes

from polycall.errors import RequestError
from polycall.ir import JSON, Media, MediaKind, Message, Part, Text

_KINDS: dict[str, MediaKind] = {"image": "image", "audio": "audio", "video": "video"}


def user_message(messages: list[Any], field: str) -> Message:
    """The last message of a user, whose parts stand in `field`; empty if absent."""
    users = [
        cast("JSON", each)
        for each in messages
        if isinstance(each, dict) and cast("JSON", each).get("role") == "user"
    ]
    said: Any = users[-1].get(field) if users else None
    if isinstance(said, str):
        return Message("user", [Text(said)])
    parts: list[Part] = []
    for part in cast("list[Any]", said) if isinstance(said, list) else []:
        if isinstance(part, dict):
            parts += _part(cast("JSON", part))
    return Message("user", parts)


def _part(part: JSON) -> list[Part]:
    """A part in the words of the AI SDK (`file`) or of AG-UI (`image` with a `source`)."""
    kind = str(part.get("type"))
    if kind == "text":
        return [Text(str(part.get("text") or ""))]
    source = part.get("source")
    held = cast("JSON", source) if isinstance(source, dict) else part
    media_type = str(held.get("mediaType") or held.get("mimeType") or part.get("mimeType") or "")
    address = str(part.get("url") or "")
    if isinstance(source, dict):
        value = str(held.get("value") or "")
        if held.get("type") == "data":
            return [_media(media_type, data=value)]
        address = value
    if not address:
        return []
    if address.startswith("data:"):
        return [_of_data_url(address)]
    if not address.startswith(("https://", "http://")):
        raise RequestError(f"a file is a data URL or an http address, not {address[:80]!r}")
    return [_media(media_type, url=address)]


def _of_data_url(address: str) -> Media:
    head, _, body = address.removeprefix("data:").partition(",")
    media_type, is_base64 = head.removesuffix(";base64"), head.endswith(";base64")
    try:
        data = base64.b64decode(body, validate=True) if is_base64 else unquote_to_bytes(body)
    except binascii.Error as error:
        raise RequestError(f"a data URL holds no base64: {error}") from None
    return _media(media_type.partition(";")[0], data=base64.b64encode(data).decode())


def _media(media_type: str, *, data: str = "", url: str = "") -> Media:
    kind = _KINDS.get(media_type.partition("/")[0], "document")
    return Media(kind, media_type, data=data, url=url)
