"""Fields of an answer that grow with its events, joined when it ends: a text is copied once."""

from __future__ import annotations

from typing import Any

from polycall.ir import JSON


class _Text:
    """A text that has grown."""

    __slots__ = ("pieces",)

    def __init__(self, *pieces: str) -> None:
        self.pieces = [*pieces]


def grow_text(fields: JSON, key: str, text: str) -> None:
    """Have the text of a field continue; anything else than a text is replaced."""
    known: Any = fields.get(key)
    if isinstance(known, _Text):
        known.pieces.append(text)
    else:
        fields[key] = _Text(known, text) if isinstance(known, str) else text


def is_text(value: Any) -> bool:
    """Whether the value of a field is a text, which may have grown."""
    return isinstance(value, str | _Text)


def settled(fields: JSON) -> JSON:
    """The fields, with every text in one piece."""
    return {
        key: "".join(value.pieces)
        if isinstance(value, _Text)
        else settled(value)  # pyright: ignore[reportUnknownArgumentType]
        if isinstance(value, dict)
        else value
        for key, value in fields.items()
    }


def joined(texts: dict[str, list[str]]) -> dict[str, str]:
    """The pieces of each in one text."""
    return {name: "".join(pieces) for name, pieces in texts.items()}
