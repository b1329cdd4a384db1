"""Whether a file is what it says: clean base64, and the bytes of the format that it names.

A vendor refuses a whole request for one broken picture in it, and a picture that a tool gave comes
again with every later request.  So what tools gave is looked at before it is sent; what a person
attached is the vendor's to judge.
"""

from __future__ import annotations

import base64
import binascii

from msgspec.structs import replace

from polycall.ir import Media, MediaKind

# The first bytes of the formats that models take.
_MAGIC: tuple[tuple[bytes, int, bytes, MediaKind, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", 0, b"", "image", "image/png"),
    (b"\xff\xd8\xff", 0, b"", "image", "image/jpeg"),
    (b"GIF8", 0, b"", "image", "image/gif"),
    (b"RIFF", 8, b"WEBP", "image", "image/webp"),
    (b"RIFF", 8, b"WAVE", "audio", "audio/wav"),
    (b"%PDF-", 0, b"", "document", "application/pdf"),
    (b"ID3", 0, b"", "audio", "audio/mpeg"),
    (b"\xff\xfb", 0, b"", "audio", "audio/mpeg"),
    (b"OggS", 0, b"", "audio", "audio/ogg"),
    (b"fLaC", 0, b"", "audio", "audio/flac"),
    (b"", 4, b"ftyp", "video", "video/mp4"),
)
# Formats that have no other beginning than the one above.
_CERTAIN = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "application/pdf"})
_SAME = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png"}
_UNTOLD = ("", "application/octet-stream")  # types that say nothing
_PDF_HEAD_BYTES = 1024  # within which readers look for its mark
_URL_SAFE = str.maketrans(
    "-_", "+/", " \t\r\n\v\f\x1c\x1d\x1e\x1f\x85\xa0\u2028\u2029"
)  # and without space


def format_of(data: bytes) -> tuple[MediaKind, str]:
    """Kind and media type by the first bytes; a `file` without a type where they say nothing."""
    for start, offset, inner, kind, media_type in _MAGIC:
        if data.startswith(start) and data[offset : offset + len(inner)] == inner:
            return kind, media_type
    return "file", ""


def mended(media: Media) -> tuple[Media, str]:
    """The file with clean base64 and the type that its bytes have; and why it cannot be read.

    The reason is empty for one that is sound, or of a format that is not known here.
    """
    if not media.data:
        return media, ""
    data, media_type = media.data, media.media_type.partition(";")[0].strip().lower()
    if data.startswith("data:"):
        head, _, data = data.partition(",")
        media_type = media_type or head[5:].partition(";")[0].lower()
    held = _decoded(data)
    if held is None:
        data = data.translate(_URL_SAFE).rstrip("=")
        data += "=" * (-len(data) % 4)
        held = _decoded(data)
    if held is None:
        return media, "its data is not base64"
    if not held:
        return media, "it is empty"
    plain = _SAME.get(media_type, media_type)
    kind, found = format_of(held)
    if plain == "application/pdf" and b"%PDF-" in held[:_PDF_HEAD_BYTES]:
        kind, found = "document", plain
    if plain in _UNTOLD and found and kind == media.kind:
        plain = media_type = found
    if plain in _CERTAIN and found != plain:
        if kind != "image" or media.kind != "image":
            return media, f"its bytes are not {media_type}"
        media_type = found
    if not _is_whole(held, found):
        return media, "it is cut short"
    if data == media.data and media_type == media.media_type.partition(";")[0].strip().lower():
        return media, ""
    # What its client noted of it is about the data as it was.
    return replace(media, data=data, media_type=media_type, metadata={}), ""


def _decoded(data: str) -> bytes | None:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return None


def _is_whole(held: bytes, media_type: str) -> bool:
    match media_type:
        case "image/png":
            return held.rfind(b"IEND") > 0
        case "image/jpeg":
            return held.rfind(b"\xff\xd9") > 0
        case "image/gif":
            return _has_trailer(held)
        case "image/webp":
            return int.from_bytes(held[4:8], "little") + 8 <= len(held) + 1
        case "application/pdf":
            return held.rfind(b"%%EOF") > 0
        case _:
            return True


def _has_trailer(held: bytes) -> bool:
    """Whether a GIF has its end, after which writers may add more; true where it is unusual.

    The trailer's byte is frequent among colours and pixels, so the blocks are gone through.
    """
    place = 13 + _colours(held[10:11])
    while place < len(held):
        match held[place : place + 1]:
            case b"!":  # an extension
                place += 2
            case b",":  # a picture
                place += 11 + _colours(held[place + 9 : place + 10])
            case b";":
                return True
            case _:
                return held.rfind(b";") > place
        while held[place : place + 1] > b"\0":
            place += 1 + held[place]
        place += 1
    return False


def _colours(flags: bytes) -> int:
    """The bytes of the table of colours that these flags announce."""
    return 3 * 2 ** ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0
