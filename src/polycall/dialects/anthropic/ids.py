"""Call ids that this wire allows, and the way back.

Anthropic takes ids of letters, digits, `_` and `-`.  Any other id (`functions.get_weather:0`)
is written as `pc64_` and the URL-safe base64 of its UTF-8, without padding.  An id that already
looks exactly like such an encoding is encoded once more, so that two ids never become one and
every encoded id decodes to the one it was.  Parsing decodes, rendering encodes, in requests,
answers and streams alike: each side of a gateway sees its own ids.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

_PREFIX = "pc64_"
_ALLOWED = re.compile(r"[A-Za-z0-9_-]+")


def encode_id(call_id: str) -> str:
    """The id as the wire takes it."""
    if _ALLOWED.fullmatch(call_id) and decode_id(call_id) == call_id:
        return call_id
    return _encoded(call_id)


def decode_id(wire_id: str) -> str:
    """The id that `encode_id` was given; any other id as it is."""
    if not wire_id.startswith(_PREFIX):
        return wire_id
    call_id = _decoded(wire_id)
    # An id that needed no encoding was never encoded: this one only looks like it.
    return call_id if call_id is not None and encode_id(call_id) == wire_id else wire_id


def fit_id(call_id: str, pattern: str, length: int) -> str:
    """An id for a target with a rule of its own; the same for the same id, everywhere."""
    if re.fullmatch(pattern, call_id):
        return call_id
    digest = hashlib.sha256(call_id.encode("utf-8", "surrogatepass")).hexdigest()
    return digest[: length or 24]


def _encoded(call_id: str) -> str:
    data = call_id.encode("utf-8", "surrogatepass")
    return _PREFIX + base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")


def _decoded(wire_id: str) -> str | None:
    text = wire_id.removeprefix(_PREFIX)
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        call_id = data.decode("utf-8", "surrogatepass")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    # Lenient decoders read several texts as one: only the one that encoding writes counts.
    return call_id if _encoded(call_id) == wire_id else None
