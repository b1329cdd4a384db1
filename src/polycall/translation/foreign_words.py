"""A part or a file in words, for a model that cannot be shown it as it is."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, Literal

from polycall._support import jsontext
from polycall.errors import UnsupportedError
from polycall.ir import JSON, Media, Opaque, Text
from polycall.translation.wire import Losses

# ---------------------------------------------------------------------------------------------
# In words

# Fields of search results, documents and files as Anthropic, OpenAI and Gemini name them, and MCP.
_TITLES = ("title", "name", "filename", "displayName", "display_name")
_SOURCES = ("source", "url", "uri", "fileUri", "file_uri", "image_url")
_BODIES = ("text", "description", "content", "resource", "output", "result", "context", "document")
_WORDS_MAX = 20_000  # characters of a part that is shown as JSON
_DEPTH_MAX = 8


def in_words(part: Opaque, losses: Losses) -> list[Text | Media]:
    """Text that keeps title, source and body of a part, and the images inside of it."""
    unread: list[str] = []
    said = words_of(part.data, part.kind, unread)
    for kind in unread:
        losses.drop("tool_result.content", f"a part {kind!r} of {part.dialect} is only named")
    return said


def words_of(data: Any, kind: str, unread: list[str]) -> list[Text | Media]:
    """Words and images of a piece of JSON; `kind` joins `unread` where it is only named."""
    said = _Words()
    said.take(data, 0)
    if not said.texts and not said.media:
        shown = jsontext.encode(data) if data else f"[{kind}]"
        if len(shown) > _WORDS_MAX or "base64" in shown:
            unread.append(kind)
            shown = f"[{kind}, {len(shown)} bytes: not shown to this model]"
        return [Text(shown)]
    text = "\n".join(said.texts)
    return [*([Text(text)] if text else []), *said.media]


class _Words:
    """Collects the words of a part, whatever its shape."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.media: list[Media] = []

    def take(self, value: Any, depth: int) -> None:
        """Title, source and body of a block, or of each in a list."""
        if depth > _DEPTH_MAX:
            return
        if isinstance(value, str):
            if value:
                self.texts.append(value)
        elif isinstance(value, list):
            for item in value:  # pyright: ignore[reportUnknownVariableType]
                self.take(item, depth + 1)
        elif isinstance(value, dict):
            self._block(value, depth)  # pyright: ignore[reportUnknownArgumentType]

    def _block(self, block: JSON, depth: int) -> None:
        if block.get("type") == "tool_reference":
            self.texts.append(f"loaded: {block.get('tool_name') or block.get('name')}")
            return
        if (media := _media(block)) is not None:
            self.media.append(media)
            return
        title = next((block[key] for key in _TITLES if isinstance(block.get(key), str)), "")
        source = ""
        for key in _SOURCES:
            value = block.get(key)
            if isinstance(value, str) and value and not value.startswith("data:"):
                source = source or value
        if title:
            self.texts.append(title)
        if source:
            self.texts.append(f"source: {source}")
        if isinstance(block.get("source"), dict):
            self._source(block["source"], depth)
        before = len(self.texts), len(self.media)
        for key in _BODIES:
            if key in block:
                self.take(block[key], depth + 1)
        is_bare = (len(self.texts), len(self.media)) == before and not (title or source)
        rest = {key: block[key] for key in block if key != "type"}
        if is_bare and rest and "source" not in rest:
            self.texts.append(jsontext.encode(rest))

    def _source(self, source: JSON, depth: int) -> None:
        """The source of a document: text, blocks, an address, data."""
        if source.get("type") == "text" and isinstance(source.get("data"), str):
            self.texts.append(source["data"])
            return
        for key in ("url", "file_id"):
            if isinstance(source.get(key), str):
                self.texts.append(f"source: {source[key]}")
        self.take(source.get("content"), depth + 1)


def _media(block: JSON) -> Media | None:
    """The image or file that a block is, where its data or address is in it."""
    url = block.get("image_url")
    if isinstance(url, dict):
        url = url.get("url")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if isinstance(url, str) and url:
        head, comma, data = url.partition(",")
        if url.startswith("data:") and comma:
            return Media("image", media_type=head[5:].partition(";")[0], data=data)
        return Media("image", url=url)
    source: Any = block.get("source") if isinstance(block.get("source"), dict) else block
    data, media_type = source.get("data") or source.get("blob"), ""
    for key in ("media_type", "mimeType", "mime_type"):
        media_type = media_type or str(source.get(key) or "")
    if source is block and not (media_type and isinstance(data, str)):
        return None
    if isinstance(data, str) and data and source.get("type") not in ("text", "url", "file"):
        title = next((block[key] for key in _TITLES if isinstance(block.get(key), str)), "")
        kind = _kind_of(media_type)
        return Media(kind, media_type=media_type, data=data, filename=title)
    if block.get("type") == "image" and isinstance(source.get("url"), str):
        return Media("image", url=source["url"])
    return None


def _kind_of(media_type: str) -> Literal["image", "audio", "video", "document", "file"]:
    main = media_type.partition("/")[0]
    if main == "image":
        return "image"
    if main == "audio":
        return "audio"
    if main == "video":
        return "video"
    return "document" if main == "text" or media_type == "application/pdf" else "file"


# ---------------------------------------------------------------------------------------------
# Files in results: a tool has done its work, so what it gave never fails the request

_TEXT_TYPES = frozenset(
    {
        "application/json",
        "application/ld+json",
        "application/toml",
        "application/x-ndjson",
        "application/x-sh",
        "application/x-yaml",
        "application/xml",
        "application/yaml",
        "application/javascript",
        "application/typescript",
        "application/sql",
        "application/graphql",
        "image/svg+xml",
    }
)
# What some model can look into; the bytes of all others say nothing to any.
_READABLE = ("image/", "audio/", "video/", "text/", "application/pdf", "application/msword")
_READABLE_OFFICE = "application/vnd."


_COMMON_IMAGES = frozenset({"image/png", "image/jpeg", "image/jpg", "image/gif", "image/webp"})


def is_rare_image(media_type: str) -> bool:
    """Whether it is an image of a type that OpenAI's Chat and Responses refuse (documented)."""
    return media_type.startswith("image/") and media_type not in _COMMON_IMAGES


def is_office_file(media_type: str) -> bool:
    """Whether it is a file of an office program, whose type Google refuses (documented)."""
    return media_type.startswith((_READABLE_OFFICE, "application/msword"))


def file_text(media: Media) -> str | None:
    """The text of a file that is text, with its name above it; `None` for any other."""
    title = f"{media.filename}\n\n" if media.filename else ""
    if media.text:
        return title + media.text
    media_type = media.media_type.partition(";")[0].strip().lower()
    is_text = media_type.startswith("text/") or media_type in _TEXT_TYPES
    if not media.data or not (is_text or media_type.endswith(("+json", "+xml"))):
        return None
    try:
        return title + base64.b64decode(media.data).decode("utf-8")
    except ValueError:
        return None


def file_name(media: Media, reason: str = "") -> str:
    """The words in a result for a file that the model cannot be shown."""
    size = len(media.data.rstrip("=")) * 3 // 4
    pieces = [f"{media.kind} {media.filename}" if media.filename else media.kind]
    if media.media_type:
        pieces.append(media.media_type)
    if media.data:
        pieces.append(f"{size} bytes")
    elif media.url:
        pieces.append(media.url)
    why = f"not shown, since {reason}" if reason else "not shown to this model"
    return f"[{', '.join(pieces)}: {why}]"


def result_media(
    media: Media,
    losses: Losses,
    render: Callable[[Losses], JSON | None],
    refused: Callable[[str], bool] = lambda media_type: False,
) -> JSON | str:
    """A file of a tool's result as the target takes it, or the words that stand for it.

    `render` renders it as in a message, where what the target does not take is refused;
    `refused` says of a type whether the vendor would refuse the request with it.
    """
    media_type = media.media_type.partition(";")[0].strip().lower()
    is_readable = (
        not media.data
        or not media_type
        or media_type.startswith((*_READABLE, _READABLE_OFFICE))
        or media_type in _TEXT_TYPES
    )
    if media.data and refused(media_type):
        is_readable = False
    if is_readable and media_type != "image/svg+xml":
        strict = Losses(lossy=False)
        try:
            rendered = render(strict)
        except UnsupportedError:
            rendered = None
        if rendered is not None:
            losses.repeat(strict.warnings)
            return rendered
    text = file_text(media)
    if text is not None:
        losses.emulate("tool_result.media", "a text file is sent as text")
        return text
    losses.drop("tool_result.media", f"the target cannot be shown {media.media_type or media.kind}")
    return file_name(media)
