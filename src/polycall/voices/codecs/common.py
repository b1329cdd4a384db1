"""The common part of the codecs: reading frames without trust, and text of messages."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from polycall._support import jsontext
from polycall.ir import JSON, Message, Text


def load(frame: str | bytes) -> JSON | None:
    """The frame as an object; `None` where it is none."""
    try:
        value: Any = jsontext.decode(frame)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None  # pyright: ignore[reportUnknownVariableType]


def text_of(value: JSON, key: str) -> str:
    """A string of an object; empty where there is none."""
    found = value.get(key)
    return found if isinstance(found, str) else ""


def count_of(value: JSON, key: str) -> int:
    """A count of an object; 0 where there is none."""
    found = value.get(key)
    return found if isinstance(found, int) and found > 0 else 0


def number_of(value: JSON, key: str) -> float:
    """A number of an object; 0 where there is none."""
    found = value.get(key)
    return float(found) if isinstance(found, int | float) else 0.0


def object_of(value: JSON, key: str) -> JSON:
    """An object of an object; empty where there is none."""
    found: Any = value.get(key)
    return found if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def objects_of(value: JSON, key: str) -> list[JSON]:
    """The objects of a list of an object."""
    found: Any = value.get(key)
    if not isinstance(found, list):
        return []
    return [each for each in found if isinstance(each, dict)]  # pyright: ignore[reportUnknownVariableType]


def sound_of(text: Any) -> bytes | None:
    """Sound that came as base64; `None` where it is not that."""
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        return None


def as_base64(data: bytes) -> str:
    """Sound as base64."""
    return base64.b64encode(data).decode("ascii")


def spoken(message: Message) -> str:
    """The text of a message, for a protocol that can be given texts alone."""
    return "\n".join(part.text for part in message.parts if isinstance(part, Text) and part.text)
