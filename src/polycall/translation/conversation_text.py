"""The text of a request whose tools or conversation come again: only what is new is written.

Rendered messages of a known beginning are the same objects each time, and nobody changes them, so
their text is kept by their identity.
"""

from __future__ import annotations

from operator import is_
from typing import Any

import msgspec
from msgspec import Struct

from polycall._support import jsontext
from polycall.ir import JSON
from polycall.translation.conversation import end_of_beginning, keep
from polycall.translation.tool_list_cache import KnownList, once

_FIELDS = ("messages", "input", "contents")  # one of them has the conversation

_PIECES_MAX = 64


class _Written(Struct, frozen=True, eq=False):
    items: list[Any]
    ends: list[int]  # of the pieces, as numbers of items
    pieces: list[bytes]  # the items' text, with commas between them


_NOTHING = _Written([], [], [])


def encoded_body(body: JSON, known: dict[Any, Any] | None, target: tuple[str, ...]) -> bytes:
    """The body as JSON text; `known` is of the conversation that was rendered for `target`."""
    tools: Any = body.get("tools")
    if isinstance(tools, KnownList):
        try:
            body = {**body, "tools": msgspec.Raw(once(tools, jsontext.encode_unicode))}
        except UnicodeEncodeError:  # the whole of it is written otherwise
            return jsontext.encode_bytes(body)
    name = next((each for each in _FIELDS if each in body), "") if known is not None else ""
    items: Any = body.get(name)
    if known is None or not isinstance(items, list):
        return jsontext.encode_bytes(body)
    key = (encoded_body, *target)
    try:
        written = _written(items, known.get(key, _NOTHING), known)  # pyright: ignore[reportUnknownArgumentType]
        count = len(written.items)
        rest: list[Any] = items[count:]  # pyright: ignore[reportUnknownVariableType]
        texts = [*written.pieces, _text_of(rest)] if rest else written.pieces
        pieces: list[Any] = []  # of the body: long texts are copied once
        for field, value in body.items():
            pieces += (b"," if pieces else b"{", jsontext.encode_unicode(field), b":")
            if field == name:
                between = [b","] * (2 * len(texts) - 1)
                between[::2] = texts
                pieces += (b"[", *between, b"]")
            else:
                is_text = type(value) is msgspec.Raw
                pieces.append(value if is_text else jsontext.encode_unicode(value))
        data = b"".join([*pieces, b"}"])
    except UnicodeEncodeError:  # the whole of it is written otherwise
        return jsontext.encode_bytes(body)
    keep(known, key, written)
    return data


def _written(items: list[Any], before: _Written, known: dict[Any, Any]) -> _Written:
    """The text of all items that are likely to come again."""
    same = _same(items, before.items)
    ends, pieces = before.ends, before.pieces
    if same < len(before.items):
        kept = sum(end <= same for end in ends)
        ends, pieces = ends[:kept], pieces[:kept]
    end = max(ends[-1] if ends else 0, end_of_beginning(items, known))
    if len(pieces) > _PIECES_MAX:
        ends, pieces = ends[-1:], [b",".join(pieces)]
    # A piece ends where items were the same as before: they are the next time, too.
    for place in (min(same, end), end):
        start = ends[-1] if ends else 0
        if place > start:
            ends, pieces = [*ends, place], [*pieces, _text_of(items[start:place])]
    return _Written(items[:end], ends, pieces)


def _same(items: list[Any], before: list[Any]) -> int:
    """The number of first items that equal those before."""
    if len(before) <= len(items) and all(map(is_, before, items)):
        return len(before)
    pairs = zip(items, before, strict=False)
    return next(
        (place for place, (item, old) in enumerate(pairs) if item is not old),
        min(len(items), len(before)),
    )


def _text_of(items: list[Any]) -> bytes:
    return jsontext.encode_unicode(items)[1:-1]
