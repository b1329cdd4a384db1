"""Files and addresses that go with a prompt: `-a FILE`, `-a URL`, `-a -`."""

from __future__ import annotations

import base64
import mimetypes
import sys
from collections.abc import Sequence
from pathlib import Path, PurePath
from urllib.parse import urlsplit

from polycall.errors import RequestError
from polycall.ir import Media, MediaKind, Part, Text
from polycall.tools.results import media_of

SIZE_BYTES_MAX = 20 * 1024 * 1024
_KINDS: dict[str, MediaKind] = {"image": "image", "audio": "audio", "video": "video"}


def attached(names: Sequence[str]) -> list[Part]:
    """The parts for these names: text inlined under its name, all else as media."""
    if list(names).count("-") > 1:
        raise RequestError("-a - is standard input, and can be given once")
    return [_part(name) for name in names]


def _part(name: str) -> Part:
    if name.startswith(("http://", "https://")):
        media_type = mimetypes.guess_type(urlsplit(name).path)[0] or ""
        return Media(_kind(media_type or "image/"), media_type, url=name)
    data, title = _read(name)
    media_type = _media_type(name, data)
    if media_type.startswith("text/"):
        return Text(f"{title}:\n\n{_decoded(data, title)}")
    held = base64.b64encode(data).decode()
    return Media(_kind(media_type), media_type, data=held, filename=title)


def _read(name: str) -> tuple[bytes, str]:
    try:
        if name == "-":
            data = sys.stdin.buffer.read(SIZE_BYTES_MAX + 1)
            title = "standard input"
        else:
            with Path(name).expanduser().open("rb") as file:
                data = file.read(SIZE_BYTES_MAX + 1)
            title = PurePath(name).name
    except OSError as error:
        raise RequestError(f"cannot read the attachment {name!r}: {error.strerror}") from None
    if len(data) > SIZE_BYTES_MAX:
        raise RequestError(f"the attachment {name!r} has more than {SIZE_BYTES_MAX:,} bytes")
    if not data:
        raise RequestError(f"the attachment {name!r} is empty")
    return data, title


def _media_type(name: str, data: bytes) -> str:
    known = media_of(data)
    if known.kind != "file":
        return known.media_type
    guessed = mimetypes.guess_type(name)[0] or ""
    if guessed.partition("/")[0] in _KINDS:
        return guessed
    # Source code, JSON and the like are text, whatever their names are registered as.
    return "text/plain" if _is_text(data) else guessed or "application/octet-stream"


def _is_text(data: bytes) -> bool:
    try:
        return "\0" not in data.decode("utf-8")
    except UnicodeDecodeError:
        return False


def _decoded(data: bytes, title: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(f"the attachment {title!r} is no UTF-8 text: {error}") from None


def _kind(media_type: str) -> MediaKind:
    return _KINDS.get(media_type.partition("/")[0], "document")
