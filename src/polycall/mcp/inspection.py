"""Parts of a definition that nobody would see, or that read as an order to a model.

A definition is a text for a model that a stranger wrote.  These signs prove nothing, and their
absence proves nothing either: a definition that has one is held until a person has looked at it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

from polycall.ir import JSON

# Tags (a second, invisible alphabet), but for those of a flag; what turns or hides text; controls.
_TAGS = re.compile("(?<![\U0001f3f4\U000e0020-\U000e007f])[\U000e0000-\U000e007f]+")
_HIDDEN = re.compile(
    "[\u200b\u2060-\u2064\u202a-\u202e\u2066-\u2069\ufeff\U000e0100-\U000e01ef]|"
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"
)
# Letters without a width, by which a text can be spelt: no language has so many in a row.
_SPELT = re.compile(
    "[\ufe00-\ufe0f\U000e0100-\U000e01ef]{2,}|[\u200b-\u200f\u2060-\u2064\u180e\ufeff]{4,}"
    "|[\u00ad\u115f\u1160\u3164\uffa0\u2800]{4,}"
)
# What the two kinds above are made of: most texts have none of it, however long they are.
_ODD = re.compile(
    "[\u00ad\u115f\u1160\u180e\u200b-\u200f\u2060-\u2064\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0"
    "\U000e0000-\U000e01ef]"
)
_ODD_RUN = re.compile(f"(?:{_ODD.pattern})+")
# Phrases of published attacks, in the words of their kind (Invariant Labs, April 2025; OWASP's MCP
# tool poisoning; both read 2026-11-29).
_ORDERS = tuple(
    (name, re.compile(pattern, re.IGNORECASE))
    for name, pattern in (
        (
            "tells the model to forget its instructions",
            r"\b(ignore|disregard|forget|override)\b.{0,40}\b(previous|prior|above|earlier|other|all)"
            r"\b.{0,40}\b(instruction|prompt|rule|message|tool)",
        ),
        (
            "tells the model to hide something from its user",
            r"\b(do not|don't|never|without)\b.{0,30}"
            r"\b(tell|mention|inform|notify|show|reveal|alert)(ing)?\b.{0,30}\b(user|human|person|anyone|them)\b",
        ),
        ("is marked as an order", r"<\s*/?\s*(important|system|instructions?|secret|critical)\s*>"),
        (
            "asks for secrets of the machine",
            r"~/\.(ssh|aws|config|cursor|gnupg|kube|netrc)|\bid_(rsa|ed25519)\b|/etc/(passwd|shadow)"
            r"|\.env\b.{0,40}\b(content|read|pass|include)",
        ),
        (
            "speaks of how other tools are to be called",
            r"\b(before|whenever|instead of|after|when)\b.{0,40}"
            r"\b(using|calling|use|call|invoking)\b.{0,30}\b(any|other|another|all|every)\b.{0,20}\btools?\b",
        ),
    )
)


# A search of a long text as a whole would hold the interpreter, in any thread.
_AT_ONCE = 16 * 1024
_RUN_MAX, _PHRASE_MAX = 8, 512  # characters by which the longest of what is searched for is seen
_SPACE = re.compile(r"\s+")


def suspicious(definition: JSON) -> str:
    """The reason to look at a definition; empty where there is none."""
    for text in _texts(definition):
        if any(_is_in(pattern, text) for pattern in (_TAGS, _HIDDEN, _SPELT)):
            return "it holds characters that nobody sees"
        comment = text.find("<!--")
        if comment >= 0 and text.find("-->", comment) >= 0:
            return "it holds a comment that a page would not show"
        for piece in _pieces(text):
            for name, pattern in _ORDERS:
                if piece.has(pattern):
                    return f"it {name}"
    return ""


def _is_in(pattern: re.Pattern[str], text: str) -> bool:
    starts = range(0, len(text), _AT_ONCE)
    return any(pattern.search(text, at, at + _AT_ONCE + _RUN_MAX) for at in starts)


class _Piece(NamedTuple):
    """A part of a text with single spaces, of which `seen` characters were read before."""

    text: str
    seen: int
    is_last: bool

    def has(self, pattern: re.Pattern[str]) -> bool:
        """Whether it is in here; what goes up to the end, the next piece has with what follows."""
        found = pattern.search(self.text, self.seen)
        return found is not None and (self.is_last or found.end() < len(self.text))


def _pieces(text: str) -> Iterator[_Piece]:
    """The text in pieces that overlap by a phrase."""
    left, seen = "", 0
    for at in range(0, len(text), _AT_ONCE):
        piece = _SPACE.sub(" ", text[at : at + _AT_ONCE])
        left += piece[1:] if left.endswith(" ") and piece.startswith(" ") else piece
        yield _Piece(left, seen, is_last=at + _AT_ONCE >= len(text))
        left = left[-_PHRASE_MAX - 1 :]
        seen = 1 if len(left) > _PHRASE_MAX else 0


def without_tags(text: str) -> str:
    """The text without invisible alphabets, in which a result can speak past its reader."""
    if text.isascii() or not _is_in(_ODD, text):
        return text
    made: list[str] = []
    at = 0
    while at < len(text):
        end = at + _AT_ONCE
        if (run := _ODD_RUN.match(text, end)) is not None:  # it is taken out whole, or not at all
            end = run.end()
        made.append(_SPELT.sub("", _TAGS.sub("", text[at:end])))
        at = end
    return "".join(made)


def _texts(node: Any) -> Iterator[str]:
    """All strings, names among them."""
    pending: list[Any] = [node]
    while pending:
        here = pending.pop()
        if isinstance(here, str):
            yield here
        elif isinstance(here, dict):
            table = cast("JSON", here)
            pending += [*table, *table.values()]
        elif isinstance(here, list):
            pending += cast("list[Any]", here)
