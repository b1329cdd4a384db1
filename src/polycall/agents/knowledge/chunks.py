"""Sections cut into chunks: large enough to be understood, small enough to be many."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from polycall.agents.knowledge.readers import Section

_PARAGRAPH = re.compile(r"\n\s*\n")
_SENTENCE = re.compile(r"(?<=[.!?。])\s+|\n")


def chunked(sections: Iterable[Section], size_chars: int) -> Iterator[Section]:
    """The sections, long ones in several chunks of up to `size_chars`.

    Cut between paragraphs, else between sentences, else anywhere.  The last paragraph of a chunk
    stands in the next one again where it is short, since a thought may go across.
    """
    for section in sections:
        text = section.text.strip()
        if len(text) <= size_chars:
            yield Section(section.place, text)
            continue
        for piece in _packed(_pieces(text, size_chars), size_chars):
            yield Section(section.place, piece)


def _pieces(text: str, size_chars: int) -> Iterator[str]:
    for paragraph in _PARAGRAPH.split(text):
        if len(paragraph) <= size_chars:
            yield paragraph
            continue
        for sentence in _SENTENCE.split(paragraph):
            for start in range(0, len(sentence), size_chars):
                yield sentence[start : start + size_chars]


def _packed(pieces: Iterable[str], size_chars: int) -> Iterator[str]:
    held: list[str] = []
    length = 0
    fresh = False  # whether something is held that no chunk has yet
    for piece in pieces:
        if not piece.strip():
            continue
        if held and length + len(piece) > size_chars:
            yield "\n\n".join(held)
            last = held[-1]
            repeats = len(last) <= size_chars // 4 and len(last) + len(piece) <= size_chars
            held = [last] if repeats else []
            length = len(last) if repeats else 0
        held.append(piece)
        length += len(piece)
        fresh = True
    if fresh:
        yield "\n\n".join(held)
